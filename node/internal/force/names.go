package force

import (
	"fmt"
	"slices"

	"brink/channel"
	"brink/digest"
	"brink/store"
)

// tenant is an app of an org. The manifests of one tenant have no effect on what devices of another one get.
type tenant struct{ org, app string }

func tenantOf(m *channel.Manifest) tenant { return tenant{org: m.Org, app: m.App} }

// description is what a manifest states about a bundle. About an attachment it states only the size; the rest is zero.
type description struct {
	size      int64 // of the archive, bytes
	sha256    digest.SHA256
	index     digest.Digest // of the encoded index
	indexSize int64         // bytes
	files     int
}

func describe(r *channel.Release) description {
	return description{size: r.Size, sha256: r.SHA256, index: r.Index, indexSize: r.IndexSize, files: r.Files}
}

func describeAttachment(a *channel.Attachment) description { return description{size: a.Size} }

func (d description) isRelease() bool { return !d.sha256.IsZero() }

// check returns how the description differs from the bundle, or "".
func (d description) check(b *store.BundleInfo) string {
	switch {
	case d.size != b.Size:
		return fmt.Sprintf("size is %d bytes, want %d as in its archive", d.size, b.Size)
	case !d.isRelease():
		return ""
	case d.sha256 != b.SHA256:
		return "sha256 is not that of its archive"
	case d.index != b.Index:
		return fmt.Sprintf("index is %s, want %s", d.index.Short(), b.Index.Short())
	case d.indexSize != b.IndexSize:
		return fmt.Sprintf("indexSize is %d bytes, want %d as in its index", d.indexSize, b.IndexSize)
	case d.files != b.Files:
		return fmt.Sprintf("files is %d, want %d", d.files, b.Files)
	}
	return ""
}

// names counts the bundles that manifests name. Each manifest that is added has to be removed again, so that no bundle
// stays that no manifest names. Its users synchronise it.
type names struct {
	byBundle map[digest.Digest][]naming
	bases    map[baseKey][]digest.Digest // the bundles of releases, by tenant and the SHA-256 that its manifests state
}

// naming is one description of a bundle in manifests of a tenant.
type naming struct {
	tenant
	description

	count int // of manifests, or releases in one, with this description
	given int // those of them that devices get now
}

type baseKey struct {
	tenant

	name digest.SHA256
}

func newNames() names {
	return names{byBundle: map[digest.Digest][]naming{}, bases: map[baseKey][]digest.Digest{}}
}

// add adds the bundles that a manifest names, if by is +1, or removes them, if it is -1.
func (n *names) add(m *channel.Manifest, by int) {
	of := tenantOf(m)
	for r := range m.Releases() {
		n.change(r.Bundle, naming{tenant: of, description: describe(r), count: by})
		for i := range r.Attachments {
			a := &r.Attachments[i]
			n.change(a.Bundle, naming{tenant: of, description: describeAttachment(a), count: by})
		}
	}
	for r := range m.ActiveReleases() {
		n.change(r.Bundle, naming{tenant: of, description: describe(r), given: by})
	}
}

func (n *names) change(id digest.Digest, by naming) {
	list := n.byBundle[id]
	key := baseKey{by.tenant, by.sha256}
	i := slices.IndexFunc(list, func(have naming) bool {
		return have.tenant == by.tenant && have.description == by.description
	})
	if i < 0 {
		n.byBundle[id] = append(list, by)
		if by.isRelease() {
			n.bases[key] = append(n.bases[key], id)
		}
		return
	}
	list[i].count += by.count
	list[i].given += by.given
	if list[i].count != 0 || list[i].given != 0 {
		return
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(n.byBundle, id)
	} else {
		n.byBundle[id] = list
	}
	if !by.isRelease() {
		return
	}
	ids := n.bases[key]
	if i := slices.Index(ids, id); i >= 0 {
		ids = slices.Delete(ids, i, i+1)
	}
	if len(ids) == 0 {
		delete(n.bases, key)
	} else {
		n.bases[key] = ids
	}
}

// compareBundles compares the descriptions in a manifest with the bundles in the store. With needed, the bundles that
// it needs must be there. Bundles never change, so the result stays true.
func compareBundles(s *store.Store, m *channel.Manifest, needed bool) error {
	if needed {
		for id := range m.RequiredBundles() {
			if _, here := s.Info(id); !here {
				return fmt.Errorf("channel %s of %s: %w: bundle %s", m.Channel, m.App, store.ErrMissingBundle, id.Short())
			}
		}
	}
	for r := range m.Releases() {
		if err := compareBundle(s, r.Bundle, describe(r), "release "+r.Version); err != nil {
			return err
		}
		for i := range r.Attachments {
			a := &r.Attachments[i]
			what := fmt.Sprintf("attachment %s of release %s", a.Kind, r.Version)
			if err := compareBundle(s, a.Bundle, describeAttachment(a), what); err != nil {
				return err
			}
		}
	}
	return nil
}

func compareBundle(s *store.Store, id digest.Digest, said description, what string) error {
	info, here := s.Info(id)
	if !here {
		return nil
	}
	if wrong := said.check(&info); wrong != "" {
		return &channel.RefusedError{
			Code:   channel.CodeMalformed,
			Reason: fmt.Sprintf("%s describes bundle %s wrongly: %s", what, id.Short(), wrong),
			Hint:   "create the release from the uploaded bundle, as publish does",
		}
	}
	return nil
}
