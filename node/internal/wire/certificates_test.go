package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// newPair returns a self-signed certificate for name and its key, in PEM.
func newPair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der8})
}

// The certificate in the file may be renewed for the same key.
func TestCertificates_AcceptAKeyByValue(t *testing.T) {
	p := newPairFiles(t, "one.example")
	key, err := os.ReadFile(p.config.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	config := p.config
	config.Key = key
	if _, err := OpenCertificates(config); err == nil {
		t.Error("a key was taken twice")
	}
	config.KeyFile = ""
	c, err := OpenCertificates(config)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetCertificate(nil); err != nil || got == nil {
		t.Errorf("certificate %v, %v", got, err)
	}
	_, config.Key = newPair(t, "other.example")
	if _, err := OpenCertificates(config); err == nil || strings.Contains(err.Error(), "BEGIN") {
		t.Errorf("a key of another certificate: %v", err)
	}
}

// pairFiles is a pair of files whose errors are collected.
type pairFiles struct {
	config CertificatesConfig
	mu     sync.Mutex
	errs   []error
	writes int
}

func newPairFiles(t *testing.T, name string) *pairFiles {
	t.Helper()
	dir := t.TempDir()
	p := &pairFiles{}
	p.config = CertificatesConfig{
		CertFile: filepath.Join(dir, "tls.crt"),
		KeyFile:  filepath.Join(dir, "tls.key"),
		OnError: func(err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.errs = append(p.errs, err)
		},
	}
	cert, key := newPair(t, name)
	p.write(t, p.config.CertFile, cert)
	p.write(t, p.config.KeyFile, key)
	return p
}

// write gives each version of a file a different modification time.
func (p *pairFiles) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	p.writes++
	at := time.Unix(int64(1_700_000_000+p.writes), 0)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

// served returns the name in the certificate that a handshake would get.
func served(t *testing.T, c *Certificates) string {
	t.Helper()
	pair, err := c.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.Subject.CommonName
}

func TestCertificates_FollowTheFiles(t *testing.T) {
	files := newPairFiles(t, "old.example")
	synctest.Test(t, func(t *testing.T) {
		c, err := OpenCertificates(files.config)
		if err != nil {
			t.Fatal(err)
		}
		want := func(name string, errs int) {
			t.Helper()
			if got := served(t, c); got != name {
				t.Errorf("%s is served, want %s", got, name)
			}
			if len(files.errs) != errs {
				t.Errorf("%d errors were told, want %d: %v", len(files.errs), errs, files.errs)
			}
		}
		cert, key := newPair(t, "new.example")
		files.write(t, files.config.CertFile, cert)
		want("old.example", 0) // looked at less than a second ago
		pass(checkEvery)
		want("old.example", 1) // the key is still the old one
		pass(checkEvery)
		want("old.example", 1) // nothing new to tell
		files.write(t, files.config.KeyFile, key)
		pass(checkEvery)
		want("new.example", 1)
		if err := os.Remove(files.config.KeyFile); err != nil {
			t.Fatal(err)
		}
		pass(checkEvery)
		want("new.example", 2)
		pass(checkEvery)
		want("new.example", 2)
		files.write(t, files.config.KeyFile, []byte("no key"))
		pass(checkEvery)
		want("new.example", 3)
		if text := files.errs[2].Error(); !strings.Contains(text, files.config.KeyFile) {
			t.Errorf("the error does not name the file: %s", text)
		}
	})
}

// A change of permissions changes neither time nor size.
func TestCertificates_TryAgainAfterAFailure(t *testing.T) {
	files := newPairFiles(t, "old.example")
	synctest.Test(t, func(t *testing.T) {
		c, err := OpenCertificates(files.config)
		if err != nil {
			t.Fatal(err)
		}
		cert, key := newPair(t, "new.example")
		files.write(t, files.config.CertFile, cert)
		pass(checkEvery)
		served(t, c)
		// The right key in place of the old one, with the stamp of the old one: P-256 keys are of one length.
		info, err := os.Stat(files.config.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(key)) != info.Size() {
			t.Skip("the keys differ in length")
		}
		files.write(t, files.config.KeyFile, key)
		if err := os.Chtimes(files.config.KeyFile, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		pass(checkEvery)
		if got := served(t, c); got != "new.example" {
			t.Errorf("%s is served although the pair is good now", got)
		}
	})
}

func TestOpenCertificates_FailsWithoutAPair(t *testing.T) {
	files := newPairFiles(t, "a.example")
	for _, broken := range []CertificatesConfig{
		{},
		{CertFile: files.config.CertFile, KeyFile: files.config.KeyFile},
		{CertFile: files.config.CertFile, OnError: files.config.OnError},
		{CertFile: files.config.KeyFile, KeyFile: files.config.CertFile, OnError: files.config.OnError},
		{CertFile: files.config.CertFile, KeyFile: "/does/not/exist", OnError: files.config.OnError},
	} {
		if _, err := OpenCertificates(broken); err == nil {
			t.Errorf("%+v is opened", broken)
		}
	}
	if len(files.errs) != 0 {
		t.Errorf("returned and told: %v", files.errs)
	}
}

func TestCertificates_ServeTLSOverTheListener(t *testing.T) {
	files := newPairFiles(t, "node.example")
	certs, err := OpenCertificates(files.config)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, Config{})
	body := make([]byte, 3_000_000)
	serve(t, tls.NewListener(l, certs.TLS()), func(ctx *fasthttp.RequestCtx) {
		if !ctx.IsTLS() {
			t.Error("the server does not know that it speaks TLS")
		}
		ctx.Response.SetBodyRaw(body)
	})
	pair, err := certs.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AddCert(pair.Leaf)
	dial := func(config *tls.Config) (*tls.Conn, error) {
		config.RootCAs, config.ServerName = trust, "node.example"
		return tls.Dial("tcp", l.Addr().String(), config)
	}

	c, err := dial(&tls.Config{NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("the protocol is %q", got)
	}
	client := &http.Client{Transport: &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return c, nil },
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://node.example/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || len(got) != len(body) {
		t.Errorf("%d bytes and %v", len(got), err)
	}

	for name, refused := range map[string]*tls.Config{
		"HTTP/2 only": {NextProtos: []string{"h2"}},
		"TLS 1.1":     {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	} {
		if c, err := dial(refused); err == nil {
			c.Close()
			t.Errorf("%s is accepted", name)
		}
	}
}
