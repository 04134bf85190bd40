package e2e_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"brink/origin/bucket/buckettest"
)

// credentials leaves credentials for S3 stores where programs of the test find them.
func (p *program) credentials(t *testing.T) {
	t.Helper()
	text := "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n"
	tree{"credentials": text}.write(t, p.file(".aws"))
}

// publishTo publishes a folder to production in a bucket.
func (p *program) publishTo(t *testing.T, s *buckettest.S3, folder, version string) {
	t.Helper()
	p.must(t, "publish", folder, "--origin", s.Address(), "--key", p.key, "--trust", p.trust,
		"--app", app, "--version", version, "--channel", production)
}

// objects returns all objects of a store.
func objects(s *buckettest.S3) map[string][]byte {
	all := map[string][]byte{}
	for _, key := range s.Keys() {
		all[key] = s.Object(key)
	}
	return all
}

// become makes a store hold these objects and nothing else.
func become(s *buckettest.S3, all map[string][]byte) {
	for _, key := range s.Keys() {
		if all[key] == nil {
			s.Set(key, nil)
		}
	}
	for key, raw := range all {
		s.Set(key, raw)
	}
}

// follows starts a node that reads from a store and lets it ask there a few times.
func (p *program) follows(t *testing.T, s *buckettest.S3, data string) *node {
	t.Helper()
	n := p.serve(t, data, withOrigin(s.Address())...)
	asked(t, s)
	return n
}

// asked returns when nodes have asked a store for the channel again, more than once.
func asked(t *testing.T, s *buckettest.S3) {
	t.Helper()
	s.Count("GET", "")
	times := 0
	until(t, "the store is asked again", func() bool {
		times += s.Count("GET", "trust/acme.json")
		return times > 1
	})
}

// TestHostile_BucketForgesReleases has a node start from a bucket that an attacker has filled, under a trust document of
// the attacker's own. It serves nothing of it, and the org's release as soon as the bucket has that.
func TestHostile_BucketForgesReleases(t *testing.T) {
	t.Parallel()
	p := begin(t)
	p.credentials(t)
	files := tree{"index.html": "honest"}
	honest := buckettest.New(t.Cleanup)
	p.publishTo(t, honest, files.write(t, p.file("www")), "1.0.0")
	good := objects(honest)
	for _, version := range []int{1, 3} {
		thief := p.thief(t, version)
		thief.credentials(t)
		forged := buckettest.New(t.Cleanup)
		thief.publishTo(t, forged, loot().write(t, thief.file("loot")), "9.9.9")
		bad := objects(forged)
		mixed := maps.Clone(bad)
		maps.DeleteFunc(mixed, func(key string, _ []byte) bool { return strings.HasPrefix(key, "trust/") })
		maps.Copy(mixed, only(good, "trust/"))
		for name, all := range map[string]map[string][]byte{"all forged": bad, "trust is the org's": mixed} {
			data := fmt.Sprintf("%s, version %d", name, version)
			t.Run(data, func(t *testing.T) {
				t.Parallel()
				s := buckettest.New(t.Cleanup)
				become(s, all)
				o := p.run(t, "publish", "www", "--json", "--origin", s.Address(), "--key", p.key, "--trust", p.trust,
					"--app", app, "--version", "1.1.0", "--channel", production)
				if said := failureOf(t, o); o.code != 3 || said.Code != "foreign_trust" && said.Code != "unknown_key" {
					t.Errorf("publish ended with %d: %+v", o.code, said)
				}
				n := p.follows(t, s, data)
				if got := manifestOf(n); got != "" {
					t.Errorf("the node has in force %s", got)
				}
				p.wantRefused(t, "device of "+data, nil, n.url)
				if after := objects(s); !maps.EqualFunc(after, all, bytes.Equal) {
					t.Errorf("something was written to the bucket: %v, had %v", s.Keys(), slices.Sorted(maps.Keys(all)))
				}
				become(s, good)
				until(t, "the node has the org's release", func() bool { return manifestOf(n) != "" })
				p.wantHonest(t, "device of "+data, "1.0.0", files, n.url)
			})
		}
	}
}

// only returns the objects whose keys hold a text.
func only(all map[string][]byte, text string) map[string][]byte {
	some := maps.Clone(all)
	maps.DeleteFunc(some, func(key string, _ []byte) bool { return !strings.Contains(key, text) })
	return some
}

// TestHostile_BucketPutsBackOlderReleases has a bucket go back to what it was, under a node that has seen more.
func TestHostile_BucketPutsBackOlderReleases(t *testing.T) {
	t.Parallel()
	p := begin(t)
	p.credentials(t)
	s := buckettest.New(t.Cleanup)
	first, next, last := tree{"index.html": "first"}, tree{"index.html": "next"}, tree{"index.html": "last"}
	p.publishTo(t, s, first.write(t, p.file("first")), "1.0.0")
	old := objects(s)
	p.publishTo(t, s, next.write(t, p.file("next")), "1.1.0")
	fresh := objects(s)
	n := p.serve(t, "data", withOrigin(s.Address())...)
	until(t, "the node has what the bucket has", func() bool { return manifestOf(n) != "" })
	p.wantHonest(t, "device", "1.1.0", next, n.url)
	want := manifestOf(n)

	become(s, old)
	asked(t, s)
	if manifestOf(n) != want {
		t.Error("the node went back with the bucket")
	}
	n.stop(t)
	n = p.follows(t, s, "data")
	if manifestOf(n) != want {
		t.Error("the node went back with the bucket when it started")
	}
	p.wantHonest(t, "device", "1.1.0", next, n.url)

	// A node that has seen nothing can be given what was signed once. Devices that have seen more refuse it.
	frozen := buckettest.New(t.Cleanup)
	become(frozen, old)
	other := p.follows(t, frozen, "other")
	until(t, "the empty node has what the bucket has", func() bool { return manifestOf(other) != "" })
	if said := p.wantRefused(t, "device", next, other.url); said.Code != "sequence_not_higher" {
		t.Errorf("the refusal is %+v", said)
	}
	p.wantHonest(t, "device", "1.1.0", next, other.url, n.url)

	// When the buckets have what was signed last, both go on.
	become(s, fresh)
	p.publishTo(t, s, last.write(t, p.file("last")), "1.2.0")
	become(frozen, objects(s))
	for _, one := range []*node{n, other} {
		until(t, "the node has what was published last", func() bool {
			o := p.fetchFrom(t, "device of "+one.url[len("http://"):], one.url)
			return o.code == 0 && decode[fetched](t, o.stdout).Version == "1.2.0"
		})
	}
	p.wantHonest(t, "device", "1.2.0", last, other.url)
}

// TestHostile_BucketIsSpoilt has nodes start from buckets in which objects are changed, or are those of another release.
// They serve what was signed, or nothing.
func TestHostile_BucketIsSpoilt(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	p.credentials(t)
	files := webApp(rnd, 128<<10).with("index.html", "honest")
	s, foreign := buckettest.New(t.Cleanup), buckettest.New(t.Cleanup)
	p.publishTo(t, s, files.write(t, p.file("www")), "1.0.0")
	p.publishTo(t, foreign, loot().write(t, p.file("loot")), "1.0.0")
	good, bad := objects(s), objects(foreign)
	honest := p.serve(t, "honest", withOrigin(s.Address())...)
	until(t, "the node has what the bucket has", func() bool { return manifestOf(honest) != "" })

	for _, kind := range []string{
		"trust/", "/current.json", "catalog.json", "/index.json", "/intent.json", "/map.json", "packs/",
	} {
		for name, change := range map[string]func(raw []byte) []byte{
			"flipped": func(raw []byte) []byte {
				raw = bytes.Clone(raw)
				for at := len(raw) / 8; at < len(raw); at += max(1, len(raw)/4) {
					raw[at] ^= 1
				}
				return raw
			},
			"cut":     func(raw []byte) []byte { return raw[:len(raw)/2] },
			"empty":   func([]byte) []byte { return []byte{} },
			"longer":  func(raw []byte) []byte { return append(bytes.Clone(raw), bytes.Repeat([]byte(" "), 1<<20)...) },
			"swapped": nil,
		} {
			if !isLong() && name != "flipped" {
				continue
			}
			t.Run(strings.Trim(kind, "/")+" "+name, func(t *testing.T) {
				t.Parallel()
				spoilt := buckettest.New(t.Cleanup)
				become(spoilt, good)
				touched := only(good, kind)
				if len(touched) == 0 {
					t.Fatalf("no object is of this kind: %v", s.Keys())
				}
				others := slices.Sorted(maps.Keys(only(bad, kind)))
				for key, raw := range touched {
					if change != nil {
						spoilt.Set(key, change(raw))
					} else {
						spoilt.Set(key, bad[others[0]])
					}
				}
				dir := strings.ReplaceAll(kind, "/", "") + " " + name
				n := p.follows(t, spoilt, "node of "+dir)
				o := p.fetchFrom(t, dir, n.url)
				if o.code == 0 {
					p.wantRuns(t, dir, files)
				} else {
					p.wantRuns(t, dir, nil)
				}
				p.wantHonest(t, dir, "1.0.0", files, n.url, honest.url)
			})
		}
	}
}
