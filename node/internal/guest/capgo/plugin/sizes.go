package plugin

import (
	"net/url"
	"strings"

	"brink/bundle"
	"brink/digest"
	"brink/protocol/capgo"
)

// wanted is a file whose size a device asks for: an entry of a list that it was given.
type wanted struct {
	Name string `json:"file_name"`
	Hash string `json:"file_hash"`
	URL  string `json:"download_url"`
}

// sized is an answer about one file.
type sized struct {
	wanted

	Size  int64  `json:"size,omitempty"`
	Error string `json:"error,omitempty"`
}

// sizes is the answer about all.
type sizes struct {
	Total   int64   `json:"totalSize"`
	Known   int     `json:"knownFiles"`
	Unknown int     `json:"unknownFiles"`
	Files   []sized `json:"files"`
}

// maxBundles bounds how many bundles one request is looked up in: a device has one list, of one bundle.
const maxBundles = 4

// Sizes answers POST on the path of checks followed by /manifest_size: how many bytes have the files that the device
// lacks, as they are sent?
func (s *Server) Sizes(r Request) Answer {
	f, wrong := decode(r.Body)
	if wrong != nil {
		return wrong.answer()
	}
	in, wrong := f.info(need{device: true})
	if wrong != nil {
		return wrong.answer()
	}
	if _, served := s.config.Edge.Channels(in.App); !served {
		return unknownApp().answer()
	}
	raw := f.Manifest
	if len(raw) == 0 {
		raw = f.Files
	}
	var list []wanted
	if len(raw) > 0 && string(raw) != "null" {
		var err error
		if list, err = listOf[wanted](raw, maxEntries); err != nil {
			return refuse("invalid_json_body", "manifest is not a list of files").answer()
		}
	}
	a := sizes{Files: []sized{}}
	seen := map[wanted]bool{}
	of := lookup{edge: s.config.Edge, bundles: map[string]*bundle.Index{}}
	for _, w := range list {
		if seen[w] {
			continue
		}
		seen[w] = true
		one := sized{wanted: w, Size: of.size(w)}
		if one.Size > 0 {
			a.Total += one.Size
			a.Known++
		} else {
			one.Error = "size_unknown"
			a.Unknown++
		}
		a.Files = append(a.Files, one)
	}
	return say(200, a)
}

// lookup finds sizes by the URLs that were given out.
type lookup struct {
	edge    Edge
	bundles map[string]*bundle.Index // by the text of the digest; nil for what is not here
}

// size returns how many bytes are sent for a file, 0 if that is not known.
func (l *lookup) size(w wanted) int64 {
	_, rest, _ := strings.Cut(w.URL, "/files/")
	id, path, _ := strings.Cut(rest, "/")
	path, err := url.PathUnescape(path)
	if err != nil {
		return 0
	}
	ix, looked := l.bundles[id]
	if !looked {
		if len(l.bundles) >= maxBundles {
			return 0
		}
		if name, err := digest.Parse(id); err == nil {
			ix, _ = l.edge.Index(name) // nil is remembered
		}
		l.bundles[id] = ix
	}
	if ix == nil {
		return 0
	}
	if f := ix.File(path); f != nil {
		return f.Size
	}
	if plain, cut := strings.CutSuffix(path, brotliSuffix); cut {
		if f := ix.File(plain); f != nil && f.Size >= capgo.MinBrotli {
			size, _ := l.edge.Brotli(ix.Bundle(), f)
			return size
		}
	}
	return 0
}
