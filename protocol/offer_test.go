package protocol

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"brink/bench/cost"
	"brink/channel"
	"brink/digest"
)

func TestReadIntent_LeavesTheIndex(t *testing.T) {
	for _, size := range []int{1, 100, 4096, 5000, channel.MaxIntent} {
		intent, index := bytes.Repeat([]byte("i"), size), []byte("{\"the\nindex\"")
		r := bufio.NewReaderSize(bytes.NewReader(Offer(intent, index)), 4<<10)
		got, err := ReadIntent(r, nil)
		if err != nil || !bytes.Equal(got, intent) {
			t.Fatalf("an intent of %d bytes: %d bytes, %v", size, len(got), err)
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(rest, index) {
			t.Errorf("what follows an intent of %d bytes: %q, %v", size, rest, err)
		}
	}
}

func TestReadIntent_StopsAtTheLimit(t *testing.T) {
	for name, offer := range map[string]string{
		"empty": "", "no line feed": `{"payload":""}`, "too long": strings.Repeat("x", channel.MaxIntent+2),
		"far too long": strings.Repeat("x", 8<<20) + "\n",
	} {
		source := strings.NewReader(offer)
		r := bufio.NewReaderSize(source, 4<<10)
		cost.Check(t, 0, func() {
			if _, err := ReadIntent(r, nil); !errors.Is(err, ErrNoIntent) {
				t.Errorf("%s: %v", name, err)
			}
		})
		if read := len(offer) - source.Len(); read > channel.MaxIntent+8<<10 {
			t.Errorf("%s: %d bytes were read", name, read)
		}
	}
	full := errors.New("no room")
	r := bufio.NewReaderSize(strings.NewReader(strings.Repeat("x", 5000)), 4<<10)
	if _, err := ReadIntent(r, func(int64) error { return full }); !errors.Is(err, full) {
		t.Errorf("without room: %v", err)
	}
}

func TestCheckUpload_AcceptsOnlyAPath(t *testing.T) {
	if err := CheckUpload(UploadPath("A1-b_2")); err != nil {
		t.Error(err)
	}
	for _, path := range []string{
		"", "/v1/uploads/", "@evil.example/", ".evil.example/v1/uploads/x", "/v1/uploads/../x", "/v1/uploads/a/b",
		"/v1/uploads/a?b", "/v1/uploads/a%2fb", "//evil.example/v1/uploads/x", "/v1/uploads/a#b", "/v1/uploads/a b",
		"/v1/uploads/\r\n", "https://evil.example/v1/uploads/x", "/v1/uploads/" + strings.Repeat("x", 129),
	} {
		if err := CheckUpload(path); err == nil {
			t.Errorf("%q is taken for the path of an upload", path)
		}
	}
}

func FuzzReadIntent(f *testing.F) {
	f.Add([]byte("{}\n{}"))
	f.Add(bytes.Repeat([]byte("x"), channel.MaxIntent+2))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cost.Check(t, len(raw), func() {
			r := bufio.NewReaderSize(bytes.NewReader(raw), 4<<10)
			intent, err := ReadIntent(r, nil)
			if err != nil {
				return
			}
			rest, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(Offer(intent, rest), raw) {
				t.Errorf("read as %q and %q", intent, rest)
			}
		})
	})
}

// fuzzJSON has hostile text read as a shape that strangers or hostile nodes send.
func fuzzJSON[T any](f *testing.F, seeds ...string) {
	for _, list := range []string{"chunks", "missing"} {
		for _, element := range []string{"null", "{}", `""`, `"` + digest.Sum(nil).String() + `"`} {
			f.Add([]byte(`{"` + list + `":[` + strings.Repeat(element+",", 20_000) + element + "]}"))
		}
	}
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		cost.Check(t, len(raw), func() {
			var what T
			_ = json.Unmarshal(raw, &what)
		})
	})
}

func FuzzBatch(f *testing.F) { fuzzJSON[Batch](f) }

func FuzzDemand(f *testing.F) {
	fuzzJSON[Demand](f, `{"complete":true}`, `{"missing":[],"upload":"/v1/uploads/x"}`)
}

func FuzzCheckRequest(f *testing.F) {
	fuzzJSON[CheckRequest](f, `{"channel":"production","device":{"platform":"ios"}}`)
}
