package bucket

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"brink/origin/bucket/buckettest"
	"brink/store/storetest"
)

func TestOpen_RefusesOtherAddresses(t *testing.T) {
	newFakeS3(t)
	for _, address := range []string{
		"", "bucket", "s3://", "ftp://host/x", "s3://user:secret@bucket", "https://user:secret@host/x", "s3://b?style=other",
		"s3://b?endpoint=://", "s3://b?endpoint=http://host/path", "s3://b?secret=x", "s3://b?region=a&region=b", "https://host/x?y",
		"s3://b/../x", "https://host/#x", "s3://b?endpoint=http://user:secret@host",
	} {
		b, err := Open(t.Context(), address, Config{})
		if err == nil {
			b.Close()
			t.Errorf("Open(%q) = nil", address)
		} else if strings.Contains(err.Error(), ":secret@") && !strings.Contains(address, "endpoint") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

func TestOpen_ReadsTheEnvironment(t *testing.T) {
	s := newFakeS3(t)
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_ENDPOINT_URL_S3", s.URL)
	b := open(t, "s3://"+buckettest.Name+"/some/prefix")
	mustPut(t, b, upload(storetest.Random(t, 1, 1000)))
	if b.Name() != "s3://acme-ota/some/prefix" || b.ReadOnly() {
		t.Errorf("the bucket is %s, read-only: %t", b.Name(), b.ReadOnly())
	}
	if w := byHTTP(t, s); w.Name() != s.URL+"/acme-ota/some/prefix" || !w.ReadOnly() {
		t.Errorf("by HTTP it is %s, read-only: %t", w.Name(), w.ReadOnly())
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
	b = open(t, "s3://"+buckettest.Name+"/some/prefix?style=path&region=eu-central-1&endpoint="+s.URL)
	if sent := mustPut(t, b, upload(storetest.Random(t, 1, 1000))); !sent.Before {
		t.Error("the query does not count before the environment")
	}
}

func TestBucket_ErrorsHaveAKindAndAHint(t *testing.T) {
	for name, row := range map[string]struct {
		status int
		code   string
		want   error
	}{
		"no bucket":       {404, "NoSuchBucket", ErrNoBucket},
		"unknown key":     {403, "InvalidAccessKeyId", ErrCredentials},
		"wrong secret":    {403, "SignatureDoesNotMatch", ErrCredentials},
		"not allowed":     {403, "AccessDenied", ErrDenied},
		"other region":    {400, "AuthorizationHeaderMalformed", ErrRegion},
		"wrong clock":     {403, "RequestTimeTooSkewed", ErrClock},
		"full":            {507, "XMinioStorageFull", ErrFull},
		"full, unnamed":   {507, "", ErrFull},
		"over the quota":  {403, "QuotaExceeded", ErrFull},
		"too many writes": {503, "SlowDown", ErrUnavailable},
	} {
		s := newFakeS3(t)
		s.Fail = func(w http.ResponseWriter, r *http.Request, _ string) bool {
			if r.Method == http.MethodPut {
				buckettest.Says(w, row.status, row.code)
				return true
			}
			return false
		}
		_, err := byS3(t, s).PutBundle(t.Context(), upload(storetest.Random(t, 1, 1000)))
		var told *Error
		if !errors.Is(err, row.want) || !errors.As(err, &told) || told.Hint() == "" {
			t.Errorf("%s: %v, want %v with a hint", name, err, row.want)
		}
		if n := s.Count("PUT", ""); row.status == 503 && n < 2 || row.status != 503 && n != 1 {
			t.Errorf("%s: it was tried %d times", name, n)
		}
	}
}

// S3 answers a conditional write with 409 while another write of the object is in progress, and expects another try.
func TestBucket_TriesConditionalWritesAgain(t *testing.T) {
	for name, row := range map[string]struct {
		conflicts int
		want      error
	}{
		"a few":     {3, nil},
		"no end":    {1000, ErrUnavailable},
		"other 409": {-1, ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeS3(t)
			writes := 0
			s.Fail = func(w http.ResponseWriter, r *http.Request, key string) bool {
				if r.Method != http.MethodPut || r.Header.Get("If-None-Match") == "" && r.Header.Get("If-Match") == "" {
					return false
				}
				if writes++; row.conflicts < 0 {
					buckettest.Says(w, http.StatusConflict, "OperationOfAnotherKind")
					return true
				}
				if writes <= row.conflicts {
					buckettest.Says(w, http.StatusConflict, "ConditionalRequestConflict")
					return true
				}
				return false
			}
			err := byS3(t, s).put(t.Context(), "channels/x.json", []byte("{}"), condition{absent: true})
			if row.conflicts < 0 {
				if !errors.Is(err, errExists) || writes != 1 {
					t.Errorf("put = %v after %d writes, want errExists after one", err, writes)
				}
				return
			}
			if !errors.Is(err, row.want) || writes < 4 || writes > conflictTries {
				t.Errorf("put = %v after %d writes, want %v", err, writes, row.want)
			}
		})
	}
}

// Buckets with Object Lock take nothing without a checksum, and a condition must reach the request that completes it.
func TestBucket_WritesHaveAChecksum(t *testing.T) {
	s := newFakeS3(t)
	s.Fail = func(w http.ResponseWriter, r *http.Request, key string) bool {
		if r.Method == http.MethodPut && r.Header.Get("Content-Md5") == "" {
			buckettest.Says(w, http.StatusBadRequest, "InvalidRequest")
			return true
		}
		return false
	}
	b := byS3(t, s)
	mustPut(t, b, upload(storetest.Random(t, 1, 300_000)))
	if err := b.put(t.Context(), "channels/x.json", []byte("{}"), condition{absent: true}); err != nil {
		t.Error(err)
	}
}

func TestBucket_WithoutCredentials(t *testing.T) {
	s := newFakeS3(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	one := storetest.Random(t, 1, 1000)
	s.Fail = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.Header.Get("Authorization") != "" {
			t.Error("a request is signed by nobody's key")
		}
		if r.Method == http.MethodPut {
			buckettest.Says(w, http.StatusForbidden, "AccessDenied")
			return true
		}
		return false
	}
	_, err := byS3(t, s).PutBundle(t.Context(), upload(one))
	var told *Error
	if !errors.Is(err, ErrCredentials) || !errors.As(err, &told) || !strings.Contains(told.Hint(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("PutBundle = %v, want ErrCredentials with a hint", err)
	}
}

func TestBucket_RetriesAFailingStore(t *testing.T) {
	s := newFakeS3(t)
	n := 0
	s.Fail = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		if n++; n%3 == 1 {
			w.Header().Set("Retry-After", "1")
			buckettest.Says(w, http.StatusServiceUnavailable, "SlowDown")
			return true
		}
		return false
	}
	one := storetest.Random(t, 1, 1000)
	b := byS3(t, s)
	mustPut(t, b, upload(one))
	if n, err := fetch(t, b, one); err != nil || n != len(one.Frames) {
		t.Errorf("came %d chunks: %v", n, err)
	}
}

func TestBucket_AServerThatIsDown(t *testing.T) {
	s := newFakeS3(t)
	b, w := byS3(t, s), byHTTP(t, s)
	s.Close()
	for _, place := range []*Bucket{b, w} {
		_, _, err := place.Manifest(t.Context(), testApp, "beta", "")
		var told *Error
		if !errors.Is(err, ErrUnavailable) || !errors.As(err, &told) || told.Hint() == "" {
			t.Errorf("from %s: %v, want ErrUnavailable", place.Name(), err)
		}
	}
}

func TestWeb_SaysWhatIsWrong(t *testing.T) {
	s := newFakeS3(t)
	for status, want := range map[int]error{
		401: ErrDenied, 403: ErrDenied, 404: ErrNotFound, 410: ErrNotFound, 500: ErrUnavailable, 302: ErrUnavailable,
	} {
		s.Fail = func(w http.ResponseWriter, _ *http.Request, _ string) bool { w.WriteHeader(status); return true }
		if _, _, err := byHTTP(t, s).Manifest(t.Context(), testApp, "beta", ""); !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
	}
	s.Fail = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		_, _ = io.Copy(w, io.LimitReader(zeros{}, 8<<20))
		return true
	}
	if _, _, err := byHTTP(t, s).Manifest(t.Context(), testApp, "beta", ""); !errors.Is(err, ErrMalformed) {
		t.Errorf("of a manifest without an end: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
