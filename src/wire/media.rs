//! Media types by file extension.

/// The media type of the content of a folder in one stream.
pub const TAR: &str = "application/x-tar";

/// Media type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// The media type.
    pub kind: &'static str,
    /// A browser would run scripts in it.
    pub scripts: bool,
}

/// Length of the longest known extension.
const MAX_EXTENSION: usize = 5;

impl Media {
    /// Returns the type of a file of this name; `application/octet-stream` for an unknown extension.
    pub fn of(name: &[u8]) -> Self {
        let plain = |kind| Self { kind, scripts: false };
        let scripts = |kind| Self { kind, scripts: true };
        let dot = name.iter().rev().take(MAX_EXTENSION + 1).position(|byte| *byte == b'.');
        let extension = dot.map_or(&[][..], |length| &name[name.len() - length..]);
        let mut lower = [0; MAX_EXTENSION];
        lower[..extension.len()].copy_from_slice(extension);
        lower.make_ascii_lowercase();
        match &lower[..extension.len()] {
            // A page declares its own character set.
            b"html" | b"htm" => scripts("text/html"),
            b"xhtml" => scripts("application/xhtml+xml"),
            b"svg" => scripts("image/svg+xml"),
            b"xml" => scripts("application/xml"),
            b"txt" | b"log" | b"conf" | b"ini" | b"toml" | b"sh" | b"py" | b"rs" => plain("text/plain; charset=utf-8"),
            b"md" => plain("text/markdown; charset=utf-8"),
            b"css" => plain("text/css; charset=utf-8"),
            b"js" | b"mjs" => plain("text/javascript; charset=utf-8"),
            b"csv" => plain("text/csv; charset=utf-8"),
            b"json" | b"map" => plain("application/json"),
            b"yaml" | b"yml" => plain("application/yaml"),
            b"wasm" => plain("application/wasm"),
            b"pdf" => plain("application/pdf"),
            b"png" => plain("image/png"),
            b"jpg" | b"jpeg" => plain("image/jpeg"),
            b"gif" => plain("image/gif"),
            b"webp" => plain("image/webp"),
            b"avif" => plain("image/avif"),
            b"ico" => plain("image/x-icon"),
            b"mp4" | b"m4v" => plain("video/mp4"),
            b"webm" => plain("video/webm"),
            b"mkv" => plain("video/x-matroska"),
            b"mov" => plain("video/quicktime"),
            b"mp3" => plain("audio/mpeg"),
            b"m4a" => plain("audio/mp4"),
            b"ogg" | b"oga" | b"opus" => plain("audio/ogg"),
            b"flac" => plain("audio/flac"),
            b"wav" => plain("audio/wav"),
            b"woff" => plain("font/woff"),
            b"woff2" => plain("font/woff2"),
            b"ttf" => plain("font/ttf"),
            b"otf" => plain("font/otf"),
            b"zip" => plain("application/zip"),
            b"gz" | b"tgz" => plain("application/gzip"),
            b"bz2" => plain("application/x-bzip2"),
            b"xz" => plain("application/x-xz"),
            b"zst" => plain("application/zstd"),
            b"tar" => plain(TAR),
            b"7z" => plain("application/x-7z-compressed"),
            b"deb" => plain("application/vnd.debian.binary-package"),
            _ => plain("application/octet-stream"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_the_extension() {
        for (name, kind) in [
            (&b"a/index.html"[..], "text/html"),
            (b"A.TXT", "text/plain; charset=utf-8"),
            (b"x.tar.gz", "application/gzip"),
            (b"x.woff2", "font/woff2"),
            (b"x.d/file", "application/octet-stream"),
            (b"html", "application/octet-stream"),
            (b"x.", "application/octet-stream"),
            (b"x.htmlx", "application/octet-stream"),
            (b"x.htmlxx", "application/octet-stream"),
            (b"", "application/octet-stream"),
        ] {
            assert_eq!(Media::of(name).kind, kind, "{}", String::from_utf8_lossy(name));
        }
        assert!(Media::of(b"a.svg").scripts && !Media::of(b"a.png").scripts);
    }
}
