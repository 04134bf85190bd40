package plugin

import (
	"strings"

	"brink/bundle"
	"brink/digest"
	"brink/protocol"
)

// Names of files with a meaning for plugins, at the root of a release.
const (
	// ManifestFile is the list of files that cordova-plugin-ionic knows; see [WriteManifest].
	ManifestFile = "pro-manifest.json"
	// SignedFile is the list of files that @capacitor/live-updates knows. The publisher makes it, and may sign it.
	SignedFile = "live-update-manifest.json"
)

// verdict is the reasons why devices cannot have a bundle in a form; "" if they can.
type verdict struct {
	manifest string // as a list for cordova-plugin-ionic
	signed   string // as the publisher's list for @capacitor/live-updates
	zip      string // as a zip
}

// maxJudged bounds the cached verdicts. Few bundles are requested at any time.
const maxJudged = 1024

// refuse returns the problem why a device cannot have the bundle in the form that it wants, or nil.
func (v verdict) refuse(want form, version string) error {
	why := v.manifest
	switch want {
	case formSigned:
		why = v.signed
	case formZip:
		why = v.zip
	}
	if why == "" {
		return nil
	}
	if version != "" {
		why = "Version " + version + ": " + why
	}
	return problem(400, protocol.CodeNotAcceptable, why)
}

// judge returns the verdict on a bundle. The error is the Edge's.
func (a *Appflow) judge(id digest.Digest) (verdict, error) {
	ix, err := a.config.Edge.Index(id) // even if the verdict is cached, because the bundle may be gone
	if err != nil {
		return verdict{}, err
	}
	a.mu.Lock()
	v, known := a.judged[id]
	a.mu.Unlock()
	if known {
		return v, nil
	}
	v.manifest = unfetchable(ix)
	if ix.File(protocol.ZipPath) == nil {
		v.zip = "it is no bundle with a zip"
	}
	if v.signed, err = a.judgeSigned(ix); err != nil {
		return verdict{}, err
	}
	if v.manifest != "" {
		a.config.Logger.Warn("release cannot be served to Appflow's Cordova plugin", "bundle", id.Short(),
			"reason", v.manifest)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.judged) >= maxJudged {
		clear(a.judged)
	}
	a.judged[id] = v
	return v, nil
}

// unfetchable returns the reason why cordova-plugin-ionic would request a file of the bundle under another name, or "".
func unfetchable(ix *bundle.Index) string {
	for i := range ix.Files {
		if path := ix.Files[i].Path; listed(path) && !fetchable(path) {
			return "the plugin cannot fetch the file " + path + ": rename it without # ? % and : and spaces at its ends"
		}
	}
	return ""
}

// fetchable reports whether a plugin that resolves the path of a file against a URL, as the URL Standard has it
// (https://url.spec.whatwg.org/#concept-basic-url-parser), asks for that very file: new URL(path, base).
func fetchable(path string) bool {
	if strings.ContainsAny(path, "#?%") || strings.Trim(path, " ") != path {
		return false
	}
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ":") // it may be read as a scheme
}

// judgeSigned returns the reason why the SDK cannot have a bundle, or "". The error is the Edge's.
func (a *Appflow) judgeSigned(ix *bundle.Index) (string, error) {
	f := ix.File(SignedFile)
	switch {
	case f == nil:
		return "it has no " + SignedFile + ", which `appflow live-update generate-manifest` makes", nil
	case f.Size > MaxSigned:
		return SignedFile + " is too large", nil
	}
	raw, err := a.config.Edge.Read(ix.Bundle(), f)
	if err != nil {
		return "", err
	}
	if err := CheckSigned(raw, ix); err != nil {
		a.config.Logger.Warn("release cannot be served to Appflow's Capacitor SDK", "bundle", ix.Bundle().Short(),
			"error", err)
		return err.Error(), nil
	}
	return "", nil
}

// Location returns the target of a URL in an answer of [Appflow.Check]: a path below the root of this protocol. name is
// the last segment of the URL. An error is a [*protocol.Problem] or one of the Edge's.
func (a *Appflow) Location(id digest.Digest, name string) (string, error) {
	file, want := "", form(name)
	switch want {
	case formManifest:
		file = ManifestFile
	case formSigned:
		file = SignedFile
	case formZip:
		file = protocol.ZipPath
	default:
		return "", problem(404, protocol.CodeNotFound, "There is nothing at this path")
	}
	v, err := a.judge(id)
	if err != nil {
		return "", err
	}
	return FilesPath(id) + file, v.refuse(want, "")
}

// FilesPath returns the path, below the root of this protocol, of a bundle's files and the list of them: plugins
// resolve the files relative to the list.
func FilesPath(id digest.Digest) string { return "/bundles/" + id.String() + "/" }
