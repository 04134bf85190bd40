//go:build race

package cost

// raceFactor is how many times as much is allocated under the race detector, which has a sync.Pool forget a quarter of
// what is put back, at random: a request to a node, most of whose memory is pooled, costs up to 4 times as much.
const raceFactor = 4
