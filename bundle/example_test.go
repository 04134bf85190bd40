package bundle_test

import (
	"context"
	"fmt"
	"testing/fstest"

	"brink/bundle"
)

func ExampleFolder_Index() {
	old := bundle.Folder{FS: fstest.MapFS{
		"index.html": {Data: []byte("<!doctype html>")},
		"js/app.js":  {Data: []byte("alert('1.0.0')")},
	}}
	next := bundle.Folder{FS: fstest.MapFS{
		"index.html": {Data: []byte("<!doctype html>")},
		"js/app.js":  {Data: []byte("alert('1.1.0')")},
		"img/a.svg":  {Data: []byte("<svg/>")},
	}}
	before, err := old.Index(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	after, err := next.Index(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	// A bundle is named by its files alone, on whatever machine it is made.
	fmt.Println(after.Bundle())
	for _, change := range bundle.Diff(before, after) {
		fmt.Println(change.Kind, change.Path)
	}
	// Output:
	// b9bf342205066e476558950455a87b029f5164a7c042fc747dac170c7159ae3e
	// added img/a.svg
	// changed js/app.js
}
