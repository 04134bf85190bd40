// Package upload is how bundles come in from publishers.
//
// The life of one upload: an offer brings a signed intent, and after its signature was checked the index of the bundle,
// which counts against the org that signed. The answer names the chunks that are missing and the upload, by a name that
// cannot be guessed. The chunks come in one stream or several, and the store checks each; the last one completes the
// bundle. What came in before a cut is kept, so that the next offer of the same bundle joins the upload.
//
// The invariant: a stranger takes nothing that publishers need. Nothing of an index is read before its intent was
// verified, nothing is decoded before it has the digest that was signed, and what an upload holds belongs to an org.
package upload

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"

	"brink/bundle"
	"brink/digest"
	"brink/node/internal/force"
	"brink/node/internal/serve"
	"brink/protocol"
	"brink/store"
)

// uploadLife is how long an upload waits for its chunks. It holds room in the quota meanwhile.
const uploadLife = 10 * time.Minute

// MaxSenders bounds how many connections send chunks to one upload at the same time. A publisher needs one.
const MaxSenders = 4

// Config is what [Uploads] work with. All fields are required.
type Config struct {
	Context    context.Context // ends when the node does
	Store      *store.Store
	State      *force.State
	Accounts   *force.Accounts
	Most       int           // uploads of one org that are open at the same time
	Quota      int64         // bytes, of the store; 0: its default
	IntentWait time.Duration // bounds how long the first part of an offer may take; default: DefaultIntentWait
	Logger     *slog.Logger
	Now        func() time.Time
}

// Uploads are what publishers have offered and not sent completely yet. Every upload belongs to an org, which signed
// for it, and counts against what that org may have open.
type Uploads struct {
	Config

	decoding *semaphore.Weighted // indexes that are decoded at the same time
	inflate  *zstd.Decoder       // of indexes
	indexes  *serve.Budget       // of indexes that orgs have signed

	mu     sync.Mutex
	opened uint64 // uploads so far, to tell the older of two
	byKey  map[uploadKey]*upload
	byName map[string]*upload
}

// New returns uploads, of which there are none yet.
func New(config Config) (*Uploads, error) {
	if config.IntentWait == 0 {
		config.IntentWait = DefaultIntentWait
	}
	inflate, err := newInflate()
	return &Uploads{
		Config:   config,
		decoding: semaphore.NewWeighted(1),
		inflate:  inflate,
		indexes:  serve.NewBudget(maxIndexes),
		byKey:    map[uploadKey]*upload{},
		byName:   map[string]*upload{},
	}, err
}

// uploadKey is what makes two offers one upload.
type uploadKey struct {
	org    string
	bundle digest.Digest
	index  digest.Digest
}

// upload is a bundle on its way in, for all who offer it or send chunks of it.
type upload struct {
	*store.Ingest // is there when ready is closed, unless failed says why not

	key    uploadKey
	name   string // cannot be guessed: only who has signed for it is told
	order  uint64
	index  int64 // encoded bytes
	size   int64 // of the archive
	ready  chan struct{}
	failed error

	// The rest is guarded by Uploads.mu.
	users   int // requests that use it now
	waiting bool
	removed bool
	senders []*sender
	expiry  *time.Timer // while waiting and not used
}

// sender is one connection that sends chunks to an upload.
type sender struct {
	cut  func() // ends it; must not block
	sent int    // chunks
	over bool
}

var errBusy = serve.Problem(protocol.CodeBusy, "too many uploads at once", "try again in a moment")

// enter returns the upload with the key, and begins it with open if there is none. An org that has too many gives up
// its oldest ones that nobody uses; room, if it is not 0, bounds what all but one of its uploads may reserve. Leave the
// upload after use.
func (u *Uploads) enter(
	key uploadKey, index, size, room int64, open func() (*store.Ingest, error),
) (*upload, error) {
	u.mu.Lock()
	up := u.byKey[key]
	if up == nil {
		if err := u.makeRoom(key.org, index, size, room); err != nil {
			u.mu.Unlock()
			return nil, err
		}
		u.opened++
		up = &upload{
			key: key, name: rand.Text(), order: u.opened, index: index, size: size, ready: make(chan struct{}),
		}
		u.byKey[key], u.byName[up.name] = up, up
		up.users++
		u.mu.Unlock()
		u.begin(up, open)
	} else {
		u.use(up)
		u.mu.Unlock()
		<-up.ready // it waits for no network
	}
	if up.failed != nil {
		return nil, errors.Join(up.failed, u.leave(up))
	}
	return up, nil
}

// begin has the ingest of an upload opened, and tells those who wait for it, even if open panics.
func (u *Uploads) begin(up *upload, open func() (*store.Ingest, error)) {
	up.failed = errBusy
	done := false
	defer func() {
		close(up.ready)
		if !done {
			_ = u.leave(up) // nothing was reserved
		}
	}()
	up.Ingest, up.failed = open()
	done = true
}

// makeRoom gives up uploads of the org until one more may be opened. The caller holds mu.
func (u *Uploads) makeRoom(org string, index, size, room int64) error {
	for {
		var oldest *upload
		var count int
		indexes, reserved := index, size
		for _, up := range u.byKey {
			if up.key.org != org {
				continue
			}
			count++
			indexes += up.index
			reserved += up.size
			if up.users == 0 && (oldest == nil || up.order < oldest.order) {
				oldest = up
			}
		}
		if count == 0 || count < u.Most && indexes <= bundle.MaxIndex && (room == 0 || reserved <= room) {
			return nil
		}
		if oldest == nil {
			return errBusy
		}
		_ = u.remove(oldest) // it only gives back what was reserved
	}
}

// use counts one more user. The caller holds mu.
func (u *Uploads) use(up *upload) {
	up.users++
	if up.expiry != nil {
		up.expiry.Stop()
		up.expiry = nil
	}
}

// leave ends the use of an upload. One that nobody waits for goes.
func (u *Uploads) leave(up *upload) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	up.users--
	switch {
	case up.users > 0:
		return nil
	case up.removed || !up.waiting:
		return u.remove(up)
	}
	var expiry *time.Timer
	expiry = time.AfterFunc(uploadLife, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if up.expiry == expiry { // else it has been used since
			_ = u.remove(up) // it only gives back what was reserved
		}
	})
	up.expiry = expiry
	return nil
}

// wait keeps an upload for later that is being used, and end has nobody else come to it.
func (u *Uploads) wait(up *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up.waiting = true
}

func (u *Uploads) end(up *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up.waiting = false
	u.forget(up)
}

// remove ends an upload that nobody uses. The caller holds mu.
func (u *Uploads) remove(up *upload) error {
	u.forget(up)
	if up.expiry != nil {
		up.expiry.Stop()
	}
	if up.Ingest == nil {
		return nil
	}
	return up.Close()
}

// forget has nobody else come to an upload. The caller holds mu.
func (u *Uploads) forget(up *upload) {
	if up.removed {
		return
	}
	up.removed = true
	delete(u.byKey, up.key)
	delete(u.byName, up.name)
}

// send returns the upload of a name for one more connection that sends chunks, or nil when there is none of the name.
// When too many send already, the one that has sent least is cut: who holds a connection open and sends nothing does
// not keep the publisher out.
func (u *Uploads) send(name string, cut func()) (*upload, *sender) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up := u.byName[name]
	if up == nil {
		return nil, nil
	}
	if len(up.senders) >= MaxSenders {
		least := slices.MinFunc(up.senders, func(a, b *sender) int { return a.sent - b.sent })
		u.dismiss(up, least)
		least.cut()
	}
	s := &sender{cut: cut}
	up.senders = append(up.senders, s)
	u.use(up)
	return up, s
}

// dismiss takes a sender from the list. The caller holds mu.
func (u *Uploads) dismiss(up *upload, s *sender) {
	up.senders = slices.DeleteFunc(up.senders, func(other *sender) bool { return other == s })
	s.over = true
}

// count notes that a sender has sent one more chunk of those that were missing.
func (u *Uploads) count(s *sender) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.sent++
}

// sent ends a sender. It reports whether the sender was cut.
func (u *Uploads) sent(up *upload, s *sender) (cut bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	cut = s.over
	u.dismiss(up, s)
	return cut
}

// Stats are figures of the uploads of an org that are open.
type Stats struct {
	Open     int   // uploads
	Sending  int   // connections that send chunks to them
	Reserved int64 // bytes of their archives
}

// Stats returns the figures of an org.
func (u *Uploads) Stats(org string) (stats Stats) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, up := range u.byKey {
		if up.key.org == org {
			stats.Open++
			stats.Sending += len(up.senders)
			stats.Reserved += up.size
		}
	}
	return stats
}

// Reading returns how many offers with a valid signature wait for the rest of their index.
func (u *Uploads) Reading() int {
	_, offers := u.indexes.Stats()
	return offers
}

// Close gives back what uploads that were never sent hold.
func (u *Uploads) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var errs []error
	for _, up := range slices.Collect(maps.Values(u.byKey)) {
		if up.users == 0 {
			errs = append(errs, u.remove(up))
		} else {
			u.forget(up)
		}
	}
	return errors.Join(errs...)
}

// PutUpload answers PUT /v1/uploads/{upload}: the missing chunks in one stream. What came in before a cut is kept, and
// the upload with it, so that the next try sends only the rest.
func (u *Uploads) PutUpload(r *serve.Request) (err error) {
	conn := r.Conn()
	up, s := u.send(r.Names[0], func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	if up == nil {
		return serve.Problem(protocol.CodeUnknownUpload, "there is no such upload",
			"it has ended or timed out: open it again, what was sent is kept")
	}
	defer func() { err = errors.Join(err, u.leave(up)) }()
	answer, err := u.receive(r, up, s)
	if err != nil {
		return err
	}
	if err = up.Commit(u.Context); !errors.Is(err, store.ErrIncomplete) { // else it may still become complete
		u.end(up)
	}
	if err != nil {
		return err
	}
	u.Logger.Info("bundle stored", "bundle", answer.Bundle.Short(), "chunks", answer.Chunks,
		"bytes", answer.Bytes)
	return r.WriteJSON(http.StatusOK, answer)
}

// receive puts in the chunks that come.
func (u *Uploads) receive(r *serve.Request, up *upload, s *sender) (answer protocol.Uploaded, err error) {
	answer.Bundle = up.key.bundle
	defer func() {
		if u.sent(up, s) && err != nil {
			err = serve.Problem(protocol.CodeBusy, "too many connections send to this upload", "publish again")
		}
	}()
	stream := bundle.NewStreamReader(r.Body())
	before := map[digest.Digest]bool{}
	for {
		frame, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return answer, nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return answer, serve.Problem(protocol.CodeIncomplete,
				"the stream was cut after "+fmt.Sprint(answer.Chunks)+" chunks",
				"publish again: what was sent is kept")
		}
		if err != nil {
			return answer, err
		}
		if err := up.Put(frame); err != nil {
			return answer, err
		}
		if !before[frame.Digest] { // the same again is no progress
			before[frame.Digest] = true
			u.count(s)
		}
		answer.Chunks++
		answer.Bytes += frame.Size
	}
}
