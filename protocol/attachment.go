package protocol

// AttachmentZip is the kind of attachments with a single file, [ZipPath], which has the release's files as a zip. The
// SHA-256 and size of the zip are those of that file in the attachment's index. Kinds of a single service are defined
// in their own packages, such as protocol/capgo.
const AttachmentZip = "zip"

// ZipPath is the path of the zip in an attachment.
const ZipPath = "bundle.zip"
