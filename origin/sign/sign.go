// Package sign lets nodes of one fleet know each other's HTTP requests: a keyed digest over what is asked for, in the
// field Authorization.
//
// The life of one call: the sender gives the receiver's name, method, target and the digest of the body to [Ring.Sign]
// and sends what it returns; the receiver gives its own name and the same of what came in to [Ring.Verify], which
// recomputes it under each key that the fleet has. It signs its answer with [Ring.SignAnswer], where the sender has to
// rely on that.
//
// The invariant: a field that verifies was made by somebody who has a fleet key, for exactly this node of this fleet,
// this method, target and body, within [Skew] of the receiver's clock. That is all it says. It can be sent again within
// that time, to the same node: [Once] refuses that for what has an effect. And it lets nobody publish, for what counts
// is signed by the keys of an org.
package sign

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/zeebo/blake3"

	"brink/digest"
)

// Scheme is the authentication scheme (RFC 9110, section 11.1). A field reads
//
//	Brink-Fleet <unix seconds>.<nonce>.<mac>
//
// where the nonce is 26 characters of base32 and the mac 64 hex digits.
const Scheme = "Brink-Fleet"

// AnswerField is the field of an answer that a node of the fleet has signed: the mac, in hex digits.
const AnswerField = "Brink-Fleet-Answer"

// Skew is how far the clocks of sender and receiver may be apart, either way, and so for how long a request that was
// overheard can be sent again, where nothing refuses that.
const Skew = 2 * time.Minute

// MinKey is the least length of a fleet key in bytes: what a key of 128 bits takes.
const MinKey = 16

// MaxField bounds the value of the field in bytes.
const MaxField = 160

// context makes keys of this use differ from keys that anything else derives from the same secret (section 2.3 of the
// BLAKE3 paper).
const context = "brink fleet http v1"

// answerMethod is the method under which answers are signed. Methods of requests are in upper case.
const answerMethod = "answer"

// Returned by [Ring.Verify].
var (
	// ErrUnsigned is returned for a request without a field of this scheme, or with one that is not well formed.
	ErrUnsigned = errors.New("request is not signed by a fleet key")
	// ErrWrong is returned when none of the keys gives the mac that was sent.
	ErrWrong = errors.New("signature of the request is wrong: the nodes have different fleet keys, or it was changed")
	// ErrSkew is returned for a request that is too old or from the future.
	ErrSkew = errors.New("clocks of the two nodes are too far apart, or the request is an old one")
)

// Request is what a signature covers.
type Request struct {
	To     string        // name of the node that is asked
	Method string        // in upper case
	Target string        // path and query as they are sent, still escaped
	Body   digest.Digest // of the body as it is sent; that of no bytes when there is none
}

// Ring holds the keys of a fleet: the first signs and any verifies, so that a key can be replaced while nodes know
// different ones. Use [NewRing]. It is safe for concurrent use.
type Ring struct {
	fleet string
	keys  atomic.Pointer[[]*blake3.Hasher] // keyed and with nothing written; cloned for each use
}

// NewRing returns a ring of the keys of a fleet, each of at least [MinKey] bytes, of which there must be one. It keeps
// none of the slices.
func NewRing(fleet string, keys ...[]byte) (*Ring, error) {
	r := &Ring{fleet: fleet}
	return r, r.Replace(keys...)
}

// Replace lets the ring hold other keys from now on, under the rules of [NewRing]. When it returns an error the ring is
// unchanged.
func (r *Ring) Replace(keys ...[]byte) error {
	if len(keys) == 0 {
		return errors.New("fleet key: there is none")
	}
	hashers := make([]*blake3.Hasher, len(keys))
	for i, key := range keys {
		if len(key) < MinKey {
			return fmt.Errorf("fleet key: %d bytes, want at least %d", len(key), MinKey)
		}
		var derived [32]byte
		blake3.DeriveKey(context, key, derived[:])
		keyed, err := blake3.NewKeyed(derived[:])
		if err != nil {
			return fmt.Errorf("fleet key: %w", err)
		}
		hashers[i] = keyed
	}
	r.keys.Store(&hashers)
	return nil
}

// Sign returns the value of the field Authorization for a request that is sent now.
func (r *Ring) Sign(request Request, now time.Time) string {
	stamp := strconv.FormatInt(now.Unix(), 10)
	nonce := rand.Text()
	mac := r.sum((*r.keys.Load())[0], request, stamp, nonce)
	return Scheme + " " + stamp + "." + nonce + "." + hex.EncodeToString(mac[:])
}

// Verify returns nil if field is what a key of the ring makes of the request, at a time within [Skew] of now. Otherwise
// it returns [ErrUnsigned], [ErrWrong] or [ErrSkew]; the last only for a request that is signed rightly, so that it
// says nothing to a stranger.
func (r *Ring) Verify(request Request, field string, now time.Time) error {
	stamp, nonce, claimed, ok := parse(field)
	if !ok {
		return ErrUnsigned
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != stamp {
		return ErrUnsigned
	}
	right := 0
	for _, key := range *r.keys.Load() {
		mac := r.sum(key, request, stamp, nonce)
		right |= subtle.ConstantTimeCompare(mac[:], claimed)
	}
	if right == 0 {
		return ErrWrong
	}
	if limit := int64(Skew / time.Second); seconds < now.Unix()-limit || seconds > now.Unix()+limit {
		return fmt.Errorf("%w: it was signed %d seconds from now", ErrSkew, seconds-now.Unix())
	}
	return nil
}

// SignAnswer returns the value of [AnswerField] for the answer to a request that [Ring.Verify] has accepted with field.
func (r *Ring) SignAnswer(field string, body digest.Digest) string {
	mac := r.sum((*r.keys.Load())[0], Request{Method: answerMethod, Target: field, Body: body}, "", "")
	return hex.EncodeToString(mac[:])
}

// VerifyAnswer returns nil if an answer to the request that was sent with field has been signed by a fleet key, else
// [ErrWrong].
func (r *Ring) VerifyAnswer(field string, body digest.Digest, signature string) error {
	claimed, err := hex.DecodeString(signature)
	if err != nil || len(signature) != digest.TextSize {
		return fmt.Errorf("answer: %w", ErrUnsigned)
	}
	right := 0
	for _, key := range *r.keys.Load() {
		mac := r.sum(key, Request{Method: answerMethod, Target: field, Body: body}, "", "")
		right |= subtle.ConstantTimeCompare(mac[:], claimed)
	}
	if right == 0 {
		return fmt.Errorf("answer: %w", ErrWrong)
	}
	return nil
}

// Sent returns when the request of a field was signed, to the second. The field has to be verified before.
func Sent(field string) (time.Time, bool) {
	stamp, _, _, ok := parse(field)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	return time.Unix(seconds, 0), ok && err == nil
}

// parse takes a field apart; mac is the decoded one.
func parse(field string) (stamp, nonce string, mac []byte, ok bool) {
	if len(field) > MaxField {
		return "", "", nil, false
	}
	scheme, rest, _ := strings.Cut(field, " ")
	if !strings.EqualFold(scheme, Scheme) { // schemes are not case-sensitive (RFC 9110, section 11.1)
		return "", "", nil, false
	}
	parts := strings.Split(strings.TrimLeft(rest, " "), ".")
	if len(parts) != 3 || len(parts[0]) > 20 || len(parts[1]) != nonceSize || len(parts[2]) != digest.TextSize {
		return "", "", nil, false
	}
	mac, err := hex.DecodeString(parts[2])
	return parts[0], parts[1], mac, err == nil
}

// nonceSize is the length of what [rand.Text] returns. The nonce makes two requests of one second differ, for whoever
// wants to refuse repeats.
const nonceSize = 26

// sum is the mac. Every part but the last is preceded by its length, so that no two requests give the same bytes.
func (r *Ring) sum(key *blake3.Hasher, request Request, stamp, nonce string) (mac [digest.Size]byte) {
	h := key.Clone()
	var size [4]byte
	for _, part := range []string{r.fleet, request.To, request.Method, request.Target, stamp, nonce} {
		binary.BigEndian.PutUint32(size[:], uint32(len(part)))
		_, _ = h.Write(size[:]) // it promises to return no error
		_, _ = h.WriteString(part)
	}
	_, _ = h.Write(request.Body[:])
	h.Sum(mac[:0])
	return mac
}
