package publish

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"brink/channel"
	"brink/protocol"
)

// fakeAttacher makes an attachment with one file, as it is told.
type fakeAttacher struct {
	kind   string
	plan   Plan
	refuse error

	before  *Before // what Plan was told last
	checked error
}

func (a *fakeAttacher) Kind() string { return a.kind }

func (a *fakeAttacher) Check() error { return a.checked }

func (a *fakeAttacher) Plan(before Before) (Plan, error) {
	a.before = &before
	return a.plan, a.refuse
}

func (a *fakeAttacher) Attach(_ context.Context, src *Source, dir *os.Root) error {
	text := a.kind + " of " + src.App + " " + src.Release.Index.Bundle().String()
	if src.From.Index != nil {
		text += " from " + src.From.Index.Files[0].Path
	}
	return dir.WriteFile("made", []byte(text), 0o600)
}

// with publishes with the attachers, as a version.
func with(version string, attachers ...Attacher) func(*Config, *Request) {
	return func(_ *Config, r *Request) { r.Version, r.Attachments = version, attachers }
}

func TestAttacher_IsToldWhatTheChannelServes(t *testing.T) {
	n := newFakeNode(t)
	a := &fakeAttacher{kind: "other", plan: Plan{Action: Make}}
	for _, step := range []struct {
		version string
		action  Action
		want    Before
		has     bool // the release that the channel serves then
	}{
		{"1.0.0", Keep, Before{}, false},
		{"1.1.0", Make, Before{Version: "1.0.0"}, true},
		{"1.1.0", Keep, Before{Version: "1.1.0", Attached: true, Same: true}, true},
		{"1.1.0", Drop, Before{Version: "1.1.0", Attached: true, Same: true}, false},
		{"1.2.0", Make, Before{Version: "1.1.0"}, true},
		{"1.3.0", Keep, Before{Version: "1.2.0", Attached: true}, false},
	} {
		a.plan = Plan{Action: step.action}
		if _, err := n.publish(with(step.version, a)); err != nil {
			t.Fatal(err)
		}
		if n.moved != nil {
			n.inForce()
		}
		m, err := channel.ParseManifest(n.manifest)
		if err != nil {
			t.Fatal(err)
		}
		if *a.before != step.want || m.Release.Attachment("other") != nil != step.has {
			t.Errorf("%+v: told %+v, attachments %+v", step, *a.before, m.Release.Attachments)
		}
	}
}

// TestAttacher_IsGivenWhatItIsMadeFrom: be that published itself or not.
func TestAttacher_IsGivenWhatItIsMadeFrom(t *testing.T) {
	for _, zip := range []Choice{Unwanted, AsBefore, Wanted} {
		n := newFakeNode(t)
		second := &fakeAttacher{kind: "second", plan: Plan{Action: Keep, From: protocol.AttachmentZip}}
		third := &fakeAttacher{kind: "third", plan: Plan{Action: Make, From: "second"}}
		var last Event
		_, err := n.publish(with("1.0.0", Zip{Choice: zip}, second, third), func(c *Config, _ *Request) {
			c.Progress = func(e Event) {
				if e.Stage == Attaching {
					last = e
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		m := n.inForce()
		_, files := n.files(m, "third")
		if text := string(files["made"].Data); !strings.HasPrefix(text, "third of com.acme.shop ") ||
			!strings.HasSuffix(text, " from made") {
			t.Errorf("made %q", text)
		}
		var kinds []string
		for _, a := range m.Release.Attachments {
			kinds = append(kinds, a.Kind)
		}
		want := []string{"third"}
		if zip == Wanted {
			want = []string{"zip", "third"}
		}
		if !slices.Equal(kinds, want) {
			t.Errorf("attachments %v, want %v", kinds, want)
		}
		if last.Done == 0 || last.Done != last.Total {
			t.Errorf("%d of %d bytes were read in the end", last.Done, last.Total)
		}
	}
}

func TestPublisher_RefusesAttachersThatDoNotFit(t *testing.T) {
	wrong := errors.New("wrong")
	for name, attachers := range map[string][]Attacher{
		"two of one kind":   {&fakeAttacher{kind: "one"}, &fakeAttacher{kind: "one"}},
		"one that is wrong": {&fakeAttacher{kind: "one", checked: wrong}},
		"one that refuses":  {&fakeAttacher{kind: "one", refuse: wrong}},
		"made from nothing": {&fakeAttacher{kind: "one", plan: Plan{Action: Make, From: "none"}}},
		"made from itself":  {&fakeAttacher{kind: "one", plan: Plan{Action: Make, From: "one"}}},
		"made from a later one": {
			&fakeAttacher{kind: "one", plan: Plan{Action: Make, From: "two"}}, &fakeAttacher{kind: "two"},
		},
		"no name of a kind": {&fakeAttacher{kind: "not a kind", plan: Plan{Action: Make}}},
	} {
		n := newFakeNode(t)
		if _, err := n.publish(with("1.0.0", attachers...)); err == nil || n.called("POST") > 0 || n.moved != nil {
			t.Errorf("%s: %v, %v", name, err, n.calls)
		}
	}
}

// TestPublisher_LeavesNoKindBehind: devices that need an attachment are not left without by a publisher that does not
// know it.
func TestPublisher_LeavesNoKindBehind(t *testing.T) {
	n := newFakeNode(t)
	a := &fakeAttacher{kind: "other", plan: Plan{Action: Make}}
	if _, err := n.publish(with("1.0.0", a)); err != nil {
		t.Fatal(err)
	}
	other := n.inForce().Release.Attachment("other")
	_, err := n.publish(with("1.1.0"))
	if refused, ok := errors.AsType[*AttachmentError](err); !ok || refused.Kind != "other" || refused.Hint == "" ||
		n.moved != nil {
		t.Errorf("the next release without it: %v", err)
	}
	r, err := n.publish(with("1.0.0"))
	if err != nil || !r.Unchanged || len(r.Attachments) != 1 || r.Attachments[0].Bundle != other.Bundle {
		t.Errorf("the same again: %+v, %v", r, err)
	}
	a.plan.Action = Drop
	if _, err := n.publish(with("1.1.0", a)); err != nil || n.inForce().Release.Attachments != nil {
		t.Errorf("when it is dropped: %v", err)
	}
}
