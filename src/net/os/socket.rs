//! A connection: TCP, with or without TLS, shared with reports while a body is sent, so that its descriptor is not
//! reused.

mod plain;
mod tls;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustls::pki_types::ServerName;
use rustls::server::ClientHello;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::deadline::Deadline;
use super::sockopt::fix;
use crate::limits::DISCARD_BYTES;
use plain::PlainSocket;
use tls::{Carrier, ClientHandshake, TlsSocket};

/// A connection.
///
/// With TLS, a write is done once all of it was given to the kernel, as without: nothing has to be flushed.
#[derive(Debug)]
pub struct Socket(Layer);

#[derive(Debug)]
enum Layer {
    Plain(PlainSocket),
    Tls(TlsLayer),
}

/// TLS on a connection, shared by its two directions.
#[derive(Clone, Debug)]
struct TlsLayer {
    tcp: Arc<TcpStream>,
    /// Locked for one poll. The directions of a tunnel are polled by one task, so that nothing waits for it.
    session: Arc<Mutex<TlsSocket<Socket>>>,
}

/// The TLS handshake of a client on a connection that can be used until the server has been sent the first message.
pub struct TlsHandshake(ClientHandshake<Socket>);

impl Socket {
    /// Wraps a connection that is not shared yet.
    pub fn new(stream: TcpStream) -> Self {
        Self(Layer::Plain(PlainSocket(Arc::new(stream))))
    }

    /// Returns another reference; the connection stays open until all are dropped.
    pub fn held(&self) -> Arc<TcpStream> {
        match &self.0 {
            Layer::Plain(plain) => Arc::clone(&plain.0),
            Layer::Tls(tls) => Arc::clone(&tls.tcp),
        }
    }

    /// Returns the same connection once more, for the other direction: one reads while the other writes.
    #[must_use]
    pub fn another(&self) -> Self {
        Self(match &self.0 {
            Layer::Plain(plain) => Layer::Plain(PlainSocket(Arc::clone(&plain.0))),
            Layer::Tls(tls) => Layer::Tls(tls.clone()),
        })
    }

    /// Begins the TLS handshake of a client with a server of this name. Nothing is sent yet.
    ///
    /// # Errors
    /// The error of the library if it makes no first message.
    pub fn begin_tls(&self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<TlsHandshake> {
        TlsSocket::begin(self.another(), config, name).map(TlsHandshake)
    }

    /// Runs the TLS handshake of a server whose client has sent these bytes already; the configuration depends on what
    /// the client offers.
    ///
    /// # Errors
    /// The error of the connection, or of the handshake with a [`rustls::Error`] inside.
    pub async fn accept_tls(
        self,
        received: Vec<u8>,
        choose: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
    ) -> io::Result<Self> {
        TlsSocket::accept(self, received, choose).await.map(Self::with_tls)
    }

    fn with_tls(session: TlsSocket<Self>) -> Self {
        let tcp = session.under().held();
        Self(Layer::Tls(TlsLayer { tcp, session: Arc::new(Mutex::new(session)) }))
    }

    /// Returns what `read` returns of the result of the TLS handshake; `None` without TLS.
    pub(in crate::net) fn handshake<T>(&self, read: impl FnOnce(&rustls::CommonState) -> T) -> Option<T> {
        match &self.0 {
            Layer::Plain(_) => None,
            Layer::Tls(tls) => Some(read(tls.lock().session())),
        }
    }

    /// Returns true if bytes can be moved by the kernel: without TLS.
    pub fn is_plain(&self) -> bool {
        matches!(self.0, Layer::Plain(_))
    }

    /// Returns true if bytes or an end were taken from the kernel that were not read: TLS reads whole records.
    pub fn holds_unread(&self) -> bool {
        match &self.0 {
            Layer::Plain(_) => false,
            Layer::Tls(tls) => tls.lock().holds_unread(),
        }
    }

    /// Waits until a read would not wait: bytes or an end have arrived. Cancel-safe.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Carrier::poll_read_ready(self, cx)
    }

    /// Writes pieces after which more follows at once: the kernel may hold back the last packet.
    pub fn poll_send_more(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Layer::Plain(plain) => plain.poll_send_more(cx, pieces),
            Layer::Tls(tls) => tls.lock().poll_write_vectored(cx, pieces),
        }
    }
}

impl TlsLayer {
    /// A panic in a poll has ended the connection's task.
    fn lock(&self) -> MutexGuard<'_, TlsSocket<Socket>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsHandshake {
    /// Returns the first message.
    pub fn hello(&self) -> &[u8] {
        &self.0.hello
    }

    /// Completes the handshake after the first message was sent; the server has sent these bytes already.
    ///
    /// # Errors
    /// The error of the connection, or of the handshake with a [`rustls::Error`] inside.
    pub async fn complete(self, received: Vec<u8>) -> io::Result<Socket> {
        self.0.complete(received).await.map(Socket::with_tls)
    }
}

impl Carrier for Socket {
    fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(plain) => plain.0.poll_read_ready(cx),
            Layer::Tls(tls) => tls.lock().poll_read_ready(cx),
        }
    }
}

impl Deref for Socket {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        match &self.0 {
            Layer::Plain(plain) => &plain.0,
            Layer::Tls(tls) => &tls.tcp,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(plain) => Pin::new(plain).poll_read(cx, buf),
            Layer::Tls(tls) => tls.lock().poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Layer::Plain(plain) => Pin::new(plain).poll_write(cx, bytes),
            Layer::Tls(tls) => tls.lock().poll_write_vectored(cx, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Layer::Plain(plain) => Pin::new(plain).poll_write_vectored(cx, pieces),
            Layer::Tls(tls) => tls.lock().poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(plain) => Pin::new(plain).poll_shutdown(cx),
            Layer::Tls(tls) => tls.lock().poll_shutdown(cx),
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

    use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
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
