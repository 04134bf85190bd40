package capgo

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"brink/bundle"
)

func TestLargest_LeavesOutWhatIsTooLargeAndThenTheSmallest(t *testing.T) {
	files := []bundle.File{{Path: "a", Size: 1}, {Path: "c", Size: 5}, {Path: "b", Size: 5}, {Path: "d", Size: 9}}
	for n, want := range map[int]string{1: "b", 2: "b c", 3: "b c a", 9: "b c a"} {
		var got []string
		for _, f := range largest(files, n, 8) {
			got = append(got, f.Path)
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("the %d largest (-want +got):\n%s", n, diff)
		}
	}
	if files[0].Path != "a" {
		t.Error("the caller's list is in another order now")
	}
}
