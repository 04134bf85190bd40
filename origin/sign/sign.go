// Package sign authenticates HTTP requests between the nodes of a fleet, by a MAC over the request in the field
// Authorization.
//
// The life of one request: the sender calls [Ring.Sign] with the receiver's name, the method, the target and the digest
// of the body, and sends the result. The receiver calls [Ring.Verify] with its own name and what it received, which
// computes the MAC with each key of the fleet. Where the sender relies on the answer, the receiver signs it with
// [Ring.SignAnswer].
//
// The invariant: a field that verifies was made with a fleet key, for exactly this node of this fleet, this method,
// target and body, within [Skew] of the receiver's clock. Within that time it can be replayed to the same node: [Once]
// refuses that for requests with an effect. It does not allow anyone to publish, for which the keys of an org have to
// sign.
//
// The package is part of the node and not an API for other modules.
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

// AnswerField is the field with the signature of an answer: the mac, in hex digits.
const AnswerField = "Brink-Fleet-Answer"

// Skew is how far the clocks of sender and receiver may differ, either way, and so for how long an eavesdropper can
// replay a request, unless [Once] refuses it.
const Skew = 2 * time.Minute

// MinKey is the least length of a fleet key in bytes, 128 bits.
const MinKey = 16

// MaxField bounds the value of the field in bytes.
const MaxField = 160

// context separates the derived keys from others that are derived from the same secret (section 2.3 of the BLAKE3
// paper).
const context = "brink fleet http v1"

// answerMethod is the method under which answers are signed. Methods of requests are in upper case.
const answerMethod = "answer"

// Returned by [Ring.Verify].
var (
	// ErrUnsigned is returned for a request without a field of this scheme, or with a malformed one.
	ErrUnsigned = errors.New("request is not signed by a fleet key")
	// ErrWrong is returned if the mac does not match with any of the keys.
	ErrWrong = errors.New("signature of the request is wrong: the nodes have different fleet keys, or it was changed")
	// ErrSkew is returned for a request that is too old or from the future.
	ErrSkew = errors.New("clocks of the two nodes are too far apart, or the request is an old one")
)

// Request is what a signature covers.
type Request struct {
	To     string        // name of the receiving node
	Method string        // in upper case
	Target string        // path and query as sent, still escaped
	Body   digest.Digest // of the body as sent; without a body, the digest of no bytes
}

// Ring has the keys of a fleet: the first signs and any verifies, so that a key can be replaced while nodes have
// different ones. Use [NewRing]. It is safe for concurrent use.
type Ring struct {
	fleet string
	keys  atomic.Pointer[[]*blake3.Hasher] // keyed and with nothing written; cloned for each use
}

// NewRing returns a ring of the keys of a fleet. There must be at least one, and each must have at least [MinKey]
// bytes. The ring does not refer to the slices.
func NewRing(fleet string, keys ...[]byte) (*Ring, error) {
	r := &Ring{fleet: fleet}
	return r, r.Replace(keys...)
}

// Replace replaces the keys of the ring, under the rules of [NewRing]. On error the ring is unchanged.
func (r *Ring) Replace(keys ...[]byte) error {
	if len(keys) == 0 {
		return errors.New("fleet key: none was given")
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

// Sign returns the value of the field Authorization for a request that is sent at the time now.
func (r *Ring) Sign(request Request, now time.Time) string {
	stamp := strconv.FormatInt(now.Unix(), 10)
	nonce := rand.Text()
	mac := r.sum((*r.keys.Load())[0], request, stamp, nonce)
	return Scheme + " " + stamp + "." + nonce + "." + hex.EncodeToString(mac[:])
}

// Verify returns nil if field is the signature of the request by a key of the ring, at a time within [Skew] of now.
// Otherwise it returns [ErrUnsigned], [ErrWrong] or [ErrSkew]; the last only if the signature is right, so that
// strangers learn nothing.
func (r *Ring) Verify(request Request, field string, now time.Time) error {
	stamp, nonce, claimed, ok := parse(field)
	if !ok {
		return ErrUnsigned
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != stamp {
		return ErrUnsigned
	}
	match := 0
	for _, key := range *r.keys.Load() {
		mac := r.sum(key, request, stamp, nonce)
		match |= subtle.ConstantTimeCompare(mac[:], claimed)
	}
	if match == 0 {
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

// VerifyAnswer returns nil if the answer to the request that was sent with field is signed by a fleet key. Otherwise it
// returns [ErrUnsigned] or [ErrWrong].
func (r *Ring) VerifyAnswer(field string, body digest.Digest, signature string) error {
	claimed, err := hex.DecodeString(signature)
	if err != nil || len(signature) != digest.TextSize {
		return fmt.Errorf("answer: %w", ErrUnsigned)
	}
	match := 0
	for _, key := range *r.keys.Load() {
		mac := r.sum(key, Request{Method: answerMethod, Target: field, Body: body}, "", "")
		match |= subtle.ConstantTimeCompare(mac[:], claimed)
	}
	if match == 0 {
		return fmt.Errorf("answer: %w", ErrWrong)
	}
	return nil
}

// Sent returns when the request of a field was signed, to the second. The caller must have verified the field.
func Sent(field string) (time.Time, bool) {
	stamp, _, _, ok := parse(field)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	return time.Unix(seconds, 0), ok && err == nil
}

// parse splits a field into its parts, and decodes the mac.
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

// nonceSize is the length of the result of [rand.Text]. The nonce makes two requests in the same second differ, so that
// [Once] can refuse replays.
const nonceSize = 26

// sum returns the mac. Each part but the last is preceded by its length, so that different requests are different
// bytes.
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
