package channel

import (
	"fmt"
	"time"
)

// Finding is the result of one rule of a decision.
type Finding struct {
	Rule string `json:"rule"` // stable
	Text string `json:"text"` // for people
}

// Explain decides as [Resolve] does, by the same rules, and returns the finding of each rule up to the one that
// decided.
func Explain(m *Manifest, d Device, now time.Time) (Decision, []Finding) {
	q := question{m: m, device: d, now: now}
	var findings []Finding
	for r := ruleCritical; ; r++ {
		decision, decided := q.apply(r)
		if decided || r != ruleCritical { // nearly no manifest has critical members
			findings = append(findings, Finding{Rule: r.String(), Text: q.describe(r, decision, decided)})
		}
		if decided {
			return decision, findings
		}
	}
}

// String returns the name of the rule.
func (r rule) String() string {
	return [...]string{
		ruleCritical: "critical", ruleExpiry: "expiry", ruleOverride: "override", ruleRollout: "rollout",
		ruleInstalled: "installed",
		ruleAudience:  "audience", ruleNative: "native", ruleDirection: "direction", ruleStep: "step",
	}[r]
}

// describe returns the text of a rule that was just applied, with its result.
func (q *question) describe(r rule, decision Decision, decided bool) string {
	m, d := q.m, &q.device
	switch r {
	case ruleCritical:
		return fmt.Sprintf("the manifest has the critical member %q, which this version does not know", m.unknownCritical())
	case ruleExpiry:
		switch {
		case decided:
			return "the manifest expired at " + m.Expires.Format(time.RFC3339)
		case m.Expires.IsZero():
			return "the manifest never expires"
		default:
			return "the manifest is valid until " + m.Expires.Format(time.RFC3339)
		}
	case ruleOverride:
		switch {
		case q.named == nil:
			return fmt.Sprintf("none of %d overrides names the device", len(m.Overrides))
		case !q.named.Device.IsZero():
			return fmt.Sprintf("an override names the device %q", d.ID)
		default:
			return fmt.Sprintf("an override names the custom ID %q", d.Custom)
		}
	case ruleRollout:
		text := q.describePlace()
		if q.builtIn {
			return text + "; the device gets what its native app came with"
		}
		if q.target == nil {
			return text + "; there is no release before it"
		}
		return text + "; the device gets " + q.target.Version
	case ruleInstalled:
		if decided {
			return "it runs that already"
		}
		return fmt.Sprintf("it runs something else: %s", describeRunning(d))
	case ruleAudience:
		switch {
		case decided:
			return "the channel is not for it: " + string(decision.Reason)
		case q.named != nil:
			return "does not matter, since an override names the device"
		default:
			return "the channel is for it"
		}
	case ruleNative:
		if q.builtIn {
			return "what the native app came with fits"
		}
		if decided {
			limit := q.target.Native[d.Platform]
			return fmt.Sprintf("native version %q does not fit: %s (lowest %q, highest %q, not under native: %t)",
				d.Native, decision.Reason, limit.Min, limit.Max, m.Rules.NotUnderNative)
		}
		return "the native app can run it"
	case ruleDirection:
		switch {
		case !decided:
			return "it is not a step down"
		case decision.Kind == Rollback:
			return "it is a step down: " + q.describeDown()
		case decision.Kind == BuiltIn:
			return "it leaves what it runs, since " + q.describeBack()
		default:
			return "it would be a step down, and nothing withdrew what the device runs"
		}
	case ruleStep:
		limit := m.Rules.MaxStep
		switch {
		case q.named != nil:
			return "does not matter, since an override names the device"
		case limit == StepNumber && m.Rules.MinNative == "":
			return "the channel allows every step from a certain version of the native app on, but does not say which"
		case limit == StepNumber:
			return fmt.Sprintf("the native app is version %q, and the channel allows every step from %s on", d.Native,
				m.Rules.MinNative)
		case limit.size() == StepMajor.size():
			return "the channel allows every step"
		case d.runs() == "":
			return fmt.Sprintf("the channel allows steps up to %s, and what the device runs is not known", limit)
		default:
			return fmt.Sprintf("from %s it is a %s step, and the channel allows steps up to %s", d.runs(),
				stepBetween(d.runs(), q.target.Version), limit)
		}
	}
	panic(fmt.Sprintf("channel: rule %d has no description", int(r)))
}

func describeRunning(d *Device) string {
	switch {
	case d.BuiltIn:
		return fmt.Sprintf("what its native app came with, version %q", d.runs())
	case d.Version == "" && d.Bundle.IsZero():
		return "an unknown version"
	case d.Bundle.IsZero():
		return fmt.Sprintf("version %q", d.Version)
	default:
		return fmt.Sprintf("version %q, bundle %s", d.Version, d.Bundle.Short())
	}
}

func (q *question) describePlace() string {
	m, r := q.m, q.m.Rollout
	if q.named != nil {
		return "the override decides"
	}
	switch q.place {
	case placeAll:
		return "the release is for all devices"
	case placeBuiltIn:
		return "the release is for no device any more"
	case placeEarly:
		return fmt.Sprintf("the rollout of %s starts at %s", m.Release.Version, r.Starts.Format(time.RFC3339))
	case placeLate:
		return fmt.Sprintf("the rollout of %s ended at %s", m.Release.Version, r.Ends.Format(time.RFC3339))
	case placeNoID:
		return fmt.Sprintf("%s is rolled out to %s, and the device sent no ID", m.Release.Version, percent(r.Share))
	case placePaused:
		return fmt.Sprintf("the rollout of %s is paused, and the device does not run it yet", m.Release.Version)
	}
	if r.Share == Everyone {
		return fmt.Sprintf("%s is rolled out to all devices", m.Release.Version)
	}
	in := "in"
	if q.place == placeOut {
		in = "out"
	}
	return fmt.Sprintf("%s is rolled out to %s, and the device, at %s, is %s", m.Release.Version, percent(r.Share),
		percent(Bucket(q.device.ID, m.Release.Bundle)), in)
}

func (q *question) describeDown() string {
	switch {
	case CompareVersions(q.device.Version, q.m.Withdrawn) <= 0:
		return "a rollback withdrew everything up to " + q.m.Withdrawn
	case q.named != nil:
		return "the override says so"
	default:
		return "the rollout gives what it runs to others"
	}
}

func (q *question) describeBack() string {
	if q.named != nil && q.named.BuiltIn {
		return "the override says so"
	}
	return "the channel returns devices to what their native app came with"
}

// percent formats a share or a bucket for people to read.
func percent(share int) string {
	text := fmt.Sprintf("%d", share/100)
	if rest := share % 100; rest != 0 {
		text += fmt.Sprintf(".%02d", rest)
	}
	return text + " %"
}
