package bucket

import (
	"errors"
	"fmt"
	"strings"
)

// Returned by a [Bucket], inside an [*Error].
var (
	// ErrNotFound is returned for an object that is not in the bucket.
	ErrNotFound = errors.New("not at the origin")
	// ErrNotModified is returned for an object that still has the caller's tag.
	ErrNotModified = errors.New("not modified")
	// ErrMalformed is returned for an object whose content does not match its key.
	ErrMalformed = errors.New("object is malformed")
	// ErrConflict is returned if another manifest has the sequence, or another trust document was put meanwhile.
	ErrConflict = errors.New("somebody else was faster")
	// ErrSuperseded is returned for a manifest that was stored while one with a higher sequence is in force.
	ErrSuperseded = errors.New("a later manifest is in force")
	// ErrReadOnly is returned for every write to a bucket that is read over HTTP.
	ErrReadOnly = errors.New("origin can only be read")
	// ErrNoBucket is returned if the store has no such bucket.
	ErrNoBucket = errors.New("there is no such bucket")
	// ErrCredentials is returned if there are no credentials, or the store does not accept them.
	ErrCredentials = errors.New("no credentials that the store knows")
	// ErrDenied is returned if the credentials do not allow the operation.
	ErrDenied = errors.New("access denied")
	// ErrRegion is returned if the bucket is in another region than the one that was given or assumed.
	ErrRegion = errors.New("the bucket is in another region")
	// ErrClock is returned if the clock of this machine differs too much from the store's.
	ErrClock = errors.New("clock differs too much from the store's")
	// ErrFull is returned if the store has no room.
	ErrFull = errors.New("store is full")
	// ErrUnavailable is returned if the store cannot be reached, or reports that it is overloaded.
	ErrUnavailable = errors.New("store does not answer as it should")
)

// Error is an error of one operation.
type Error struct {
	Op   string // get, put, list, …
	Key  string // of the object
	Kind error  // one of the sentinel errors of this package; nil for other errors
	Err  error  // the error of the store; may be nil
	// Region is the region that the store expects, with ErrRegion and if the store names it.
	Region string
	// NoKeys means that the request was not signed, because no credentials were found.
	NoKeys bool
}

// Error returns the operation, the object, and the errors.
func (e *Error) Error() string {
	var parts []string
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			parts = append(parts, err.Error())
		}
	}
	return fmt.Sprintf("origin: %s %s: %s", e.Op, e.Key, strings.Join(parts, ": "))
}

// Unwrap returns the kind and the error of the store.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Hint returns what to do about the error, if anything.
func (e *Error) Hint() string {
	switch {
	case e.NoKeys && (errors.Is(e.Kind, ErrCredentials) || errors.Is(e.Kind, ErrDenied)):
		return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
	case errors.Is(e.Kind, ErrCredentials):
		return "the store does not know this key, or the secret is wrong; is it the right endpoint?"
	case errors.Is(e.Kind, ErrRegion) && e.Region != "":
		return "add region=" + e.Region + " to the address, or set AWS_REGION"
	case errors.Is(e.Kind, ErrRegion):
		return "name the region of the bucket: region=REGION in the address, or AWS_REGION"
	case errors.Is(e.Kind, ErrDenied):
		return "the credentials need s3:GetObject and s3:ListBucket to read, s3:PutObject as well to write"
	case errors.Is(e.Kind, ErrNoBucket):
		return "create the bucket first, or check its name, the endpoint and the region"
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
