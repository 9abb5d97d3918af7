//! Reading a local file in order, to hash it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::net::node::digests::Hasher;
use crate::wire::Digest;

/// Bytes read and hashed at a time.
const CHUNK: usize = 1 << 20;

/// Reads a range of a file piece by piece; false if cancelled.
pub(super) fn read(
    file: &File,
    range: Range<u64>,
    cancelled: &dyn Fn() -> bool,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<bool> {
    let length = |offset: u64| CHUNK.min(usize::try_from(range.end - offset).unwrap_or(CHUNK));
    let mut buffer = vec![0; if range.is_empty() { 0 } else { length(range.start) }];
    let mut offset = range.start;
    while offset < range.end {
        if cancelled() {
            return Ok(false);
        }
        let piece = &mut buffer[..length(offset)];
        file.read_exact_at(piece, offset)?;
        each(piece);
        offset += piece.len() as u64;
    }
    Ok(true)
}

/// Returns whether a file has this size and this digest; `None` if cancelled.
pub(super) fn has_digest(
    file: &File,
    size: u64,
    digest: Digest,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<Option<bool>> {
    let mut hasher = Hasher::new(digest.algorithm);
    match read(file, 0..size, cancelled, &mut |bytes| hasher.update(bytes)) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        // It was truncated meanwhile.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(false)),
        Err(error) => return Err(error),
    }
    Ok(Some(file.metadata()?.len() == size && hasher.finish() == digest))
}
