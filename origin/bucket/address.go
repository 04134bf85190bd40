package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

// place is a parsed URL of a bucket.
type place struct {
	web  bool
	base string // if web; without a trailing slash

	bucket   string
	prefix   string // empty, or it ends with a slash
	endpoint string // host and port; empty: Amazon's
	insecure bool   // plain HTTP
	region   string
	style    string
}

// parse parses the URL of a bucket, see [Open].
func parse(address string) (place, error) {
	fail := func(why string) (place, error) {
		return place{}, fmt.Errorf("origin %q: %s; write it like s3://bucket/prefix or https://host/prefix",
			withoutSecrets(address), why)
	}
	u, err := url.Parse(address)
	if err != nil {
		return fail("it is not a URL")
	}
	if u.User != nil {
		return fail("credentials do not belong in a URL, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	if u.Fragment != "" || u.Opaque != "" || u.Host == "" {
		return fail("it has no bucket or host")
	}
	prefix := strings.Trim(u.Path, "/")
	if slices.ContainsFunc(strings.Split(prefix, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return fail("its path must not have . and ..")
	}
	if prefix != "" {
		prefix += "/"
	}
	switch u.Scheme {
	case "http", "https":
		if u.RawQuery != "" {
			return fail("it must not have a query")
		}
		return place{web: true, base: strings.TrimRight(u.Scheme+"://"+u.Host+"/"+prefix, "/")}, nil
	case "s3":
	default:
		return fail("its scheme is not s3, https or http")
	}
	p := place{bucket: u.Host, prefix: prefix}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail("its query cannot be parsed")
	}
	for name, values := range query {
		if len(values) != 1 || !slices.Contains([]string{"endpoint", "region", "style"}, name) {
			return fail("its query may have endpoint, region and style, each once")
		}
	}
	p.region = firstOf(query.Get("region"), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	if p.style = query.Get("style"); p.style != "" && p.style != "path" && p.style != "host" {
		return fail("its style is neither path nor host")
	}
	endpoint := firstOf(query.Get("endpoint"), os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
	if err := p.setEndpoint(endpoint); err != nil {
		return fail(err.Error())
	}
	return p, nil
}

func (p *place) setEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return errors.New("its endpoint is not like https://host:port")
	}
	p.endpoint, p.insecure = u.Host, u.Scheme == "http"
	return nil
}

// String returns the URL without its query.
func (p place) String() string {
	if p.web {
		return p.base
	}
	return strings.TrimRight("s3://"+p.bucket+"/"+p.prefix, "/")
}

// withoutSecrets returns an address for a message, without credentials. One that does not parse is not quoted at all.
func withoutSecrets(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "…"
	}
	u.User = nil
	return u.String()
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
