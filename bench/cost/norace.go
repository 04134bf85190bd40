//go:build !race

package cost

const raceFactor = 1
