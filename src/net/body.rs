//! One body on its way down, by the best way there is: its beginning copied, the rest spliced or sent from the file.

use std::fs::File;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::net::TcpStream;

use super::buffers::{self, Incoming};
use super::pump::{Early, Pace, PumpError, pump};
use super::splice::{self, Pipes};

/// Where a body comes from.
pub trait Source: AsyncRead + Unpin {
    /// What the rest of the body can be taken from without reading it; `None` where it must be read.
    fn direct(&self) -> Option<Direct<'_>>;

    /// Bytes were taken directly.
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

/// Bytes that are always copied first: what a reply's head left behind, and small files, for which nothing is set up.
const COPIED_FIRST: u64 = 16 * 1024;
/// Bytes of a file that are always copied at the end, after a last look at whether the file has changed.
const COPIED_LAST: u64 = 1;

/// Sends exactly `length` bytes.
pub async fn send<S: Source>(
    source: &mut S,
    reader: &mut TcpStream,
    length: u64,
    pace: Pace<'_>,
    mut early: Early<'_>,
    pipes: &Arc<Pipes>,
) -> Result<(), PumpError> {
    let first = length.min(COPIED_FIRST);
    pump(source, reader, first, pace, &mut early).await?;
    let rest = length - first;
    if rest == 0 {
        return Ok(());
    }
    if rest <= COPIED_LAST || pace.bucket.is_some() {
        // A capped body moves in pieces of the cap's choosing.
        buffers::bound(reader);
        return pump(source, reader, rest, pace, &mut early).await;
    }
    let moved = match source.direct() {
        Some(Direct::Socket(socket)) => {
            splice::from_socket(socket, reader, rest, pace, &mut early, pipes).await?;
            rest
        }
        Some(Direct::File(file, offset)) => splice::from_file(&file, offset, rest - COPIED_LAST, reader, pace).await?,
        None => 0,
    };
    source.skip(moved);
    pump(source, reader, rest - moved, pace, &mut early).await
}

#[cfg(test)]
mod tests;
