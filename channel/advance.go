package channel

// MaxAdvance is how many versions of a trust document [Trust.Advance] follows at most.
const MaxAdvance = 1000

// Advance returns the newest trust document that follows from t, given one that somebody hands out as the newest. When
// the roots of t did not sign that one themselves, the documents between are fetched with version, oldest first, and
// each must succeed the one before ([Trust.Succeed]); so whoever holds version 1 comes to version 6 even if all roots
// were replaced since and the documents between have expired (TUF, section 5.3 of its specification). version may
// block, and returns the signed bytes of one version, or nil if there are none, and the next is tried; its errors are
// passed on.
//
// It returns t when newest is t or older than t. It looks at no clock: a document that has expired allows nothing, and
// is still the one that the next has to follow.
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
