package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"brink/bench/corpus"
	"brink/bench/how"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
	"brink/bundle"
	"brink/digest"
)

// patchVerb makes this program make or apply one patch, as a process whose memory can be measured.
const patchVerb = "__patch"

// delta measures what an update costs by each way to send it.
func delta(ctx context.Context, b *testbed.Run) (*report.Report, error) {
	r := &report.Report{
		Title: "what an update costs, by each way to send it",
		How:   how.Paragraphs("delta"),
	}
	sizes := report.Table{
		Title: "Bytes to send",
		Head: []string{
			"pair",
			"archive",
			"zip",
			"zstd",
			"files",
			"chunks",
			"patch",
			"zstd -19",
			"bsdiff",
			"patch / best",
		},
	}
	costs := report.Table{
		Title: "Time and memory to make, and to apply",
		Head:  []string{"pair", "way", "make", "memory", "apply", "memory"},
	}
	p := report.Plot{
		Name:   "delta",
		Title:  "Bytes to send for an update",
		Unit:   "bytes",
		Series: []string{"patch", "zstd -19", "bsdiff", "chunks", "files", "zstd", "zip"},
	}
	for _, pair := range corpus.Pairs() {
		d, err := newDeltaPair(ctx, b, pair)
		if err != nil {
			return nil, err
		}
		if err := d.measure(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", pair, err)
		}
		best := min(orMost(d.zstdCLI), orMost(d.bsdiff))
		ratio := "no peer here"
		if best < orMost(-1) {
			ratio = fmt.Sprintf("%.3f", float64(d.patch)/float64(best))
			r.Aims = append(r.Aims, report.Aim{
				What: "patch of " + pair.String(), Want: "at most 1.25 × the better of zstd -19 and bsdiff", Got: ratio + " ×",
				Met: float64(d.patch) <= 1.25*float64(best),
			})
		}
		sizes.Add(pair.String(), report.Number(d.archive), report.Number(d.zip), report.Number(d.zstd), report.Number(d.files), report.Number(d.chunks),
			report.Number(d.patch), orMissing(d.zstdCLI), orMissing(d.bsdiff), ratio)
		costs.Rows = append(costs.Rows, d.costs...)
		p.Groups = append(p.Groups, report.Group{Name: pair.String(), Values: []float64{
			float64(
				d.patch,
			), float64(d.zstdCLI), float64(d.bsdiff), float64(d.chunks), float64(d.files), float64(d.zstd), float64(d.zip),
		}})
	}
	r.Tables, r.Plots = []report.Table{sizes, costs}, []report.Plot{p}
	return r, nil
}

func orMost(n int64) int64 {
	if n < 0 {
		return 1 << 62
	}
	return n
}

func orMissing(n int64) string {
	if n < 0 {
		return "missing here"
	}
	return report.Number(n)
}

// deltaPair is one pair of releases, and what was found out about it. -1 is what could not be measured.
type deltaPair struct {
	b        *testbed.Run
	pair     corpus.Pair
	dir      string // holds the archives "old" and "new"
	oldFiles string
	newFiles string

	archive, zip, zstd, files, chunks, patch, zstdCLI, bsdiff int64

	costs [][]string
}

func newDeltaPair(ctx context.Context, b *testbed.Run, pair corpus.Pair) (*deltaPair, error) {
	d := &deltaPair{b: b, pair: pair, zstdCLI: -1, bsdiff: -1}
	var err error
	if d.dir, err = os.MkdirTemp(b.Dir, "delta-*"); err != nil {
		return nil, err
	}
	if d.oldFiles, err = testbed.FindRelease(pair.Old); err != nil {
		return nil, err
	}
	if d.newFiles, err = testbed.FindRelease(pair.New); err != nil {
		return nil, err
	}
	for name, files := range map[string]string{"old": d.oldFiles, "new": d.newFiles} {
		out, err := os.Create(filepath.Join(d.dir, name))
		if err != nil {
			return nil, err
		}
		if err := (bundle.Folder{FS: os.DirFS(files)}).WriteArchive(ctx, out); err != nil {
			return nil, err
		}
		if err := out.Close(); err != nil {
			return nil, err
		}
	}
	d.archive = d.size("new")
	return d, nil
}

func (d *deltaPair) size(name string) int64 {
	info, err := os.Stat(filepath.Join(d.dir, name))
	if err != nil {
		return -1
	}
	return info.Size()
}

func (d *deltaPair) measure(ctx context.Context) error {
	if err := d.byContent(ctx); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := d.tool(ctx, "patch", "out.dcz",
		[]string{self, patchVerb, "make", "old", "new", "out.dcz"},
		[]string{self, patchVerb, "apply", "old", "out.dcz", "again"}); err != nil {
		return err
	}
	d.patch = d.size("out.dcz")
	if err := d.tool(ctx, "zstd -19", "out.zst",
		[]string{"zstd", "-q", "-f", "-19", "--long=27", "--patch-from=old", "new", "-o", "out.zst"},
		[]string{"zstd", "-q", "-f", "-d", "--long=27", "--patch-from=old", "out.zst", "-o", "again"}); err != nil {
		return err
	}
	d.zstdCLI = d.size("out.zst")
	if err := d.tool(ctx, "bsdiff", "out.bsdiff",
		[]string{"bsdiff", "old", "new", "out.bsdiff"},
		[]string{"bspatch", "old", "again", "out.bsdiff"}); err != nil {
		return err
	}
	d.bsdiff = d.size("out.bsdiff")
	return nil
}

// tool makes and applies a patch by two programs, and checks that the result is right. A program that is missing is
// passed over.
func (d *deltaPair) tool(ctx context.Context, name, patch string, maker, applier []string) error {
	for _, program := range []string{maker[0], applier[0]} {
		if _, err := exec.LookPath(program); err != nil {
			d.costs = append(d.costs, []string{d.pair.String(), name, "missing here", "", "", ""})
			return nil
		}
	}
	made, err := process.Time(ctx, d.dir, maker...)
	if err != nil {
		return err
	}
	applied, err := process.Time(ctx, d.dir, applier...)
	if err != nil {
		return err
	}
	if err := process.Run(process.Command(ctx, "cmp", filepath.Join(d.dir, "new"), filepath.Join(d.dir, "again"))); err != nil {
		return fmt.Errorf("%s gave something else: %w", patch, err)
	}
	ms := func(t process.Took) string { return fmt.Sprintf("%.0f ms", t.Seconds*1000) }
	d.costs = append(d.costs, []string{d.pair.String(), name, ms(made), report.MiB(made.Peak), ms(applied), report.MiB(applied.Peak)})
	return nil
}

// byContent measures the ways that need no program.
func (d *deltaPair) byContent(ctx context.Context) error {
	old, err := (bundle.Folder{FS: os.DirFS(d.oldFiles)}).Index(ctx)
	if err != nil {
		return err
	}
	next, err := (bundle.Folder{FS: os.DirFS(d.newFiles)}).Index(ctx)
	if err != nil {
		return err
	}
	if d.zip, err = zipped(d.newFiles, next); err != nil {
		return err
	}
	if d.zstd, err = zstdSize(ctx, d.newFiles); err != nil {
		return err
	}
	changed := map[string]bool{}
	for _, c := range bundle.Diff(old, next) {
		changed[c.Path] = c.Kind != "removed"
	}
	for _, f := range next.Files {
		if !changed[f.Path] {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.newFiles, filepath.FromSlash(f.Path)))
		if err != nil {
			return err
		}
		var small counter
		w := brotli.NewWriterLevel(&small, 9)
		if _, err := w.Write(data); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		d.files += min(int64(small), f.Size)
	}
	had := map[digest.Digest]bool{}
	for c := range old.Chunks() {
		had[c.Digest] = true
	}
	var sent counter
	stream, codec, chunks := bundle.NewStreamWriter(
		&sent,
	), bundle.NewCodec(), bundle.NewFolderChunks(
		os.DirFS(d.newFiles),
		next,
	)
	for c := range next.Chunks() {
		if had[c.Digest] {
			continue
		}
		plain, err := chunks.Chunk(ctx, c)
		if err != nil {
			return err
		}
		if err := stream.Write(codec.Frame(plain)); err != nil {
			return err
		}
	}
	if err := stream.Close(); err != nil {
		return err
	}
	d.chunks = int64(sent)
	return nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// zipped returns the size of a zip of the files.
func zipped(dir string, ix *bundle.Index) (int64, error) {
	var n counter
	w := zip.NewWriter(&n)
	for _, f := range ix.Files {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil {
			return 0, err
		}
		entry, err := w.Create(f.Path)
		if err != nil {
			return 0, err
		}
		if _, err := entry.Write(data); err != nil {
			return 0, err
		}
	}
	err := w.Close()
	return int64(n), err
}

// patch makes or applies one patch between files.
func patch(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("want make or apply and three files, not %s", strings.Join(args, " "))
	}
	old, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	in, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	name := digest.SumSHA256(old)
	if args[0] == "make" {
		made, err := bundle.EncodePatch(old, in, name)
		if err != nil {
			return err
		}
		return os.WriteFile(args[3], made, 0o600)
	}
	plain, err := bundle.DecodePatch(bytes.NewReader(in), old, name)
	if err != nil {
		return err
	}
	defer plain.Close()
	out, err := os.Create(args[3])
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, plain); err != nil {
		return err
	}
	return out.Close()
}

// zstdSize returns the size of the archive of a folder as a node sends it: zstd at the highest level that klauspost's
// encoder has, with the window that every client must take.
func zstdSize(ctx context.Context, dir string) (int64, error) {
	var n counter
	w, err := zstd.NewWriter(
		&n,
		zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(8<<20),
		zstd.WithEncoderConcurrency(1),
	)
	if err != nil {
		return 0, err
	}
	err = (bundle.Folder{FS: os.DirFS(dir)}).WriteArchive(ctx, w)
	return int64(n), errors.Join(err, w.Close())
}
