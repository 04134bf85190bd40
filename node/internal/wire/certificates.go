package wire

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// checkEvery is the minimum interval between checks whether the certificate files have changed.
const checkEvery = time.Second

// CertificatesConfig names what [OpenCertificates] opens. All fields are required but one of KeyFile and Key.
type CertificatesConfig struct {
	CertFile, KeyFile string // PEM; the certificate file holds the chain, leaf first
	Key               []byte // PEM, instead of KeyFile
	// OnError is called when the files have changed and cannot be used, once per change. It is called during a handshake
	// and must not block.
	OnError func(error)
}

// Validate reports what is missing.
func (c CertificatesConfig) Validate() error {
	switch {
	case c.CertFile == "" || (c.KeyFile == "") == (len(c.Key) == 0):
		return errors.New("a certificate file and exactly one key are required")
	case c.OnError == nil:
		return errors.New("OnError is required")
	}
	return nil
}

// Certificates is a certificate and its key, read from two files and read again when these change. It has no goroutine:
// handshakes check the files, at most once a second. If a new pair cannot be read or does not match, for example
// because only one of the files has been written yet, the last good pair stays in use.
type Certificates struct {
	config  CertificatesConfig
	current atomic.Pointer[tls.Certificate]
	checked atomic.Int64 // when the files were last checked, in nanoseconds since the epoch

	mu     sync.Mutex
	stamp  [2]stamp // of the files as last read
	failed bool     // whether they could not be used
}

// stamp identifies a version of a file. The zero stamp is that of a missing file.
type stamp struct {
	modified int64 // nanoseconds since the epoch
	size     int64
}

// OpenCertificates reads both files, and fails if they do not match.
func OpenCertificates(config CertificatesConfig) (*Certificates, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	c := &Certificates{config: config}
	c.checked.Store(time.Now().UnixNano())
	c.stamp = c.stat()
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// TLS returns a configuration for servers: TLS 1.2 and up with the cipher suites and curves Go chooses, HTTP/1.1 only.
func (c *Certificates) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: c.GetCertificate,
	}
}

// GetCertificate is for [tls.Config]. It never fails.
func (c *Certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := time.Now().UnixNano()
	// A clock that was set back must not stop the checks. A handshake does not wait for the check of another one.
	if last := c.checked.Load(); (now-last >= int64(checkEvery) || now < last) && c.mu.TryLock() {
		defer c.mu.Unlock()
		c.checked.Store(now)
		// Stamp the files before reading them, so that the next check notices changes in between. After a failure, read
		// them again even if the stamps are the same, because stamps do not show a change of permissions.
		if found := c.stat(); found != c.stamp || c.failed {
			err := c.load()
			if err != nil && found != c.stamp {
				c.config.OnError(err)
			}
			c.stamp, c.failed = found, err != nil
		}
	}
	return c.current.Load(), nil
}

func (c *Certificates) load() error {
	pair, err := c.read()
	if err != nil {
		// The text of a PathError contains the name; that of other errors does not.
		if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
			return fmt.Errorf("certificates: %w", err)
		}
		return fmt.Errorf("certificates %s and %s: %w", c.config.CertFile, cmp.Or(c.config.KeyFile, "its key"), err)
	}
	c.current.Store(&pair)
	return nil
}

func (c *Certificates) read() (tls.Certificate, error) {
	key := c.config.Key
	chain, err := os.ReadFile(c.config.CertFile)
	if err == nil && len(key) == 0 {
		key, err = os.ReadFile(c.config.KeyFile)
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(chain, key)
}

func (c *Certificates) stat() (s [2]stamp) {
	for i, name := range [...]string{c.config.CertFile, c.config.KeyFile} {
		if info, err := os.Stat(name); err == nil {
			s[i] = stamp{info.ModTime().UnixNano(), info.Size()}
		}
	}
	return s
}
