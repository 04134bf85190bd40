package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestDist_ImageRuns unpacks the layers and runs the program. Root does so as a container does: with the layers as the
// root of the file system, and as the image's user.
func TestDist_ImageRuns(t *testing.T) {
	d := openDist(t)
	l := d.openImage(t)
	for _, one := range l.images {
		if one.platform != "linux/"+runtime.GOARCH {
			continue
		}
		root := t.TempDir()
		for _, layer := range one.layers {
			raw, err := os.ReadFile(filepath.Join(l.folder, filepath.FromSlash(layer)))
			if err != nil {
				t.Fatal(err)
			}
			d.unpackTo(t, root, layer+".gz", raw)
		}
		if _, err := os.Stat(filepath.Join(root, "etc", "ssl", "certs", "ca-certificates.crt")); err != nil {
			t.Error(err)
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(root, one.config.Entrypoint[0]), "version")
		if os.Getuid() == 0 {
			if err := os.Chmod(root, 0o755); err != nil {
				t.Fatal(err)
			}
			user, group, _ := strings.Cut(one.config.User, ":")
			cmd = exec.CommandContext(t.Context(), one.config.Entrypoint[0], "version")
			cmd.Dir, cmd.Env = "/", one.config.Env
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Chroot: root, Credential: &syscall.Credential{Uid: number(t, user), Gid: number(t, group)},
			}
		}
		d.wantVersion(t, cmd)
		return
	}
	t.Skip("the image is not for this architecture")
}

func number(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}
