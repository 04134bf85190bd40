package channel

// MaxAdvance is the largest number of versions of a trust document that [Trust.Advance] follows.
const MaxAdvance = 1000

// Advance verifies newest, a trust document from an untrusted source, as a successor of t, and returns it. If the roots
// of t did not sign it themselves, Advance calls version for each document in between, oldest first, and each must
// succeed the one before ([Trust.Succeed]). So a reader that has version 1 can accept version 6 even if all roots were
// replaced since and the documents in between have expired (TUF, section 5.3 of its specification). version may block.
// It returns the signed bytes of one version, or nil if that version does not exist, in which case Advance tries the
// next one. Advance returns its errors.
//
// Advance returns t if newest is not newer than t. It does not check expiry: an expired document allows nothing, but
// its successor must still follow from it.
func (t *Trust) Advance(newest []byte, version func(uint64) ([]byte, error)) (*Trust, error) {
	n, err := LoadTrust(newest)
	if err != nil {
		return nil, err
	}
	if n.Org() != t.Org() {
		return nil, refuse(CodeWrongOrg, "", "trust document is of org %q, want %q", n.Org(), t.Org())
	}
	if n.Version() < t.Version() {
		return t, nil
	}
	next, err := t.Succeed(newest)
	if err == nil || CodeOf(err) != CodeNotEnoughSignatures || n.Version() <= t.Version()+1 {
		return next, err
	}
	if n.Version()-t.Version() > MaxAdvance {
		return nil, refuse(CodeMalformed, "get the newest document from where the org publishes it",
			"trust document has version %d, more than %d above version %d", n.Version(), MaxAdvance, t.Version())
	}
	now := t
	for v := t.Version() + 1; v < n.Version(); v++ {
		raw, err := version(v)
		if err != nil {
			return nil, err
		}
		if raw == nil {
			continue
		}
		if next, err = now.Succeed(raw); err != nil {
			return nil, err
		}
		if next.Version() != v {
			return nil, refuse(CodeMalformed, "", "trust document of version %d was sent for version %d", next.Version(), v)
		}
		now = next
	}
	return now.Succeed(newest)
}
