package represent

import (
	"testing"

	"github.com/valyala/fasthttp"

	"brink/bench/cost"
	"brink/digest"
	"brink/node/internal/semantics"
	"brink/store"
)

func FuzzDerivedKey(f *testing.F) {
	id := digest.Sum([]byte("source")).String()
	f.Add("source=" + id + "&kind=zstd&base=" + digest.Digest{}.String())
	f.Add("source=" + id + "&kind=dcz&base=" + id)
	f.Add("kind=dcz")
	f.Fuzz(func(t *testing.T, query string) {
		var args fasthttp.Args
		var key store.DerivedKey
		var err error
		cost.Check(t, len(query), func() {
			args = fasthttp.Args{}
			args.Parse(query)
			key, err = derivedKey(&args)
		})
		if err != nil {
			return
		}
		if coding, ok := codingOf(key.Kind); !ok || (coding == semantics.DCZ) == key.Base.IsZero() || key.Source.IsZero() &&
			string(args.Peek("source")) != (digest.Digest{}).String() {
			t.Errorf("%q is read as %s", query, key)
		}
	})
}
