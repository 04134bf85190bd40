package channel

import (
	"slices"
	"testing"
	"time"
)

func TestTrust_NextAtLastsAsLong(t *testing.T) {
	c := acme()
	c.Expires = now.Add(30 * 24 * time.Hour)
	later := now.Add(10*24*time.Hour + 300*time.Millisecond)
	next := trust(t, c, "root").NextAt(later)
	if want := now.Add(10 * 24 * time.Hour); !next.Issued.Equal(want) || !next.Expires.Equal(want.Add(30*24*time.Hour)) {
		t.Errorf("issued %s, expires %s", next.Issued, next.Expires)
	}
	if next := trust(t, acme(), "root").NextAt(later); !next.Expires.IsZero() {
		t.Errorf("the successor of a document that never expires expires %s", next.Expires)
	}
}

func TestTrust_SignNextSignsOnlyWhatIsAccepted(t *testing.T) {
	org := trust(t, acme(), "root")
	next := org.NextAt(now)
	next.AddRoots(public("second", "root")...)
	if !slices.Equal(next.Roots, public("root", "second")) {
		t.Errorf("roots are %v", next.Roots)
	}
	two := must(org.Accept(must(org.SignNext(next, now, key("root"), key("second")))(t), now))(t)
	if two.Version() != 2 {
		t.Errorf("version is %d", two.Version())
	}

	_, err := org.SignNext(next, now, key("root"), key("stranger"))
	wantCode(t, err, CodeUnknownKey)
	_, err = org.SignNext(next, now, key("second")) // a root of the next document only
	wantCode(t, err, CodeNotEnoughSignatures)
	_, err = org.SignNext(next, now.Add(-time.Hour), key("root"))
	wantCode(t, err, CodeNotYetValid)

	// A key that stops being a root may sign that it does.
	last := two.NextAt(now)
	if err := last.RemoveRoots(public("root")...); err != nil {
		t.Fatal(err)
	}
	three := must(two.Accept(must(two.SignNext(last, now, key("root"), key("second")))(t), now))(t)
	if next := three.Next(); !slices.Equal(next.Roots, public("second")) {
		t.Errorf("roots are %v", next.Roots)
	}
	wantCode(t, last.RemoveRoots(public("root")...), CodeMalformed)
}

func TestTrustConfig_ChangesRoles(t *testing.T) {
	org := trust(t, acme(), "root")
	changed := func(name string, change RoleChange) (Role, *Trust) {
		t.Helper()
		next := org.NextAt(now)
		if err := next.ChangeRole(name, change); err != nil {
			t.Fatal(err)
		}
		two := must(org.Accept(must(org.SignNext(next, now, key("root")))(t), now))(t)
		return *next.role(name), two
	}
	role, two := changed("ci", RoleChange{
		Add: public("new", "ci", "new"), Remove: public("ci"), Channels: []Pattern{"edge"},
	})
	if !slices.Equal(role.Keys, ids("new")) || !slices.Equal(role.Channels, []Pattern{"edge"}) ||
		!slices.Equal(role.Apps, []Pattern{"com.acme.*"}) {
		t.Errorf("the role is %+v", role)
	}
	if keys := two.Next().Keys; slices.Contains(keys, public("ci")[0]) || !slices.Contains(keys, public("idle")[0]) {
		t.Errorf("the document holds %v", keys)
	}

	role, two = changed("bank", RoleChange{Add: public("ann"), Threshold: 2})
	if !slices.Equal(role.Keys, ids("bank", "ann")) || role.Threshold != 2 {
		t.Errorf("the role is %+v", role)
	}
	// What another role needs stays.
	next := two.NextAt(now)
	if err := next.ChangeRole("bank", RoleChange{Remove: public("ann"), Threshold: 1}); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(next.Keys, public("ann")[0]) {
		t.Error("a key is gone that another role names")
	}

	role, _ = changed("qa", RoleChange{Add: public("qa"), Apps: []Pattern{"com.acme.shop"}})
	if !slices.Equal(role.Keys, ids("qa")) || !slices.Equal(role.Channels, []Pattern{"*"}) || !role.MayPublish() {
		t.Errorf("the new role is %+v", role)
	}
}

func TestTrustConfig_RefusesChangesThatDoNotFit(t *testing.T) {
	for name, change := range map[string]RoleChange{
		"ci":      {Remove: public("ann")},
		"nobody":  {},
		"no keys": {Apps: []Pattern{"*"}},
		"no apps": {Add: public("qa")},
	} {
		c := acme()
		wantCode(t, c.ChangeRole(name, change), CodeMalformed)
		if len(c.Roles) != len(acme().Roles) {
			t.Errorf("%s: there is another role", name)
		}
	}
}

func TestTrustConfig_RenewersMayDoNothingElse(t *testing.T) {
	c := acme()
	c.AddRenewers("renewer")
	if c.role("renewer") != nil {
		t.Error("no key made a role")
	}
	c.AddRenewers("renewer", public("cron")...)
	c.AddRenewers("renewer", public("cron", "other")...)
	org := trust(t, c, "root")
	roles := org.Roles("com.any", "thing")
	if len(roles) != 1 || !slices.Equal(roles[0].Keys, ids("cron", "other")) || roles[0].MayPublish() {
		t.Errorf("roles for any channel: %+v", roles)
	}
}
