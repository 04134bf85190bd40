package upload

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/klauspost/compress/zstd"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/serve"
	"brink/protocol"
	"brink/store"
)

// DefaultIntentWait bounds how long the first part of an offer may take: a few kilobytes on a bad link.
const DefaultIntentWait = 20 * time.Second

// maxIndexes bounds, in bytes, the indexes that are on their way in, of all orgs. Two of the largest fit.
const maxIndexes = 2 * bundle.MaxIndex

// newInflate returns what decodes indexes. It writes into memory of the size that was signed, keeps no window beside
// it, and works on two at the same time.
func newInflate() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(bundle.MaxIndex),
		zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(2))
}

// PostOffer answers POST /v1/apps/{app}/bundles: a signed bundle intent, and the index it names. Nothing of the index
// is read before the signature was checked, nothing is decoded before it has the digest that was signed, and what it
// takes counts against the org that signed.
func (u *Uploads) PostOffer(r *serve.Request) error {
	trust, err := u.State.Owner(r.Names[0])
	if err != nil {
		return err
	}
	if err := r.RefuseEncoded(); err != nil {
		return err
	}
	body := bufio.NewReaderSize(r.Body(), serve.FreeBody)
	raw, intent, err := u.readIntent(r, trust, body)
	if err != nil {
		return err
	}
	if err := u.offerSigned(r, trust, raw, intent, body); err != nil {
		// Who signed is told why not. A connection that is closed while it is written to may lose the answer.
		_, _ = io.CopyN(io.Discard, body, protocol.MaxEncodedIndex(intent.IndexSize))
		return err
	}
	return nil
}

// offerSigned answers an offer whose intent counts.
func (u *Uploads) offerSigned(
	r *serve.Request, trust *channel.Trust, raw []byte, intent *channel.Intent, body *bufio.Reader,
) (err error) {
	key := uploadKey{org: trust.Org(), bundle: intent.Bundle, index: intent.Index}
	reserve := !r.QueryArgs().GetBool("dry_run")
	if err := u.Accounts.Admit(u.Context, trust, intent.Bundle, intent.Size, reserve); err != nil {
		return err
	}
	index, err := u.readIndex(r, trust.Org(), intent, body)
	if err != nil {
		return err
	}
	up, err := u.enter(key, intent.IndexSize, intent.Size, u.roomOf(), func() (*store.Ingest, error) {
		return u.ingest(raw, intent, index)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.leave(up)) }()
	r.Release() // of the index, which is decoded
	return u.demand(r, up)
}

// readIntent reads and checks the first part of an offer.
func (u *Uploads) readIntent(
	r *serve.Request, trust *channel.Trust, body *bufio.Reader,
) ([]byte, *channel.Intent, error) {
	conn := r.Conn()
	if err := conn.SetReadDeadline(time.Now().Add(u.IntentWait)); err != nil {
		return nil, nil, err
	}
	in := serve.Incoming{Request: r}
	raw, err := protocol.ReadIntent(body, in.Reserve)
	if err != nil {
		if errors.Is(err, protocol.ErrNoIntent) {
			return nil, nil, serve.Problem(protocol.CodeBadRequest, err.Error(), "see docs/protocol.md")
		}
		if _, crowded := errors.AsType[*protocol.Problem](err); crowded {
			return nil, nil, err
		}
		return nil, nil, in.Broken(err)
	}
	if err := in.Keep(); err != nil {
		return nil, nil, err
	}
	raw = bytes.Clone(raw)
	r.Release()
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	intent, err := trust.VerifyIntent(raw, u.Now())
	if err != nil {
		return nil, nil, err
	}
	if intent.App != r.Names[0] {
		return nil, nil, serve.Problem(protocol.CodeBadRequest, fmt.Sprintf("the intent is for app %s", intent.App), "")
	}
	if intent.IndexSize > bundle.MaxIndex || intent.Size > bundle.MaxArchive {
		return nil, nil, serve.Problem(protocol.CodeTooLarge,
			fmt.Sprintf("an index of %d bytes, an archive of %d", intent.IndexSize, intent.Size),
			fmt.Sprintf("they may have %d and %d bytes", bundle.MaxIndex, int64(bundle.MaxArchive)))
	}
	return raw, intent, nil
}

var errNotSigned = serve.Problem(protocol.CodeMismatch, "the index is not the one that was signed", "")

// readIndex reads the second part of an offer: the bytes that were signed, and no more. They are not decoded.
func (u *Uploads) readIndex(r *serve.Request, org string, intent *channel.Intent, body *bufio.Reader) ([]byte, error) {
	size, limit := intent.IndexSize, intent.IndexSize
	first, err := body.Peek(1)
	if err != nil {
		return nil, serve.Problem(protocol.CodeBadRequest, "there is no index", "see docs/protocol.md")
	}
	encoded := first[0] != '{'
	if encoded {
		limit = protocol.MaxEncodedIndex(size)
	}
	in := serve.Incoming{Request: r, Source: body, Budget: u.indexes, Account: org}
	raw, err := in.Read(nil, limit)
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, errNotSigned
	}
	if encoded {
		if err := in.Extend(size); err != nil {
			return nil, err
		}
		if raw, err = u.inflate.DecodeAll(raw, make([]byte, 0, size)); err != nil {
			return nil, serve.Problem(protocol.CodeMalformed, "the index is no zstd frame of so many bytes: "+err.Error(), "")
		}
	}
	if int64(len(raw)) != size || digest.Sum(raw) != intent.Index {
		return nil, errNotSigned
	}
	return raw, nil
}

// ingest decodes an index that has the digest that was signed, and begins to bring its bundle in.
func (u *Uploads) ingest(raw []byte, intent *channel.Intent, index []byte) (*store.Ingest, error) {
	// It takes a few times the bytes of the index, and waits for no network.
	if err := u.decoding.Acquire(u.Context, 1); err != nil {
		return nil, err
	}
	defer u.decoding.Release(1)
	ix, err := bundle.DecodeIndex(index) // the door: paths, bounds, sums
	if err != nil {
		return nil, err
	}
	if ix.Bundle() != intent.Bundle || ix.Archive.Size != intent.Size || len(ix.Files) != intent.Files {
		return nil, serve.Problem(protocol.CodeMismatch, "the index is not of the bundle that was signed", "")
	}
	return u.Store.Ingest(u.Context, store.IngestRequest{Intent: raw, Index: ix})
}

// roomOf returns how many bytes an org may reserve for several uploads, so that it does not have what others published
// evicted; 0 if there is no other.
func (u *Uploads) roomOf() int64 {
	orgs := int64(len(u.State.Trusts()))
	if orgs < 2 {
		return 0
	}
	quota := u.Quota
	if quota == 0 {
		quota = store.DefaultQuota
	}
	return quota / orgs
}

// demand answers an offer with what is missing.
func (u *Uploads) demand(r *serve.Request, up *upload) error {
	answer := protocol.Demand{Bundle: up.key.bundle}
	for _, c := range up.Missing() {
		answer.Missing = append(answer.Missing, c.Digest)
	}
	switch {
	case r.QueryArgs().GetBool("dry_run"):
		answer.Complete = len(answer.Missing) == 0
	case len(answer.Missing) == 0:
		// Nothing has to be sent: all chunks are here from other bundles, or the bundle itself is.
		if err := up.Commit(u.Context); err != nil {
			return err
		}
		u.end(up)
		answer.Complete = true
	default:
		u.wait(up)
		answer.Upload = protocol.UploadPath(up.name)
	}
	return r.WriteJSON(http.StatusOK, answer)
}
