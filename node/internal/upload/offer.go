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

// DefaultIntentWait bounds how long the intent of an offer may take to arrive: a few kilobytes on a bad link.
const DefaultIntentWait = 20 * time.Second

// maxIndexes bounds the bytes of all indexes that are being received. Two of the largest fit.
const maxIndexes = 2 * bundle.MaxIndex

// newInflate returns the decoder of indexes. It decodes into a buffer of the signed size without a separate window, and
// up to two indexes at the same time.
func newInflate() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(bundle.MaxIndex),
		zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(2))
}

// PostOffer answers POST /v1/apps/{app}/bundles, with a signed bundle intent followed by the index that it names. The
// index is read only after the signature was verified, its memory counts against the org that signed, and it is decoded
// only after its digest was verified.
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
		// Read the rest, because a client may lose the answer if the connection is closed while it still sends.
		_, _ = io.CopyN(io.Discard, body, protocol.MaxEncodedIndex(intent.IndexSize))
		return err
	}
	return nil
}

// offerSigned answers an offer whose intent was verified.
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
	up, err := u.acquire(key, intent.IndexSize, intent.Size, u.roomOf(), func() (*store.Ingest, error) {
		return u.ingest(raw, intent, index)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.release(up)) }()
	r.Release() // the encoded index is no longer needed
	return u.demand(r, up)
}

// readIntent reads and verifies the intent of an offer.
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
		return nil, nil, in.ReadError(err)
	}
	if err := in.Pin(); err != nil {
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
			fmt.Sprintf("the index has %d bytes and the archive %d", intent.IndexSize, intent.Size),
			fmt.Sprintf("the limits are %d and %d bytes", bundle.MaxIndex, int64(bundle.MaxArchive)))
	}
	return raw, intent, nil
}

var errNotSigned = serve.Problem(protocol.CodeMismatch, "the index is not the one that was signed", "")

// readIndex reads the index of an offer, decompresses it if necessary, and verifies its digest. It does not parse it.
func (u *Uploads) readIndex(r *serve.Request, org string, intent *channel.Intent, body *bufio.Reader) ([]byte, error) {
	size, limit := intent.IndexSize, intent.IndexSize
	first, err := body.Peek(1)
	if err != nil {
		return nil, serve.Problem(protocol.CodeBadRequest, "the index is missing", "see docs/protocol.md")
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
			return nil, serve.Problem(protocol.CodeMalformed, "the index is not a zstd frame of the signed size: "+err.Error(),
				"")
		}
	}
	if int64(len(raw)) != size || digest.Sum(raw) != intent.Index {
		return nil, errNotSigned
	}
	return raw, nil
}

// ingest parses an index whose digest was verified, and starts the ingest of its bundle.
func (u *Uploads) ingest(raw []byte, intent *channel.Intent, index []byte) (*store.Ingest, error) {
	// Decoding takes a few times the memory of the index, and does not wait for the network.
	if err := u.decoding.Acquire(u.Context, 1); err != nil {
		return nil, err
	}
	defer u.decoding.Release(1)
	ix, err := bundle.DecodeIndex(index) // checks paths, bounds and sums
	if err != nil {
		return nil, err
	}
	if ix.Bundle() != intent.Bundle || ix.Archive.Size != intent.Size || len(ix.Files) != intent.Files {
		return nil, serve.Problem(protocol.CodeMismatch, "the index does not belong to the bundle in the intent", "")
	}
	return u.Store.Ingest(u.Context, store.IngestRequest{Intent: raw, Index: ix})
}

// roomOf returns how many bytes an org may reserve for several uploads, so that they do not evict bundles of other
// orgs; 0 if there are no others.
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

// demand answers an offer with the missing chunks.
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
		u.finish(up)
		answer.Complete = true
	default:
		u.setWaiting(up)
		answer.Upload = protocol.UploadPath(up.name)
	}
	return r.WriteJSON(http.StatusOK, answer)
}
