package plugin

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"brink/bench/cost"
	"brink/channel"
	"brink/digest"
	"brink/protocol"

	"github.com/google/go-cmp/cmp"
)

func TestCheck_OffersInTheShapeThatPluginsRead(t *testing.T) {
	e := newEdge()
	r := e.release(t, "1.0.0", page("1"))
	e.publish(t, "Production", r)
	answer, err := answering(t, e).Check(Query{ID: shopID, Base: base, Request: "7", Body: []byte(cordova("Production", ""))})
	if err != nil {
		t.Fatal(err)
	}
	want := members{
		"data": map[string]any{
			"available": true, "compatible": true, "partial": false, "incompatibleUpdateAvailable": false,
			"snapshot": Snapshot(r.Bundle),
			"url":      base + "/apps/abcd1234/snapshots/" + r.Bundle.String() + "/manifest",
			"build":    decode(t, []byte(`{"n":`+jsonText(t, Build(r.Bundle))+`}`))["n"],
		},
		"meta": map[string]any{"status": decode(t, []byte(`{"n":200}`))["n"], "request_id": "7", "version": "brink-1"},
	}
	if diff := cmp.Diff(want, decode(t, answer.Body)); diff != "" || answer.Status != 200 {
		t.Errorf("status %d (-want +got):\n%s", answer.Status, diff)
	}
}

// The SDK's types have no room for members that are missing.
func TestCheck_NothingNewNamesEveryMember(t *testing.T) {
	e := newEdge()
	r := e.release(t, "1.0.0", page("1"))
	e.publish(t, "Production", r)
	want := members{
		"available": false, "compatible": false, "partial": false, "incompatibleUpdateAvailable": false,
		"snapshot": nil, "url": nil, "build": nil,
	}
	if diff := cmp.Diff(want, check(t, answering(t, e), cordova("Production", Snapshot(r.Bundle)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestCheck_OffersWhateverTheDeviceDoesNotRun follows a channel up and down.
func TestCheck_OffersWhateverTheDeviceDoesNotRun(t *testing.T) {
	e := newEdge()
	a := answering(t, e)
	one, two := e.release(t, "1.0.0", page("1")), e.release(t, "1.1.0", page("2"))
	ahead := e.release(t, "2.0.0", page("3"))
	e.publish(t, "Production", one, two)
	e.publish(t, "Beta", ahead)
	first, second, third := Snapshot(one.Bundle), Snapshot(two.Bundle), Snapshot(ahead.Bundle)
	const foreign = "66192f03-8627-492c-b4cf-22775be368dc" // made by Appflow
	wants := func(when, name string, offers map[string]string) {
		t.Helper()
		for runs, want := range offers {
			got := check(t, a, cordova(name, runs))
			if offered, _ := got["snapshot"].(string); offered != want || got["available"] != (want != "") {
				t.Errorf("%s, a device that runs %q is offered %v, want %q", when, runs, got, want)
			}
		}
	}
	wants("after the second release", "Production", map[string]string{
		"": second, first: second, second: "", third: second, foreign: second, "no uuid": second,
		strings.ToUpper(second): "",
	})
	back, err := e.manifests[shop+"/Production"].RollBack("1.0.0", now)
	if err != nil {
		t.Fatal(err)
	}
	e.manifests[shop+"/Production"] = back
	wants("after a rollback", "Production", map[string]string{"": first, first: "", second: first, foreign: first})

	gone, err := back.Revert(now)
	if err != nil {
		t.Fatal(err)
	}
	e.manifests[shop+"/Production"] = gone
	wants("where all go back to the native app, which plugins cannot be told", "Production",
		map[string]string{"": "", first: "", second: "", foreign: ""})
}

func TestCheck_ToldOfAnUpdateForAnotherNativeApp(t *testing.T) {
	e := newEdge()
	r := e.release(t, "1.0.0", page("1"))
	r.Native = map[channel.Platform]channel.Limit{channel.Android: {Min: "2.0.0", Max: "2.9.0"}}
	e.publish(t, "Production", r)
	a := answering(t, e)
	for native, want := range map[string]bool{"1.9": true, "3.0.0": true, "a night build": true, "2.0": false} {
		got := check(t, a, strings.Replace(cordova("Production", ""), `"1.0.0"`, jsonText(t, native), 1))
		if got["available"] == want || got["compatible"] == want || got["incompatibleUpdateAvailable"] != want {
			t.Errorf("a device with the native app %s gets %v", native, got)
		}
	}
	if got := check(t, a, capacitor("", true)[:1]+strings.Replace(cordova("Production", ""), "android", "iOS", 1)[1:]); got["available"] != true {
		t.Errorf("a platform without limits gets %v", got)
	}
}

func TestCheck_ToldOfAnUpdateForLaterNativeApps(t *testing.T) {
	e := newEdge()
	m := e.publish(t, "Production", e.release(t, "1.0.0", page("1")))
	for step, want := range map[channel.Step]bool{channel.StepNumber: true, channel.StepNone: false} {
		next, err := m.SetRules(channel.Rules{MaxStep: step, MinNative: "2.0.0"}, now)
		if err != nil {
			t.Fatal(err)
		}
		e.manifests[shop+"/Production"] = next
		if got := check(t, answering(t, e), cordova("Production", "")); got["available"] != false || got["incompatibleUpdateAvailable"] != want {
			t.Errorf("with steps to %s a device gets %v", step, got)
		}
	}
}

// TestCheck_RulesAndRolloutsHold has the decision made by all that a device tells.
func TestCheck_RulesAndRolloutsHold(t *testing.T) {
	e := newEdge()
	one, two := e.release(t, "1.0.0", page("1")), e.release(t, "1.1.0", page("2"))
	m := e.publish(t, "Production", one)
	m, err := m.Roll(two, channel.Rollout{}, now)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.SetOverride(channel.Override{Device: m.HashDevice("dev-uuid-1"), Version: "1.1.0"}, now); err != nil {
		t.Fatal(err)
	}
	if m, err = m.SetRules(channel.Rules{Platforms: []channel.Platform{channel.Android}}, now); err != nil {
		t.Fatal(err)
	}
	e.manifests[shop+"/Production"] = m
	a := answering(t, e)
	named := cordova("Production", "")
	other := strings.Replace(named, "dev-uuid-1", "dev-uuid-2", 1)
	nobody := strings.Replace(named, `"dev-uuid-1"`, "null", 1)
	for body, want := range map[string]any{
		named: Snapshot(two.Bundle), other: Snapshot(one.Bundle), nobody: Snapshot(one.Bundle),
		strings.Replace(other, "android", "ios", 1): nil,
	} {
		if got := check(t, a, body); got["snapshot"] != want {
			t.Errorf("%s\ngets %v, want %v", body, got, want)
		}
	}
}

func TestCheck_GivesEachPluginItsForm(t *testing.T) {
	e := newEdge()
	files := map[string]string{"index.html": "1"}
	files[SignedFile] = list(t, index(t, map[string]string{"index.html": "1"}))
	r := e.release(t, "1.0.0", files)
	zip := e.add(t, map[string]string{protocol.ZipPath: "PK"})
	r.Attachments = []channel.Attachment{{Kind: protocol.AttachmentZip, Bundle: zip.Bundle(), Size: zip.Archive.Size}}
	e.publish(t, "Production", r)
	a := answering(t, e)
	old := `{"channel_name":"Production","app_id":"abcd1234","device":{"binary_version":"1.0.0","platform":"ios"}}`
	for body, want := range map[string]string{
		cordova("Production", ""): r.Bundle.String() + "/manifest",
		capacitor("", true):       r.Bundle.String() + "/manifest_v2",
		capacitor("", false):      zip.Bundle().String() + "/download",
		old:                       zip.Bundle().String() + "/download",
		strings.Replace(old, `"app_id"`, `"manifest":"true","app_id"`, 1): r.Bundle.String() + "/manifest",
	} {
		got := check(t, a, body)
		if link, _ := got["url"].(string); link != base+"/apps/abcd1234/snapshots/"+want {
			t.Errorf("%s\nis sent to %s, want %s", body, link, want)
		}
		if got["snapshot"] != Snapshot(r.Bundle) {
			t.Errorf("%s\nis offered %v: a release is one snapshot in all forms", body, got)
		}
	}
}

func TestCheck_SaysNo(t *testing.T) {
	e := newEdge()
	e.publish(t, "Production", e.release(t, "1.0.0", page("1")))
	e.publish(t, "Odd", e.release(t, "1.0.0", map[string]string{"index.html": "1", "a#b.js": "2"}))
	lost := e.release(t, "1.0.0", page("lost"))
	delete(e.bundles, lost.Bundle)
	e.publish(t, "Lost", lost)
	a := answering(t, e)
	for _, no := range []struct {
		id, body, code, says string
		status               int
	}{
		{"none", cordova("Production", ""), protocol.CodeUnknownApp, "App not found", 404},
		{shopID, cordova("production", ""), protocol.CodeUnknownChannel, "Channel not found", 404},
		{shop, cordova("None", ""), protocol.CodeUnknownChannel, "Channel not found", 404},
		{shopID, "[]", protocol.CodeBadRequest, "not JSON of a device", 400},
		{shopID, `{"device":{"snapshot":7}}`, protocol.CodeBadRequest, "not JSON of a device", 400},
		{shopID, capacitor("", true), protocol.CodeNotAcceptable, "live-update-manifest.json", 400},
		{shopID, capacitor("", false), protocol.CodeNotAcceptable, "publish it with --zip", 400},
		{shopID, cordova("Odd", ""), protocol.CodeNotAcceptable, "a#b.js", 400},
		{shopID, cordova("Lost", ""), protocol.CodeDamaged, "1.0.0 is not on this node", 503},
	} {
		_, err := a.Check(Query{ID: no.id, Base: base, Body: []byte(no.body)})
		p, ok := errors.AsType[*protocol.Problem](err)
		if !ok || p.Status != no.status || p.Code != no.code || !strings.Contains(p.Message, no.says) {
			t.Errorf("%s asks with\n%s\nand gets %v, want %d %s and %q", no.id, no.body, err, no.status, no.code, no.says)
			continue
		}
		answer := decode(t, Fail(p, "7").Body)
		body, _ := answer["error"].(map[string]any)
		if body["message"] != p.Message || body["type"] != no.code || body["event_id"] != "7" || answer["meta"] == nil {
			t.Errorf("the answer is %v", answer)
		}
	}
	e.err = errors.New("the disk is gone")
	if _, err := a.Check(Query{ID: shopID, Body: []byte(cordova("Production", ""))}); !errors.Is(err, e.err) {
		t.Errorf("a fault of the node is %v", err)
	}
}

func TestCheck_TakesTheDefaultChannelAndTheAppsOwnName(t *testing.T) {
	e := newEdge()
	r := e.release(t, "1.0.0", page("1"))
	e.publish(t, "Production", r)
	answer, err := answering(t, e).Check(Query{ID: shop, Base: base, Body: []byte(`{"manifest":true}`)})
	if err != nil {
		t.Fatal(err)
	}
	if link := decode(t, answer.Body)["data"].(map[string]any)["url"]; link != base+"/apps/com.acme.shop/snapshots/"+r.Bundle.String()+"/manifest" {
		t.Errorf("the URL is %v", link)
	}
}

func TestLocation_LeadsToTheFolderOfTheFiles(t *testing.T) {
	e := newEdge()
	both := map[string]string{"index.html": "1"}
	both[SignedFile] = list(t, index(t, map[string]string{"index.html": "1"}))
	signed, plain := e.add(t, both).Bundle(), e.add(t, page("1")).Bundle()
	zip := e.add(t, map[string]string{protocol.ZipPath: "PK"}).Bundle()
	a := answering(t, e)
	for _, leads := range []struct {
		id         digest.Digest
		name, want string
	}{
		{signed, "manifest", "pro-manifest.json"},
		{signed, "manifest_v2", "live-update-manifest.json"},
		{zip, "download", "bundle.zip"},
		{plain, "manifest", "pro-manifest.json"},
		{plain, "manifest_v2", ""},
		{plain, "download", ""},
		{plain, "else", ""},
		{plain, "", ""},
		{digest.Sum([]byte("none")), "manifest", ""},
	} {
		got, err := a.Location(leads.id, leads.name)
		if leads.want == "" {
			if err == nil {
				t.Errorf("%s of %s leads to %s, want an error", leads.name, leads.id.Short(), got)
			}
		} else if want := FilesPath(leads.id) + leads.want; err != nil || got != want {
			t.Errorf("%s of %s leads to %s, %v, want %s", leads.name, leads.id.Short(), got, err, want)
		}
	}
}

func TestConfig_RefusesWhatCanNotBeAnApp(t *testing.T) {
	for id, app := range map[string]string{"": shop, "a/b": shop, "a b%": shop, "abcd1234": "no app"} {
		if _, err := New(Config{Edge: newEdge(), Apps: map[string]string{id: app}}); err == nil {
			t.Errorf("%q for %q is taken", app, id)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no edge is taken")
	}
}

// FuzzCheck holds every body against the two answers that there are.
func FuzzCheck(f *testing.F) {
	e := newEdge()
	r := e.release(f, "1.0.0", page("1"))
	e.publish(f, "Production", r)
	a, err := New(Config{Apps: map[string]string{shopID: shop}, Edge: e, Now: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	for _, body := range []string{
		cordova("Production", ""), cordova("Production", Snapshot(r.Bundle)), capacitor("", true),
		capacitor("x", false), "{}", "null", `{"manifest":"true","is_portals":null}`,
	} {
		f.Add([]byte(body))
	}
	f.Add([]byte("{" + strings.Repeat(`"manifest":[0],`, 10_000) + `"device":{}}`))
	f.Add([]byte(`{"channel_name":"` + strings.Repeat(`\u0001`, 10_000) + `"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var answer Answer
		var err error
		cost.Check(t, len(body), func() { answer, err = a.Check(Query{ID: shopID, Base: base, Body: body}) })
		if err != nil {
			p, ok := errors.AsType[*protocol.Problem](err)
			if !ok || p.Status < 400 || p.Status > 499 || !json.Valid(Fail(p, "").Body) {
				t.Fatalf("%q gets %v", body, err)
			}
			return
		}
		got := decode(t, answer.Body)["data"].(map[string]any)
		names := make([]string, 0, len(got))
		for name := range got {
			names = append(names, name)
		}
		slices.Sort(names)
		want := []string{"available", "build", "compatible", "incompatibleUpdateAvailable", "partial", "snapshot", "url"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Fatalf("members (-want +got):\n%s", diff)
		}
		if got["available"] == true && got["snapshot"] != Snapshot(r.Bundle) {
			t.Fatalf("%q gets %v", body, got)
		}
	})
}
