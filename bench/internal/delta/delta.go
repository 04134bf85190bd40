// Package delta measures what an update costs by each way to send it: bytes, and time and memory to make and to apply.
//
// The life of one call: [Measure] compares, for each pair of releases of the corpus, the ways that Brink has with zstd
// and bsdiff, as far as this machine has them.
//
// The invariant: a patch counts only if applying it has given the new archive.
package delta

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"brink/bench/corpus"
	"brink/bench/how"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
	"brink/bundle"
)

// Measure runs the part.
func Measure(ctx context.Context, b *testbed.Run) (*report.Report, error) {
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
		d, err := newComparison(ctx, b, pair)
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
		sizes.Add(pair.String(),
			report.Number(d.archive), report.Number(d.zip), report.Number(d.zstd), report.Number(d.files),
			report.Number(d.chunks), report.Number(d.patch), orMissing(d.zstdCLI), orMissing(d.bsdiff), ratio)
		costs.Rows = append(costs.Rows, d.costs...)
		p.Groups = append(p.Groups, report.Group{Name: pair.String(), Values: []float64{
			float64(d.patch), float64(d.zstdCLI), float64(d.bsdiff), float64(d.chunks),
			float64(d.files), float64(d.zstd), float64(d.zip),
		}})
	}
	r.Tables, r.Plots = []report.Table{sizes, costs}, []report.Plot{p}
	return r, nil
}

// orMost returns n, or the largest number if n is -1: not measured.
func orMost(n int64) int64 {
	if n < 0 {
		return 1 << 62
	}
	return n
}

// orMissing formats n, which is -1 if it was not measured.
func orMissing(n int64) string {
	if n < 0 {
		return "missing here"
	}
	return report.Number(n)
}

// comparison is one pair of releases and its results in bytes; -1: not measured.
type comparison struct {
	run      *testbed.Run
	pair     corpus.Pair
	dir      string // with the archives "old" and "new"
	oldFiles string
	newFiles string

	archive, zip, zstd, files, chunks, patch, zstdCLI, bsdiff int64

	costs [][]string
}

// newComparison finds the releases and writes their archives.
func newComparison(ctx context.Context, b *testbed.Run, pair corpus.Pair) (*comparison, error) {
	d := &comparison{run: b, pair: pair, zstdCLI: -1, bsdiff: -1}
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

func (d *comparison) size(name string) int64 {
	info, err := os.Stat(filepath.Join(d.dir, name))
	if err != nil {
		return -1
	}
	return info.Size()
}

func (d *comparison) measure(ctx context.Context) error {
	if err := d.measureContents(ctx); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := d.measureTool(ctx, "patch", "out.dcz",
		[]string{self, PatchVerb, "make", "old", "new", "out.dcz"},
		[]string{self, PatchVerb, "apply", "old", "out.dcz", "again"}); err != nil {
		return err
	}
	d.patch = d.size("out.dcz")
	if err := d.measureTool(ctx, "zstd -19", "out.zst",
		[]string{"zstd", "-q", "-f", "-19", "--long=27", "--patch-from=old", "new", "-o", "out.zst"},
		[]string{"zstd", "-q", "-f", "-d", "--long=27", "--patch-from=old", "out.zst", "-o", "again"}); err != nil {
		return err
	}
	d.zstdCLI = d.size("out.zst")
	if err := d.measureTool(ctx, "bsdiff", "out.bsdiff",
		[]string{"bsdiff", "old", "new", "out.bsdiff"},
		[]string{"bspatch", "old", "again", "out.bsdiff"}); err != nil {
		return err
	}
	d.bsdiff = d.size("out.bsdiff")
	return nil
}

// measureTool measures two programs that make and apply a patch, and checks the result. It returns no error for missing
// programs.
func (d *comparison) measureTool(ctx context.Context, name, patch string, maker, applier []string) error {
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
	cmp := process.Command(ctx, "cmp", filepath.Join(d.dir, "new"), filepath.Join(d.dir, "again"))
	if err := process.Run(cmp); err != nil {
		return fmt.Errorf("%s gave something else: %w", patch, err)
	}
	ms := func(t process.Took) string { return fmt.Sprintf("%.0f ms", t.Seconds*1000) }
	d.costs = append(d.costs, []string{
		d.pair.String(), name, ms(made), report.MiB(made.Peak), ms(applied), report.MiB(applied.Peak),
	})
	return nil
}
