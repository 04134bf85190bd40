package bucket

import (
	"encoding/json"
	"strings"
	"testing"

	"brink/bench/cost"
	"brink/digest"
)

// A bucket is not believed: what it has under the name of a map or a catalog must not take the node's memory.
func TestParse_CostsLittleWhateverTheBytes(t *testing.T) {
	id := digest.Sum([]byte("a bundle"))
	for name, list := range map[string]string{
		"locations": `{"schema":1,"chunks":[`, "packs": `{"schema":1,"packs":[`, "channels": `{"schema":1,"channels":[`,
	} {
		for _, element := range []string{
			"{}", "null", `""`, `{"app":"a","channel":"b"}`, `{"app":"a" ,"app":"b"      }`,
			`{"digest":"` + id.String() + `","pack":0,"offset":8,"length":1}`,
		} {
			raw := []byte(list + strings.Repeat(element+",", 1<<15) + element + "]}")
			cost.Check(t, len(raw), func() {
				if _, err := parseMap(raw, id); err == nil {
					t.Errorf("%s of %s are taken", name, element)
				}
			})
			cost.Check(t, len(raw), func() { _, _ = parseCatalog(raw) })
		}
	}
}

func FuzzParseMap(f *testing.F) {
	id := digest.Sum([]byte("a bundle"))
	good, err := json.Marshal(chunkMap{
		Schema: 1, Bundle: id, Packs: digest.List{id}, Chunks: []location{{Digest: id, Offset: 8, Length: 100}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m *chunkMap
		var err error
		cost.Check(t, len(raw), func() { m, err = parseMap(raw, id) })
		if err != nil {
			return
		}
		for _, l := range m.Chunks {
			_ = m.Packs[l.Pack]
			if l.Offset < 0 || l.Length <= 0 || l.end() <= l.Offset {
				t.Errorf("a chunk at %d of %d bytes", l.Offset, l.Length)
			}
		}
		m.compact() // what a publisher does with the map of another bundle
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseMap(again, id); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

func FuzzParseCatalog(f *testing.F) {
	f.Add([]byte(`{"schema":1,"orgs":["acme"],"channels":[{"app":"com.acme.shop","channel":"beta"}]}`))
	f.Add([]byte(`{"schema":1,"orgs":["../x"]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c Catalog
		var err error
		cost.Check(t, len(raw), func() { c, err = parseCatalog(raw) })
		if err != nil {
			return
		}
		for _, one := range c.Channels {
			if err := checkNames(one.App, one.Channel); err != nil {
				t.Errorf("a name that is none: %v", err)
			}
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseCatalog(again); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu&style=path")
	f.Add("https://host/prefix/")
	f.Add("s3://")
	f.Add("s3://bucket?" + strings.Repeat("a&", 1000))
	f.Fuzz(func(t *testing.T, address string) {
		var p place
		var err error
		cost.Check(t, len(address), func() { p, err = parse(address) })
		if err != nil {
			return
		}
		if p.web == (p.bucket != "") || p.web != (p.base != "") {
			t.Errorf("%q is both or neither: %+v", address, p)
		}
	})
}
