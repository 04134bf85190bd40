package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// status is the answer to a request that succeeded.
type status struct {
	Status string `json:"status"`
}

// failure is an answer with an error. Newer plugins evaluate Kind, if it is set; older ones only Error. As on Capgo's
// servers, additional members are at the top level if the status is 200, and below moreInfo otherwise.
type failure struct {
	status int

	Error   string         `json:"error"`
	Message string         `json:"message"`
	Kind    kind           `json:"kind,omitempty"`
	More    map[string]any `json:"moreInfo,omitempty"`
}

// kind tells plugins from x.45 on how to handle an answer without an update.
type kind string

const (
	kindUpToDate kind = "up_to_date" // nothing to do, and no event
	kindBlocked  kind = "blocked"    // nothing to do, and no event: the channel is configured so
	kindFailed   kind = "failed"     // the plugin reports a failed update to the app, and sends an event
)

// refuse returns the answer to a request that is malformed.
func refuse(code, message string) *failure {
	return &failure{status: 400, Error: code, Message: message, More: map[string]any{}}
}

// decline returns the answer to a request that is well formed and not granted.
func decline(code, message string) *failure {
	return &failure{status: 200, Error: code, Message: message}
}

// with returns f with an additional member.
func (f *failure) with(name string, value any) *failure {
	if f.More == nil {
		f.More = map[string]any{}
	}
	f.More[name] = value
	return f
}

// answer returns f as an Answer.
func (f *failure) answer() Answer {
	if f.status != 200 {
		return say(f.status, f.whole())
	}
	if len(f.More) == 0 {
		return Answer{Status: 200, Body: f.short()}
	}
	return say(200, f.flat())
}

// short returns the encoding of flat without additional members. It is fast, because it is the answer to most checks.
func (f *failure) short() []byte {
	b := appendString(append(make([]byte, 0, 128), `{"error":`...), f.Error)
	if f.Kind != "" {
		b = appendString(append(b, `,"kind":`...), string(f.Kind))
	}
	return append(appendString(append(b, `,"message":`...), f.Message), "}\n"...)
}

// flat returns f with all members at the top level.
func (f *failure) flat() map[string]any {
	flat := map[string]any{"error": f.Error, "message": f.Message}
	for name, value := range f.More {
		flat[name] = value
	}
	if f.Kind != "" {
		flat["kind"] = f.Kind
	}
	return flat
}

// whole returns f with moreInfo, even if that is empty.
func (f *failure) whole() map[string]any {
	whole := map[string]any{"error": f.Error, "message": f.Message}
	if f.More != nil {
		whole["moreInfo"] = f.More
	}
	return whole
}

// say returns what as an answer.
func say(status int, what any) Answer { return Answer{Status: status, Body: encode(what)} }

// encode returns what as JSON. It does not escape HTML, because devices would show the escapes.
func encode(what any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(what); err != nil {
		panic(fmt.Sprintf("capgo: encode answer: %v", err)) // structs and maps of strings, numbers and bools always encode
	}
	return b.Bytes()
}

// appendString appends text as encode writes it.
func appendString(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			raw := encode(text)
			return append(b, raw[:len(raw)-1]...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// body returns the encoding of u. It is fast, because u may have thousands of files.
func (u *update) body() []byte {
	room := 256 + len(u.URL) + len(u.Link) + len(u.Comment) + len(u.SessionKey) + len(u.Checksum)
	for i := range u.Manifest {
		e := &u.Manifest[i]
		room += 64 + len(e.Name) + len(e.Hash) + len(e.URL)
	}
	b := appendString(append(make([]byte, 0, room), `{"version":`...), u.Version)
	member := func(name, value string) {
		if value != "" {
			b = appendString(append(append(append(b, `,"`...), name...), `":`...), value)
		}
	}
	member("url", u.URL)
	member("checksum", u.Checksum)
	member("session_key", u.SessionKey)
	if len(u.Manifest) > 0 {
		b = append(b, `,"manifest":[`...)
		for i := range u.Manifest {
			if i > 0 {
				b = append(b, ',')
			}
			e := &u.Manifest[i]
			b = appendString(append(b, `{"file_name":`...), e.Name)
			b = appendString(append(b, `,"file_hash":`...), e.Hash)
			b = append(appendString(append(b, `,"download_url":`...), e.URL), '}')
		}
		b = append(b, ']')
	}
	member("link", u.Link)
	member("comment", u.Comment)
	return append(b, "}\n"...)
}
