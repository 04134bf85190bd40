package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
)

// alphabet is 26 letters in pieces of five.
type alphabet struct{ fails error }

func (a *alphabet) Size() int64 { return 26 }

func (a *alphabet) Piece(offset int64) ([]byte, error) {
	if a.fails != nil && offset >= 10 {
		return nil, a.fails
	}
	return []byte("abcdefghijklmnopqrstuvwxyz")[offset:min(26, offset-offset%5+5)], nil
}

func TestPieceReader_Conforms(t *testing.T) {
	r := ReadPieces(&alphabet{})
	if err := iotest.TestReader(&r, []byte("abcdefghijklmnopqrstuvwxyz")); err != nil {
		t.Error(err)
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek before the start = nil")
	}
	var b bytes.Buffer
	if at, err := r.Seek(-7, io.SeekEnd); at != 19 || err != nil {
		t.Fatalf("Seek = %d, %v, want 19", at, err)
	}
	if n, err := r.WriteTo(&b); n != 7 || err != nil || b.String() != "tuvwxyz" {
		t.Errorf("WriteTo = %d, %v: %q", n, err, &b)
	}
	if at, err := r.Seek(3, io.SeekCurrent); at != 29 || err != nil {
		t.Fatalf("Seek = %d, %v, want 29", at, err)
	}
	if n, err := r.WriteTo(&b); n != 0 || err != nil {
		t.Errorf("WriteTo beyond the end = %d, %v", n, err)
	}
}

// A source that was cut fails with io.EOF, which is not the end of the whole.
func TestPieceReader_SourceIsTruncated(t *testing.T) {
	r := ReadPieces(&alphabet{fails: fmt.Errorf("fetch: %w", io.EOF)})
	if n, err := r.WriteTo(io.Discard); n != 10 || !errors.Is(err, io.EOF) {
		t.Errorf("WriteTo = %d, %v, want 10 and what the source said", n, err)
	}
}

// A reader of an archive or a file costs what it holds: one allocation beside the layout's.
func TestFileReader_AllocatesLittle(t *testing.T) {
	ix, _ := index(t, map[string][]byte{"app.js": []byte("export {}")})
	if n := testing.AllocsPerRun(100, func() { NewFile(context.Background(), &ix.Files[0], nil) }); n > 3 {
		t.Errorf("NewFile allocates %v times, want 3", n)
	}
}
