package node

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/semantics"
	"brink/protocol"
	"brink/publish"
)

func TestNode_LetsOneOfTwoRacingPublishersWin(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	const racers = 8
	errs := make([]error, racers)
	var race sync.WaitGroup
	for i := range racers {
		files := www("2.0.0")
		files["racer.txt"] = string(rune('a' + i))
		dir := folder(t, files)
		race.Go(func() {
			_, errs[i] = f.publisher().
				Publish(context.Background(), publish.Request{Dir: dir, App: testApp, Version: "2.0.0", Channel: "production"})
		})
	}
	race.Wait()
	winners := 0
	for _, err := range errs {
		switch {
		case err == nil:
			winners++
		case !errors.Is(err, publish.ErrConflict) && channel.CodeOf(err) != channel.CodeVersionTaken:
			t.Errorf("a loser got %v, want a conflict", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d publishers won, want one", winners)
	}
	if m, err := f.publisher().Channel(context.Background(), testApp, "production"); err != nil || m.Sequence != 2 {
		t.Errorf("the channel is at %+v, %v; want sequence 2", m, err)
	}
}

func TestNode_PromotesAndRollsBack(t *testing.T) {
	f := start(t)
	ctx := context.Background()
	f.publish("1.0.0")
	f.publish("1.1.0")
	p := f.publisher()
	if r, err := p.Promote(ctx, testApp, "production", "beta", false); err != nil || r.Version != "1.1.0" ||
		r.Sequence != 1 {
		t.Errorf("promote: %+v, %v", r, err)
	}
	if r, err := p.RollBack(ctx, testApp, "production", "", true); err != nil || r.Version != "1.0.0" ||
		r.Sequence != 3 ||
		!r.DryRun {
		t.Errorf("rollback, dry: %+v, %v", r, err)
	}
	if m, err := p.Channel(ctx, testApp, "production"); err != nil || m.Sequence != 2 {
		t.Errorf("after a dry run: %+v, %v", m, err)
	}
	if r, err := p.RollBack(ctx, testApp, "production", "", false); err != nil || r.Version != "1.0.0" ||
		r.Sequence != 3 {
		t.Errorf("rollback: %+v, %v", r, err)
	}
	if _, err := p.RollBack(ctx, testApp, "production", "9.9.9", false); channel.CodeOf(
		err,
	) != channel.CodeNotInHistory {
		t.Errorf("rollback to nothing: %v", err)
	}
	if _, err := p.Promote(ctx, testApp, "nothing", "beta", false); !errors.Is(err, publish.ErrUnpublished) {
		t.Errorf("promote nothing: %v", err)
	}
}

// builds counts the representations that a builder has built. While it is locked, the builder stops behind the next one,
// before anybody learns that it is there.
type builds struct {
	sync.Mutex

	count atomic.Int64
}

func (b *builds) built(semantics.Coding, time.Duration) {
	b.count.Add(1)
	b.Lock()
	defer b.Unlock()
}

func TestNode_KeepsTheFormerReleaseUntilTheNextIsPrepared(t *testing.T) {
	var builds builds
	f := start(t, func(c *Config) { c.Prepare, c.built = time.Minute, builds.built })
	f.publish("1.0.0")
	f.settle()
	before := builds.count.Load()
	builds.Lock() // nothing is prepared now
	release := sync.OnceFunc(builds.Unlock)
	defer release()
	published := make(chan publish.Result)
	go func() { published <- f.publish("1.1.0") }()
	inForce := func() uint64 { return f.state.Manifest(testApp, "production").Sequence }
	until(t, "the next release is being prepared", func() bool {
		if inForce() != 1 {
			t.Fatal("a release came into force before it was prepared")
		}
		return builds.count.Load() > before
	})
	select {
	case <-published:
		t.Error("the publisher is told of a release that is not prepared")
	default:
	}
	if inForce() != 1 {
		t.Error("a release came into force while it was being prepared")
	}
	release()
	<-published
	if inForce() != 2 {
		t.Error("a release that is prepared is not in force")
	}
}

func TestNode_TakesARepeatedPublishWhileTheFirstComesIntoForce(t *testing.T) {
	var builds builds
	f := start(t, func(c *Config) { c.Prepare, c.built = time.Minute, builds.built })
	f.publish("1.0.0")
	f.settle()
	before := builds.count.Load()
	builds.Lock() // nothing is prepared now
	release := sync.OnceFunc(builds.Unlock)
	defer release()
	results := make(chan publish.Result)
	for range 2 {
		go func() { results <- f.publish("1.1.0") }() // fails the test on a conflict
	}
	until(t, "the node prepares the release while both wait", func() bool {
		_, metrics := f.admin("/metrics")
		return builds.count.Load() > before && strings.Contains(metrics, "brink_http_handlers_active 2\n")
	})
	release()
	first, second := <-results, <-results
	if first.Sequence != 2 || second.Sequence != 2 {
		t.Errorf("both at once: %+v and %+v, want the same sequence", first, second)
	}
}

// signed returns the next manifest of production after the one in force, changed and signed by key.
func (f *fixture) signed(key channel.PrivateKey, change func(*channel.Manifest)) []byte {
	f.t.Helper()
	current, err := f.publisher().Channel(context.Background(), testApp, "production")
	if err != nil {
		f.t.Fatal(err)
	}
	release := current.Release
	release.Comment = "amended"
	next, err := current.Amend(release, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	if change != nil {
		change(next)
	}
	raw, err := channel.SignManifest(next, key)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

func TestNode_RefusesManifestsThatDoNotCount(t *testing.T) {
	f := start(t)
	f.publish("0.9.0")
	f.publish("1.0.0")
	_, now := f.get(protocol.ChannelPath(testApp, "production"))
	tag := protocol.Tag(digest.Sum(now))
	stranger := newKey(t)
	for name, test := range map[string]struct {
		path   string
		body   []byte
		status int
		code   channel.Code
	}{
		"unknown key":    {"", f.signed(stranger, nil), 403, channel.CodeUnknownKey},
		"root key":       {"", f.signed(f.root, nil), 403, channel.CodeWrongRole},
		"wrong channel":  {"", f.signed(f.key, func(m *channel.Manifest) { m.Channel = "locked" }), 403, channel.CodeWrongChannel},
		"wrong app":      {"", f.signed(f.key, func(m *channel.Manifest) { m.App = "org.other" }), 403, channel.CodeWrongApp},
		"another's path": {protocol.ChannelPath(testApp, "beta"), f.signed(f.key, nil), 403, channel.CodeWrongChannel},
		"lower sequence": {"", f.signed(f.key, func(m *channel.Manifest) { m.Sequence = 1 }), 409, channel.CodeSequenceNotHigher},
		"same sequence":  {"", f.signed(f.key, func(m *channel.Manifest) { m.Sequence = 2 }), 409, channel.CodeEquivocation},
		"expired": {"", f.signed(f.key, func(m *channel.Manifest) {
			m.Issued = m.Issued.Add(-2 * time.Hour)
			m.Expires = m.Issued.Add(time.Hour)
		}), 403, channel.CodeExpired},
		"from the future":  {"", f.signed(f.key, func(m *channel.Manifest) { m.Issued = m.Issued.Add(time.Hour) }), 403, channel.CodeNotYetValid},
		"signature broken": {"", spoilSignature(t, f.signed(f.key, nil)), 403, channel.CodeBadSignature},
		"no manifest":      {"", []byte("{}"), 400, channel.CodeWrongType},
		"too large":        {"", bytes.Repeat([]byte(" "), channel.MaxManifest+1), 413, channel.CodeTooLarge},
		"missing bundle":   {"", f.signed(f.key, func(m *channel.Manifest) { m.Release.Bundle = digest.Sum([]byte("nowhere")) }), 409, protocol.CodeIncomplete},
	} {
		path := test.path
		if path == "" {
			path = protocol.ChannelPath(testApp, "production")
		}
		resp, body := f.do(http.MethodPut, path, bytes.NewReader(test.body), "If-Match", tag)
		t.Log(name)
		wantProblem(t, resp, body, test.status, string(test.code))
	}
	next := f.signed(f.key, nil)
	for name, test := range map[string]struct {
		fields []string
		status int
		code   string
	}{
		"no condition":    {nil, 428, protocol.CodePrecondition},
		"both":            {[]string{"If-Match", tag, "If-None-Match", "*"}, 428, protocol.CodePrecondition},
		"garbage":         {[]string{"If-Match", "x"}, 400, protocol.CodeBadRequest},
		"for a new one":   {[]string{"If-None-Match", "*"}, 412, protocol.CodeConflict},
		"for another one": {[]string{"If-Match", protocol.Tag(digest.Sum(nil))}, 412, protocol.CodeConflict},
	} {
		resp, body := f.do(
			http.MethodPut,
			protocol.ChannelPath(testApp, "production"),
			bytes.NewReader(next),
			test.fields...)
		t.Log(name)
		wantProblem(t, resp, body, test.status, test.code)
	}
	if _, after := f.get(protocol.ChannelPath(testApp, "production")); !bytes.Equal(now, after) {
		t.Error("a refused manifest changed the channel")
	}
	for range 2 { // the second is a repetition of a request whose answer was lost
		if resp, body := f.do(http.MethodPut, protocol.ChannelPath(testApp, "production"), bytes.NewReader(next), "If-Match", tag); resp.StatusCode != 200 {
			t.Errorf("the right one: %d %s", resp.StatusCode, body)
		}
	}
}

func spoilSignature(t *testing.T, raw []byte) []byte {
	t.Helper()
	i := bytes.Index(raw, []byte(`"sig":"`)) + len(`"sig":"`)
	if i < 10 {
		t.Fatal("no signature found")
	}
	spoilt := bytes.Clone(raw)
	if spoilt[i] == 'A' {
		spoilt[i] = 'B'
	} else {
		spoilt[i] = 'A'
	}
	return spoilt
}
