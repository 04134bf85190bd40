// Package upload receives bundles from publishers.
//
// The life of one upload: an offer consists of a signed intent and the index of the bundle. After the signature was
// verified, the index is read, and its memory counts against the org that signed. The answer lists the missing chunks
// and names the upload, by a name that cannot be guessed. The chunks come in one stream or several, and the store
// checks each; the last one completes the bundle. If a stream is cut, the chunks before stay, and the next offer of the
// same bundle joins the upload.
//
// The invariant: strangers cannot use up resources that publishers need. An index is read only after its intent was
// verified and decoded only after its digest was, and what an upload occupies is charged to an org.
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

// uploadLife is how long an upload waits for its chunks. Meanwhile its size is reserved in the quota.
const uploadLife = 10 * time.Minute

// MaxSenders bounds the connections that send chunks to one upload at the same time. A publisher needs one.
const MaxSenders = 4

// Config is what [Uploads] work with. All fields are required.
type Config struct {
	Context    context.Context // ends when the node does
	Store      *store.Store
	State      *force.State
	Accounts   *force.Accounts
	Most       int           // how many uploads of one org may be open at the same time
	Quota      int64         // bytes, of the store; 0: its default
	IntentWait time.Duration // bounds how long the first part of an offer may take; default: DefaultIntentWait
	Logger     *slog.Logger
	Now        func() time.Time
}

// Uploads are the bundles that publishers have offered and not sent completely. Each belongs to the org that signed its
// intent, and counts against the limits of that org.
type Uploads struct {
	Config

	decoding *semaphore.Weighted // bounds the indexes that are decoded at the same time
	inflate  *zstd.Decoder       // of indexes
	indexes  *serve.Budget       // of indexes, by org

	mu     sync.Mutex
	opened uint64 // uploads so far; orders them by age
	byKey  map[uploadKey]*upload
	byName map[string]*upload
}

// New returns an empty set of uploads.
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

// uploadKey identifies an upload. Offers with the same key share it.
type uploadKey struct {
	org    string
	bundle digest.Digest
	index  digest.Digest
}

// upload is a bundle that is being received, for all requests that offer it or send chunks of it.
type upload struct {
	*store.Ingest // set when ready is closed, unless failed is

	key    uploadKey
	name   string // cannot be guessed: only clients with a valid intent get it
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
	cut     func() // ends it; must not block
	sent    int    // chunks
	removed bool
}

var errBusy = serve.Problem(protocol.CodeBusy, "too many uploads at once", "try again in a moment")

// acquire returns the upload with the key for one more user, and opens it if there is none. For that it removes the
// oldest unused uploads of the org, if there are too many. room, if it is not 0, bounds what several uploads of the org
// may reserve. Release the upload after use.
func (u *Uploads) acquire(
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
		u.start(up, open)
	} else {
		u.addUser(up)
		u.mu.Unlock()
		<-up.ready // open does not wait for the network
	}
	if up.failed != nil {
		return nil, errors.Join(up.failed, u.release(up))
	}
	return up, nil
}

// start opens the ingest of an upload, and notifies those that wait for it, even if open panics.
func (u *Uploads) start(up *upload, open func() (*store.Ingest, error)) {
	up.failed = errBusy
	done := false
	defer func() {
		close(up.ready)
		if !done {
			_ = u.release(up) // nothing was reserved
		}
	}()
	up.Ingest, up.failed = open()
	done = true
}

// makeRoom removes unused uploads of the org until one more may be opened. The caller holds mu.
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
		_ = u.remove(oldest) // it only releases the reservation
	}
}

// addUser counts one more user. The caller holds mu.
func (u *Uploads) addUser(up *upload) {
	up.users++
	if up.expiry != nil {
		up.expiry.Stop()
		up.expiry = nil
	}
}

// release ends the use of an upload. After the last use it is removed, or expires if it waits for chunks.
func (u *Uploads) release(up *upload) error {
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
		if up.expiry == expiry { // otherwise it was used again
			_ = u.remove(up) // it only releases the reservation
		}
	})
	up.expiry = expiry
	return nil
}

// setWaiting has an upload wait for chunks after its use.
func (u *Uploads) setWaiting(up *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up.waiting = true
}

// finish has an upload removed after its use, and not found any more.
func (u *Uploads) finish(up *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up.waiting = false
	u.unlist(up)
}

// remove removes an unused upload and closes its ingest. The caller holds mu.
func (u *Uploads) remove(up *upload) error {
	u.unlist(up)
	if up.expiry != nil {
		up.expiry.Stop()
	}
	if up.Ingest == nil {
		return nil
	}
	return up.Close()
}

// unlist removes an upload from the maps. The caller holds mu.
func (u *Uploads) unlist(up *upload) {
	if up.removed {
		return
	}
	up.removed = true
	delete(u.byKey, up.key)
	delete(u.byName, up.name)
}

// addSender returns the upload with a name for one more connection that sends chunks, or nil if there is none. If it
// has too many senders, the one that has sent least is cut, so that idle connections cannot keep the publisher out.
func (u *Uploads) addSender(name string, cut func()) (*upload, *sender) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up := u.byName[name]
	if up == nil {
		return nil, nil
	}
	if len(up.senders) >= MaxSenders {
		least := slices.MinFunc(up.senders, func(a, b *sender) int { return a.sent - b.sent })
		u.dropSender(up, least)
		least.cut()
	}
	s := &sender{cut: cut}
	up.senders = append(up.senders, s)
	u.addUser(up)
	return up, s
}

// dropSender removes a sender from the list. The caller holds mu.
func (u *Uploads) dropSender(up *upload, s *sender) {
	up.senders = slices.DeleteFunc(up.senders, func(other *sender) bool { return other == s })
	s.removed = true
}

// recordChunk records that a sender has sent one more of the missing chunks.
func (u *Uploads) recordChunk(s *sender) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.sent++
}

// removeSender removes a sender, and reports whether it was cut before.
func (u *Uploads) removeSender(up *upload, s *sender) (cut bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	cut = s.removed
	u.dropSender(up, s)
	return cut
}

// Stats are figures of the open uploads of an org.
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

// Close removes all unused uploads.
func (u *Uploads) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var errs []error
	for _, up := range slices.Collect(maps.Values(u.byKey)) {
		if up.users == 0 {
			errs = append(errs, u.remove(up))
		} else {
			u.unlist(up)
		}
	}
	return errors.Join(errs...)
}

// PutUpload answers PUT /v1/uploads/{upload}, with missing chunks in one stream. If the stream is cut, the chunks
// before are kept, and so is the upload, so that the next attempt sends only the rest.
func (u *Uploads) PutUpload(r *serve.Request) (err error) {
	conn := r.Conn()
	up, s := u.addSender(r.Names[0], func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	if up == nil {
		return serve.Problem(protocol.CodeUnknownUpload, "the upload does not exist",
			"it has ended or timed out: offer the bundle again, chunks that were sent are kept")
	}
	defer func() { err = errors.Join(err, u.release(up)) }()
	answer, err := u.receive(r, up, s)
	if err != nil {
		return err
	}
	if err = up.Commit(u.Context); !errors.Is(err, store.ErrIncomplete) { // otherwise it may still become complete
		u.finish(up)
	}
	if err != nil {
		return err
	}
	u.Logger.Info("bundle stored", "bundle", answer.Bundle.Short(), "chunks", answer.Chunks,
		"bytes", answer.Bytes)
	return r.WriteJSON(http.StatusOK, answer)
}

// receive stores the chunks of a stream.
func (u *Uploads) receive(r *serve.Request, up *upload, s *sender) (answer protocol.Uploaded, err error) {
	answer.Bundle = up.key.bundle
	defer func() {
		if u.removeSender(up, s) && err != nil {
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
				"publish again: chunks that were sent are kept")
		}
		if err != nil {
			return answer, err
		}
		if err := up.Put(frame); err != nil {
			return answer, err
		}
		if !before[frame.Digest] { // sending a chunk twice is not progress
			before[frame.Digest] = true
			u.recordChunk(s)
		}
		answer.Chunks++
		answer.Bytes += frame.Size
	}
}
