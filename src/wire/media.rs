//! Media types by a file's ending: what browsers and package tools need to know before they look inside.

/// What a file is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// The media type.
    pub kind: &'static str,
    /// A browser would run scripts that it holds.
    pub scripts: bool,
}

/// Longest ending that is known.
const LONGEST: usize = 5;

impl Media {
    /// The type of a file of this name; bytes without a meaning where its ending says nothing.
    pub fn of(name: &[u8]) -> Self {
        let plain = |kind| Self { kind, scripts: false };
        let scripts = |kind| Self { kind, scripts: true };
        let dot = name.iter().rev().take(LONGEST + 1).position(|byte| *byte == b'.');
        let ending = dot.map_or(&[][..], |length| &name[name.len() - length..]);
        let mut lower = [0; LONGEST];
        lower[..ending.len()].copy_from_slice(ending);
        lower.make_ascii_lowercase();
        match &lower[..ending.len()] {
            // A page says by itself which characters it is written in.
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
            b"tar" => plain("application/x-tar"),
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
    fn the_ending_says_what_a_file_is() {
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
