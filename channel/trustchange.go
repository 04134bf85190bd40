package channel

import (
	"slices"
	"time"
)

// NextAt is [Trust.Next] for a document that is issued at that time, to the second, and has the same lifetime as t.
func (t *Trust) NextAt(issued time.Time) TrustConfig {
	c := t.Next()
	c.Issued = issued.UTC().Truncate(time.Second)
	if !t.Expires().IsZero() {
		c.Expires = c.Issued.Add(t.Expires().Sub(t.Issued()))
	}
	return c
}

// SignNext signs the successor of t that c describes and returns the envelope. It fails if t would not accept it at
// that time, see [Trust.Accept]. Each of the keys must be a root key of t or of c; any other is [CodeUnknownKey].
func (t *Trust) SignNext(c TrustConfig, now time.Time, roots ...PrivateKey) ([]byte, error) {
	for _, key := range roots {
		public := key.Public()
		if !slices.Contains(t.doc.Roots, public.ID()) && !slices.Contains(c.Roots, public) {
			return nil, refuse(CodeUnknownKey, "", "key %s is not a root key of org %s", public.ID(), t.Org())
		}
	}
	raw, err := NewTrust(c, roots...)
	if err != nil {
		return nil, err
	}
	if _, err := t.Accept(raw, now); err != nil {
		return nil, err
	}
	return raw, nil
}

// AddRoots adds root keys. It ignores keys that are root keys already.
func (c *TrustConfig) AddRoots(keys ...PublicKey) {
	for _, key := range keys {
		if !slices.Contains(c.Roots, key) {
			c.Roots = append(c.Roots, key)
		}
	}
}

// RemoveRoots removes root keys. It refuses a key that is not a root key.
func (c *TrustConfig) RemoveRoots(keys ...PublicKey) error {
	for _, key := range keys {
		i := slices.Index(c.Roots, key)
		if i < 0 {
			return malformed("org %s has no root key %s", c.Org, key.ID())
		}
		c.Roots = slices.Delete(c.Roots, i, i+1)
	}
	return nil
}

// RoleChange is a change of a role. Empty fields change nothing.
type RoleChange struct {
	Add, Remove []PublicKey // keys; Add is applied before Remove
	Apps        []Pattern   // replace those of the role
	Channels    []Pattern   // replace those of the role; for a new role empty means all channels
	Threshold   int
}

// ChangeRole changes the role with that name, or adds one that may publish, which needs keys and apps. Removed keys
// that no other role lists are removed from the document. It refuses to remove a key that the role does not have.
func (c *TrustConfig) ChangeRole(name string, change RoleChange) error {
	role := c.role(name)
	if role == nil {
		if len(change.Add) == 0 || len(change.Apps) == 0 {
			return refuse(CodeMalformed, "a new role needs publishers and apps", "org %s has no role %s", c.Org, name)
		}
		c.Roles = append(c.Roles, Role{Name: name, Channels: []Pattern{"*"}})
		role = &c.Roles[len(c.Roles)-1]
	}
	c.addKeys(role, change.Add)
	for _, key := range change.Remove {
		i := slices.Index(role.Keys, key.ID())
		if i < 0 {
			return malformed("role %s does not have key %s", name, key.ID())
		}
		role.Keys = slices.Delete(role.Keys, i, i+1)
	}
	if len(change.Apps) > 0 {
		role.Apps = slices.Clone(change.Apps)
	}
	if len(change.Channels) > 0 {
		role.Channels = slices.Clone(change.Channels)
	}
	if change.Threshold != 0 {
		role.Threshold = change.Threshold
	}
	c.Keys = slices.DeleteFunc(c.Keys, func(key PublicKey) bool {
		return slices.Contains(change.Remove, key) &&
			!slices.ContainsFunc(c.Roles, func(r Role) bool { return slices.Contains(r.Keys, key.ID()) })
	})
	return nil
}

// AddRenewers adds keys to the role with that name, which it creates if there is none, as one that may renew the
// manifests of all apps and channels ([ActionRenew]).
func (c *TrustConfig) AddRenewers(name string, keys ...PublicKey) {
	if len(keys) == 0 {
		return
	}
	role := c.role(name)
	if role == nil {
		c.Roles = append(c.Roles, Role{
			Name: name, May: []Action{ActionRenew}, Apps: []Pattern{"*"}, Channels: []Pattern{"*"},
		})
		role = &c.Roles[len(c.Roles)-1]
	}
	c.addKeys(role, keys)
}

func (c *TrustConfig) role(name string) *Role {
	i := slices.IndexFunc(c.Roles, func(r Role) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Roles[i]
}

func (c *TrustConfig) addKeys(role *Role, keys []PublicKey) {
	for _, key := range keys {
		if !slices.Contains(role.Keys, key.ID()) {
			role.Keys = append(role.Keys, key.ID())
		}
		if !slices.Contains(c.Keys, key) {
			c.Keys = append(c.Keys, key)
		}
	}
}
