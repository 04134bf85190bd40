// Package bundle knows what a bundle is made of: its archive, its index, its chunks and the patches between archives.
// It is pure: it reads folders and streams that it is given, and knows neither network nor database.
//
// The life of one bundle: a [Folder] is walked, every path is checked ([CheckPath], [CheckPaths]), and one pass over
// the files yields an [Index] whose archive digest is the bundle's identity. The index names every [Chunk]; chunks
// travel as [Frame] values in a stream ([StreamWriter], [StreamReader]). Wherever the chunks come together again,
// [NewArchive] gives the archive back, byte for byte, and [IndexArchive] derives the same index from it.
//
// The invariant: the index is a pure function of the archive and the archive a pure function of the files. Two people
// who bundle the same files get the same digests, on any machine, with any version of this package of the same
// [Schema]. Golden tests hold the bytes still.
package bundle

// Schema is the number of the index format, of the archive layout and of the chunker's parameters taken together.
const Schema = 1

// Bounds of what a bundle may hold. They keep a hostile index from costing more than it says.
const (
	MaxFiles   = 200_000   // files in a bundle
	MaxPath    = 1024      // bytes in a path
	MaxSegment = 255       // bytes between two slashes: what common file systems store
	MaxDepth   = 64        // segments in a path, the file's name among them
	MaxIndex   = 128 << 20 // bytes in an encoded index
	MaxArchive = 16 << 30  // bytes in an archive
)
