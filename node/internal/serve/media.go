package serve

import (
	"path"
	"strings"
)

// mediaTypes maps file extensions to media types as registered with IANA. The table of the host is not used: it differs
// between hosts, and the nodes of a fleet must send the same type. Scripts and text are UTF-8, the convention of the
// web.
//
//nolint:gochecknoglobals // a table that is never changed
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".htm": "text/html; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8",
	".csv": "text/csv; charset=utf-8", ".vtt": "text/vtt; charset=utf-8", ".ics": "text/calendar; charset=utf-8",
	".json": "application/json", ".map": "application/json", ".webmanifest": "application/manifest+json",
	".xml": "text/xml; charset=utf-8", ".xhtml": "application/xhtml+xml", ".wasm": "application/wasm",
	".pdf": "application/pdf", ".zip": "application/zip", ".gz": "application/gzip",

	".svg": "image/svg+xml", ".png": "image/png", ".apng": "image/apng", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
	".gif": "image/gif", ".webp": "image/webp", ".avif": "image/avif", ".ico": "image/x-icon", ".bmp": "image/bmp",

	".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".otf": "font/otf", ".ttc": "font/collection",

	".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".aac": "audio/aac", ".wav": "audio/wav", ".flac": "audio/flac",
	".oga": "audio/ogg", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".weba": "audio/webm",
	".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg", ".mov": "video/quicktime",

	".glb": "model/gltf-binary", ".gltf": "model/gltf+json",
}

// ContentType returns the media type of a file by its name. Unknown ones are application/octet-stream, so that browsers
// do not guess.
func ContentType(name string) string {
	if kind, known := mediaTypes[strings.ToLower(path.Ext(name))]; known {
		return kind
	}
	return "application/octet-stream"
}
