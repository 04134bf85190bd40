package store

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"brink/bench/cost"
	"brink/bundle"
	"brink/digest"
)

func TestEnvelope_RoundTripAndEveryFlip(t *testing.T) {
	for _, f := range []bundle.Frame{
		bundle.NewCodec().Frame(bytes.Repeat([]byte("brink "), 1000)),
		bundle.NewCodec().Frame([]byte("raw")),
	} {
		value := appendEnvelope(nil, f)
		if err := checkHeader(f.Digest, value); err != nil {
			t.Fatal(err)
		}
		if err := checkSum(f.Digest, value); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, openEnvelope(f.Digest, value)); diff != "" {
			t.Fatal(diff)
		}
		if checkHeader(digest.Sum([]byte("other")), value) == nil {
			t.Error("a value under a foreign key is accepted")
		}
		for i := range value {
			bad := bytes.Clone(value)
			bad[i] ^= 1
			if checkHeader(f.Digest, bad) == nil && checkSum(f.Digest, bad) == nil {
				t.Fatalf("a flip of byte %d is not found out", i)
			}
		}
		for n := range value {
			if checkHeader(f.Digest, value[:n]) == nil && checkSum(f.Digest, value[:n]) == nil {
				t.Fatalf("a cut to %d bytes is not found out", n)
			}
		}
	}
}

func TestRecord_UnderAForeignKey(t *testing.T) {
	value := sealRecord("manifest/a/beta", []byte("{}"))
	if payload, err := openRecord("manifest/a/beta", value); err != nil || string(payload) != "{}" {
		t.Fatalf("openRecord = %q, %v", payload, err)
	}
	for _, key := range []string{"manifest/a/production", "manifest/a/bet", ""} {
		if _, err := openRecord(key, value); err == nil {
			t.Errorf("openRecord accepts the record of another key under %q", key)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	frame := bundle.NewCodec().Frame([]byte("a chunk"))
	f.Add(appendEnvelope(nil, frame))
	codec := bundle.NewCodec()
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) < envelopeHeader {
			if checkHeader(digest.Digest{}, value) == nil {
				t.Error("a short value is accepted")
			}
			return
		}
		d := digest.Digest(value[6:envelopeHeader])
		if checkHeader(d, value) != nil {
			return
		}
		var got bundle.Frame
		var plain []byte
		var err error
		// A frame decodes to a chunk at most.
		cost.AtMost(t, cost.Limit(len(value))+bundle.MaxChunk, func() {
			got = openEnvelope(d, value)
			plain, err = codec.Plain(got)
		})
		if err == nil && digest.Sum(plain) != d {
			t.Error("plain bytes of another digest")
		}
		if checkSum(d, value) == nil && !bytes.Equal(appendEnvelope(nil, got), value) {
			t.Error("an envelope that is not what would have been written")
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add("bundle/x", encodeRecord(bundleRecord{Size: 1, Index: object{Size: 1, Parts: make([]digest.Digest, 1)}}))
	f.Add("derived/x", encodeRecord(derivedRecord{Object: object{Size: 20 << 20, Lists: make([]digest.Digest, 1)}}))
	f.Add("", []byte{})
	for _, element := range []string{"null", `""`, `"` + digest.Sum(nil).String() + `"`} {
		list := strings.Repeat(element+",", 1<<14) + element
		f.Add("bundle/x", []byte(`{"index":{"parts":[`+list+`]},"chunks":{"lists":[`+list+`]}}`))
		f.Add("derived/x", []byte(`{"object":{"lists":[`+list+`]}}`))
	}
	f.Fuzz(func(t *testing.T, key string, payload []byte) {
		cost.Check(t, len(key)+len(payload), func() {
			_, _ = openRecord(key, payload)
			_, _ = decodeRecord[bundleRecord](payload)
			_, _ = decodeRecord[derivedRecord](payload)
		})
		if got, err := openRecord(key, sealRecord(key, payload)); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("round trip of %q = %v", payload, err)
		}
		if got, err := openRecord(key, payload); err == nil && !bytes.Equal(sealRecord(key, got), payload) {
			t.Error("a record that is not what would have been written")
		}
		if r, err := decodeRecord[bundleRecord](payload); err == nil {
			if r.Index.Size < 0 || r.Chunks.Size < 0 {
				t.Error("a size below 0")
			}
			if !json.Valid(encodeRecord(r)) {
				t.Error("not JSON")
			}
		}
		if r, err := decodeRecord[derivedRecord](payload); err == nil && r.Object.parts() > 0 && len(r.Object.names()) == 0 {
			t.Error("an object without parts")
		}
	})
}

// The database counts transactions in a record of the same form, as folders of earlier versions have it.
func TestRecord_CountOfTransactions(t *testing.T) {
	s := openStore(t, Config{})
	for _, value := range []string{"1", "2", "3"} {
		if err := s.PutState(t.Context(), map[string][]byte{"stats/a": []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	if payload, err := s.records.get("count/"); err != nil || len(payload) != 8 || decodeCount(payload) != 3 {
		t.Errorf("the count is %x, %v, want 3", payload, err)
	}
}
