package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"brink/channel"
)

func TestNativeLimits_AreReadOrRefused(t *testing.T) {
	got, err := nativeLimits([]string{"ios=1.4.0..2.9.9", "android=1.0.0..", "web=..3.0.0"})
	want := map[channel.Platform]channel.Limit{
		channel.IOS: {Min: "1.4.0", Max: "2.9.9"}, channel.Android: {Min: "1.0.0"}, channel.Web: {Max: "3.0.0"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(channel.Limit{})); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range [][]string{
		{"ios"}, {"ios=1.0.0"}, {"=1.0.0.."}, {"ios=.."}, {"ios=x.."}, {"ios=..1"}, {"ios=1.0.0..", "ios=..2.0.0"},
	} {
		if limits, err := nativeLimits(bad); err == nil {
			t.Errorf("%q is read as %v", bad, limits)
		}
	}
}
