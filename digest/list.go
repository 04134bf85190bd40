package digest

import (
	"bytes"
	"fmt"
)

// List is a list of digests. Decoding it from JSON allocates a small multiple of the input, which a []Digest does not
// guarantee: encoding/json accepts null as an element, and allocates 32 bytes for it.
type List []Digest

// UnmarshalJSON decodes null, or an array of digests in their text form.
func (l *List) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	if string(raw) == "null" {
		*l = nil
		return nil
	}
	refuse := func() error { return fmt.Errorf("%w in a list of digests", ErrSyntax) }
	if len(raw) < 2 || raw[0] != '[' || raw[len(raw)-1] != ']' {
		return refuse()
	}
	raw = bytes.TrimSpace(raw[1 : len(raw)-1])
	list := make(List, 0, len(raw)/(TextSize+3)+1) // a digest in quotes, and a comma
	for len(raw) > 0 {
		if len(raw) < TextSize+2 || raw[0] != '"' || raw[TextSize+1] != '"' {
			return refuse()
		}
		d, err := Parse(string(raw[1 : TextSize+1]))
		if err != nil {
			return err
		}
		list = append(list, d)
		raw = bytes.TrimSpace(raw[TextSize+2:])
		if len(raw) == 0 {
			break
		}
		rest, comma := bytes.CutPrefix(raw, []byte(","))
		if raw = bytes.TrimSpace(rest); !comma || len(raw) == 0 {
			return refuse()
		}
	}
	*l = list
	return nil
}
