package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// A value log with damage at any byte keeps all entries but the one that was hit.
func TestMendEntries_LosesOne(t *testing.T) {
	var data []byte
	var ends []int
	for i := range 4 {
		data = append(data, logEntry(byte(i), 70+i*90)...)
		ends = append(ends, len(data))
	}
	sound := bytes.Clone(data)
	if n := mendEntries(sound); n != 0 || !bytes.Equal(sound, data) {
		t.Fatalf("%d places of sound data were mended", n)
	}
	for i := range ends[2] {
		bad := bytes.Clone(data)
		bad[i] ^= 0x20
		if n := mendEntries(bad); n != 1 {
			t.Fatalf("byte %d: %d places mended, want 1", i, n)
		}
		start := 0
		for entry, end := range ends {
			if hit := i >= start && i < end; !hit && !bytes.Equal(bad[start:end], data[start:end]) {
				t.Fatalf("byte %d: entry %d has changed", i, entry)
			}
			start = end
		}
		if at := walk(bad); at != len(bad) {
			t.Fatalf("byte %d: the entries can be read up to %d of %d", i, at, len(bad))
		}
	}
}

// walk reads entries of any key, as Badger does, and returns where it stops.
func walk(data []byte) (at int) {
	for at < len(data) {
		n := anyEntry(data[at:])
		if n == 0 {
			return at
		}
		at += n
	}
	return at
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
		got := openEnvelope(d, value)
		if plain, err := codec.Plain(got); err == nil && digest.Sum(plain) != d {
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
	f.Fuzz(func(t *testing.T, key string, payload []byte) {
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

func FuzzMendEntries(f *testing.F) {
	f.Add(append(logEntry(1, 80), logEntry(2, 300)...))
	f.Fuzz(func(t *testing.T, before []byte) {
		data := bytes.Clone(before)
		n := mendEntries(data)
		if n == 0 && !bytes.Equal(before, data) {
			t.Error("changed without saying so")
		}
		if mendEntries(data) != 0 {
			t.Error("mended twice")
		}
	})
}

// logEntry is an entry of Badger's value log with a value of n bytes.
func logEntry(key byte, n int) []byte {
	b := binary.AppendUvarint([]byte{0, 0, digest.Size + versionSize}, uint64(n))
	b = append(b, 0)
	b = append(b, bytes.Repeat([]byte{key + 1}, digest.Size+versionSize)...)
	b = append(b, bytes.Repeat([]byte{key + 100}, n)...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// anyEntry is entryLength for keys of any length.
func anyEntry(data []byte) int {
	if len(data) < 3 {
		return 0
	}
	value, n := binary.Uvarint(data[3:])
	end := 3 + n + 1 + int(data[2]) + int(value)
	if n > 0 && end+crc32.Size <= len(data) &&
		crc32.Checksum(data[:end], castagnoli) == binary.BigEndian.Uint32(data[end:]) {
		return end + crc32.Size
	}
	return 0
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
