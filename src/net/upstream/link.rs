//! An open connection to the next hop, and the body received over it.

use std::io::{self, ErrorKind::WouldBlock};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::net::body::sockbuf::{Incoming, has_low_rtt};
use crate::net::body::{Direct, Source};
use crate::net::os::socket::Socket;
use crate::route::{HostPort, Protocol};

/// An open connection to the next hop.
pub(super) struct UpstreamConn {
    pub(super) hop: HostPort,
    pub(super) address: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) stream: Socket,
    /// The round-trip time is known to be low.
    pub(super) low_rtt: bool,
    /// Bytes read from the stream and not consumed yet.
    pub(super) read_ahead: Vec<u8>,
    /// Body bytes still to come.
    pub(super) remaining: u64,
    /// The connection can be reused.
    pub(super) keep_alive: bool,
    /// The peer is one of our nodes.
    pub(super) is_node: bool,
}

/// The rest of a body; ends after exactly the announced bytes, or prematurely.
pub struct UpstreamBody<'a>(pub(super) &'a mut UpstreamConn);

impl UpstreamConn {
    pub(super) fn new(
        hop: &HostPort,
        address: SocketAddr,
        protocol: Protocol,
        stream: TcpStream,
        connect_ms: f64,
    ) -> Self {
        let low_rtt = has_low_rtt(address.ip(), connect_ms);
        let (hop, read_ahead, stream) = (hop.clone(), Vec::new(), Socket::new(stream));
        Self { hop, address, protocol, stream, low_rtt, read_ahead, remaining: 0, keep_alive: false, is_node: false }
    }

    /// Returns true if the connection can be reused: the last reply was read to its end, and nothing follows. Any bytes
    /// would be taken for the next reply, such as the `408` that some servers send before they close an idle
    /// connection.
    pub(super) fn is_idle(&self) -> bool {
        let silent = || matches!(self.stream.try_read(&mut [0; 1]), Err(error) if error.kind() == WouldBlock);
        self.keep_alive && self.remaining == 0 && self.read_ahead.is_empty() && silent()
    }
}

impl Source for UpstreamBody<'_> {
    fn peek(&mut self, max: usize) -> io::Result<&[u8]> {
        let link = &*self.0;
        Ok(&link.read_ahead[..max.min(link.read_ahead.len()).min(usize::try_from(link.remaining).unwrap_or(max))])
    }

    fn direct(&self) -> Option<Direct<'_>> {
        // Bytes read ahead have to be sent first.
        let incoming = Incoming { stream: &self.0.stream, low_rtt: self.0.low_rtt };
        self.0.read_ahead.is_empty().then_some(Direct::Socket(incoming))
    }

    fn socket(&self) -> Option<Arc<TcpStream>> {
        Some(self.0.stream.held())
    }

    fn consume(&mut self, bytes: u64) {
        let link = &mut *self.0;
        link.remaining = link.remaining.saturating_sub(bytes);
        link.read_ahead.drain(..link.read_ahead.len().min(bytes as usize));
        if link.read_ahead.is_empty() {
            link.read_ahead = Vec::new();
        }
    }
}

impl AsyncRead for UpstreamBody<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &mut *self.0;
        let max = usize::try_from(link.remaining).unwrap_or(usize::MAX).min(buf.remaining());
        if max == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = if link.read_ahead.is_empty() {
            let mut part = buf.take(max);
            std::task::ready!(Pin::new(&mut link.stream).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            buf.advance(read);
            read
        } else {
            let read = max.min(link.read_ahead.len());
            buf.put_slice(&link.read_ahead[..read]);
            link.read_ahead.drain(..read);
            if link.read_ahead.is_empty() {
                link.read_ahead = Vec::new();
            }
            read
        };
        link.remaining -= read as u64;
        Poll::Ready(Ok(()))
    }
}
