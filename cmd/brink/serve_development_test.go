package main

import "testing"

func TestQuote_MakesOneWordForAShell(t *testing.T) {
	for text, want := range map[string]string{
		"data/dev/publisher.key": "data/dev/publisher.key",
		"":                       "''",
		"my data":                "'my data'",
		"it's":                   `'it'\''s'`,
		"$HOME":                  "'$HOME'",
		"~":                      "'~'",
		"ключ":                   "ключ",
	} {
		if got := quote(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:8080": true, "127.1.2.3:0": true, "[::1]:80": true, "localhost:80": true,
		":8080": false, "0.0.0.0:80": false, "[::]:80": false, "192.168.1.1:80": false, "127.0.0.1": false,
		"127.0.0.1.example.com:80": false, "example.com:80": false,
	} {
		if got := isLoopback(address); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
}

func TestOwnURL_IsWhereThisMachineFindsTheNode(t *testing.T) {
	for _, row := range []struct {
		listen, admin string
		secure        bool
		want          string
	}{
		{"127.0.0.1:8080", "", false, "http://127.0.0.1:8080"},
		{":8080", "", false, "http://127.0.0.1:8080"},
		{"0.0.0.0:8443", "", true, "https://127.0.0.1:8443"},
		{"[::]:8080", "", false, "http://[::1]:8080"},
		{"10.0.0.5:8080", "", false, "http://10.0.0.5:8080"},
		{":8443", "127.0.0.1:9090", true, "http://127.0.0.1:9090"},
	} {
		if got := ownURL(row.listen, row.admin, row.secure); got != row.want {
			t.Errorf("%+v: %s", row, got)
		}
	}
}
