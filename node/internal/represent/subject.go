package represent

import (
	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/semantics"
	"brink/store"
)

// Subject is what representations are made of: the archive of a bundle, or one file of it.
type Subject struct {
	Bundle digest.Digest
	Source digest.Digest // of the plain bytes
	Size   int64         // of the plain bytes
	Path   string        // of the file; empty for the archive
	File   *bundle.File  // nil for the archive
}

// ArchiveOf returns the archive of a release.
func ArchiveOf(release *channel.Release) Subject {
	return Subject{Bundle: release.Bundle, Source: release.Bundle, Size: release.Size}
}

// FileOf returns a file of a bundle.
func FileOf(id digest.Digest, f *bundle.File) Subject {
	return Subject{Bundle: id, Source: f.Digest, Size: f.Size, Path: f.Path, File: f}
}

// IsArchive reports whether the subject is an archive.
func (s Subject) IsArchive() bool { return s.File == nil }

// Dictionary is a subject that patches can be built against, because devices may have it.
type Dictionary struct {
	Subject

	Name digest.SHA256 // of the plain bytes
}

// archiveDictionary returns the archive of a release as a dictionary.
func archiveDictionary(release *channel.Release) Dictionary {
	return Dictionary{Subject: ArchiveOf(release), Name: release.SHA256}
}

// PatchFor returns the derivation of the patch from d to s, if there can be one.
func (d Dictionary) PatchFor(s Subject) (Derivation, bool) {
	if d.Source == s.Source || d.Size > bundle.MaxPatch || s.Size > bundle.MaxPatch {
		return Derivation{}, false
	}
	return Derivation{Subject: s, Coding: semantics.DCZ, Base: d}, true
}

// Derivation says how to build one representation.
type Derivation struct {
	Subject

	Coding semantics.Coding
	Base   Dictionary // of a patch
}

// Key returns the key of the representation in the store.
func (d Derivation) Key() store.DerivedKey {
	return store.DerivedKey{Source: d.Source, Kind: d.Coding.String(), Base: d.Base.Source}
}
