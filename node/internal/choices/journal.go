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

// Choices are replicated by journals: each node numbers the changes that it has received from devices, and announces
// the highest number; the others request those that they have not seen. The latest changes are in RAM. A node that is
// further behind gets all choices of the node, which include those from nodes that no longer exist.

// journalKind is the prefix of the keys under which a node stores how far it has read the journal of each node.
const journalKind = "journal/"

const (
	recentChoices = 4096   // changes of one node that are in RAM
	choicePage    = 10_000 // choices in one answer
)

// entry is the choice of a device, as nodes send it.
type entry struct {
	App    string `json:"app"`
	Device string `json:"device"`
	choice
}

// check refuses a choice that could not be stored, or not be found again.
func (n entry) check() error {
	control := func(r rune) bool { return r <= ' ' }
	if n.Device == "" || len(n.Device) > maxDevice || strings.ContainsFunc(n.Device, control) {
		return fmt.Errorf("invalid device ID %q", n.Device)
	}
	if n.Channel == "" {
		return nil
	}
	return channel.CheckChannel(n.Channel)
}

// page is one page of choices that a node sends to another.
type page struct {
	Choices  list   `json:"choices"`
	Sequence uint64 `json:"sequence"`       // of the journal after the last page
	Next     string `json:"next,omitempty"` // key of the first choice of the next page
}

// list is decoded entry by entry, and fails at the first one that lacks a required member: an empty object is far
// shorter than a choice in memory.
type list []entry

// UnmarshalJSON implements [json.Unmarshaler].
func (l *list) UnmarshalJSON(raw []byte) error {
	in := json.NewDecoder(bytes.NewReader(raw))
	if start, err := in.Token(); err != nil || start != json.Delim('[') {
		return errors.Join(errors.New("choices are not an array"), err)
	}
	*l = list{}
	for in.More() {
		var one entry
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

// Fleet gives access to the other nodes.
type Fleet interface {
	Self() origin.Member
	// Member returns the member with that name, if it serves.
	Member(name string) (gossip.Member, bool)
	// RequestJSON sends a request to another node, and waits for the answer until ctx ends.
	RequestJSON(ctx context.Context, to origin.Member, method, target string, in, out any) error
	// Announce announces how far a journal was read here.
	Announce(p gossip.Pointer)
	// Held returns the pointer that was announced last.
	Held(kind gossip.Kind, name string) (gossip.Pointer, bool)
}

// Journal replicates choices through a fleet.
type Journal struct {
	Choices *Choices
	Fleet   Fleet
	Store   *store.Store
	Claimed func(app string) bool // whether an org of this node claims the app
	Logger  *slog.Logger

	log journal
}

// journal is the changes that this node has received from devices.
type journal struct {
	mu       sync.Mutex
	sequence uint64  // of the last change
	recent   []entry // the last changes, with the sequences up to sequence
}

// start sets the sequence to the time in milliseconds, which is higher than in any earlier run. Nodes that have read
// the journal of an earlier run get all choices.
func (j *journal) start(now time.Time) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sequence = uint64(now.UnixMilli())
	return j.sequence
}

// add numbers a change.
func (j *journal) add(one entry) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sequence++
	j.recent = append(j.recent, one)
	if len(j.recent) > recentChoices {
		j.recent = append([]entry(nil), j.recent[recentChoices/2:]...)
	}
	return j.sequence
}

// after returns the changes after a sequence, and false if they are not all in RAM.
func (j *journal) after(sequence uint64) ([]entry, uint64, bool) {
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

// record adds a choice to the journal of this node, and announces it.
func (j *Journal) record(one entry) {
	sequence := j.log.add(one)
	j.Fleet.Announce(journalPointer(j.Fleet.Self().Name, sequence))
}

// Start announces how far this node has read each journal, and starts its own.
func (j *Journal) Start() {
	j.Choices.changed = j.record
	sequence := j.log.start(j.Choices.now())
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

// Pull reads the journal of a node, or all choices of another node if that one is gone.
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
			if err := j.Choices.merge(one); err != nil {
				if errors.Is(err, store.ErrReadOnly) || errors.Is(err, store.ErrClosed) {
					return err
				}
				j.Logger.Debug("choice of a device not stored", "node", from.Name, "error", err)
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

// GetChoices answers GET /v1/fleet/choices?after=&from= with the choices after a sequence of this node's journal, or
// all choices of the node. The caller has checked that a node of the fleet asks.
func (j *Journal) GetChoices(r *serve.Request) error {
	after, err := strconv.ParseUint(string(r.QueryArgs().Peek("after")), 10, 64)
	if err != nil {
		return serve.Problem(protocol.CodeBadRequest, "after is not a number", "")
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
		one := entry{App: app, Device: device}
		if json.Unmarshal(raw, &one.choice) == nil {
			answer.Choices = append(answer.Choices, one)
		}
	}
	return r.WriteJSON(http.StatusOK, answer)
}
