package channel

import "slices"

// Role says what a set of keys may publish. A statement counts if [Role.Threshold] distinct keys of one role signed it
// and that role holds the app and the channel.
type Role struct {
	Name      string    `json:"name"`      // unique in the trust document, at most MaxRole bytes
	Keys      []string  `json:"keys"`      // key IDs, distinct, at least one
	Threshold int       `json:"threshold"` // 1 to len(Keys)
	Apps      []Pattern `json:"apps"`      // at least one
	Channels  []Pattern `json:"channels"`  // at least one
	// May bounds what the role may do with them; empty: everything. Words that this version does not know allow nothing.
	May []Action `json:"may,omitempty"`

	unknown unknown
}

// Action is what a statement does with a channel.
type Action string

// The actions of roles.
const (
	ActionPublish Action = "publish" // sign manifests, which may say anything, and bundle intents
	ActionRenew   Action = "renew"   // sign renewals, which change nothing but how long a manifest is good for
)

// may reports whether the role may do it. Whoever may publish could renew by publishing.
func (r *Role) may(action Action) bool {
	return len(r.May) == 0 || slices.Contains(r.May, action) || slices.Contains(r.May, ActionPublish)
}

// MayPublish reports whether the role may sign manifests and bundle intents.
func (r *Role) MayPublish() bool { return r.may(ActionPublish) }

// Holds reports whether the role may publish the app to the channel.
func (r *Role) Holds(app, channel string) bool {
	return matches(r.Apps, app) && matches(r.Channels, channel)
}

// MarshalJSON writes the fields and what UnmarshalJSON found beside them.
func (r Role) MarshalJSON() ([]byte, error) {
	type fields Role
	return encodeObject(fields(r), r.unknown)
}

// UnmarshalJSON reads a role and keeps the members that it does not know.
func (r *Role) UnmarshalJSON(raw []byte) error {
	type fields Role
	var f fields
	rest, err := decodeObject(raw, &f)
	*r = Role(f)
	r.unknown = rest
	return err
}

func (r *Role) clone() Role {
	c := *r
	c.Keys, c.Apps, c.Channels = slices.Clone(r.Keys), slices.Clone(r.Apps), slices.Clone(r.Channels)
	c.May = slices.Clone(r.May)
	c.unknown = r.unknown.clone()
	return c
}

func (r *Role) check(keys map[string]PublicKey) error {
	if err := checkName("role", r.Name, MaxRole); err != nil {
		return err
	}
	if err := checkSigners("role "+r.Name, r.Keys, r.Threshold, keys); err != nil {
		return err
	}
	if len(r.Apps) == 0 || len(r.Channels) == 0 {
		return refuse(CodeMalformed, "give at least one app and one channel, or * for all",
			"role %s holds nothing", r.Name)
	}
	for _, action := range r.May {
		if err := checkName("action", string(action), MaxRole); err != nil {
			return err
		}
	}
	for _, p := range r.Apps {
		if err := p.check("app", MaxApp); err != nil {
			return err
		}
	}
	for _, p := range r.Channels {
		if err := p.check("channel", MaxChannel); err != nil {
			return err
		}
	}
	return nil
}

// checkSigners checks a list of key IDs and its threshold. Distinct IDs are distinct keys: an ID is a hash of the key.
func checkSigners(who string, ids []string, threshold int, keys map[string]PublicKey) error {
	if threshold < 1 || threshold > len(ids) || threshold > MaxSignatures {
		return malformed("%s has threshold %d, want 1 to its %d keys and at most %d",
			who, threshold, len(ids), MaxSignatures)
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if _, ok := keys[id]; !ok {
			return malformed("%s names key %q, which the document does not hold", who, id)
		}
		if seen[id] {
			return malformed("%s names key %s twice", who, id)
		}
		seen[id] = true
	}
	return nil
}

func matches(patterns []Pattern, name string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Match(name) })
}

// count returns how many of ids are in signers. Both are without doubles.
func count(ids, signers []string) int {
	n := 0
	for _, id := range signers {
		if slices.Contains(ids, id) {
			n++
		}
	}
	return n
}
