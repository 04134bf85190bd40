// Package buckettest has a small S3 store for tests, which can be told to fail in many ways, and a real one.
package buckettest

import (
	"bufio"
	"bytes"
	"crypto/md5" // what S3 makes entity tags of
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// S3 is as much of S3 as package bucket uses, for one bucket by path: whole objects, ranges, conditions and lists. It
// checks no signature, and knows no uploads in parts.
type S3 struct {
	*httptest.Server

	// Conditions is what the store does with the conditions of writes.
	Conditions Conditions
	// Fail, if set, may answer in the place of the store. It is called with the key.
	Fail func(w http.ResponseWriter, r *http.Request, key string) (done bool)

	mu      sync.Mutex
	objects map[string][]byte
	calls   []string // method and key
}

// Conditions is what a store does with the conditions of writes (If-Match, If-None-Match).
type Conditions int

// The ways. There are stores of each kind.
const (
	Honours Conditions = iota
	Ignores
	Refuses // with 501
)

// Name is that of the bucket.
const Name = "acme-ota"

// prefix is where in the bucket everything is.
const prefix = "some/prefix/"

// New starts an empty store, which ends with the test. end is called with what ends it, such as t.Cleanup.
func New(end func(func())) *S3 {
	s := &S3{objects: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	end(s.Close)
	return s
}

// Environment returns the variables by which clients find credentials for the store, and nothing of the machine's own.
func Environment() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_REGION": "",
		"AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
		"AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_CONFIG_FILE": "/nonexistent",
	}
}

// Address returns the URL of a place in the bucket, for S3.
func (s *S3) Address() string { return "s3://" + Name + "/" + prefix + "?endpoint=" + s.URL }

// Web returns the URL of the same place, for HTTP.
func (s *S3) Web() string { return s.URL + "/" + Name + "/" + prefix }

// Keys returns the keys of all objects, sorted, without the prefix.
func (s *S3) Keys() (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.objects {
		keys = append(keys, strings.TrimPrefix(key, prefix))
	}
	slices.Sort(keys)
	return keys
}

// Set puts an object in its place, or removes it when raw is nil.
func (s *S3) Set(key string, raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if raw == nil {
		delete(s.objects, prefix+key)
	} else {
		s.objects[prefix+key] = raw
	}
}

// Object returns an object, nil if there is none.
func (s *S3) Object(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[prefix+key]
}

// Count returns how many requests of the method were for keys that hold text, and forgets all requests.
func (s *S3) Count(method, text string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, call := range s.calls {
		if strings.HasPrefix(call, method+" ") && strings.Contains(call, text) {
			n++
		}
	}
	s.calls = nil
	return n
}

// ServeHTTP implements [http.Handler].
func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	body, err := bodyOf(r)
	if err != nil {
		Says(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	s.mu.Lock()
	s.calls = append(s.calls, r.Method+" "+key)
	s.mu.Unlock()
	if s.Fail != nil && s.Fail(w, r, key) {
		return
	}
	if bucket != Name {
		Says(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == http.MethodPut:
		s.put(w, r, key, body)
	case r.URL.Query().Get("list-type") == "2":
		s.list(w, r.URL.Query().Get("prefix"))
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		raw, ok := s.objects[key]
		if !ok {
			Says(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		w.Header().Set("ETag", tagOf(raw))
		http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(raw))
	default:
		Says(w, http.StatusNotImplemented, "NotImplemented")
	}
}

// bodyOf reads a body, taking the signed chunks apart in which clients send it without TLS
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html).
func bodyOf(r *http.Request) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(r.Body)
	}
	var body []byte
	for in := bufio.NewReader(r.Body); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		digits, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		size, err := strconv.ParseInt(digits, 16, 32)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			_, err := io.Copy(io.Discard, in)
			return body, err
		}
		part := make([]byte, size+2)
		if _, err := io.ReadFull(in, part); err != nil {
			return nil, err
		}
		body = append(body, part[:size]...)
	}
}

func (s *S3) put(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	there, ok := s.objects[key]
	none, match := r.Header.Get("If-None-Match"), r.Header.Get("If-Match")
	switch {
	case none == "" && match == "", s.Conditions == Ignores:
	case s.Conditions == Refuses:
		Says(w, http.StatusNotImplemented, "NotImplemented")
		return
	case none != "" && ok, match != "" && ok && match != tagOf(there):
		Says(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	case match != "" && !ok:
		Says(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	s.objects[key] = body
	w.Header().Set("ETag", tagOf(body))
}

func (s *S3) list(w http.ResponseWriter, prefix string) {
	var answer struct {
		XMLName        xml.Name `xml:"ListBucketResult"`
		Contents       []struct{ Key string }
		CommonPrefixes []struct{ Prefix string }
	}
	seen := map[string]bool{}
	for key := range s.objects {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if folder, _, deep := strings.Cut(rest, "/"); !deep {
			answer.Contents = append(answer.Contents, struct{ Key string }{key})
		} else if !seen[folder] {
			seen[folder] = true
			answer.CommonPrefixes = append(answer.CommonPrefixes, struct{ Prefix string }{prefix + folder + "/"})
		}
	}
	_ = xml.NewEncoder(w).Encode(answer)
}

func tagOf(raw []byte) string {
	sum := md5.Sum(raw)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// Says answers as a store does that says no.
func Says(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>it says %s</Message></Error>", code, code)
}
