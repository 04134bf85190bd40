package choices

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/gossip"
	"brink/node/internal/serve"
	"brink/origin"
	"brink/protocol"
	"brink/store"
)

// The choices of devices spread through a fleet by journals: each node numbers the changes that were made at it and
// announces the highest number, and the others ask it for those that they have not seen. The latest changes are in RAM;
// who is further behind gets all that the node has, which also brings what came from nodes that are gone.

// journalKind begins the keys under which is kept how far a node has read the journal of each node, its own included.
const journalKind = "journal/"

const (
	recentChoices = 4096   // changes of one node that are in RAM
	choicePage    = 10_000 // choices in one answer
)

// noted is the choice of a device.
type noted struct {
	App    string `json:"app"`
	Device string `json:"device"`
	choice
}

// check refuses what could not be kept, or not be found again.
func (n noted) check() error {
	control := func(r rune) bool { return r <= ' ' }
	if n.Device == "" || len(n.Device) > maxDevice || strings.ContainsFunc(n.Device, control) {
		return fmt.Errorf("device %q cannot be kept", n.Device)
	}
	if n.Channel == "" {
		return nil
	}
	return channel.CheckChannel(n.Channel)
}

// page is an answer of one node to another: choices, and where the next page begins.
type page struct {
	Choices  list   `json:"choices"`
	Sequence uint64 `json:"sequence"`       // of the journal, that these bring the reader to; with the last page
	Next     string `json:"next,omitempty"` // key of the first choice of the next page
}

// list is read entry by entry, and no further than to one that lacks what every choice has: an empty object is far
// shorter than a choice in memory.
type list []noted

// UnmarshalJSON implements [json.Unmarshaler].
func (l *list) UnmarshalJSON(raw []byte) error {
	in := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := in.Token(); err != nil || begin != json.Delim('[') {
		return errors.Join(errors.New("choices are not an array"), err)
	}
	*l = list{}
	for in.More() {
		var one noted
		if err := in.Decode(&one); err != nil {
			return err
		}
		if one.App == "" || one.Device == "" || one.Since.IsZero() {
			return errors.New("a choice lacks its app, its device or its time")
		}
		*l = append(*l, one)
	}
	return nil
}

// Fleet is the other nodes.
type Fleet interface {
	Self() origin.Member
	// Member returns the member of the name, if it serves.
	Member(name string) (gossip.Member, bool)
	// RequestJSON sends a request to another node, and waits for the answer until ctx ends.
	RequestJSON(ctx context.Context, to origin.Member, method, target string, question, answer any) error
	// Announce tells the fleet how far a journal was read here, and Held returns what was announced last.
	Announce(p gossip.Pointer)
	Held(kind gossip.Kind, name string) (gossip.Pointer, bool)
}

// Journal spreads choices through a fleet.
type Journal struct {
	Choices *Choices
	Fleet   Fleet
	Store   *store.Store
	Claimed func(app string) bool // whether an org of this node claims the app
	Logger  *slog.Logger

	log journal
}

// journal is the changes that were made at this node.
type journal struct {
	mu       sync.Mutex
	sequence uint64  // of the last change
	recent   []noted // the last changes, with the sequences up to sequence
}

// begin has the numbers go on from the time, in milliseconds: above those of a run before this one. Who has read those
// gets all that the node has.
func (j *journal) begin(now time.Time) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sequence = uint64(now.UnixMilli())
	return j.sequence
}

// add numbers a change.
func (j *journal) add(one noted) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sequence++
	j.recent = append(j.recent, one)
	if len(j.recent) > recentChoices {
		j.recent = append([]noted(nil), j.recent[recentChoices/2:]...)
	}
	return j.sequence
}

// after returns the changes after a sequence, and false when they are not all in RAM.
func (j *journal) after(sequence uint64) ([]noted, uint64, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	behind := j.sequence - min(sequence, j.sequence)
	if behind > uint64(len(j.recent)) {
		return nil, j.sequence, false
	}
	return j.recent[uint64(len(j.recent))-behind:], j.sequence, true
}

func journalPointer(node string, sequence uint64) gossip.Pointer {
	return gossip.Pointer{
		Kind: gossip.Journal, Name: node, Sequence: sequence,
		Digest: digest.Sum(binary.BigEndian.AppendUint64([]byte(node), sequence)),
	}
}

// chose tells the fleet what a device has chosen at this node.
func (j *Journal) chose(one noted) {
	sequence := j.log.add(one)
	j.Fleet.Announce(journalPointer(j.Fleet.Self().Name, sequence))
}

// Begin tells how far this node has read each journal, and begins its own.
func (j *Journal) Begin() {
	j.Choices.changed = j.chose
	sequence := j.log.begin(j.Choices.now())
	for range j.Store.States(kind) {
		j.Fleet.Announce(journalPointer(j.Fleet.Self().Name, sequence))
		break
	}
	for key, raw := range j.Store.States(journalKind) {
		if len(raw) != 8 {
			continue
		}
		name, sequence := strings.TrimPrefix(key, journalKind), binary.BigEndian.Uint64(raw)
		j.Fleet.Announce(journalPointer(name, sequence))
	}
}

// Pull reads the journal of a node, or all that another one has when that is gone.
func (j *Journal) Pull(ctx context.Context, from gossip.Member, p gossip.Pointer) error {
	if p.Name == j.Fleet.Self().Name {
		j.Fleet.Announce(p) // its own, from before a restart
		return nil
	}
	var after uint64
	if writer, ok := j.Fleet.Member(p.Name); ok {
		from = writer
		if held, ok := j.Fleet.Held(gossip.Journal, p.Name); ok {
			after = held.Sequence
		}
	}
	query := url.Values{"after": {strconv.FormatUint(after, 10)}}
	for {
		var answer page
		target := protocol.FleetChoicesPath + "?" + query.Encode()
		member := origin.Member{Name: from.Name, Region: from.Region, URL: from.URL}
		if err := j.Fleet.RequestJSON(ctx, member, http.MethodGet, target, nil, &answer); err != nil {
			return err
		}
		for _, one := range answer.Choices {
			if !j.Claimed(one.App) {
				continue
			}
			if err := j.Choices.take(one); err != nil {
				if errors.Is(err, store.ErrReadOnly) || errors.Is(err, store.ErrClosed) {
					return err
				}
				j.Logger.Debug("choice of a device is not kept", "node", from.Name, "error", err)
			}
		}
		if err := j.Choices.flush(); err != nil {
			return err
		}
		if answer.Next == "" {
			if from.Name == p.Name && answer.Sequence > p.Sequence {
				p.Sequence = answer.Sequence
			}
			break
		}
		query.Set("from", answer.Next)
	}
	p = journalPointer(p.Name, p.Sequence)
	seen := binary.BigEndian.AppendUint64(nil, p.Sequence)
	if err := j.Store.PutState(ctx, map[string][]byte{journalKind + p.Name: seen}); err != nil {
		return err
	}
	j.Fleet.Announce(p)
	return nil
}

// GetChoices answers GET /v1/fleet/choices?after=&from=: the choices that were made here after a sequence of this
// node's journal, or all that the node has. The caller has checked that a node of the fleet asks.
func (j *Journal) GetChoices(r *serve.Request) error {
	after, err := strconv.ParseUint(string(r.QueryArgs().Peek("after")), 10, 64)
	if err != nil {
		return serve.Problem(protocol.CodeBadRequest, "after is no number", "")
	}
	from := string(r.QueryArgs().Peek("from"))
	answer := page{Choices: list{}}
	changes, sequence, enough := j.log.after(after)
	if answer.Sequence = sequence; enough && after > 0 && from == "" {
		answer.Choices = append(answer.Choices, changes...)
		return r.WriteJSON(http.StatusOK, answer)
	}
	for key, raw := range j.Store.States(kind) {
		if key < from {
			continue
		}
		if len(answer.Choices) == choicePage {
			answer.Next = key
			break
		}
		app, device, _ := strings.Cut(strings.TrimPrefix(key, kind), "/")
		one := noted{App: app, Device: device}
		if json.Unmarshal(raw, &one.choice) == nil {
			answer.Choices = append(answer.Choices, one)
		}
	}
	return r.WriteJSON(http.StatusOK, answer)
}
