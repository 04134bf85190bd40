package bundle

// Change describes how one file differs between two bundles.
type Change struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // "added", "removed" or "changed"
	Old  int64  `json:"old"`  // bytes before, 0 when added
	New  int64  `json:"new"`  // bytes now, 0 when removed
	// Fresh is the number of bytes of the new file in chunks that the old bundle does not have.
	Fresh int64 `json:"fresh"`
}

// Diff returns the files that differ between old and next, ordered by path.
func Diff(old, next *Index) []Change {
	oldChunks := make(map[Chunk]struct{}, len(old.Files))
	for c := range old.Chunks() {
		oldChunks[c] = struct{}{}
	}
	fresh := func(f *File) (n int64) {
		for _, c := range f.ChunkList() {
			if _, found := oldChunks[c]; !found {
				n += c.Size
			}
		}
		return n
	}
	var changes []Change
	i, j := 0, 0
	for i < len(old.Files) || j < len(next.Files) {
		switch {
		case j == len(next.Files) || (i < len(old.Files) && old.Files[i].Path < next.Files[j].Path):
			changes = append(changes, Change{Path: old.Files[i].Path, Kind: "removed", Old: old.Files[i].Size})
			i++
		case i == len(old.Files) || next.Files[j].Path < old.Files[i].Path:
			f := &next.Files[j]
			changes = append(changes, Change{Path: f.Path, Kind: "added", New: f.Size, Fresh: fresh(f)})
			j++
		default:
			if f := &next.Files[j]; f.Digest != old.Files[i].Digest {
				changes = append(changes,
					Change{Path: f.Path, Kind: "changed", Old: old.Files[i].Size, New: f.Size, Fresh: fresh(f)})
			}
			i++
			j++
		}
	}
	return changes
}
