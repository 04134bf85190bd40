package serve

import (
	"errors"
	"io"
	"testing"
)

type panicking struct{ io.ReadSeekCloser }

func (panicking) Read([]byte) (int, error) { panic("test body") }

func TestSender_GuardsStreams(t *testing.T) {
	failed := errors.New("failed")
	guard := func(do func() error) (err error) {
		defer func() {
			if recover() != nil {
				err = failed
			}
		}()
		return do()
	}
	s := span{guard: guard, stream: panicking{}, left: 1}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, failed) {
		t.Errorf("a body that panics ends with %v", err)
	}
}
