//! A TCP connection without TLS, shared with reports while a body is sent.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::{retry_on_intr, writev};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A connection.
///
/// Reads and writes like tokio's own type, system call for system call, also while shared: shared references do not
/// allow tokio's own `AsyncRead`, which needs exclusive access and is used while there is no other reference.
#[derive(Debug)]
pub(super) struct PlainSocket(pub(super) Arc<TcpStream>);

impl PlainSocket {
    /// Writes pieces after which more follows at once, as [`SendFlags::MORE`] tells the kernel.
    pub(super) fn poll_send_more(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let most = pieces.iter().map(|piece| piece.len()).sum();
        let flags = SendFlags::NOSIGNAL | SendFlags::MORE;
        poll_send(&self.0, cx, most, || sendmsg(&*self.0, pieces, &mut SendAncillaryBuffer::default(), flags))
    }
}

/// Reads or writes at most this many bytes, if the connection is ready. A shorter transfer has exhausted readiness:
/// that is recorded, as tokio does, and saves a system call.
fn attempt(
    stream: &TcpStream,
    interest: Interest,
    most: usize,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut part = None;
    let whole = stream.try_io(interest, || match retry_on_intr(&mut call)? {
        moved if moved > 0 && moved < most => {
            part = Some(moved);
            Err(io::ErrorKind::WouldBlock.into())
        }
        moved => Ok(moved),
    });
    part.map_or(whole, Ok)
}

/// Writes as soon as the connection is writable.
fn poll_send(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    most: usize,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match attempt(stream, Interest::WRITABLE, most, &mut call) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

impl AsyncRead for PlainSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(exclusive) = Arc::get_mut(&mut self.0) {
            return Pin::new(exclusive).poll_read(cx, buf);
        }
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            let read = attempt(&self.0, Interest::READABLE, unfilled.len(), || {
                recv(&*self.0, &mut *unfilled, RecvFlags::empty()).map(|(read, _)| read)
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for PlainSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Arc::get_mut(&mut self.0) {
            Some(exclusive) => Pin::new(exclusive).poll_write(cx, bytes),
            None => poll_send(&self.0, cx, bytes.len(), || send(&*self.0, bytes, SendFlags::NOSIGNAL)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(exclusive) = Arc::get_mut(&mut self.0) {
            return Pin::new(exclusive).poll_write_vectored(cx, pieces);
        }
        let most = pieces.iter().map(|piece| piece.len()).sum();
        poll_send(&self.0, cx, most, || writev(&*self.0, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&*self.0).shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }
}
