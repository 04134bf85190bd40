package main

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"
)

// settingsFile is a YAML file of settings: one mapping, whose values are strings or lists of strings. Values are not
// converted, so that 10GiB, 0755 and no mean the same in a file as on the command line.
type settingsFile struct {
	name    string // for messages
	entries []entry
}

// entry is one key of the file.
type entry struct {
	name   string
	values []string
	list   bool
	line   int
}

func (f *settingsFile) entry(name string) *entry {
	if i := slices.IndexFunc(f.entries, func(e entry) bool { return e.name == name }); i >= 0 {
		return &f.entries[i]
	}
	return nil
}

// place returns the position of an entry, for messages.
func (f *settingsFile) place(e *entry) string { return fmt.Sprintf("%s:%d", f.name, e.line) }

// parseSettings parses a file of settings. An empty file is valid. It refuses everything ambiguous: a repeated key, an
// alias, a nested value, a second document.
func parseSettings(raw []byte) ([]entry, error) {
	if len(raw) > maxSettingsFile {
		return nil, fmt.Errorf("longer than %d bytes", maxSettingsFile)
	}
	var documents []yaml.Node
	if err := yaml.Load(raw, &documents, yaml.WithAllDocuments()); err != nil {
		return nil, err
	}
	switch {
	case len(documents) == 0:
		return nil, nil
	case len(documents) > 1:
		return nil, fmt.Errorf("%d documents, want one", len(documents))
	}
	root := &documents[0]
	if root.Kind == yaml.DocumentNode {
		if len(root.Content) == 0 {
			return nil, nil
		}
		root = root.Content[0]
	}
	if root.Kind == 0 || isNull(root) {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want lines of the form \"name: value\"", root.Line)
	}
	var entries []entry
	for i := 0; i+1 < len(root.Content); i += 2 {
		e, err := parseEntry(root.Content[i], root.Content[i+1])
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(entries, func(other entry) bool { return other.name == e.name }) {
			return nil, fmt.Errorf("line %d: %s is set twice", e.line, e.name)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func parseEntry(key, value *yaml.Node) (entry, error) {
	e := entry{line: key.Line}
	if key.Kind != yaml.ScalarNode {
		return e, fmt.Errorf("line %d: a key must be a plain name", key.Line)
	}
	e.name = key.Value
	items := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		e.list, items = true, value.Content
	}
	for _, item := range items {
		switch {
		case isNull(item):
			return e, fmt.Errorf("line %d: %s has no value", item.Line, e.name)
		case item.Kind != yaml.ScalarNode:
			return e, fmt.Errorf("line %d: %s must be a string or a list of strings", item.Line, e.name)
		}
		e.values = append(e.values, item.Value)
	}
	return e, nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
