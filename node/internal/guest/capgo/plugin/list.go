package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
)

var (
	errNoArray = errors.New("not an array")
	errTooMany = errors.New("too many elements")
)

// listOf reads a JSON array with a maximum number of elements. It stops at the first one beyond that: the three bytes
// of an empty element would otherwise take many times as much memory. For valid JSON that is not an array it returns
// errNoArray.
func listOf[T any](raw []byte, most int) ([]T, error) {
	in := json.NewDecoder(bytes.NewReader(raw))
	begin, err := in.Token()
	if err != nil {
		return nil, err
	}
	if begin != json.Delim('[') {
		return nil, errNoArray
	}
	list := []T{}
	for in.More() {
		if len(list) == most {
			return nil, errTooMany
		}
		var one T
		if err := in.Decode(&one); err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	_, err = in.Token()
	return list, err
}
