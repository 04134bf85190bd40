//go:build !race

package gossip

const most50 = 50
