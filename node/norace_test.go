//go:build !race

package node

const raceCost = 1
