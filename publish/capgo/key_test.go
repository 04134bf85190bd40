package capgo

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"brink/bench/cost"
	"brink/channel"
	format "brink/protocol/capgo"
)

// testRSA is a key that took a moment to make.
var testRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func pkcs1(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func testKey(t testing.TB) *Key {
	t.Helper()
	key, err := ParseKey(pkcs1(testRSA()))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestParseKey_TakesBothFormsOfAPrivateKey(t *testing.T) {
	want := testKey(t)
	der, err := x509.MarshalPKCS8PrivateKey(testRSA())
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil || got.ID() != want.ID() || !bytes.Equal(got.secret, want.secret) {
		t.Errorf("PKCS#8: %v", err)
	}
	if id := want.ID(); len(id) != 20 || !strings.HasPrefix(id, "MIIBCgKCAQEA") {
		t.Errorf("ID %q", id)
	}
}

func TestParseKey_RefusesEverythingElse(t *testing.T) {
	encode := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKCS8PrivateKey(curve)
	small, err2 := rsa.GenerateKey(rand.Reader, 1024)
	if err2 != nil {
		t.Fatal(err2)
	}
	for name, raw := range map[string][]byte{
		"nothing":      nil,
		"no PEM":       []byte("key"),
		"a public key": encode("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&testRSA().PublicKey), nil),
		"another kind": encode("PRIVATE KEY", other, err),
		"1024 bits":    pkcs1(small),
		"cut PKCS#1":   encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(testRSA())[:900], nil),
		"cut PKCS#8":   encode("PRIVATE KEY", other[:20], nil),
	} {
		if _, err := ParseKey(raw); !errors.Is(err, channel.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKey_OpenSSLRecoversWhatItSeals(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("BRINK_CI") == "1" {
			t.Fatal("openssl is missing, and BRINK_CI=1 wants every test")
		}
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	der, err := x509.MarshalPKIXPublicKey(&testRSA().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for _, size := range []int{1, 16, 32, 48} {
		sealed, err := testKey(t).seal(noise(size))
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"key": public, "sealed": sealed} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(openssl, "pkeyutl", "-verifyrecover", "-pubin", "-inkey", "key", "-in", "sealed")
		cmd.Dir = dir
		if out, err := cmd.Output(); err != nil || !bytes.Equal(out, noise(size)) {
			t.Errorf("openssl recovers %x, %v, want %x", out, err, noise(size))
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(pkcs1(testRSA()))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var key *Key
		var err error
		cost.Check(t, len(raw), func() { key, err = ParseKey(raw) })
		if err != nil {
			if !errors.Is(err, channel.ErrKey) {
				t.Fatalf("%v is not ErrKey", err)
			}
			return
		}
		if sealed, err := key.seal([]byte("x")); err != nil || len(sealed) != format.Sealed {
			t.Fatalf("a key was read that cannot seal: %v", err)
		}
	})
}
