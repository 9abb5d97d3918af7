//! One body on its way down, by the best way there is: its beginning copied, the rest spliced or sent from the file.

pub mod copy;
pub mod options;
pub(crate) mod reader;
mod shaping;
pub mod sockbuf;
pub mod splice;

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::net::TcpStream;

use super::os::socket::Socket;
use copy::pump;
use options::{CopyError, CopyOptions, EarlyInput};
use sockbuf::Incoming;
use splice::Pipes;

/// Where a body comes from.
pub trait Source: AsyncRead + Unpin {
    /// The next bytes, at most so many of them, as far as they are there without waiting; they stay until they are
    /// skipped.
    ///
    /// # Errors
    /// The error of the socket or file that the bytes are read from.
    fn ahead(&mut self, most: usize) -> io::Result<&[u8]>;

    /// What the rest of the body can be taken from without reading it; `None` where it must be read.
    fn direct(&self) -> Option<Direct<'_>>;

    /// A hold on the socket it comes by; `None` where it is a file.
    fn socket(&self) -> Option<Arc<TcpStream>>;

    /// Bytes were taken directly, or from those ahead.
    fn skip(&mut self, bytes: u64);
}

/// A body's rest, as the kernel can move it.
#[derive(Debug)]
pub enum Direct<'a> {
    /// The next bytes of this socket.
    Socket(Incoming<'a>),
    /// This file, from an offset.
    File(Arc<File>, u64),
}

/// Most bytes that go out in one write with the head: a small file is one packet, and one wake-up for its reader.
const WITH_HEAD: usize = 16 * 1024;
/// Bytes that are always copied first: what a reply's head left behind, and small files, for which nothing is set up.
pub(super) const COPIED_FIRST: u64 = 16 * 1024;
/// Bytes of a file that are always copied at the end, after a last look at whether the file has changed.
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
    pace: CopyOptions<'_>,
    mut early: EarlyInput<'_>,
    pipes: &Arc<Pipes>,
) -> Result<(), CopyError> {
    let left = length - send_head(head, source, reader, length, pace).await?;
    if left == 0 {
        return Ok(());
    }
    // In a box: a small body is over by now, and need not have room for what a large one does.
    Box::pin(send_rest(source, reader, left, pace, &mut early, pipes)).await
}

/// Sends what there was not with the head.
async fn send_rest<S: Source>(
    source: &mut S,
    reader: &mut Socket,
    length: u64,
    pace: CopyOptions<'_>,
    early: &mut EarlyInput<'_>,
    pipes: &Arc<Pipes>,
) -> Result<(), CopyError> {
    let mut left = length;
    while left > 0 {
        left -= if pace.faults.disturb_bodies() {
            // A disturbed body moves in pieces of the faults' choosing.
            sockbuf::bound(reader, pace.fixed);
            pump(source, reader, left, pace, early).await?
        } else {
            freely(source, reader, left, pace, early, pipes).await?
        };
    }
    Ok(())
}

/// Moves a body by the best way there is; the answer is how much of it, which is all unless a change is turned
/// meanwhile.
async fn freely<S: Source>(
    source: &mut S,
    reader: &mut Socket,
    length: u64,
    pace: CopyOptions<'_>,
    early: &mut EarlyInput<'_>,
    pipes: &Arc<Pipes>,
) -> Result<u64, CopyError> {
    let first = length.min(COPIED_FIRST);
    let mut moved = pump(source, reader, first, pace, early).await?;
    let rest = length - first;
    if moved < first || rest == 0 {
        return Ok(moved);
    }
    if rest <= COPIED_LAST {
        sockbuf::bound(reader, pace.fixed);
    } else {
        match source.direct() {
            Some(Direct::Socket(socket)) => {
                let taken = splice::from_socket(socket, reader, rest, pace, early, pipes).await?;
                source.skip(taken.bytes);
                moved += taken.bytes;
                pace.send(reader, &taken.unsent, early).await?;
            }
            Some(Direct::File(file, offset)) => {
                let sent = splice::from_file(&file, offset, rest - COPIED_LAST, reader, pace).await?;
                source.skip(sent);
                moved += sent;
            }
            None => {}
        }
    }
    // What cannot be taken directly: all of it, or the last byte of a file.
    Ok(moved + pump(source, reader, length - moved, pace, early).await?)
}

/// Sends the head, and with it what there is of the body; how much of it that was.
async fn send_head<S: Source>(
    head: Vec<u8>,
    source: &mut S,
    reader: &mut Socket,
    length: u64,
    pace: CopyOptions<'_>,
) -> Result<u64, CopyError> {
    let mut most = usize::try_from(length).unwrap_or(WITH_HEAD).min(WITH_HEAD);
    // The faults want every byte of a body before it leaves; the pump asks them.
    if head.is_empty() || pace.faults.disturb_bodies() {
        most = 0;
    }
    let ahead = source.ahead(most).map_err(CopyError::Source)?;
    let with = ahead.len() as u64;
    pace.meter.record_read(with);
    pace.write(reader, &head, ahead).await?;
    source.skip(with);
    Ok(with)
}

#[cfg(test)]
mod tests;
