package store

import (
	"context"
	"errors"
	"fmt"

	"brink/channel"
	"brink/digest"
)

// PutTrust replaces the trust document of an org, in the same way as [Store.PutManifest].
func (s *signed) PutTrust(ctx context.Context, org string, raw []byte, expect digest.Digest) error {
	if err := channel.CheckOrg(org); err != nil {
		return fmt.Errorf("put trust document: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.records.changing.Lock()
	defer s.records.changing.Unlock()
	if err := s.replace(trustKind+org, raw, expect); err != nil {
		return fmt.Errorf("put trust document of %s: %w", org, err)
	}
	return nil
}

// Trust returns the raw trust document of an org, [ErrNotFound], or [ErrDamaged]. The caller owns the bytes.
func (s *signed) Trust(org string) ([]byte, error) { return s.records.get(trustKind + org) }

// Trusts calls do with every trust document, in the same way as [Store.Manifests].
func (s *signed) Trusts(do func(org string, raw []byte, err error) bool) error {
	return s.records.all(trustKind, do)
}

// PutTrustVersion stores one version of an org's trust document permanently, in addition to the one in force, because
// devices that missed several versions need each of them. It returns [ErrConflict] if another document is stored as
// that version. On return it is durable.
func (s *signed) PutTrustVersion(ctx context.Context, org string, version uint64, raw []byte) error {
	if err := channel.CheckOrg(org); err != nil {
		return fmt.Errorf("put trust document: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.records.changing.Lock()
	defer s.records.changing.Unlock()
	if err := s.replace(versionKey(org, version), raw, digest.Digest{}); err != nil {
		return fmt.Errorf("put version %d of the trust document of %s: %w", version, org, err)
	}
	return nil
}

// TrustVersion returns a stored version of an org's trust document, [ErrNotFound], or [ErrDamaged]. The caller owns the
// bytes.
func (s *signed) TrustVersion(org string, version uint64) ([]byte, error) {
	if err := channel.CheckOrg(org); err != nil {
		return nil, errors.Join(err, ErrNotFound)
	}
	return s.records.get(versionKey(org, version))
}

func versionKey(org string, version uint64) string {
	return fmt.Sprintf("%s%s/%020d", versionKind, org, version)
}
