package delta

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"brink/bundle"
	"brink/digest"
)

// PatchVerb is the first argument for which the bench's own program must call [Patch] with the others: a process of its
// own, whose memory can be measured.
const PatchVerb = "__patch"

// Patch makes or applies one patch: "make OLD NEW PATCH" or "apply OLD PATCH NEW", all of them files.
func Patch(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("want make or apply and three files, not %s", strings.Join(args, " "))
	}
	old, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	in, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	name := digest.SumSHA256(old)
	if args[0] == "make" {
		made, err := bundle.EncodePatch(old, in, name)
		if err != nil {
			return err
		}
		return os.WriteFile(args[3], made, 0o600)
	}
	plain, err := bundle.DecodePatch(bytes.NewReader(in), old, name)
	if err != nil {
		return err
	}
	defer plain.Close()
	out, err := os.Create(args[3])
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, plain); err != nil {
		return err
	}
	return out.Close()
}
