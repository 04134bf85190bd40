package plugin

import "testing"

func TestParsePlugin(t *testing.T) {
	for text, want := range map[string]plugin{
		"8.51.23": {8, 51, 23}, "8.0.0-alpha.1": {8, 0, 0}, "6.2.0+7": {6, 2, 0}, "0.0.1": {0, 0, 1},
	} {
		if got, ok := parsePlugin(text); !ok || got != want {
			t.Errorf("%s is %v, %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "8", "8.51", "8.51.23.1", "a.b.c", "-1.0.0", "8..1", "8.51.99999999999999999999"} {
		if got, ok := parsePlugin(text); ok || got != (plugin{}) {
			t.Errorf("%q is %v, %t", text, got, ok)
		}
	}
}

// What a plugin takes, at the versions around which it changed.
func TestPlugin_Gates(t *testing.T) {
	gates := map[string]func(plugin) bool{
		"unsupported": plugin.isUnsupported, "remembers": plugin.remembers, "hex": plugin.takesHex,
		"builtin": plugin.takesBuiltIn, "unset": plugin.takesUnset, "text": plugin.takesText,
		"failures": plugin.countsFailures, "keys": plugin.comparesKeys,
	}
	for gate, rows := range map[string]struct{ yes, no []string }{
		"unsupported": {[]string{"4.61.11", "1.0.0"}, []string{"5.0.0", "0.0.1", "8.51.23"}},
		"remembers":   {[]string{"5.34.0", "6.34.0", "7.34.0", "8.0.0", "11.0.0"}, []string{"5.33.9", "6.33.9", "7.33.9", "9.0.0", "0.0.1"}},
		"hex":         {[]string{"5.30.0", "7.30.0", "8.0.0"}, []string{"7.18.14", "6.29.9", "9.0.0"}},
		"builtin":     {[]string{"6.2.0", "7.0.0", "5.50.2"}, []string{"6.1.9", "5.9.0", "0.0.1"}},
		"unset":       {[]string{"8.42.6", "7.42.6"}, []string{"8.42.5", "7.41.9"}},
		"text":        {[]string{"5.35.0", "8.35.0"}, []string{"8.34.9", "7.18.14"}},
		"failures":    {[]string{"7.17.0", "6.14.25", "8.0.0"}, []string{"7.16.9", "6.14.24"}},
		"keys":        {[]string{"8.40.8", "7.51.21"}, []string{"8.40.7", "7.18.14"}},
	} {
		for want, versions := range map[bool][]string{true: rows.yes, false: rows.no} {
			for _, text := range versions {
				p, ok := parsePlugin(text)
				if got := gates[gate](p); !ok || got != want {
					t.Errorf("%s of %s is %t", gate, text, got)
				}
			}
		}
	}
}
