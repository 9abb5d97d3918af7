//! Sends one body downstream in the fastest way available: copies its beginning, then splices it or sends it from the
//! file.

pub mod copy;
pub mod options;
pub(crate) mod reader;
mod shaping;
pub mod sockbuf;
pub mod splice;
pub mod tunnel;

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::net::TcpStream;

use super::os::socket::Socket;
use copy::copy_body;
use options::{CopyError, CopyOptions, EarlyInput};
use sockbuf::Incoming;
use splice::Pipes;

/// Source of a body.
pub trait Source: AsyncRead + Unpin {
    /// Returns the next bytes, at most `max`, that are available without waiting; they remain until consumed.
    ///
    /// # Errors
    /// The error of the socket or file.
    fn peek(&mut self, max: usize) -> io::Result<&[u8]>;

    /// Returns where the kernel can take the rest of the body from; `None` if it must be read.
    fn direct(&self) -> Option<Direct<'_>>;

    /// Returns the source's socket; `None` for a file.
    fn socket(&self) -> Option<Arc<TcpStream>>;

    /// Advances past bytes that were taken directly, or after a peek.
    fn consume(&mut self, bytes: u64);
}

/// The rest of a body, for the kernel to move.
#[derive(Debug)]
pub enum Direct<'a> {
    /// The next bytes of this socket.
    Socket(Incoming<'a>),
    /// This file, from an offset.
    File(Arc<File>, u64),
}

/// Limit on body bytes sent in one write with the head: a small file is one packet, and one wake-up for its client.
const WITH_HEAD: usize = 16 * 1024;
/// Bytes that are always copied first: what was read with a reply's head, and small files, which need no set-up.
pub(super) const COPIED_FIRST: u64 = 16 * 1024;
/// Bytes of a file that are always copied at the end, after a last check whether the file has changed.
const COPIED_LAST: u64 = 1;

/// Sends a head, which may be empty, and exactly `length` bytes of body.
///
/// # Errors
/// The [`CopyError`] that ended the body: of the source, of the reader, or of an injected fault. Both connections must
/// be closed then.
pub async fn send<S: Source>(
    head: Vec<u8>,
    source: &mut S,
    reader: &mut Socket,
    length: u64,
    options: CopyOptions<'_>,
    mut early: EarlyInput<'_>,
    pipes: &Arc<Pipes>,
) -> Result<(), CopyError> {
    let left = length - send_head(head, source, reader, length, options).await?;
    if left == 0 {
        return Ok(());
    }
    // Boxed to keep the parent future small: a small body is finished by now.
    Box::pin(send_rest(source, reader, left, options, &mut early, pipes)).await
}

/// Sends the body after the bytes that went with the head.
async fn send_rest<S: Source>(
    source: &mut S,
    reader: &mut Socket,
    length: u64,
    options: CopyOptions<'_>,
    early: &mut EarlyInput<'_>,
    pipes: &Arc<Pipes>,
) -> Result<(), CopyError> {
    let mut left = length;
    while left > 0 {
        left -= if options.disturbed() {
            // A disturbed body is fragmented by the faults.
            sockbuf::bound(reader, options.fixed);
            copy_body(source, reader, left, options, early).await?
        } else {
            send_undisturbed(source, reader, left, options, early, pipes).await?
        };
    }
    Ok(())
}

/// Moves a body in the fastest way available; returns how many bytes, fewer than all only if a fault is set meanwhile.
async fn send_undisturbed<S: Source>(
    source: &mut S,
    reader: &mut Socket,
    length: u64,
    options: CopyOptions<'_>,
    early: &mut EarlyInput<'_>,
    pipes: &Arc<Pipes>,
) -> Result<u64, CopyError> {
    let first = length.min(COPIED_FIRST);
    let mut moved = copy_body(source, reader, first, options, early).await?;
    let rest = length - first;
    if moved < first || rest == 0 {
        return Ok(moved);
    }
    if rest <= COPIED_LAST {
        sockbuf::bound(reader, options.fixed);
    } else {
        match source.direct().filter(|_| reader.is_plain()) {
            Some(Direct::Socket(socket)) => {
                let taken = splice::from_socket(socket, reader, rest, options, early, pipes).await?;
                source.consume(taken.bytes);
                moved += taken.bytes;
                options.send(reader, &taken.unsent, early).await?;
            }
            Some(Direct::File(file, offset)) => {
                let sent = splice::from_file(&file, offset, rest - COPIED_LAST, reader, options).await?;
                source.consume(sent);
                moved += sent;
            }
            None => {}
        }
    }
    // The bytes that cannot be taken directly: all of them, or the last byte of a file.
    Ok(moved + copy_body(source, reader, length - moved, options, early).await?)
}

/// Sends the head together with the body bytes that are available; returns how many those were.
async fn send_head<S: Source>(
    head: Vec<u8>,
    source: &mut S,
    reader: &mut Socket,
    length: u64,
    options: CopyOptions<'_>,
) -> Result<u64, CopyError> {
    let mut max = usize::try_from(length).unwrap_or(WITH_HEAD).min(WITH_HEAD);
    // The faults apply to every byte of a body; the copy loop handles them.
    if head.is_empty() || options.disturbed() {
        max = 0;
    }
    // Once no byte may be moved, the head goes alone, and the copy loop ends the body.
    max = options.allowed(max).unwrap_or_default();
    let available = source.peek(max).map_err(CopyError::Source)?;
    let with = available.len() as u64;
    options.meter.record_read(with);
    if options.last && with == length {
        options.write_last(reader, &head, available).await?;
    } else {
        options.write(reader, &head, available).await?;
    }
    source.consume(with);
    Ok(with)
}

#[cfg(test)]
mod tests;
