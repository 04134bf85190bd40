package bucket

import (
	"errors"
	"fmt"
	"strings"
)

// Returned by a [Bucket], inside an [*Error].
var (
	// ErrNotFound is returned for what is not in the bucket.
	ErrNotFound = errors.New("not at the origin")
	// ErrNotModified is returned for what still has the tag that the caller named.
	ErrNotModified = errors.New("not modified")
	// ErrMalformed is returned for an object that is not what its key says.
	ErrMalformed = errors.New("object is malformed")
	// ErrConflict is returned when another manifest has the sequence, or another trust document was put meanwhile.
	ErrConflict = errors.New("somebody else was faster")
	// ErrSuperseded is returned for a manifest that was kept, while one of a higher sequence is in force.
	ErrSuperseded = errors.New("a later manifest is in force")
	// ErrReadOnly is returned for every write to a bucket that is read over HTTP.
	ErrReadOnly = errors.New("origin can only be read")
	// ErrNoBucket is returned when the store has no such bucket.
	ErrNoBucket = errors.New("there is no such bucket")
	// ErrCredentials is returned when there are no credentials, or the store does not know them.
	ErrCredentials = errors.New("no credentials that the store knows")
	// ErrDenied is returned when the credentials do not allow it.
	ErrDenied = errors.New("access denied")
	// ErrClock is returned when the clock of this machine is not the store's.
	ErrClock = errors.New("clock differs too much from the store's")
	// ErrFull is returned when the store has no room.
	ErrFull = errors.New("store is full")
	// ErrUnavailable is returned when the store cannot be reached, or says that it has too much to do.
	ErrUnavailable = errors.New("store does not answer as it should")
)

// Error is what went wrong with one object.
type Error struct {
	Op   string // get, put, list, …
	Key  string // of the object
	Kind error  // one of the sentinels of this package; nil for all else
	Err  error  // what the store said; may be nil
	// NoKeys says that the request was not signed, because no credentials were found.
	NoKeys bool
}

// Error gives operation, object, and what the store said.
func (e *Error) Error() string {
	var parts []string
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			parts = append(parts, err.Error())
		}
	}
	return fmt.Sprintf("origin: %s %s: %s", e.Op, e.Key, strings.Join(parts, ": "))
}

// Unwrap returns the kind and what the store said.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Hint says what to do about it; empty if nobody knows.
func (e *Error) Hint() string {
	switch {
	case e.NoKeys && (errors.Is(e.Kind, ErrCredentials) || errors.Is(e.Kind, ErrDenied)):
		return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
	case errors.Is(e.Kind, ErrCredentials):
		return "the store does not know this key, or the secret is wrong; is it the right endpoint?"
	case errors.Is(e.Kind, ErrDenied):
		return "the credentials need s3:GetObject and s3:ListBucket to read, s3:PutObject as well to write"
	case errors.Is(e.Kind, ErrNoBucket):
		return "make the bucket first, or look at its name, the endpoint and the region"
	case errors.Is(e.Kind, ErrClock):
		return "set this machine's clock"
	case errors.Is(e.Kind, ErrFull):
		return "make room in the store, then do it again: what was written is kept"
	case errors.Is(e.Kind, ErrReadOnly):
		return "write to the bucket itself: s3://BUCKET/PREFIX?endpoint=…"
	case errors.Is(e.Kind, ErrUnavailable):
		return "is the endpoint right, and the store up? it is safe to try again"
	}
	return ""
}
