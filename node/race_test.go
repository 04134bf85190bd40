//go:build race

package node

// raceCost is how many times as much is allocated under the race detector, which has pools forget at random.
const raceCost = 4
