package channel

import "slices"

// maxCritical bounds the members that a manifest declares critical.
const maxCritical = 16

// CheckKnown returns nil if this version knows every member that the manifest declares critical, and otherwise a
// [*RefusedError] with [CodeNeedsUpdate]: then the manifest must not be used for decisions or to make another one.
func (m *Manifest) CheckKnown() error {
	if name := m.unknownCritical(); name != "" {
		return refuse(CodeNeedsUpdate, "use a newer version of Brink",
			"manifest of %s %s has the critical member %q, which this version does not know", m.App, m.Channel, name)
	}
	return nil
}

// unknownCritical returns the first critical member that this version does not know, or "".
func (m *Manifest) unknownCritical() string {
	for _, name := range m.Critical {
		switch name {
		case "release", "history", "rollback", "withdrawn", "builtIn", "rules", "rollout", "overrides", "expires":
		default:
			return name
		}
	}
	return ""
}

func checkCritical(m *Manifest) error {
	if len(m.Critical) > maxCritical {
		return malformed("manifest declares %d members critical, want at most %d", len(m.Critical), maxCritical)
	}
	for i, name := range m.Critical {
		if err := checkName("critical member", name, MaxRole); err != nil {
			return err
		}
		if slices.Contains(m.Critical[:i], name) {
			return malformed("manifest declares member %q critical twice", name)
		}
	}
	return nil
}
