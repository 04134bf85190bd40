package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/protocol"
	"brink/store"
)

// uploadLife is how long an upload that was opened waits for its chunks. It holds room in the quota meanwhile.
const uploadLife = 10 * time.Minute

// maxOffer bounds the body of an offer in bytes: an index, and what its JSON needs around it.
const maxOffer = bundle.MaxIndex + 1<<20

// uploads holds what publishers have opened and not sent yet.
type uploads struct {
	mu   sync.Mutex
	open map[string]*upload
	most int
}

// upload is one that was opened: a bundle on its way in.
type upload struct {
	*store.Ingest

	bundle digest.Digest
	expiry *time.Timer
}

var errBusy = problem(protocol.CodeBusy, "too many uploads at once", "try again in a moment")

// add keeps an ingest until it is taken, or its time is over, and returns the name to take it by.
func (u *uploads) add(id digest.Digest, in *store.Ingest) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.open) >= u.most {
		return "", errBusy
	}
	name := rand.Text() // it can not be guessed: nobody else can take the upload
	u.open[name] = &upload{Ingest: in, bundle: id, expiry: time.AfterFunc(uploadLife, func() {
		if in := u.take(name); in != nil {
			_ = in.Close() // it only gives back what was reserved
		}
	})}
	return name, nil
}

// take removes an upload and returns it, or nil when there is none of the name.
func (u *uploads) take(name string) *upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.open[name]
	if one == nil {
		return nil
	}
	one.expiry.Stop()
	delete(u.open, name)
	return one
}

// close gives back what uploads that were never sent hold.
func (u *uploads) close() error {
	var errs []error
	u.mu.Lock()
	names := make([]string, 0, len(u.open))
	for name := range u.open {
		names = append(names, name)
	}
	u.mu.Unlock()
	for _, name := range names {
		if in := u.take(name); in != nil {
			errs = append(errs, in.Close())
		}
	}
	return errors.Join(errs...)
}

// offer answers POST /v1/apps/{app}/bundles: a signed bundle intent, and the index it names.
func (n *Node) offer(r *request) error {
	if !n.offers.TryAcquire(1) {
		return errBusy
	}
	defer n.offers.Release(1)
	var in protocol.Offer
	if err := r.readJSON(maxOffer, &in); err != nil {
		return err
	}
	trust, err := n.channels.owner(r.names[0])
	if err != nil {
		return err
	}
	intent, err := trust.VerifyIntent(in.Intent, n.config.Now())
	if err != nil {
		return err
	}
	if intent.App != r.names[0] {
		return problem(protocol.CodeBadRequest, fmt.Sprintf("the intent is for app %s", intent.App), "")
	}
	if in.Index == nil {
		return problem(protocol.CodeBadRequest, "there is no index", "see docs/protocol.md")
	}
	raw := in.Index.Encode()
	if digest.Sum(raw) != intent.Index || in.Index.Bundle() != intent.Bundle {
		return problem(protocol.CodeMismatch, "the index is not the one that was signed", "")
	}
	ix, err := bundle.DecodeIndex(raw) // the door: paths, bounds, sums
	if err != nil {
		return err
	}
	// What channels name already counts already: publishing it again, to heal it, costs nothing.
	if quota := trust.Quota(); quota > 0 && !n.channels.names(ix.Bundle()) &&
		n.channels.bytesOf(trust.Org())+ix.Archive.Size > quota {
		return problem(protocol.CodeQuota, fmt.Sprintf("org %s may hold %d bytes, and its channels hold %d already",
			trust.Org(), quota, n.channels.bytesOf(trust.Org())), "the org's root keys set its quota in the trust document")
	}
	ingest, err := n.store.Ingest(n.ctx, store.IngestRequest{Intent: in.Intent, Index: ix})
	if err != nil {
		return err
	}
	return n.demand(r, ix, ingest)
}

// demand answers an offer with what is missing.
func (n *Node) demand(r *request, ix *bundle.Index, ingest *store.Ingest) error {
	answer := protocol.Demand{Bundle: ix.Bundle()}
	for _, c := range ingest.Missing() {
		answer.Missing = append(answer.Missing, c.Digest)
	}
	if r.QueryArgs().GetBool("dry_run") {
		answer.Complete = len(answer.Missing) == 0
		return errors.Join(ingest.Close(), r.writeJSON(http.StatusOK, answer))
	}
	if len(answer.Missing) == 0 {
		// Nothing has to be sent: all chunks are here from other bundles, or the bundle itself is.
		err := errors.Join(ingest.Commit(n.ctx), ingest.Close())
		if err == nil {
			answer.Complete = true
			return r.writeJSON(http.StatusOK, answer)
		}
		return err
	}
	name, err := n.uploads.add(ix.Bundle(), ingest)
	if err != nil {
		return errors.Join(err, ingest.Close())
	}
	answer.Upload = "/v1/uploads/" + name
	return r.writeJSON(http.StatusOK, answer)
}

// upload answers PUT /v1/uploads/{upload}: the missing chunks in one stream. What came in before a cut is kept, so that
// the next try sends only the rest.
func (n *Node) upload(r *request) error {
	up := n.uploads.take(r.names[0])
	if up == nil {
		return problem(protocol.CodeUnknownUpload, "there is no such upload",
			"it has ended or timed out: open it again, what was sent is kept")
	}
	answer, err := n.receive(r, up)
	if err := errors.Join(err, up.Close()); err != nil {
		return err
	}
	n.config.Logger.Info("bundle stored", "bundle", answer.Bundle.Short(), "chunks", answer.Chunks,
		"bytes", answer.Bytes)
	return r.writeJSON(http.StatusOK, answer)
}

func (n *Node) receive(r *request, up *upload) (protocol.Uploaded, error) {
	answer := protocol.Uploaded{Bundle: up.bundle}
	stream := bundle.NewStreamReader(r.body())
	for {
		frame, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return answer, problem(protocol.CodeIncomplete,
				"the stream was cut after "+fmt.Sprint(answer.Chunks)+" chunks",
				"publish again: what was sent is kept")
		}
		if err != nil {
			return answer, err
		}
		if err := up.Put(frame); err != nil {
			return answer, err
		}
		answer.Chunks++
		answer.Bytes += frame.Size
	}
	return answer, up.Commit(n.ctx)
}
