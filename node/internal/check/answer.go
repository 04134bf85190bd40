package check

import (
	"encoding/base64"
	"strconv"
	"sync"

	"github.com/valyala/fasthttp"

	"brink/channel"
	"brink/node/internal/scan"
	"brink/node/internal/semantics"
	"brink/node/internal/serve"
	"brink/protocol"
)

// Sizes in bytes of the buffers for checks and their answers. Most fit into pageSize; a buffer that has grown beyond
// maxPage for a large patch is not reused.
const (
	pageSize = 4 << 10
	maxPage  = 64 << 10
)

// pages is a pool of buffers: without it, checks would produce most of the garbage of a node.
type pages struct{ pool sync.Pool }

// page returns an empty buffer. Put it back when nothing references its bytes any more.
func (p *pages) page() *[]byte {
	if page, ok := p.pool.Get().(*[]byte); ok {
		return page
	}
	page := make([]byte, 0, pageSize)
	return &page
}

// put returns a buffer to the pool, unless it is too large.
func (p *pages) put(page *[]byte) {
	if cap(*page) <= maxPage {
		p.pool.Put(page)
	}
}

// readCheck decodes the body of a check. It uses page as the buffer.
func readCheck(r *serve.Request, in *protocol.CheckRequest, page *[]byte) error {
	raw, err := r.ReadBodyInto(*page, protocol.MaxCheck)
	*page = raw
	if err != nil {
		return err
	}
	if scanCheck(string(raw), in) {
		return nil
	}
	*in = protocol.CheckRequest{}
	return serve.ParseJSON(raw, in)
}

// scanCheck decodes a check in the form that Brink's clients send, and reports whether it was in that form. If not, the
// request is undefined, and the text has to be decoded by encoding/json.
func scanCheck(text string, in *protocol.CheckRequest) bool {
	s := scan.New(text)
	var seen uint32
	s.Open()
	for s.Next() {
		switch s.Name() {
		case "channel":
			s.Once(&seen, 0)
			in.Channel = s.String()
		case "device":
			s.Once(&seen, 1)
			scanDevice(&s, &in.Device)
		case "seen":
			s.Once(&seen, 2)
			s.Hex(in.Seen[:])
		case "dictionary":
			s.Once(&seen, 3)
			s.Hex(in.Dictionary[:])
		case "inline":
			s.Once(&seen, 4)
			in.Inline = s.Int()
		case "parts":
			s.Once(&seen, 5)
			in.Parts = s.Bool()
		default:
			s.Skip("channel", "device", "seen", "dictionary", "inline", "parts")
		}
	}
	return s.Done()
}

func scanDevice(s *scan.Scanner, d *protocol.Device) {
	var seen uint32
	s.Open()
	for s.Next() {
		switch s.Name() {
		case "id":
			s.Once(&seen, 0)
			d.ID = s.String()
		case "custom":
			s.Once(&seen, 1)
			d.Custom = s.String()
		case "platform":
			s.Once(&seen, 2)
			d.Platform = channel.Platform(s.String())
		case "native":
			s.Once(&seen, 3)
			d.Native = s.String()
		case "version":
			s.Once(&seen, 4)
			d.Version = s.String()
		case "bundle":
			s.Once(&seen, 5)
			s.Hex(d.Bundle[:])
		case "builtIn":
			s.Once(&seen, 6)
			d.BuiltIn = s.Bool()
		case "emulator":
			s.Once(&seen, 7)
			d.Emulator = s.Bool()
		case "development":
			s.Once(&seen, 8)
			d.Development = s.Bool()
		default:
			s.Skip("id", "custom", "platform", "native", "version", "bundle", "builtIn", "emulator", "development")
		}
	}
}

// appendCheck appends an answer as json.Marshal would, except for the manifest, which it appends byte for byte:
// encoding it again could change its form.
func appendCheck(b []byte, a *protocol.CheckAnswer) (_ []byte, err error) {
	// Decisions, reasons, paths of archives and encodings have no characters that need escaping.
	b = append(append(append(b, `{"decision":"`...), a.Decision...), '"')
	if a.Reason != "" {
		b = append(append(append(b, `,"reason":"`...), a.Reason...), '"')
	}
	if a.Release != nil {
		if b, err = a.Release.AppendJSON(append(b, `,"release":`...)); err != nil {
			return nil, err
		}
	}
	if a.Archive != "" {
		b = append(append(append(b, `,"archive":"`...), a.Archive...), '"')
	}
	b = strconv.AppendUint(append(b, `,"sequence":`...), a.Sequence, 10)
	if rep := a.Representation; rep != nil {
		b = append(append(append(b, `,"representation":{"encoding":"`...), rep.Encoding...), `","size":`...)
		b = append(strconv.AppendInt(b, rep.Size, 10), '}')
	}
	if len(a.Patch) > 0 {
		b = append(base64.StdEncoding.AppendEncode(append(b, `,"patch":"`...), a.Patch), '"')
	}
	if a.Trust > 0 {
		b = strconv.AppendUint(append(b, `,"trust":`...), a.Trust, 10)
	}
	if len(a.Manifest) > 0 {
		b = append(append(b, `,"manifest":`...), a.Manifest...)
	}
	return append(b, '}'), nil
}

// writeCheck answers a check. It uses page as the buffer.
func writeCheck(r *serve.Request, a *protocol.CheckAnswer, page *[]byte) error {
	body, err := appendCheck((*page)[:0], a)
	if err != nil {
		return err
	}
	body = append(body, '\n')
	*page = body
	h := &r.Response.Header
	h.SetContentType("application/json")
	h.Set(fasthttp.HeaderCacheControl, semantics.CacheNever)
	if len(body) > maxPage {
		r.Response.SetBodyRaw(body) // put drops this buffer
	} else {
		r.Response.SetBody(body)
	}
	return nil
}
