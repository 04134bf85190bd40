package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"brink/digest"
	"brink/store/internal/database"
)

// The key of a record in meta consists of a kind with a slash and a name. The value is the digest of key and payload,
// which also detects a value under a wrong key, followed by the payload.
const (
	bundleKind     = "bundle/"     // name: bundle ID; payload: JSON of bundleRecord
	intentKind     = "intent/"     // bundle ID; the signed intent as received
	derivedKind    = "derived/"    // DerivedKey; JSON of derivedRecord
	manifestKind   = "manifest/"   // app/channel; the signed envelope as received
	trustKind      = "trust/"      // org; the signed envelope as received
	versionKind    = "trusts/"     // org/version, see Store.PutTrustVersion; the signed envelope as received
	stateKind      = "state/"      // key of PutState; its value
	usedKind       = "used/"       // key of a bundle or derived record; seconds since 1970, big endian
	quarantineKind = "quarantine/" // no name; JSON of []Damage. The database itself uses count/
)

// MaxRecord limits the size of records in meta, signed and others, in bytes. A transaction can hold two of them and
// little more.
const MaxRecord = 512 << 10

// sealRecord returns the value of a record.
func sealRecord(key string, payload []byte) []byte {
	sum := recordSum(key, payload)
	return append(sum[:], payload...)
}

// openRecord verifies the value under key and returns its payload, which shares memory with value.
func openRecord(key string, value []byte) ([]byte, error) {
	if len(value) < digest.Size {
		return nil, fmt.Errorf("record %s: %w: %d bytes", key, ErrDamaged, len(value))
	}
	payload := value[digest.Size:]
	if recordSum(key, payload) != digest.Digest(value[:digest.Size]) {
		return nil, fmt.Errorf("record %s: %w: checksum", key, ErrDamaged)
	}
	return payload, nil
}

func recordSum(key string, payload []byte) digest.Digest {
	b := make([]byte, 0, len(key)+1+len(payload))
	return digest.Sum(append(append(append(b, key...), 0), payload...))
}

// records is the database of records. The invariant: it returns what was written under a key, or an error.
type records struct {
	db  *database.DB
	log *slog.Logger

	// changing must be held while signed, bundle or derived records or states are changed, from before the current ones
	// are read until everything in memory is updated.
	changing sync.Mutex
	bad      atomic.Int64 // number of unreadable records found
}

// get returns the payload of the record, ErrNotFound, or ErrDamaged. The caller owns the bytes.
func (r *records) get(key string) (payload []byte, err error) {
	err = r.db.View(func(txn database.Txn) error {
		payload, err = getRecord(txn, key)
		return err
	})
	return payload, err
}

func getRecord(txn database.Txn, key string) ([]byte, error) {
	item, err := txn.Get([]byte(key))
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("record %s: %w", key, err)
	}
	if err != nil {
		return nil, err
	}
	value, err := item.Copy(nil)
	if err != nil {
		return nil, err
	}
	return openRecord(key, value)
}

// each calls do for every record of a kind, in order of names, with its payload or the error of reading it. do owns the
// bytes and must not call the records again. each stops at the first error of do.
func (r *records) each(kind string, do func(name string, payload []byte, err error) error) error {
	return r.db.Each([]byte(kind), nil, func(item database.Item) error {
		key := string(item.Key())
		value, err := item.Copy(nil)
		if err == nil {
			value, err = openRecord(key, value)
		}
		return do(key[len(kind):], value, err)
	})
}

// all calls do for every record of a kind, in order of names, until do returns false. It reads all names first, so do
// may call the store.
func (r *records) all(kind string, do func(name string, raw []byte, err error) bool) error {
	var names []string
	err := r.each(kind, func(name string, _ []byte, _ error) error {
		names = append(names, name)
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		raw, err := r.get(kind + name)
		if errors.Is(err, ErrClosed) {
			return err
		}
		if !do(name, raw, err) {
			return nil
		}
	}
	return nil
}

// unreadable counts and logs an unreadable record.
func (r *records) unreadable(key string, reason error) {
	r.bad.Add(1)
	r.log.Error("record cannot be read", "record", key, "reason", reason)
}

// used loads the times of use, by the keys of the used records.
func (r *records) used() (map[string]int64, error) {
	used := make(map[string]int64)
	err := r.each(usedKind, func(name string, payload []byte, err error) error {
		if err == nil && len(payload) == 8 {
			used[name] = int64(decodeCount(payload))
		}
		return nil
	})
	return used, err
}

// change is the content of one transaction.
type change struct {
	put    map[string][]byte // payloads by key
	remove []string          // keys
}

// acknowledge makes a change atomically. On return it is durable. The caller must hold changing.
func (r *records) acknowledge(c change) error {
	if err := r.db.Commit(c.apply); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return nil
}

// keep makes a change without syncing it, such as one to times of use.
func (r *records) keep(c change) error { return r.db.Update(c.apply) }

func (c change) apply(txn database.Txn) error {
	for key, payload := range c.put {
		if err := putRecord(txn, key, payload); err != nil {
			return err
		}
	}
	for _, key := range c.remove {
		if err := txn.Delete([]byte(key)); err != nil {
			return err
		}
	}
	return nil
}

func putRecord(txn database.Txn, key string, payload []byte) error {
	if len(payload) > MaxRecord {
		return fmt.Errorf("record %s: %w: %d bytes", key, ErrTooLarge, len(payload))
	}
	return txn.Set([]byte(key), sealRecord(key, payload))
}

// object is a sequence of bytes that is stored as blobs: parts of bundle.MaxChunk bytes; the last one may be shorter.
// An object of many parts has lists, which are blobs with the concatenated digests of its parts.
type object struct {
	Size   int64         `json:"size"`
	Digest digest.Digest `json:"digest"`
	Parts  digest.List   `json:"parts,omitempty"`
	Lists  digest.List   `json:"lists,omitempty"` // instead of Parts
}

// bundleRecord describes a committed bundle.
type bundleRecord struct {
	Size      int64         `json:"size"` // bytes of the archive
	SHA256    digest.SHA256 `json:"sha256"`
	Files     int           `json:"files"`
	Index     object        `json:"index"`   // the encoded index
	Chunks    object        `json:"chunks"`  // the concatenated digests of all distinct chunks
	CreatedAt int64         `json:"created"` // seconds since 1970
}

// derivedRecord is a derived object.
type derivedRecord struct {
	Object    object `json:"object"`
	CreatedAt int64  `json:"created"` // seconds since 1970
}

// decodeRecord decodes the JSON of a record and checks it.
func decodeRecord[T bundleRecord | derivedRecord](payload []byte) (T, error) {
	var record T
	err := json.Unmarshal(payload, &record)
	if err == nil {
		switch r := any(&record).(type) {
		case *bundleRecord:
			if err = r.Index.check(); err == nil {
				err = r.Chunks.check()
			}
		case *derivedRecord:
			err = r.Object.check()
		}
	}
	if err != nil {
		return record, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return record, nil
}

func encodeRecord[T bundleRecord | derivedRecord](record T) []byte {
	payload, err := json.Marshal(record)
	if err != nil {
		panic(fmt.Sprintf("store: encode record: %v", err)) // structs of strings and numbers always encode
	}
	return payload
}

// names returns the blobs to which the record of the object refers directly.
func (o *object) names() []digest.Digest { return slices.Concat(o.Parts, o.Lists) }
