package channel

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"brink/bench/cost"
)

// The key pair is the example of RFC 8410, section 10.
const (
	rfcPrivate = "-----BEGIN PRIVATE KEY-----\n" +
		"MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n"
	rfcPublic = "-----BEGIN PUBLIC KEY-----\n" +
		"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
	rfcID = "a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f"
)

func TestKey_KnownPair(t *testing.T) {
	private := must(ParsePrivateKey([]byte(rfcPrivate)))(t)
	if got := string(must(private.MarshalPEM())(t)); got != rfcPrivate {
		t.Errorf("private key is written as\n%s", got)
	}
	if got := string(private.Public().MarshalPEM()); got != rfcPublic {
		t.Errorf("public key is written as\n%s", got)
	}
	if got := must(ParsePublicKey([]byte(rfcPublic)))(t); got != private.Public() || got.ID() != rfcID {
		t.Errorf("public key has ID %s, want %s", got.ID(), rfcID)
	}
}

func TestNewKey_IsRandom(t *testing.T) {
	a, b := must(NewKey(nil))(t), must(NewKey(nil))(t)
	if a.Public() == b.Public() {
		t.Error("two new keys are the same")
	}
	if _, err := NewKey(strings.NewReader("too short")); err == nil {
		t.Error("a key was made out of 9 bytes of random")
	}
}

func TestParseKey_SaysWhatTheFileIs(t *testing.T) {
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	rsaDER := must(x509.MarshalPKCS8PrivateKey(rsaKey))(t)
	ecDER := must(x509.MarshalPKIXPublicKey(&ecKey.PublicKey))(t)
	// A bit string may leave the last bit unused, and then holds 255 bits: the same key under another DER, and so under
	// another ID.
	shifted := key("a").Public()
	for shifted.key[0] >= 0x80 {
		shifted = must(NewKey(nil))(t).Public()
	}
	der := shifted.der()
	n := new(big.Int).SetBytes(shifted.key[:])
	n.Lsh(n, 1).FillBytes(der[len(publicPrefix):])
	der[len(publicPrefix)-1] = 1
	longer := append(key("a").Public().der(), 0)
	rows := []struct{ name, file, private, public string }{
		{"public key", rfcPublic, "has a public key", ""},
		{"private key", rfcPrivate, "", "has a private key"},
		{"RSA", block(privateBlock, rsaDER), "rsa.PrivateKey", "has a private key"},
		{"RSA, old form", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "RSA PRIV", "RSA PRIV"},
		{"ECDSA, public", block(publicBlock, ecDER), "has a public key", "ecdsa.PublicKey"},
		{"encrypted", block("ENCRYPTED PRIVATE KEY", []byte{1}), "encrypted", "encrypted"},
		{"OpenSSH", block("OPENSSH PRIVATE KEY", []byte{1}), "OPENSSH", "OPENSSH"},
		{"garbage", "\x00\x01garbage", "not PEM", "not PEM"},
		{"nothing", "", "not PEM", "not PEM"},
		{"garbage in PEM", block(privateBlock, []byte("x")), "asn1", "has a private key"},
		{"two keys", rfcPrivate + rfcPrivate, "follows", "follows"},
		{"something after the DER", block(publicBlock, longer), "has a public key", "trailing"},
		{"shifted by one bit", block(publicBlock, der), "has a public key", "not canonical"},
		{"zero key", block(publicBlock, PublicKey{}.der()), "has a public key", "not canonical"},
		{"too large", rfcPrivate + strings.Repeat(" ", MaxKey), "more than 16384", "more than 16384"},
	}
	for _, row := range rows {
		_, private := ParsePrivateKey([]byte(row.file))
		_, public := ParsePublicKey([]byte(row.file))
		for _, c := range []struct {
			what string
			err  error
			want string
		}{{"private", private, row.private}, {"public", public, row.public}} {
			switch {
			case c.want == "" && c.err != nil:
				t.Errorf("%s: read as a %s key: %v", row.name, c.what, c.err)
			case c.want != "" && (!errors.Is(c.err, ErrKey) || !strings.Contains(c.err.Error(), c.want)):
				t.Errorf("%s: read as a %s key: %v, want ErrKey with %q", row.name, c.what, c.err, c.want)
			}
		}
	}
}

func TestPrivateKey_DoesNotPrintItsSecret(t *testing.T) {
	k := must(ParsePrivateKey([]byte(rfcPrivate)))(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		if got := fmt.Sprintf(verb, k); got != "private key of "+rfcID {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestPrivateKey_ZeroSignsNothing(t *testing.T) {
	if _, err := SignManifest(shop(t, "beta-1", "1.0.0"), PrivateKey{}); !errors.Is(err, ErrKey) {
		t.Errorf("signing with no key: %v", err)
	}
	if _, err := (PrivateKey{}).MarshalPEM(); !errors.Is(err, ErrKey) {
		t.Errorf("writing no key: %v", err)
	}
	if !(PrivateKey{}).Public().IsZero() {
		t.Error("no key has a public key")
	}
}

func TestPublicKey_TextIsCanonical(t *testing.T) {
	want := key("a").Public()
	text := must(want.MarshalText())(t)
	var got PublicKey
	if err := got.UnmarshalText(text); err != nil || got != want {
		t.Fatalf("round trip of %s: %v", text, err)
	}
	for _, bad := range []string{"", "!", string(text) + "\n", string(text[:8]) + "\n" + string(text[8:])} {
		if err := got.UnmarshalText([]byte(bad)); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v, want ErrKey", bad, err)
		}
	}
}

func TestKey_OpenSSLUnderstandsIt(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("BRINK_CI") == "1" {
			t.Fatal("openssl is missing, and BRINK_CI=1 wants every test")
		}
		t.Skip("openssl is not installed")
	}
	run := func(args ...string) []byte {
		t.Helper()
		return must(exec.Command(openssl, args...).Output())(t)
	}
	file := filepath.Join(t.TempDir(), "key.pem")

	ours := key("ours")
	if err := os.WriteFile(file, must(ours.MarshalPEM())(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run("pkey", "-in", file, "-pubout"); !bytes.Equal(got, ours.Public().MarshalPEM()) {
		t.Errorf("openssl reads our key as\n%s", got)
	}
	theirs := run("genpkey", "-algorithm", "ed25519")
	k := must(ParsePrivateKey(theirs))(t)
	if got := must(k.MarshalPEM())(t); !bytes.Equal(got, theirs) {
		t.Errorf("openssl wrote\n%sand we write\n%s", theirs, got)
	}
}

func FuzzParsePrivateKey(f *testing.F) {
	f.Add([]byte(rfcPrivate))
	f.Add([]byte(rfcPublic))
	f.Fuzz(func(t *testing.T, file []byte) {
		cost.Check(t, len(file), func() {
			_, _ = ParsePrivateKey(file)
			_, _ = ParsePublicKey(file)
		})
		if k, err := ParsePrivateKey(file); err == nil {
			again, err := ParsePrivateKey(must(k.MarshalPEM())(t))
			if err != nil || again.Public() != k.Public() {
				t.Errorf("key does not survive MarshalPEM: %v", err)
			}
		}
		if k, err := ParsePublicKey(file); err == nil {
			if again, err := ParsePublicKey(k.MarshalPEM()); err != nil || again != k {
				t.Errorf("public key does not survive MarshalPEM: %v", err)
			}
		}
	})
}
