// Package brink is the root of the project. It holds no code, only the words that the whole project uses, with no
// synonyms, and the tests that keep the repository's own rules.
//
//   - app: an application, named by its bundle identifier (com.acme.shop). It belongs to one org.
//   - org: the owner of apps: a name and a trust document (keys, roles, quotas) that its root keys signed.
//   - bundle: an immutable set of files, the web layer of an app. It is identified by the digest of its archive.
//   - archive: the bundle as one tar that always comes out the same: regular files only, sorted by path, under fixed
//     headers. Any tar unpacks it.
//   - index: the table of contents of an archive: for each file its path, size, digests and chunks. Whoever has the
//     archive can derive it.
//   - chunk: a piece of a file, cut where the content says (FastCDC; 16, 64 and 256 KiB as least, usual and most),
//     kept and fetched by its digest.
//   - digest: the BLAKE3-256 of plain bytes, before any compression. In text, 64 lower-case hex digits.
//   - release: a bundle under a version, with all that a device has to know about it: sizes, digests, limits on the
//     native version.
//   - channel: a named stream of an app's releases, such as production or beta.
//   - channel manifest: the signed statement of what a channel serves, and to whom. Its sequence number only grows.
//   - representation: bytes made from a bundle or a file: compressed, patched, zipped. It can be dropped at any time,
//     because it can be made again.
//   - patch: a new archive or file, compressed against an old one that the device has (RFC 9842, dcz).
//   - origin: where a node finds what it lacks: another node, an S3 bucket, any HTTP server.
//   - node, region, fleet: one running process; a label that nodes close to each other share; all nodes that gossip
//     with each other.
package brink
