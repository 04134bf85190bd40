package capgo

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"brink/digest"
	"brink/protocol"
	format "brink/protocol/capgo"
)

// What stands for Android and for what the plugin logs with, and a program that decrypts by the plugin's own class:
// each line of its input is a file and a checksum, each line of its output that checksum decrypted.
const (
	javaBase64 = `package android.util;
public class Base64 {
  public static final int DEFAULT = 0;
  public static byte[] decode(String s, int flags) { return java.util.Base64.getMimeDecoder().decode(s); }
  public static byte[] decode(byte[] b, int flags) { return java.util.Base64.getMimeDecoder().decode(b); }
  public static String encodeToString(byte[] b, int flags) { return java.util.Base64.getEncoder().encodeToString(b); }
}`
	javaLogger = `package ee.forgr.capacitor_updater;
public class Logger {
  public void error(String s) { System.err.println(s); }
  public void warn(String s) {}
  public void info(String s) {}
  public void debug(String s) {}
}`
	javaDriver = `package ee.forgr.capacitor_updater;
import java.io.*;
import java.nio.file.*;
public class Driver {
  public static void main(String[] args) throws Exception {
    CryptoCipher.setLogger(new Logger());
    String key = new String(Files.readAllBytes(Paths.get(args[0])));
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = in.readLine()) != null; ) {
      String[] part = line.split(" ");
      CryptoCipher.decryptFile(new File(part[0]), key, args[1]);
      System.out.println(CryptoCipher.decryptChecksum(part[1], key));
    }
  }
}`
)

// plugin is the class that decrypts in a release of Capgo's plugin for Android.
type plugin struct{ dir string }

func newPlugin(t *testing.T, version string) plugin {
	t.Helper()
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps", "--omit=peer",
		"--prefix", dir, "@capgo/capacitor-updater@"+version)
	own := filepath.Join(dir, "node_modules", "@capgo", "capacitor-updater", "android", "src", "main", "java",
		"ee", "forgr", "capacitor_updater", "CryptoCipher.java")
	for name, text := range map[string]string{
		"Base64.java": javaBase64, "Logger.java": javaLogger, "Driver.java": javaDriver,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("javac", "-nowarn", "-d", dir, own, "Base64.java", "Logger.java", "Driver.java")
	return plugin{dir}
}

// decrypt returns each file decrypted, with its checksum.
func (p plugin) decrypt(t *testing.T, public []byte, session string, sums []string, files [][]byte) (
	plain [][]byte, checksums []string,
) {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, public, 0o600); err != nil {
		t.Fatal(err)
	}
	var in strings.Builder
	var names []string
	for i, data := range files {
		name := filepath.Join(dir, digest.Sum(data).Short()+string(rune('a'+i)))
		names = append(names, name)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		in.WriteString(name + " " + sums[i] + "\n")
	}
	cmd := exec.Command("java", "-cp", p.dir, "ee.forgr.capacitor_updater.Driver", key, session)
	cmd.Stdin = strings.NewReader(in.String())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &errs)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, data)
	}
	return plain, strings.Fields(string(out))
}

func TestCapgoPlugin_DecryptsWhatWeEncrypt(t *testing.T) {
	needCapgo(t, "npm", "java", "javac")
	public := pem.EncodeToMemory(&pem.Block{
		Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&testRSA().PublicKey),
	})
	for _, row := range []struct {
		version string
		form    format.Form
	}{
		{"8.51.23", format.Hex},
		{"7.18.14", format.Base64},
	} {
		t.Run(row.version, func(t *testing.T) {
			files := someFiles()
			c, attachment := encrypted(t, newPlace(t), files, func(r *request) { r.capgo.Form = row.form })
			sums, sealed := []string{c.Checksum}, [][]byte{attachment[protocol.ZipPath].Data}
			for _, f := range c.Files {
				sums, sealed = append(sums, f.FileHash), append(sealed, attachment[f.Path].Data)
			}
			plain, checksums := newPlugin(t, row.version).decrypt(t, public, c.SessionKey, sums, sealed)
			if len(checksums) != len(plain) || len(plain) != len(files)+1 {
				t.Fatalf("%d files and %d checksums", len(plain), len(checksums))
			}
			if !bytes.Equal(plain[0], makeZip(t, files)) || checksums[0] != digest.SumSHA256(plain[0]).String() {
				t.Errorf("the zip is another, with checksum %s", checksums[0])
			}
			for i, f := range c.Files {
				data, err := plain[i+1], error(nil)
				if strings.HasSuffix(f.FileName, format.Brotli) {
					data, err = unpack(data)
				}
				if err != nil || !bytes.Equal(data, files[f.Target()].Data) ||
					checksums[i+1] != digest.SumSHA256(data).String() {
					t.Errorf("%s: %d bytes with checksum %s, %v", f.FileName, len(data), checksums[i+1], err)
				}
			}
		})
	}
}
