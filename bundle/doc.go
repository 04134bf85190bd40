// Package bundle implements the formats of a bundle: its archive, its index, its chunks and the patches between
// archives. It reads the folders and streams that the caller passes, and uses neither network nor database.
//
// The life of one bundle: a [Folder] is walked, every path is checked ([CheckPath], [CheckPaths]), and one pass over
// the files yields an [Index] whose archive digest is the bundle's identity. The index lists every [Chunk]; chunks are
// sent as [Frame] values in a stream ([StreamWriter], [StreamReader]). Once the receiver has all chunks, [NewArchive]
// reproduces the archive byte for byte, and [IndexArchive] derives the same index from it.
//
// The invariant: the index is a pure function of the archive, and the archive a pure function of the files. Two people
// who bundle the same files get the same digests, on any machine, with every version of this package that has the same
// [Schema]. Golden tests guard the bytes.
package bundle

// Schema is the number of the index format, of the archive layout and of the chunker's parameters taken together.
const Schema = 1

// Limits of a bundle. They bound what a hostile index can cost its reader.
const (
	MaxFiles   = 200_000   // files in a bundle
	MaxPath    = 1024      // bytes in a path
	MaxSegment = 255       // bytes between two slashes: the limit of common file systems
	MaxDepth   = 64        // segments in a path, including the file's name
	MaxIndex   = 128 << 20 // bytes in an encoded index
	MaxArchive = 16 << 30  // bytes in an archive
)
