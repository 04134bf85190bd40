package channel

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"unicode/utf8"
)

// unknown has the members of a JSON object for which this version has no field, byte for byte. They are encoded with
// the rest, so that an older tool that promotes or rolls back preserves what a newer one wrote.
type unknown map[string]json.RawMessage

// checkJSON refuses what JSON parsers interpret differently: text that is not UTF-8, anything after the value, and
// duplicate member names in an object at any depth (RFC 8259, section 4).
func checkJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return errors.New("not UTF-8")
	}
	if !json.Valid(raw) {
		return errors.New("not one JSON value")
	}
	return checkNames(json.NewDecoder(bytes.NewReader(raw)))
}

// checkNames checks one value. The caller has checked that the text is valid JSON, which also bounds its depth.
func checkNames(dec *json.Decoder) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := make(map[json.Token]bool)
	for dec.More() {
		if open == '{' {
			name, err := dec.Token()
			if err != nil {
				return err
			}
			if seen[name] {
				return fmt.Errorf("two members are called %q", name)
			}
			seen[name] = true
		}
		if err := checkNames(dec); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// decodeObject decodes the object raw into the struct that into points to, and returns the members for which it has no
// field. Names must match exactly: encoding/json alone would accept "Sequence" for "sequence".
func decodeObject(raw []byte, into any) (unknown, error) {
	var rest unknown
	if err := json.Unmarshal(raw, &rest); err != nil {
		return nil, err
	}
	if rest == nil {
		return nil, errors.New("null instead of an object")
	}
	fields := reflect.TypeOf(into).Elem()
	for i := range fields.NumField() {
		known, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if known == "" {
			continue
		}
		delete(rest, known)
		for name := range rest {
			if strings.EqualFold(name, known) {
				return nil, fmt.Errorf("a member is called %q instead of %q", name, known)
			}
		}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, nil
	}
	return rest, nil
}

// encodeObject encodes the struct, with the members for which decodeObject found no field.
func encodeObject(fields any, rest unknown) ([]byte, error) {
	raw, err := json.Marshal(fields)
	if err != nil || len(rest) == 0 {
		return raw, err
	}
	var all unknown
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	maps.Copy(all, rest)
	return json.Marshal(all)
}

// appendString appends text as json.Marshal encodes it.
func appendString(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			raw, err := json.Marshal(text)
			if err != nil {
				panic("channel: encode a string: " + err.Error()) // every string encodes
			}
			return append(b, raw...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// appendHex appends a digest as json.Marshal encodes it.
func appendHex(b, sum []byte) []byte { return append(hex.AppendEncode(append(b, '"'), sum), '"') }

// clone returns a copy of the map. The values are shared: nothing changes them.
func (u unknown) clone() unknown { return maps.Clone(u) }
