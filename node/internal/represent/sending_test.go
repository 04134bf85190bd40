package represent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"brink/digest"
	"brink/node/internal/serve"
)

// cutConn records that it was cut.
type cutConn struct {
	net.Conn

	cut bool
}

func (c *cutConn) Close() error {
	c.cut = true
	return nil
}

// In any order of loads, evictions and ends of answers, memory stays within the set and its spare, and is counted right.
func TestHot_BoundsMemory(t *testing.T) {
	contents := make([][]byte, 60)
	names := make([]digest.Digest, len(contents))
	for i := range contents {
		contents[i] = noise(byte(i), (4<<10)*(1+i%32))
		names[i] = digest.Sum(contents[i])
	}
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("files %t", direct), func(t *testing.T) {
			h, err := NewHot(HotConfig{Size: 1 << 20, Direct: direct, Grace: time.Nanosecond})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			random := rand.New(rand.NewPCG(1, 2))
			all := map[*held]bool{}
			open := map[*cutConn]io.ReadCloser{}
			var crowded, cut int
			for range 3000 {
				if n := random.IntN(10); n < 6 {
					i := random.IntN(len(contents))
					name, data, size := names[i], contents[i], int64(len(contents[i]))
					one, err := h.Find(name), error(nil)
					if one == nil {
						one, err = h.Load(name, size, func() (*serve.Whole, error) {
							return h.read(serve.NopCloser{Reader: bytes.NewReader(data)}, size)
						})
					}
					switch {
					case errors.Is(err, serve.ErrNoMemory):
						crowded++
					case err != nil:
						t.Fatal(err)
					case one.Owner != nil && n < 4:
						all[one.Owner.(*held)] = true
						conn := &cutConn{}
						open[conn] = one.Owner.Send(conn, 0, size)
					case one.Owner != nil:
						all[one.Owner.(*held)] = true
						one.Release()
					default:
						h.cache.Wait()
						if small, kept := h.cache.Get(keyOf(name)); kept {
							all[small] = true
						}
					}
				}
				for conn, stream := range open {
					if conn.cut || random.IntN(200) == 0 {
						if conn.cut {
							cut++
						}
						if got, err := io.ReadAll(stream); err != nil || len(got) < countedFrom {
							t.Fatalf("an answer reads %d bytes, %v", len(got), err)
						}
						_ = stream.Close()
						_ = stream.Close()
						delete(open, conn)
					}
				}
				h.cache.Wait()
				var want int64
				h.mu.Lock()
				for one := range all {
					if one.inSet || one.users > 0 {
						want += one.Size()
					} else {
						delete(all, one)
					}
				}
				got := h.bytes
				h.mu.Unlock()
				if got != want || got > 1<<20+1<<18 {
					t.Fatalf("%d bytes are counted, and %d are held", got, want)
				}
			}
			if crowded == 0 || cut == 0 {
				t.Errorf("%d loads found no room and %d answers were cut: the test tests nothing", crowded, cut)
			}
			for _, stream := range open {
				_ = stream.Close()
			}
			h.cache.Clear()
			if h.bytes != 0 || h.evictedBytes != 0 || h.cutBytes != 0 || h.evicted.Len() != 0 || h.uses != 0 || h.files.Load() != 0 {
				t.Errorf("at the end %d bytes, %d evicted, %d cut, %d uses and %d files are counted", h.bytes, h.evictedBytes,
					h.cutBytes, h.uses, h.files.Load())
			}
		})
	}
}

func TestHot_FailedLoadsReleaseTheirReservation(t *testing.T) {
	h, err := NewHot(HotConfig{Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	refused := errors.New("refused")
	_, err = h.Load(digest.Digest{1}, 1<<20, func() (*serve.Whole, error) { return nil, refused })
	if !errors.Is(err, refused) {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = h.Load(digest.Digest{2}, 1<<20, func() (*serve.Whole, error) { panic("read") })
	}()
	if h.bytes != 0 {
		t.Errorf("%d bytes are counted", h.bytes)
	}
}
