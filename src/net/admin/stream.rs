//! The connection passed to the HTTP library: replays bytes that were read already, and limits the time of blocked
//! writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::os::deadline::{Passing, passing};

/// A stream that starts with bytes already read and gives up on a peer that does not read.
pub(super) struct EndpointStream<S> {
    before: io::Cursor<Vec<u8>>,
    inner: S,
    stall: Duration,
    /// Runs while a write is blocked.
    blocked: Option<Passing>,
}

impl<S> EndpointStream<S> {
    /// Creates a stream of `before`, then the rest of `inner`.
    pub(super) fn new(inner: S, before: Vec<u8>, stall: Duration) -> Self {
        Self { before: io::Cursor::new(before), inner, stall, blocked: None }
    }

    /// Returns the result of a write, or an error if it has been blocked for too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.blocked = None;
            return polled;
        }
        let stall = self.stall;
        let timer = self.blocked.get_or_insert_with(|| passing(stall));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EndpointStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let at = self.before.position() as usize;
        let left = &self.before.get_ref()[at..];
        if left.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let taken = left.len().min(buf.remaining());
        buf.put_slice(&left[..taken]);
        self.before.set_position((at + taken) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EndpointStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.bounded(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.bounded(cx, polled)
    }

    /// Without vectored writes the library would copy the data, and a line of events is shared by its readers.
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.bounded(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.bounded(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn replayed_bytes_come_first_for_any_buffer() {
        let (mut peer, inner) = duplex(64);
        peer.write_all(b" and after").await.unwrap();
        drop(peer);
        let mut stream = EndpointStream::new(inner, b"before".to_vec(), Duration::from_secs(1));
        let mut first = [0; 4];
        stream.read_exact(&mut first).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&first, rest.as_str()), (b"befo", "re and after"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_times_out_after_the_stall_limit() {
        let (peer, inner) = duplex(4);
        let mut stream = EndpointStream::new(inner, Vec::new(), Duration::from_secs(7));
        let began = Instant::now();
        let error = stream.write_all(b"more than four").await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 7));
        drop(peer);
    }
}
