package protocol

// AttachmentZip is the kind of attachments with the one file [ZipPath]: the release's files as a zip. Its SHA-256 and
// its size are those of that file in the attachment's index. Kinds that one service alone has are in a package of their
// own, such as protocol/capgo.
const AttachmentZip = "zip"

// ZipPath is where attachments hold a zip.
const ZipPath = "bundle.zip"
