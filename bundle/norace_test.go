//go:build !race

package bundle

const raceCost = 1
