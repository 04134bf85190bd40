//go:build race

package gossip

// most50 is fewer than 50: the race detector looks at every packet, and as many nodes race as well.
const most50 = 20
