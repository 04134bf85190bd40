package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/valyala/fasthttp"

	"brink/protocol"
)

// body returns a reader of the request's body, as sent. It is valid until the handler returns.
func (r *request) body() io.Reader {
	if stream := r.RequestBodyStream(); stream != nil {
		return stream
	}
	return bytes.NewReader(r.PostBody())
}

// readAll returns the whole body, decoded, if it has at most limit bytes.
func (r *request) readAll(limit int64) ([]byte, error) {
	source := r.body()
	switch coding := string(r.Request.Header.ContentEncoding()); coding {
	case "", "identity":
	case "zstd":
		decoder, err := zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, problem(protocol.CodeMalformed, "the body is not zstd", "")
		}
		defer decoder.Close()
		source = decoder
	default:
		return nil, problem(protocol.CodeUnsupportedMedia, fmt.Sprintf("a body in %q is not taken", coding),
			"send it as zstd, or plain")
	}
	raw, err := io.ReadAll(io.LimitReader(source, limit+1))
	if err != nil {
		return nil, problem(protocol.CodeBadRequest, "the body could not be read: "+err.Error(), "")
	}
	if int64(len(raw)) > limit {
		return nil, problem(protocol.CodeTooLarge, fmt.Sprintf("the body has more than %d bytes", limit), "")
	}
	return raw, nil
}

// readJSON reads a body of at most limit bytes into what. Unknown fields are let pass: a newer client may say more.
func (r *request) readJSON(limit int64, what any) error {
	raw, err := r.readAll(limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, what); err != nil {
		return problem(protocol.CodeBadRequest, "the body is not the JSON that is wanted here: "+err.Error(),
			"see docs/protocol.md")
	}
	return nil
}

// writeJSON answers with what as JSON, not to be cached.
func (r *request) writeJSON(status int, what any) error {
	raw, err := json.Marshal(what)
	if err != nil {
		return err
	}
	r.SetStatusCode(status)
	r.SetContentType("application/json")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	r.Response.SetBodyRaw(append(raw, '\n'))
	return nil
}
