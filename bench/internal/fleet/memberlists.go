package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"

	"brink/bench/internal/testbed"
	"brink/gossip"
)

// memberlists are nodes of bare memberlist, with the settings of package gossip: a node that receives a message for the
// first time forwards it.
type memberlists struct {
	list []*member
	news chan arrival
}

// member is one of the nodes. It is its own delegate.
type member struct {
	number int
	size   int // of the fleet
	list   *memberlist.Memberlist
	queue  memberlist.TransmitLimitedQueue
	last   uint64 // received; only the goroutine that receives packets uses it
	news   chan<- arrival
}

// broadcastSize is the size of a broadcast of package gossip by a node with a name of seven bytes.
const broadcastSize = 45 + len(testbed.App+"/production") + len("node-10")

func newMemberlists(size int) (_ *memberlists, err error) {
	f := &memberlists{news: make(chan arrival, 1<<12)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	for i := range size {
		m := &member{number: i, size: size, news: f.news}
		c := memberlist.DefaultLANConfig()
		c.Name, c.Label = fmt.Sprintf("node-%d", i), "brink bench"
		c.BindAddr, c.BindPort, c.AdvertisePort = "127.0.0.1", 0, 0
		c.SecretKey, c.EnableCompression = make([]byte, gossip.KeySize), false
		c.Logger, c.Delegate = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), m
		m.queue.RetransmitMult = c.RetransmitMult
		if m.list, err = memberlist.Create(c); err != nil {
			return nil, err
		}
		m.queue.NumNodes = m.list.NumMembers
		f.list = append(f.list, m)
		if i > 0 {
			if _, err := m.list.Join([]string{f.list[0].list.LocalNode().Address()}); err != nil {
				return nil, err
			}
		}
	}
	return f, f.waitMembers()
}

// waitMembers waits until every node has all others as members.
func (f *memberlists) waitMembers() error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(maxWait)
	for _, m := range f.list {
		for m.list.NumMembers() < len(f.list) {
			select {
			case <-tick.C:
			case <-late:
				return fmt.Errorf("%d of %d members are known", m.list.NumMembers(), len(f.list))
			}
		}
	}
	return nil
}

// announce implements [announcer].
func (f *memberlists) announce(ctx context.Context, round int) ([]time.Duration, error) {
	m := f.list[round%len(f.list)]
	since := time.Now()
	m.forward(uint64(round))
	took, err := delays(ctx, f.news, len(f.list)-1, packetTime, uint64(round), since)
	if errors.Is(err, errIncomplete) {
		err = nil // bare memberlist does not repair a lost message
	}
	return took, err
}

func (f *memberlists) close() error {
	var errs []error
	for _, m := range f.list {
		errs = append(errs, m.list.Shutdown())
	}
	return errors.Join(errs...)
}

// forward broadcasts a message.
func (m *member) forward(number uint64) {
	message := make([]byte, broadcastSize)
	binary.BigEndian.PutUint64(message, number)
	m.queue.QueueBroadcast(announcement(message))
}

// NodeMeta implements [memberlist.Delegate].
func (m *member) NodeMeta(int) []byte { return nil }

// NotifyMsg implements [memberlist.Delegate].
func (m *member) NotifyMsg(b []byte) {
	number := binary.BigEndian.Uint64(b)
	if number <= m.last || int(number)%m.size == m.number {
		return // it was received before, or is the member's own
	}
	m.last = number
	m.news <- arrival{m.number, number, time.Now()}
	m.forward(number)
}

// GetBroadcasts implements [memberlist.Delegate].
func (m *member) GetBroadcasts(overhead, limit int) [][]byte {
	return m.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements [memberlist.Delegate].
func (m *member) LocalState(bool) []byte { return nil }

// MergeRemoteState implements [memberlist.Delegate].
func (m *member) MergeRemoteState([]byte, bool) {}

// announcement is a message to all. A new one does not invalidate the earlier ones, which are hardly sent any more.
type announcement []byte

// Message implements [memberlist.Broadcast].
func (n announcement) Message() []byte { return n }

// Finished implements [memberlist.Broadcast].
func (n announcement) Finished() {}

// Invalidates implements [memberlist.Broadcast].
func (n announcement) Invalidates(memberlist.Broadcast) bool { return false }
