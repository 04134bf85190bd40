package plugin

import (
	"bytes"
	"compress/gzip"
	"net/url"
	"strings"
	"sync"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
	"brink/protocol/capgo"
)

// subject is everything that an answer with a release depends on. None of it is specific to one device.
type subject struct {
	statement digest.Digest // of the channel manifest
	version   string        // of the release
	base      string
	files     bool // whether the plugin takes a list of files
	hex       bool // whether it takes sealed checksums in hex, or in base64
	text      bool // whether it takes a link and a comment
}

// answer is an answer with a release, or the reason why there is none.
type answer struct {
	body, gzip []byte
	keyID      string // of the key that the release was encrypted for; empty: none or unknown
	refusal    string // why the plugin cannot have the release; empty: it can
	unsettled  bool   // whether a better answer is expected soon
	until      time.Time
}

// Bounds of the cache. Requests with many names of the host can clear it, but not make it grow.
const (
	maxKept      = 32 << 20 // bytes
	keptOverhead = 512      // bytes of an answer besides its body, about: its key, and its entry in the map
	// settle is how long an unsettled answer is cached.
	settle = 2 * time.Second
)

// minGzip is the size in bytes from which an answer is also available as gzip.
const minGzip = 1 << 10

// maxEntries bounds the files of a list. A larger release is sent as a zip.
const maxEntries = capgo.MaxFiles

// render returns the answer with a release.
func (s *Server) render(of subject, release *channel.Release) *answer {
	a := &answer{}
	u := update{Version: release.Version, URL: of.base + noZip}
	if of.text {
		u.Link, u.Comment = release.Link, release.Comment
	}
	if sealed := release.Attachment(capgo.Kind); sealed != nil {
		s.renderSealed(a, &u, of, sealed)
	} else {
		s.renderPlain(a, &u, of, release)
	}
	if a.refusal == "" {
		a.body = u.body()
	}
	return a
}

// renderPlain fills in a release that is not encrypted.
func (s *Server) renderPlain(a *answer, u *update, of subject, release *channel.Release) {
	zip := s.zip(release)
	if zip != nil {
		u.URL = fileURL(of.base, zip.id, protocol.ZipPath)
		u.Checksum = zip.file.SHA256.String()
	}
	if of.files {
		ix, err := s.config.Edge.Index(release.Bundle)
		if err == nil && listable(ix) {
			u.Manifest, a.unsettled = s.entries(of.base, ix)
		}
	}
	if zip == nil && u.Manifest == nil {
		a.refusal = "Cannot get bundle: it has no zip, and this plugin takes no list of files"
		a.unsettled = true // the bundle may be fetched
	}
}

// zipFile is a zip that is here.
type zipFile struct {
	id   digest.Digest // of the attachment
	file *bundle.File
}

// zip returns the zip of a release, or nil if there is none here.
func (s *Server) zip(release *channel.Release) *zipFile {
	attached := release.Attachment(protocol.AttachmentZip)
	if attached == nil {
		return nil
	}
	ix, err := s.config.Edge.Index(attached.Bundle)
	if err != nil {
		return nil
	}
	if f := ix.File(protocol.ZipPath); f != nil {
		return &zipFile{attached.Bundle, f}
	}
	return nil
}

// listable reports whether the release can be sent as a list of files. The plugin would decode a file whose name ends
// in .br as brotli, and remove the suffix.
func listable(ix *bundle.Index) bool {
	for i := range ix.Files {
		if strings.HasSuffix(ix.Files[i].Path, brotliSuffix) {
			return false
		}
	}
	return len(ix.Files) <= maxEntries
}

// brotliSuffix is the suffix by which the plugin recognises brotli.
const brotliSuffix = ".br"

// entries returns the list of all files. It is unsettled while some of them are not encoded yet.
func (s *Server) entries(base string, ix *bundle.Index) (list []entry, unsettled bool) {
	list = make([]entry, len(ix.Files))
	id := ix.Bundle()
	folder := fileURL(base, id, "")
	for i := range ix.Files {
		f := &ix.Files[i]
		name := f.Path
		if f.Size >= capgo.MinBrotli {
			size, known := s.config.Edge.Brotli(id, f)
			unsettled = unsettled || !known
			if size > 0 {
				name += brotliSuffix
			}
		}
		list[i] = entry{Name: name, Hash: f.SHA256.String(), URL: folder + (&url.URL{Path: name}).EscapedPath()}
	}
	return list, unsettled
}

// renderSealed fills in a release that the publisher has encrypted. Its checksums are in the form that the publisher
// has chosen, and cannot be converted here.
func (s *Server) renderSealed(a *answer, u *update, of subject, attached *channel.Attachment) {
	sealed, err := s.sealed(attached.Bundle)
	if err != nil {
		a.refusal, a.unsettled = "Cannot get bundle: its encrypted form is not here", true
		return
	}
	a.keyID = sealed.KeyID
	if (sealed.Form == capgo.Hex) != of.hex {
		a.refusal = "Cannot get bundle: its checksums are in a form that this plugin does not take"
		return
	}
	u.URL = fileURL(of.base, attached.Bundle, protocol.ZipPath)
	u.Checksum, u.SessionKey = sealed.Checksum, sealed.SessionKey
	if !of.files {
		return
	}
	for i := range sealed.Files {
		f := &sealed.Files[i]
		u.Manifest = append(u.Manifest, entry{f.FileName, f.FileHash, fileURL(of.base, attached.Bundle, f.Path)})
	}
}

// sealed reads the description of an encrypted release, and checks it against the bundle, which nothing has done
// before.
func (s *Server) sealed(id digest.Digest) (*capgo.Description, error) {
	ix, err := s.config.Edge.Index(id)
	if err != nil {
		return nil, err
	}
	f := ix.File(capgo.Path)
	if f == nil || f.Size > capgo.MaxSize {
		return nil, capgo.ErrFormat
	}
	raw, err := s.config.Edge.Read(id, f)
	if err != nil {
		return nil, err
	}
	sealed, err := capgo.Parse(raw)
	if err != nil {
		return nil, err
	}
	return sealed, sealed.CheckIndex(ix)
}

// fileURL returns the URL of a file of a bundle.
func fileURL(base string, id digest.Digest, path string) string {
	return base + "/files/" + id.String() + "/" + (&url.URL{Path: path}).EscapedPath()
}

// rendered caches answers with releases.
type rendered struct {
	most int // bytes

	mu    sync.Mutex
	kept  map[subject]*answer
	bytes int

	packing sync.Mutex // held while an answer is compressed
}

// find returns a cached answer that is still valid, or nil.
func (r *rendered) find(of subject, now time.Time) *answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.kept[of]; a != nil && (a.until.IsZero() || now.Before(a.until)) {
		return a
	}
	return nil
}

// put caches an answer. If there is no room for it, it drops all others.
func (r *rendered) put(of subject, a *answer, now time.Time) {
	if a.unsettled {
		a.until = now.Add(settle)
	} else if len(a.body) >= minGzip && r.packing.TryLock() {
		a.gzip = pack(a.body)
		r.packing.Unlock()
	} else if len(a.body) >= minGzip {
		return // so that the next request tries again
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if before := r.kept[of]; before != nil {
		r.bytes -= before.size()
	}
	if r.bytes+a.size() > r.most {
		clear(r.kept)
		r.bytes = 0
	}
	r.kept[of] = a
	r.bytes += a.size()
}

// size returns about how many bytes an answer takes.
func (a *answer) size() int { return len(a.body) + len(a.gzip) + keptOverhead }

// pack returns raw as gzip.
func pack(raw []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		panic("capgo: gzip: " + err.Error()) // writing to a buffer never fails
	}
	if err := w.Close(); err != nil {
		panic("capgo: gzip: " + err.Error())
	}
	return b.Bytes()
}
