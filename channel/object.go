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

// unknown holds the members of a JSON object that this version has no field for, byte for byte. They are written again
// with the rest, so that an older tool which promotes or rolls back loses nothing that a newer one wrote.
type unknown map[string]json.RawMessage

// checkJSON refuses what different readers of JSON understand differently: text that is not UTF-8, anything after the
// value, and an object with two members of one name, at any depth (RFC 8259, section 4).
func checkJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return errors.New("not UTF-8")
	}
	if !json.Valid(raw) {
		return errors.New("not one JSON value")
	}
	return checkNames(json.NewDecoder(bytes.NewReader(raw)))
}

// checkNames reads one value. The text was found valid before, which also bounds how deep it goes.
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

// decodeObject reads the object raw into the struct that into points to, and returns the members it has no field for.
// Names count exactly: encoding/json alone would take "Sequence" for "sequence".
func decodeObject(raw []byte, into any) (unknown, error) {
	var rest unknown
	if err := json.Unmarshal(raw, &rest); err != nil {
		return nil, err
	}
	if rest == nil {
		return nil, errors.New("null where an object is wanted")
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
				return nil, fmt.Errorf("a member is called %q and not %q", name, known)
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

// encodeObject writes the struct and, beside its fields, the members that decodeObject found no field for.
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

// appendString appends text as json.Marshal writes it.
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

// appendHex appends a digest as json.Marshal writes it.
func appendHex(b, sum []byte) []byte { return append(hex.AppendEncode(append(b, '"'), sum), '"') }

// clone returns a copy that shares no map. The values are never written to.
func (u unknown) clone() unknown { return maps.Clone(u) }
