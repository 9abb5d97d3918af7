//! A TCP connection shared with reports while a body is sent, so that its descriptor is not reused.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr, writev};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect, recv, send, sendmsg,
    socket_with,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::deadline::Deadline;
use super::sockopt::fix;
use crate::limits::DISCARD_BYTES;

/// A connection.
///
/// Reads and writes like tokio's own type, system call for system call, also while shared: shared references do not
/// allow tokio's own `AsyncRead`, which needs exclusive access and is used while there is no other reference.
#[derive(Debug)]
pub struct Socket(Arc<TcpStream>);

impl Socket {
    /// Wraps a connection that is not shared yet.
    pub fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// Returns another reference; the connection stays open until all are dropped.
    pub fn held(&self) -> Arc<TcpStream> {
        Arc::clone(&self.0)
    }

    /// Returns the same connection once more, such as for the other direction: one reads while the other one writes.
    #[must_use]
    pub fn another(&self) -> Self {
        Self(self.held())
    }

    /// Writes pieces after which more follows at once, as [`SendFlags::MORE`] tells the kernel.
    pub fn poll_send_more(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let most = pieces.iter().map(|piece| piece.len()).sum();
        let flags = SendFlags::NOSIGNAL | SendFlags::MORE;
        poll_send(&self.0, cx, most, || sendmsg(&*self.0, pieces, &mut SendAncillaryBuffer::default(), flags))
    }
}

impl Deref for Socket {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.0
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

impl AsyncRead for Socket {
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

impl AsyncWrite for Socket {
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

/// Opens a socket that is connecting to an address.
pub(super) fn open(address: SocketAddr, buffers: Option<u32>) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    // A head and the last bytes of a body must not wait for an acknowledgement.
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(bytes) = buffers {
        // A node logs once, for its listener, if that is not allowed.
        fix(&socket, bytes);
    }
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Reads and discards until the peer closes, within a time limit and a byte limit.
pub async fn drain<S: AsyncRead + Unpin>(stream: &mut S, limit: Duration) {
    let mut deadline = Deadline::after(limit);
    let mut left = DISCARD_BYTES;
    while left > 0 {
        let reading = poll_fn(|cx| {
            // Not kept across the wait: the future of every session would be larger by it.
            let mut space = [const { MaybeUninit::uninit() }; 4096];
            let mut space = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut space))?;
            Poll::Ready(io::Result::Ok(space.filled().len()))
        });
        match deadline.bound(reading).await {
            Ok(Ok(read)) if read > 0 => left = left.saturating_sub(read),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Socket::new(near.unwrap()), Socket::new(far.unwrap().0))
    }

    /// Passes bytes of every size both ways, with each end closing, with shared or exclusive connections.
    async fn passes(held: bool) {
        let (mut near, mut far) = pair().await;
        let holds = held.then(|| (near.held(), far.held()));
        let content: Vec<u8> = (0..3_000_000).map(|at| (at % 251) as u8).collect();
        let sent = content.clone();
        let sending = async move {
            let (first, rest) = sent.split_at(7);
            let once = near.write_vectored(&[IoSlice::new(first), IoSlice::new(&rest[..9])]).await.unwrap();
            near.write_all(&sent[once..]).await.unwrap();
            let mut answer = Vec::new();
            near.shutdown().await.unwrap();
            near.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let taking = async move {
            let mut received = Vec::new();
            far.read_to_end(&mut received).await.unwrap();
            far.write_all(b"whole").await.unwrap();
            far.shutdown().await.unwrap();
            (received, far)
        };
        let (answer, (received, _far)) =
            timeout(Duration::from_mins(1), async { tokio::join!(sending, taking) }).await.unwrap();
        assert!(received == content && answer == b"whole", "held: {held}");
        drop(holds);
    }

    #[tokio::test]
    async fn what_is_held_is_read_and_written_like_what_is_not() {
        passes(false).await;
        passes(true).await;
    }

    #[tokio::test]
    async fn a_short_read_exhausts_readiness() {
        let (mut near, mut far) = pair().await;
        let _held = far.held();
        near.write_all(b"1234").await.unwrap();
        let mut unfilled = [0; 64];
        assert_eq!(far.read(&mut unfilled).await.unwrap(), 4);
        // Found without a system call: the first read recorded it.
        let readiness = far.try_io(Interest::READABLE, || Ok(()));
        assert_eq!(readiness.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        near.write_all(b"5").await.unwrap();
        assert_eq!(far.read(&mut unfilled).await.unwrap(), 1, "and no later byte is missed");
    }

    #[tokio::test]
    async fn it_stays_open_for_as_long_as_anybody_holds_it() {
        let (near, mut far) = pair().await;
        let held = near.held();
        drop(near);
        let mut unfilled = [0; 1];
        assert!(timeout(Duration::from_millis(1), far.read(&mut unfilled)).await.is_err());
        drop(held);
        assert_eq!(far.read(&mut unfilled).await.unwrap(), 0);
    }
}
