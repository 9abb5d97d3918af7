//! An open connection to the next hop, and the body that comes over it.

use std::io::{self, ErrorKind::WouldBlock};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::net::body::sockbuf::{Incoming, is_near};
use crate::net::body::{Direct, Source};
use crate::net::os::socket::Socket;
use crate::route::{HostPort, Protocol};

/// An open connection to the next hop.
pub(super) struct UpstreamConn {
    pub(super) hop: HostPort,
    pub(super) address: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) stream: Socket,
    /// The round trip is known to be short.
    pub(super) near: bool,
    /// Read from the stream and not yet used.
    pub(super) early: Vec<u8>,
    /// Body bytes still to come.
    pub(super) left: u64,
    /// Another request may follow on it.
    pub(super) keep: bool,
    /// A node of ours answered on it.
    pub(super) ours: bool,
}

/// The rest of a body; ends after exactly as many bytes as the head announced, or too early.
pub struct UpstreamBody<'a>(pub(super) &'a mut UpstreamConn);

impl UpstreamConn {
    pub(super) fn new(
        hop: &HostPort,
        address: SocketAddr,
        protocol: Protocol,
        stream: TcpStream,
        connect_ms: f64,
    ) -> Self {
        let near = is_near(address.ip(), connect_ms);
        let (hop, early, stream) = (hop.clone(), Vec::new(), Socket::new(stream));
        Self { hop, address, protocol, stream, near, early, left: 0, keep: false, ours: false }
    }

    /// Another request may follow: the last reply was taken to its end, and nothing came behind it. What did would be
    /// taken for the next reply, such as the `408` that some servers say before they close an idle connection.
    pub(super) fn is_idle(&self) -> bool {
        let silent = || matches!(self.stream.try_read(&mut [0; 1]), Err(error) if error.kind() == WouldBlock);
        self.keep && self.left == 0 && self.early.is_empty() && silent()
    }
}

impl Source for UpstreamBody<'_> {
    fn ahead(&mut self, most: usize) -> io::Result<&[u8]> {
        let link = &*self.0;
        Ok(&link.early[..most.min(link.early.len()).min(usize::try_from(link.left).unwrap_or(most))])
    }

    fn direct(&self) -> Option<Direct<'_>> {
        // What was read already has to go first.
        let incoming = Incoming { stream: &self.0.stream, near: self.0.near };
        self.0.early.is_empty().then_some(Direct::Socket(incoming))
    }

    fn socket(&self) -> Option<Arc<TcpStream>> {
        Some(self.0.stream.held())
    }

    fn skip(&mut self, bytes: u64) {
        let link = &mut *self.0;
        link.left = link.left.saturating_sub(bytes);
        link.early.drain(..link.early.len().min(bytes as usize));
        if link.early.is_empty() {
            link.early = Vec::new();
        }
    }
}

impl AsyncRead for UpstreamBody<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &mut *self.0;
        let most = usize::try_from(link.left).unwrap_or(usize::MAX).min(buf.remaining());
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = if link.early.is_empty() {
            let mut part = buf.take(most);
            std::task::ready!(Pin::new(&mut link.stream).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            buf.advance(read);
            read
        } else {
            let read = most.min(link.early.len());
            buf.put_slice(&link.early[..read]);
            link.early.drain(..read);
            if link.early.is_empty() {
                link.early = Vec::new();
            }
            read
        };
        link.left -= read as u64;
        Poll::Ready(Ok(()))
    }
}
