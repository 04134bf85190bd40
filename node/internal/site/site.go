// Package site serves channels as web sites: /web/{app}/{channel}/{path} is the file at path in the bundle that the
// channel serves to browsers, and a host can be mapped to a channel.
//
// The life of one request: package channel decides which release a device of the platform web gets; the file is found
// in its bundle by path, and package represent chooses the representation. A browser that has one version of a file
// gets the next as a patch (RFC 9842), if their names show that they are versions of one file, see package hashed.
//
// The invariant: browsers revalidate each file whose name has no hash, so that they never mix two releases for long.
package site

import (
	"path"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/channel"
	"brink/node/internal/bundles"
	"brink/node/internal/deliver"
	"brink/node/internal/force"
	"brink/node/internal/hashed"
	"brink/node/internal/represent"
	"brink/node/internal/semantics"
	"brink/node/internal/serve"
	"brink/protocol"
)

// indexFile is the file that is served for a folder of a web site.
const indexFile = "index.html"

// Config is what a [Site] works with. All fields are required.
type Config struct {
	State    *force.State
	Bundles  *bundles.Source
	Server   *represent.Server
	Fallback bool // serve index.html for paths without a file and an extension, for single-page apps
	Now      func() time.Time
}

// Site serves channels as web sites.
type Site struct {
	Config

	asked sync.Map // channels that browsers have requested, by name
}

// name identifies a channel of an app.
type name struct{ app, channel string }

// New returns a site.
func New(config Config) *Site { return &Site{Config: config} }

// byPattern returns the files of an index that have hashed names, by the pattern of their names, without those that
// share a pattern: it is unknown which of them is the previous version of which.
func byPattern(ix *bundle.Index) map[string]*bundle.File {
	found := map[string]*bundle.File{}
	for i := range ix.Files {
		f := &ix.Files[i]
		if pattern, ok := hashed.Pattern(f.Path); ok && f.Size >= represent.Smallest {
			if _, shared := found[pattern]; shared {
				f = nil
			}
			found[pattern] = f
		}
	}
	for pattern, f := range found {
		if f == nil {
			delete(found, pattern)
		}
	}
	return found
}

// Patches returns the patches that browsers will ask for when m comes into force, if any have requested the channel.
func (s *Site) Patches(m *channel.Manifest) (list []represent.Derivation) {
	release := s.given(m).Release
	if _, asked := s.asked.Load(name{m.App, m.Channel}); !asked || release == nil {
		return nil
	}
	b, err := s.Server.Store.Bundle(release.Bundle)
	if err != nil {
		return nil // requests for its files report the error
	}
	served := byPattern(b.Index)
	for old := range s.Server.Before(m, release.Bundle) {
		for pattern, f := range byPattern(old.Index) {
			next := served[pattern]
			if next == nil {
				continue
			}
			base := represent.Dictionary{Subject: represent.FileOf(old.ID, f), Name: f.SHA256}
			if d, possible := base.PatchFor(represent.FileOf(release.Bundle, next)); possible {
				list = append(list, d)
			}
		}
	}
	return list
}

// given returns the decision of a channel for browsers: they are devices of the platform web without an ID or version.
func (s *Site) given(m *channel.Manifest) channel.Decision {
	return channel.ResolveIgnoringExpiry(m, channel.Device{Platform: channel.Web}, s.Now())
}

// ToFolder redirects to the path with a trailing slash, from which relative links resolve correctly.
func (s *Site) ToFolder(r *serve.Request) error {
	r.Response.Header.Set(fasthttp.HeaderLocation, string(r.URI().PathOriginal())+"/")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheChecked)
	r.SetStatusCode(fasthttp.StatusPermanentRedirect)
	return nil
}

// GetPage answers GET /web/{app}/{channel}/{path}.
func (s *Site) GetPage(r *serve.Request) error {
	m, err := s.State.Require(r.Names[0], r.Names[1])
	if err != nil {
		return err
	}
	decision := s.given(m)
	release := decision.Release
	if release == nil {
		return serve.Problem(protocol.CodeNotFound, "the channel has no release for browsers",
			"the reason is: "+string(decision.Reason))
	}
	b, err := s.Bundles.Bundle(release.Bundle)
	if err != nil {
		return err
	}
	file := r.Names[2]
	if file == "" || strings.HasSuffix(file, "/") {
		file += indexFile
	}
	f := b.Index.File(file)
	if f == nil {
		if b.Index.File(file+"/"+indexFile) != nil {
			return s.ToFolder(r)
		}
		if s.Fallback && path.Ext(file) == "" {
			f = b.Index.File(indexFile) // the script of a single-page app handles the path
		}
	}
	if f == nil {
		return serve.Problem(protocol.CodeUnknownFile, "the site does not have this file", "")
	}
	what := serve.Headers{Vary: semantics.VaryDictionary, Cache: semantics.CacheChecked}
	if _, _, unchanging := hashed.Find(f.Path); unchanging {
		what.Cache = semantics.CacheForever
		deliver.OfferDictionary(r, b.Index, f, false)
	}
	s.asked.LoadOrStore(name{m.App, m.Channel}, nil)
	return s.Server.SendFile(r, what, represent.FileOf(release.Bundle, f))
}
