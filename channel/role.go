package channel

import "slices"

// Role defines what a set of keys may publish. A statement is valid if [Role.Threshold] distinct keys of one role
// signed it and that role includes the app and the channel.
type Role struct {
	Name      string    `json:"name"`      // unique in the trust document, at most MaxRole bytes
	Keys      []string  `json:"keys"`      // key IDs, distinct, at least one
	Threshold int       `json:"threshold"` // 1 to len(Keys)
	Apps      []Pattern `json:"apps"`      // at least one
	Channels  []Pattern `json:"channels"`  // at least one
	// May lists what the role may do with them; empty: everything. Actions that this version does not know allow nothing.
	May []Action `json:"may,omitempty"`

	unknown unknown
}

// Action is what a statement does with a channel.
type Action string

// The actions of roles.
const (
	ActionPublish Action = "publish" // sign manifests and bundle intents
	ActionRenew   Action = "renew"   // sign renewals, which change only how long a manifest is valid
)

// may reports whether the action is allowed. A role that may publish may renew too: it could renew by publishing.
func (r *Role) may(action Action) bool {
	return len(r.May) == 0 || slices.Contains(r.May, action) || slices.Contains(r.May, ActionPublish)
}

// MayPublish reports whether the role may sign manifests and bundle intents.
func (r *Role) MayPublish() bool { return r.may(ActionPublish) }

// Includes reports whether the role is for the app and the channel.
func (r *Role) Includes(app, channel string) bool {
	return matches(r.Apps, app) && matches(r.Channels, channel)
}

// MarshalJSON encodes the fields, and the unknown members that UnmarshalJSON found.
func (r Role) MarshalJSON() ([]byte, error) {
	type fields Role
	return encodeObject(fields(r), r.unknown)
}

// UnmarshalJSON decodes a role, with the members that this version does not know. It does not check the values.
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
			"role %s has no apps or no channels", r.Name)
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
func checkSigners(what string, ids []string, threshold int, keys map[string]PublicKey) error {
	if threshold < 1 || threshold > len(ids) || threshold > MaxSignatures {
		return malformed("%s has threshold %d, want at least 1 and at most its %d keys and %d",
			what, threshold, len(ids), MaxSignatures)
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if _, ok := keys[id]; !ok {
			return malformed("%s lists key %q, which is not in the document", what, id)
		}
		if seen[id] {
			return malformed("%s lists key %s twice", what, id)
		}
		seen[id] = true
	}
	return nil
}

func matches(patterns []Pattern, name string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Match(name) })
}

// count returns how many of ids are in signers. Neither has duplicates.
func count(ids, signers []string) int {
	n := 0
	for _, id := range signers {
		if slices.Contains(ids, id) {
			n++
		}
	}
	return n
}
