package main

import (
	"bytes"
	"maps"
	"testing"
)

func TestDemoApp_IsTheSameOnEveryMachine(t *testing.T) {
	if !maps.EqualFunc(newDemoApp(false).files, newDemoApp(false).files, bytes.Equal) {
		t.Error("two calls made two apps")
	}
	sum := 0
	for _, content := range newDemoApp(false).files {
		sum += len(content)
	}
	if sum < 4.5e6 || sum > 5.5e6 {
		t.Errorf("the app has %d bytes, want about 5 MB", sum)
	}
}

func TestDemoApp_NextChangesLittle(t *testing.T) {
	old, next := newDemoApp(false), newDemoApp(true)
	same, fresh := 0, 0
	for name, content := range next.files {
		if bytes.Equal(old.files[name], content) {
			same++
		} else {
			fresh++
		}
	}
	// The entry and the style sheet under new names, the page that names them, and each language.
	if want := 3 + demoLocales; fresh != want {
		t.Errorf("%d files are new or changed, want %d", fresh, want)
	}
	if want := len(next.files) - fresh; same != want || len(old.files) != len(next.files) {
		t.Errorf("%d files are the same, want %d of %d", same, want, len(old.files))
	}
}
