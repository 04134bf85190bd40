package represent

import (
	"context"
	"io"

	"brink/bundle"
	"brink/node/internal/bundles"
	"brink/node/internal/serve"
	"brink/store"
)

// Plain returns a reader of the plain bytes of a subject. The caller closes it.
func (b *Builder) Plain(ctx context.Context, s Subject) (bundles.Reader, error) {
	if !s.IsArchive() {
		return b.Bundles.File(ctx, s.Bundle, s.File), nil
	}
	of, err := b.Bundles.Bundle(s.Bundle)
	if err != nil {
		return nil, err
	}
	return b.Bundles.Archive(ctx, of.Index), nil
}

// ReadPlain returns the plain bytes of a subject.
func (b *Builder) ReadPlain(ctx context.Context, s Subject) ([]byte, error) {
	plain, err := b.Plain(ctx, s)
	if err != nil {
		return nil, err
	}
	return serve.ReadAll(plain, s.Size)
}

// Identity returns the representation of a subject without encoding. For an archive, ix is its index; for a file, nil.
func (b *Builder) Identity(s Subject, ix *bundle.Index) serve.Representation {
	return serve.Representation{Digest: s.Source, Size: s.Size, Body: &plainBody{Subject: s, builder: b, ix: ix}}
}

// plainBody is the plain bytes of a subject, made from chunks.
type plainBody struct {
	Subject

	builder *Builder
	ix      *bundle.Index // of the archive; nil for a file
}

// Whole implements [serve.Body].
func (p *plainBody) Whole() (*serve.Whole, error) {
	hot := p.builder.Hot
	if found := hot.Find(p.Source); found != nil {
		return found, nil
	}
	return hot.Load(p.Source, p.Size, func() (*serve.Whole, error) { return hot.read(p.reader(), p.Size) })
}

// Stream implements [serve.Body].
func (p *plainBody) Stream() (io.ReadSeekCloser, error) { return p.reader(), nil }

func (p *plainBody) reader() bundles.Reader {
	if p.IsArchive() {
		return p.builder.Bundles.Archive(p.builder.Context, p.ix)
	}
	return p.builder.Bundles.File(p.builder.Context, p.Bundle, p.File)
}

// Object returns the representation that a stored object has.
func (b *Builder) Object(object *store.Object) serve.Representation {
	return serve.Representation{Digest: object.Digest(), Size: object.Size(), Body: &objectBody{b.Hot, object}}
}

// objectBody is the body of a stored object.
type objectBody struct {
	hot    *Hot
	object *store.Object
}

// Whole implements [serve.Body].
func (o *objectBody) Whole() (*serve.Whole, error) {
	name, size := o.object.Digest(), o.object.Size()
	if found := o.hot.Find(name); found != nil {
		return found, nil
	}
	return o.hot.Load(name, size, func() (*serve.Whole, error) { return o.hot.read(o.object.Reader(), size) })
}

// Stream implements [serve.Body].
func (o *objectBody) Stream() (io.ReadSeekCloser, error) { return o.object.Reader(), nil }
