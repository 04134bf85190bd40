package main

import (
	"crypto/x509"
	"encoding/base64"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"brink/gossip"
)

// The kinds of secrets that are recognized in text.
const (
	privateKeyText = "a private key"
	fleetKeyText   = "a fleet key"
	s3KeyText      = "a secret key of S3"
)

// privateBlock is part of the first line of every private key in PEM, for every algorithm.
const privateBlock = "PRIVATE KEY-----"

// base64Run matches base64 that is long enough to be a secret: at least 40 characters.
func base64Run() *regexp.Regexp { return regexp.MustCompile(`[A-Za-z0-9+/]{40,}={0,2}`) }

// pemBody matches the body of private keys in PEM: to the end of the block, or all that may be base64 if it has no end.
func pemBody() *regexp.Regexp {
	return regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----((?:[^-].*?)-----END|[A-Za-z0-9+/=\s\\]*)`)
}

// secretKind returns the kind of secret that a text is, or contains as PEM; "" is none. It recognizes only secrets with
// a known format.
func secretKind(text string) string {
	if strings.Contains(text, privateBlock) {
		return privateKeyText
	}
	text = strings.Join(strings.Fields(text), "") // base64 may be broken into lines
	if base64Run().FindString(text) != text {
		return ""
	}
	return runKind(text)
}

// runKind is secretKind for one run of base64.
func runKind(run string) string {
	raw, err := base64.StdEncoding.DecodeString(run)
	switch {
	case err == nil && len(raw) == gossip.KeySize:
		return fleetKeyText
	case err == nil && isPrivateDER(raw):
		return privateKeyText
	case len(run) == 40 && isMixed(run):
		return s3KeyText
	}
	return ""
}

func isPrivateDER(der []byte) bool {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return true
	}
	_, err := x509.ParseECPrivateKey(der)
	return err == nil
}

// isMixed distinguishes random base64 from hexadecimal digests, names and paths. One key in 200 has no digit, or as
// many slashes as a path, so a plus and capitals within words count as well.
func isMixed(run string) bool {
	has := func(is func(rune) bool) bool { return strings.ContainsFunc(run, is) }
	capitals := 0 // after a small letter
	for i := 1; i < len(run); i++ {
		if unicode.IsLower(rune(run[i-1])) && unicode.IsUpper(rune(run[i])) {
			capitals++
		}
	}
	return has(unicode.IsUpper) && has(unicode.IsLower) &&
		(has(unicode.IsDigit) && strings.Count(run, "/") < 4 || strings.Contains(run, "+") || capitals > 2)
}

// pieceSize is the length in bytes from which a part of a secret is redacted.
const pieceSize = 16

// redacted replaces secrets in output.
const redacted = "[secret]"

// secrets is the set of secrets that this run has read and must never print, in pieces of pieceSize.
type secrets struct {
	mu     sync.RWMutex
	pieces map[string]struct{}
}

// addFrom adds the secrets that it recognizes in a text.
func (s *secrets) addFrom(text string) {
	for _, block := range pemBody().FindAllStringSubmatch(text, -1) {
		s.add(block[1])
	}
	for _, run := range base64Run().FindAllString(text, -1) {
		if runKind(run) != "" {
			s.add(run)
		}
	}
	if secretKind(text) != "" && !strings.Contains(text, privateBlock) {
		s.add(text)
	}
}

// add adds a text that is secret as a whole, in all the forms in which a message may quote it.
func (s *secrets) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pieces == nil {
		s.pieces = map[string]struct{}{}
	}
	// PEM in one line, as environments have it, has a backslash and an n between lines.
	for _, word := range strings.Fields(strings.ReplaceAll(text, `\n`, "\n")) {
		for _, form := range []string{
			word, strings.ToLower(word), strings.ToUpper(word), url.QueryEscape(word), url.PathEscape(word),
		} {
			for i := 0; i+pieceSize <= len(form); i++ {
				s.pieces[form[i:i+pieceSize]] = struct{}{}
			}
		}
	}
}

// clean returns b with secrets redacted. It returns b itself when there are none.
func (s *secrets) clean(b []byte) []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.pieces) == 0 {
		return b
	}
	var out []byte
	copied, end := 0, 0 // up to where b is copied or skipped, and where the current secret ends
	for i := 0; i+pieceSize <= len(b); i++ {
		if _, found := s.pieces[string(b[i:i+pieceSize])]; !found {
			continue
		}
		if i >= end {
			out = append(append(out, b[max(copied, end):i]...), redacted...)
		}
		end = i + pieceSize
		copied = end
	}
	if copied == 0 {
		return b
	}
	return append(out, b[copied:]...)
}

// guard is a writer that redacts secrets. It does not recognize a secret that is split between two calls of Write.
type guard struct {
	w       io.Writer
	secrets *secrets
}

// Write implements [io.Writer].
func (g guard) Write(b []byte) (int, error) {
	if _, err := g.w.Write(g.secrets.clean(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// addAll adds the secrets found in the arguments and the environment.
func (s *secrets) addAll(args, environ []string) {
	for _, arg := range args {
		s.addFrom(arg)
		if len(arg) > 2 && arg[0] == '-' {
			s.addFrom(arg[2:]) // -kVALUE
		}
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case slices.Contains([]string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}, name):
			s.add(value)
		case strings.HasPrefix(name, envPrefix):
			s.addFrom(value)
		}
	}
}
