package main

import (
	"github.com/rogpeppe/go-internal/testscript"

	"brink/origin/bucket/buckettest"
)

// bucketCommand starts an S3 store that ends with the script.
func bucketCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: bucket")
	}
	s := buckettest.New(ts.Defer)
	for name, value := range buckettest.Environment() {
		ts.Setenv(name, value)
	}
	ts.Setenv("BUCKET", s.Address())
	ts.Setenv("WEB", s.Web())
}
