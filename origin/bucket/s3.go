package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// metadataWait bounds the search for credentials in a metadata service, which most machines do not have.
const metadataWait = 2 * time.Second

// s3 is a bucket of an S3 store.
type s3 struct {
	core    minio.Core
	bucket  string
	prefix  string
	noKeys  bool
	noConds atomic.Bool // the store refuses conditional writes as not implemented
}

// conditionalConflict is the code of S3 for a conditional write during another write of the object: to be tried again.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-write-error-response.html
const conditionalConflict = "ConditionalRequestConflict"

// errAgain is the error of one try of such a write.
var errAgain = errors.New("another write of the object was in progress each time")

// How often such a write is tried, and the first pause between two tries, which doubles.
const (
	conflictTries = 6
	conflictPause = 50 * time.Millisecond
)

func openS3(ctx context.Context, p place, config Config) (*s3, error) {
	metadata := &http.Client{Timeout: metadataWait, Transport: config.Transport}
	chain := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{Client: metadata, Region: p.region},
	})
	found := make(chan credentials.Value, 1)
	ctx, cancel := context.WithTimeout(ctx, 2*metadataWait)
	defer cancel()
	go func() {
		value, err := chain.GetWithContext(&credentials.CredContext{Client: metadata})
		if err != nil {
			value = credentials.Value{}
		}
		found <- value
	}()
	s := &s3{bucket: p.bucket, prefix: p.prefix}
	select {
	case value := <-found:
		s.noKeys = value.AccessKeyID == ""
	case <-ctx.Done():
		<-found // it has its own timeout
		return nil, context.Cause(ctx)
	}
	if s.noKeys {
		chain = credentials.New(&credentials.Static{Value: credentials.Value{SignerType: credentials.SignatureAnonymous}})
	}
	options := &minio.Options{
		Creds: chain, Secure: !p.insecure, Region: p.region, Transport: config.Transport, MaxRetries: retries,
	}
	switch p.style {
	case "path":
		options.BucketLookup = minio.BucketLookupPath
	case "host":
		options.BucketLookup = minio.BucketLookupDNS
	}
	endpoint := p.endpoint
	if endpoint == "" {
		endpoint = "s3.amazonaws.com"
	} else if options.Region == "" && !strings.HasSuffix(endpoint, ".amazonaws.com") {
		options.Region = "us-east-1" // what stores with one region accept; detecting it takes a request and a permission
	}
	core, err := minio.NewCore(endpoint, options)
	if err != nil {
		return nil, fmt.Errorf("origin %s: %w", p, err)
	}
	s.core = *core
	return s, nil
}

func (s *s3) get(ctx context.Context, key string, ask ask) (*object, error) {
	var options minio.GetObjectOptions
	if ask.tag != "" {
		if err := options.SetMatchETagExcept(ask.tag); err != nil {
			return nil, s.fail("get", key, err)
		}
	}
	if ask.length > 0 {
		if err := options.SetRange(ask.offset, ask.offset+ask.length-1); err != nil {
			return nil, s.fail("get", key, err)
		}
	}
	body, info, _, err := s.core.GetObject(ctx, s.bucket, s.prefix+key, options)
	if err != nil {
		return nil, s.fail("get", key, err)
	}
	return &object{ReadCloser: body, tag: info.ETag}, nil
}

// put writes an object if the condition holds, and otherwise returns errExists.
func (s *s3) put(ctx context.Context, key string, body io.ReadSeeker, size int64, when condition) error {
	for attempt := range conflictTries {
		err := s.putOnce(ctx, key, body, size, when)
		if !errors.Is(err, errAgain) {
			return err
		}
		pause := time.NewTimer(conflictPause << attempt)
		defer pause.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	return &Error{Op: "put", Key: key, Kind: ErrUnavailable, Err: errAgain}
}

func (s *s3) putOnce(ctx context.Context, key string, body io.ReadSeeker, size int64, when condition) error {
	ctx, cancel := context.WithTimeout(ctx, smallWait+time.Duration(size/slowest)*time.Second)
	defer cancel()
	if when != (condition{}) && s.noConds.Load() {
		if err := s.checkCondition(ctx, key, when); err != nil {
			return err
		}
		when = condition{}
	}
	options := minio.PutObjectOptions{
		ContentType: contentType(key),
		// Buckets with Object Lock accept no object without a checksum (Content-MD5 or x-amz-checksum-*). minio-go sends the
		// others behind the body, in a framing that some stores keep as content.
		SendContentMd5: true,
		// minio-go sends a condition with the first request of a multipart upload only.
		DisableMultipart: when != (condition{}),
	}
	switch {
	case when.absent:
		options.SetMatchETagExcept("*")
	case when.tag != "":
		options.SetMatchETag(when.tag)
	}
	_, err := s.core.Client.PutObject(ctx, s.bucket, s.prefix+key, body, size, options)
	if answer := (minio.ErrorResponse{}); errors.As(err, &answer) && when != (condition{}) {
		switch answer.StatusCode {
		case http.StatusConflict:
			if answer.Code != conditionalConflict {
				return errExists
			}
			// Another write of the object was in progress, and it is open which of them wins.
			return errAgain
		case http.StatusPreconditionFailed:
			return errExists
		case http.StatusNotFound: // of the object to be replaced; a missing bucket has another code
			if answer.Code == minio.NoSuchKey {
				return errExists
			}
		case http.StatusNotImplemented:
			s.noConds.Store(true)
			if _, err := body.Seek(0, io.SeekStart); err != nil {
				return err
			}
			return s.putOnce(ctx, key, body, size, when)
		}
	}
	if err != nil {
		return s.fail("put", key, err)
	}
	return nil
}

// checkCondition checks the condition for a store that does not support conditions. Another writer may change the
// object between the check and the write.
func (s *s3) checkCondition(ctx context.Context, key string, when condition) error {
	info, err := s.core.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	switch {
	case err == nil && (when.absent || info.ETag != when.tag):
		return errExists
	case err == nil:
		return nil
	}
	err = s.fail("stat", key, err)
	if when.absent && errors.Is(err, ErrNotFound) {
		return nil
	}
	if errors.Is(err, ErrNotFound) {
		return errExists
	}
	return err
}

func (s *s3) size(ctx context.Context, key string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, smallWait)
	defer cancel()
	info, err := s.core.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return 0, s.fail("stat", key, err)
	}
	return info.Size, nil
}

func (s *s3) list(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*smallWait)
	defer cancel()
	var names []string
	for info := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix}) {
		if info.Err != nil {
			return nil, s.fail("list", prefix, info.Err)
		}
		if name := strings.TrimPrefix(info.Key, s.prefix+prefix); name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// fail returns err as an [*Error] with its kind.
func (s *s3) fail(op, key string, err error) error {
	e := &Error{Op: op, Key: key, Err: err, NoKeys: s.noKeys}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		if !errors.Is(err, context.Canceled) {
			e.Kind = ErrUnavailable
		}
		return e
	}
	switch answer.Code {
	case minio.NoSuchBucket:
		e.Kind = ErrNoBucket
	case minio.NoSuchKey, "NotFound", "NoSuchVersion":
		e.Kind = ErrNotFound
	case "RequestTimeTooSkewed", "RequestExpired":
		e.Kind = ErrClock
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
		"CredentialsNotSupported":
		e.Kind = ErrCredentials
	case "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect":
		e.Kind, e.Region = ErrRegion, answer.Region
	case "XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "XMinioAdminBucketQuotaExceeded":
		e.Kind = ErrFull
	}
	if e.Kind != nil {
		return e
	}
	switch answer.StatusCode {
	case http.StatusNotModified:
		e.Kind = ErrNotModified
	case http.StatusNotFound:
		// With another code the object is not what is missing: Versity's gateway uses it for an unknown access key.
		if strings.Contains(answer.Code, "User") {
			e.Kind = ErrCredentials
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Kind = ErrDenied
		if s.noKeys {
			e.Kind = ErrCredentials
		}
	case http.StatusInsufficientStorage:
		e.Kind = ErrFull
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e.Kind = ErrUnavailable
	}
	return e
}

func contentType(key string) string {
	if strings.HasSuffix(key, ".json") {
		return "application/json"
	}
	return "application/octet-stream"
}
