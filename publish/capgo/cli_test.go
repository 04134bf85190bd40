package capgo

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"brink/digest"
	"brink/protocol"
	format "brink/protocol/capgo"
)

// capgoCLI is the release of Capgo's CLI that these tests were written for.
const capgoCLI = "@capgo/cli@8.68.1"

// cli is Capgo's own CLI in a project of an app.
type cli struct {
	t      *testing.T
	script string
	dir    string // of the project
}

// needCapgo skips a test that installs what Capgo publishes, unless such tests are wanted and the tools are there.
func needCapgo(t *testing.T, tools ...string) {
	t.Helper()
	if os.Getenv("BRINK_E2E") != "1" {
		t.Skip("installs what Capgo publishes from npm: runs with BRINK_E2E=1")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("BRINK_CI") == "1" {
				t.Fatalf("%s is missing, and BRINK_CI=1 wants every test", tool)
			}
			t.Skipf("%s is not installed", tool)
		}
	}
}

func newCLI(t *testing.T) *cli {
	t.Helper()
	needCapgo(t, "node", "npm")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"package.json":          `{"name":"shop","version":"1.0.0","dependencies":{"@capgo/capacitor-updater":"8.51.23"}}`,
		"capacitor.config.json": `{"appId":"com.acme.shop","webDir":"www","plugins":{"CapacitorUpdater":{}}}`,
		"node_modules/@capgo/capacitor-updater/package.json": `{"name":"@capgo/capacitor-updater","version":"8.51.23"}`,
	} {
		file := filepath.Join(dir, "app", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	npm := exec.Command("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir, capgoCLI)
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", npm, err, out)
	}
	script := filepath.Join(dir, "node_modules", "@capgo", "cli", "dist", "index.js")
	return &cli{t: t, script: script, dir: filepath.Join(dir, "app")}
}

// run calls the CLI and returns what it printed.
func (c *cli) run(args ...string) []byte {
	c.t.Helper()
	cmd := exec.Command("node", append([]string{c.script}, args...)...)
	cmd.Dir = c.dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("capgo %v: %v\n%s%s", args, err, out, &errs)
	}
	return out
}

func (c *cli) write(name string, data []byte) string {
	c.t.Helper()
	file := filepath.Join(c.dir, name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return file
}

func TestCapgoCLI_ReadsWhatWeEncryptAndWeTakeWhatItDoes(t *testing.T) {
	c := newCLI(t)
	files := someFiles()
	if err := os.CopyFS(filepath.Join(c.dir, "www"), files); err != nil {
		t.Fatal(err)
	}
	// It asks whether to go on when the key is made already, and is not answered.
	c.run("key", "create", "--force")
	raw, err := os.ReadFile(filepath.Join(c.dir, ".capgo_key_v2"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(c.dir, ".capgo_key_v2.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if id := strings.Split(string(public), "\n")[1][:format.MaxKeyID]; key.ID() != id {
		t.Errorf("the key's ID is %s, want %s", key.ID(), id)
	}

	// Ours to it.
	n := newPlace(t)
	ours, attachment := encrypted(t, n, files, func(r *request) { r.capgo.Key = key })
	c.write("ours.zip", attachment[protocol.ZipPath].Data)
	said := c.run("bundle", "decrypt", "ours.zip", ours.SessionKey, "--checksum", ours.Checksum)
	plain, err := os.ReadFile(filepath.Join(c.dir, "ours.zip_decrypted.zip"))
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if !bytes.Equal(plain, makeZip(t, files)) {
		t.Errorf("it decrypts the zip to %d other bytes\n%s", len(plain), said)
	}

	// Its plain zip to us.
	zipped := c.write("zip.json",
		c.run("bundle", "zip", "com.acme.shop", "--path", "www", "--bundle", "2.0.0", "--name", "app.zip", "--json",
			"--no-code-check"))
	made, err := ReadMade(zipped)
	if err != nil {
		t.Fatal(err)
	}
	n = newPlace(t)
	take := func(made *Made) {
		t.Helper()
		if _, err := n.publish(func(r *request) {
			r.Dir = filepath.Join(c.dir, "www")
			r.take(t, made)
		}); err != nil {
			t.Fatal(err)
		}
	}
	take(made)
	ix, _ := n.files(n.inForce(), protocol.AttachmentZip)
	if sum := ix.File(protocol.ZipPath).SHA256.String(); sum != made.Checksum {
		t.Errorf("published a zip with %s, want %s", sum, made.Checksum)
	}

	// What it has encrypted to us, and on to a device.
	sealed, err := ReadMade(c.write("sealed.json", c.run("bundle", "encrypt", "app.zip", made.Checksum, "--json")))
	if err != nil {
		t.Fatal(err)
	}
	n = newPlace(t)
	take(sealed)
	_, attachment = n.files(n.inForce(), format.Kind)
	theirs, err := format.Parse(attachment[format.Path].Data)
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(&key.key.PublicKey)
	plain, err = d.decrypt(theirs.SessionKey, attachment[protocol.ZipPath].Data)
	if err != nil || digest.SumSHA256(plain).String() != made.Checksum {
		t.Errorf("a device gets %d bytes, %v", len(plain), err)
	}
	if err := d.check(plain, theirs.Checksum, theirs.Form); err != nil || theirs.Form != format.Hex {
		t.Errorf("form %s: %v", theirs.Form, err)
	}
	if raw, err := json.Marshal(theirs); err != nil || bytes.Contains(raw, []byte(`"files"`)) {
		t.Errorf("%s, %v", raw, err)
	}
}
