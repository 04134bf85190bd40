package channel

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"brink/digest"
)

// near returns the ID of a device whose bucket for the version's bundle is at least low, and less than low + 100.
func near(version string, low int) string {
	for i := 0; ; i++ {
		id := fmt.Sprintf("device-%d", i)
		if b := Bucket(id, release(version).Bundle); b >= low && b < low+100 {
			return id
		}
	}
}

// TestRollout tells the life of one: 1.5.0 to 20 per cent of the devices that run 1.4.0, and what follows.
func TestRollout(t *testing.T) {
	set := func(m *Manifest, change func(*Rollout)) *Manifest {
		to := *m.Rollout
		change(&to)
		return signed(t, must(m.SetRollout(to, now))(t))
	}
	start := signed(t, must(shop(t, "production", "1.3.0", "1.4.0").Roll(release("1.5.0"), Rollout{Share: 2000}, now))(t))
	raised := set(start, func(r *Rollout) { r.Share = 5000 })
	lowered := set(raised, func(r *Rollout) { r.Share = 1000 })
	paused := set(raised, func(r *Rollout) { r.Paused = true })
	resumed := set(paused, func(r *Rollout) { r.Paused = false })
	nobody := set(raised, func(r *Rollout) { r.Share = 0 })
	everyone := set(raised, func(r *Rollout) { r.Share = Everyone })
	complete := signed(t, must(raised.CompleteRollout(now))(t))
	aborted := signed(t, must(raised.AbortRollout(now))(t))
	second := signed(t, must(complete.Roll(release("1.6.0"), Rollout{Share: 2000}, now))(t))
	first := NewManifest("acme", "com.acme.shop", "new")
	first = signed(t, must(first.Roll(release("1.0.0"), Rollout{Share: 2000}, now))(t))
	window := set(everyone, func(r *Rollout) { r.Starts, r.Ends = now.Add(time.Hour), now.Add(2*time.Hour) })
	hour := []time.Time{now, now.Add(time.Hour), now.Add(2*time.Hour - time.Second), now.Add(2 * time.Hour)}

	last := near("1.6.0", 9000)
	a, b, z := near("1.5.0", 500), near("1.5.0", 1500), near("1.5.0", 7000)
	for _, row := range []struct {
		name   string
		m      *Manifest
		device Device
		when   time.Time
		want   string
	}{
		{"among the first", start, Device{ID: a, Version: "1.4.0"}, now, "update 1.5.0"},
		{"not among them, runs the one before", start, Device{ID: z, Version: "1.4.0"}, now, "up_to_date"},
		{"not among them, runs an older one", start, Device{ID: z, Version: "1.3.0"}, now, "update 1.4.0"},
		{"not among them, new", start, Device{ID: z}, now, "update 1.4.0"},
		{"no ID", start, Device{Version: "1.4.0"}, now, "up_to_date"},
		{"raised: in still", raised, Device{ID: a, Version: "1.5.0"}, now, "up_to_date"},
		{"raised: not in yet", raised, Device{ID: z, Version: "1.4.0"}, now, "up_to_date"},
		{"lowered: in still", lowered, Device{ID: a, Version: "1.5.0"}, now, "up_to_date"},
		{"lowered: goes back", lowered, Device{ID: b, Version: "1.5.0"}, now, "rollback 1.4.0"},
		{
			"lowered: goes back, by its bundle", lowered,
			Device{ID: b, Version: "1.5.0", Bundle: release("1.5.0").Bundle},
			now, "rollback 1.4.0",
		},
		{"lowered: a version of its own stays", lowered, Device{ID: b, Version: "1.4.7"}, now, "none ahead"},
		{
			"lowered: another bundle of that version stays", lowered,
			Device{ID: b, Version: "1.5.0", Bundle: release("own").Bundle},
			now, "none ahead",
		},
		{"paused: keeps it", paused, Device{ID: b, Version: "1.5.0"}, now, "up_to_date"},
		{"paused: too late", paused, Device{ID: b, Version: "1.4.0"}, now, "up_to_date"},
		{"paused: too late, older", paused, Device{ID: b, Version: "1.3.0"}, now, "update 1.4.0"},
		{"resumed", resumed, Device{ID: b, Version: "1.4.0"}, now, "update 1.5.0"},
		{"nobody", nobody, Device{ID: a, Version: "1.5.0"}, now, "rollback 1.4.0"},
		{"everyone, without ID too", everyone, Device{Version: "1.4.0"}, now, "update 1.5.0"},
		{"complete", complete, Device{ID: z, Version: "1.4.0"}, now, "update 1.5.0"},
		{"aborted: goes back", aborted, Device{ID: a, Version: "1.5.0"}, now, "rollback 1.4.0"},
		{"aborted: was never in", aborted, Device{ID: z, Version: "1.4.0"}, now, "up_to_date"},
		{"the next one: others stay at this one", second, Device{ID: last, Version: "1.5.0"}, now, "up_to_date"},
		{"the next one: older ones go to this one", second, Device{ID: last, Version: "1.4.0"}, now, "update 1.5.0"},
		{"the very first: not among them", first, Device{ID: near("1.0.0", 9000)}, now, "none not_in_rollout"},
		{"the very first: among them", first, Device{ID: near("1.0.0", 100)}, now, "update 1.0.0"},
		{"scheduled: before", window, Device{Version: "1.4.0"}, hour[0], "up_to_date"},
		{"scheduled: from its start", window, Device{Version: "1.4.0"}, hour[1], "update 1.5.0"},
		{"scheduled: to its end", window, Device{Version: "1.5.0"}, hour[2], "up_to_date"},
		{"scheduled: goes back after it", window, Device{Version: "1.5.0"}, hour[3], "rollback 1.4.0"},
	} {
		if got := at(row.m, row.device, row.when); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	if got := versions(aborted); got != "1.4.0 1.5.0 1.3.0 rollback (withdrawn 1.5.0)" || aborted.Rollout != nil {
		t.Errorf("aborted is %s", got)
	}
}

// TestRollout_KeepsVersionsWithdrawn is the device that slept through a rollback, and wakes while the fix is rolled out
// to others.
func TestRollout_KeepsVersionsWithdrawn(t *testing.T) {
	m := must(shop(t, "production", "1.4.0", "1.5.0").RollBack("", now))(t)
	m = signed(t, must(m.Roll(release("1.6.0"), Rollout{Share: 1000}, now))(t))
	if m.Withdrawn != "1.5.0" {
		t.Errorf("withdrawn is %q", m.Withdrawn)
	}
	if got := at(m, Device{ID: near("1.6.0", 5000), Version: "1.5.0"}, now); got != "rollback 1.4.0" {
		t.Errorf("a device outside gets %s", got)
	}
	if got := at(m, Device{ID: near("1.6.0", 500), Version: "1.5.0"}, now); got != "update 1.6.0" {
		t.Errorf("a device inside gets %s", got)
	}
	// The same where the fix was for all at first, which ended the rollback, and is for some now.
	m = must(shop(t, "production", "1.4.0", "1.5.0").RollBack("", now))(t)
	m = must(must(m.Publish(release("1.6.0"), now))(t).SetRollout(Rollout{Share: 1000}, now))(t)
	if got := at(m, Device{ID: near("1.6.0", 5000), Version: "1.5.0"}, now); got != "rollback 1.4.0" {
		t.Errorf("a device that is outside now gets %s", got)
	}
}

func TestRollout_CompletingItEndsWithdrawal(t *testing.T) {
	m := must(shop(t, "production", "1.4.0", "1.5.0").RollBack("", now))(t)
	m = must(m.Roll(release("1.6.0"), Rollout{Share: 1000}, now))(t)
	if done := signed(t, must(m.CompleteRollout(now))(t)); done.Withdrawn != "" {
		t.Errorf("withdrawn stays %q when all devices get more", done.Withdrawn)
	}
}

func TestRollout_Operations(t *testing.T) {
	m := shop(t, "production", "1.4.0", "1.5.0")
	rolling := must(m.Roll(release("1.6.0"), Rollout{Share: 1000}, now))(t)
	_, err := rolling.Roll(release("1.7.0"), Rollout{Share: 1000}, now)
	wantCode(t, err, CodeRolloutRunning)
	_, err = rolling.Roll(release("1.6.0"), Rollout{Share: 2000}, now)
	wantCode(t, err, CodeRolloutRunning)
	_, err = rolling.Roll(release("1.6.0"), Rollout{Share: 1000, Ends: now.Add(time.Hour)}, now)
	wantCode(t, err, CodeRolloutRunning)
	if _, err := rolling.Roll(release("1.6.0"), Rollout{Share: 1000}, now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("the same release to as many again: %v", err)
	}
	if got := versions(must(rolling.Publish(release("1.7.0"), now))(t)); got != "1.7.0 1.6.0 1.5.0 1.4.0" {
		t.Errorf("publishing to all over a rollout gives %s", got)
	}
	if next := must(rolling.Publish(release("1.7.0"), now))(t); next.Rollout != nil {
		t.Error("what is published to all is rolled out to some")
	}
	full := must(rolling.SetRollout(Rollout{Share: Everyone}, now))(t)
	if next := must(full.Roll(release("1.7.0"), Rollout{Share: 1}, now))(t); next.Rollout.From != "1.6.0" {
		t.Errorf("after a rollout to everyone, others get %s", next.Rollout.From)
	}
	if _, err := full.SetRollout(*full.Rollout, now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("the same again: %v", err)
	}
	if some := must(m.SetRollout(Rollout{Share: 1000}, now))(t); some.Rollout.From != "1.4.0" {
		t.Errorf("what was for all and is for some now leaves the others %q", some.Rollout.From)
	}
	_, err = m.CompleteRollout(now)
	wantCode(t, err, CodeNoRollout)
	_, err = m.AbortRollout(now)
	wantCode(t, err, CodeNoRollout)
	first := must(shop(t, "new", "1.0.0").SetRollout(Rollout{Share: 1000}, now))(t)
	_, err = first.AbortRollout(now)
	wantCode(t, err, CodeNotInHistory)
	for _, bad := range []Rollout{
		{Share: -1},
		{Share: Everyone + 1},
		{Share: 1, Starts: now, Ends: now},
		{Share: 1, Starts: now, Ends: now.Add(-time.Hour)},
	} {
		_, err := m.SetRollout(bad, now)
		wantCode(t, err, CodeMalformed)
		_, err = m.Roll(release("1.6.0"), bad, now)
		wantCode(t, err, CodeMalformed)
	}
}

// TestRollout_RaisingOnlyAddsAndLoweringOnlyRemoves follows many devices through shares drawn at random.
func TestRollout_RaisingOnlyAddsAndLoweringOnlyRemoves(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := must(shop(t, "production", "1.4.0").Roll(release("1.5.0"), Rollout{}, now))(t)
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[0-9a-f-]{1,36}`), 1, 40, rapid.ID[string]).Draw(rt, "ids")
		share, in := 0, map[string]bool{}
		for _, next := range rapid.SliceOfN(rapid.IntRange(0, Everyone), 1, 6).Draw(rt, "shares") {
			m.Rollout.Share = next
			for _, id := range ids {
				now := at(m, Device{ID: id, Version: "1.0.0"}, now) == "update 1.5.0"
				if in[id] && !now && next >= share || !in[id] && now && next <= share {
					rt.Fatalf("from %d to %d, %q went from in: %t to in: %t", share, next, id, in[id], now)
				}
				if now != (next > Bucket(id, m.Release.Bundle)) {
					rt.Fatalf("%q at %d is in: %t with a share of %d", id, Bucket(id, m.Release.Bundle), now, next)
				}
				in[id] = now
			}
			share = next
		}
	})
}

// TestBucket_NeverChanges has the values that devices out there have decided by.
func TestBucket_NeverChanges(t *testing.T) {
	for _, row := range []struct {
		id     string
		bundle digest.Digest
		want   int
	}{
		{"", digest.Digest{}, 7874},
		{"00009a6b-eefe-490a-9c60-8e965132ae51", digest.Sum([]byte("1.5.0")), 6046},
		{"00009a6b-eefe-490a-9c60-8e965132ae51", digest.Sum([]byte("1.6.0")), 2066},
		{"11111a6b-eefe-490a-9c60-8e965132ae51", digest.Sum([]byte("1.5.0")), 1505},
	} {
		if got := Bucket(row.id, row.bundle); got != row.want {
			t.Errorf("%q is at %d for %s, want %d", row.id, got, row.bundle.Short(), row.want)
		}
	}
}

// TestBucket_IsEven counts ten tenths. The hash is fixed, so the test cannot be unlucky.
func TestBucket_IsEven(t *testing.T) {
	const devices = 20_000
	var tenths [10]int
	for i := range devices {
		tenths[Bucket(fmt.Sprintf("%08x-eefe-490a", i), release("1.5.0").Bundle)/(Everyone/10)]++
	}
	for i, n := range tenths {
		if n < devices/10*9/10 || n > devices/10*11/10 {
			t.Errorf("%d of %d devices are in tenth %d", n, devices, i)
		}
	}
}
