//! A connection with TLS 1.3: the session of rustls, on a connection with or without TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::server::{Acceptor, ClientHello};
use rustls::{ClientConfig, ClientConnection, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Connect, LazyConfigAcceptor, TlsConnector, TlsStream};

/// Most bytes that one write encrypts before the kernel takes them: a chunk of a body. With the library's 64 KiB every
/// chunk was two writes, and the relays were woken twice as often.
const MAX_ENCRYPTED: usize = 256 * 1024;

/// What can carry TLS: a connection with or without TLS.
pub(super) trait Carrier: AsyncRead + AsyncWrite + Unpin {
    /// Waits until a read would not wait.
    fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct TlsSocket<S> {
    stream: TlsStream<Unread<S>>,
    /// Bytes of a write that the session has encrypted and that are not given to the kernel yet: the write is not done.
    encrypted: usize,
}

/// A client's handshake before its first message is sent.
pub(super) struct ClientHandshake<S> {
    connect: Connect<Unread<S>>,
    pub(super) hello: Vec<u8>,
}

/// A connection of which some bytes have been read already.
#[derive(Debug)]
pub(super) struct Unread<S> {
    bytes: Vec<u8>,
    socket: S,
}

impl<S: Carrier> TlsSocket<S> {
    /// Begins the handshake of a client, and takes out its first message, which the caller has to send.
    pub(super) fn begin(
        socket: S,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<ClientHandshake<S>> {
        let unread = Unread { bytes: Vec::new(), socket };
        let mut hello = Vec::new();
        let mut taken = Ok(0);
        let take = |session: &mut ClientConnection| taken = session.write_tls(&mut hello);
        let connect = TlsConnector::from(config).connect_with(name, unread, take);
        taken.map(|_| ClientHandshake { connect, hello })
    }

    /// Runs the handshake of a server whose client has sent these bytes already.
    pub(super) async fn accept(
        socket: S,
        bytes: Vec<u8>,
        choose: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
    ) -> io::Result<Self> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), Unread { bytes, socket }).await?;
        let config = choose(&start.client_hello());
        Ok(Self::new(start.into_stream(config).await?.into()))
    }

    fn new(mut stream: TlsStream<Unread<S>>) -> Self {
        match &mut stream {
            TlsStream::Client(stream) => stream.get_mut().1.set_buffer_limit(Some(MAX_ENCRYPTED)),
            TlsStream::Server(stream) => stream.get_mut().1.set_buffer_limit(Some(MAX_ENCRYPTED)),
        }
        Self { stream, encrypted: 0 }
    }

    /// Returns the connection that carries the session.
    pub(super) fn under(&self) -> &S {
        &self.stream.get_ref().0.socket
    }

    pub(super) fn session(&self) -> &rustls::CommonState {
        self.stream.get_ref().1
    }

    /// Waits until a read would not wait.
    pub(super) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.holds_unread() { Poll::Ready(Ok(())) } else { self.stream.get_mut().0.socket.poll_read_ready(cx) }
    }

    /// Returns true if bytes or the end of the stream were received beyond the last read.
    pub(super) fn holds_unread(&mut self) -> bool {
        // An error shows again in the read.
        let state = match &mut self.stream {
            TlsStream::Client(stream) => stream.get_mut().1.process_new_packets(),
            TlsStream::Server(stream) => stream.get_mut().1.process_new_packets(),
        };
        state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0 || state.peer_has_closed())
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }

    /// Writes pieces; done once all that was encrypted was given to the kernel. A caller that waits for it has to poll
    /// with the same bytes again, or to drop the connection.
    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.encrypted == 0 {
            self.encrypted = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, pieces))?;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let written = std::mem::take(&mut self.encrypted);
        if written > pieces.iter().map(|piece| piece.len()).sum() {
            return Poll::Ready(Err(io::Error::other("a write that was cancelled had begun")));
        }
        Poll::Ready(Ok(written))
    }

    /// Ends the direction to the peer; after a write that was cancelled without saying that this is the end.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.encrypted > 0 {
            return Pin::new(&mut self.stream.get_mut().0).poll_shutdown(cx);
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Carrier> ClientHandshake<S> {
    /// Completes the handshake with a server that was sent the first message, and whose first bytes these are.
    pub(super) async fn complete(mut self, received: Vec<u8>) -> io::Result<TlsSocket<S>> {
        if let Some(unread) = self.connect.get_mut() {
            unread.bytes = received;
        }
        Ok(TlsSocket::new(self.connect.await?.into()))
    }
}

impl<S: Carrier> AsyncRead for Unread<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let read = self.bytes.len().min(buf.remaining());
        buf.put_slice(&self.bytes[..read]);
        self.bytes.drain(..read);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Carrier> AsyncWrite for Unread<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
