//! An open connection to the next hop, and the body received over it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::read_ahead::ReadAhead;
use crate::net::body::sockbuf::{FLOWING_AFTER, Incoming, has_low_rtt};
use crate::net::body::{Direct, Source};
use crate::net::os::deadline::ReusedTimer;
use crate::net::os::socket::Socket;
use crate::route::{Hop, Protocol};
use crate::wire::TransferId;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// The next hop's address.
    pub(super) address: SocketAddr,
    /// If requests are encrypted: the hops from the next to the one that reads them, which has a key.
    pub(super) encrypted: Option<Arc<[Hop]>>,
}

/// An open connection to the next hop.
#[expect(clippy::struct_excessive_bools, reason = "each is a property by itself")]
pub(super) struct UpstreamConn {
    /// Where its requests arrive.
    pub(super) peer: Peer,
    pub(super) protocol: Protocol,
    pub(super) stream: Socket,
    /// Of the waits for its replies.
    pub(super) timer: ReusedTimer,
    /// The round-trip time is known to be low.
    pub(super) low_rtt: bool,
    /// Bytes read from the stream and not consumed yet.
    pub(super) read_ahead: ReadAhead,
    /// Body bytes still to come.
    pub(super) remaining: u64,
    /// Time for which it may be idle after the current exchange; zero if the peer closes it.
    pub(super) idle_time: Duration,
    /// It delivered a file whose verification may be requested next.
    pub(super) verification_pending: bool,
    /// The kernel's buffers have grown, see [`Self::begin_body`].
    pub(super) grown: bool,
    /// Its socket goes on without it, for a tunnel or other requests.
    pub(super) handed_over: bool,
    /// The tunnel that it runs through, if it is encrypted and there are relays.
    pub(super) tunnel: Option<TransferId>,
}

impl Drop for UpstreamConn {
    /// Sends the end that TLS has, if that is possible without waiting: a relay of this connection cannot tell one that
    /// is only closed from one that was cut. In HTTP this ends the requests, and says nothing of a body.
    fn drop(&mut self) {
        if !self.handed_over && !self.stream.is_plain() {
            let _ = Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// The rest of a body; ends after exactly the announced bytes, or prematurely.
pub struct UpstreamBody<'a>(pub(super) &'a mut UpstreamConn);

impl UpstreamConn {
    pub(super) fn new(address: SocketAddr, protocol: Protocol, stream: TcpStream, connect_ms: f64) -> Self {
        Self {
            peer: Peer { address, encrypted: None },
            protocol,
            stream: Socket::new(stream),
            timer: ReusedTimer::default(),
            low_rtt: has_low_rtt(address.ip(), connect_ms),
            read_ahead: ReadAhead::default(),
            remaining: 0,
            idle_time: Duration::ZERO,
            verification_pending: false,
            grown: false,
            handed_over: false,
            tunnel: None,
        }
    }

    /// Records that a body of this length follows.
    ///
    /// A long one makes the kernel grow the receive buffer of the connection, by megabytes, and never shrink it. On a
    /// link with a low round-trip time, where a new buffer is large enough at once, the next body would only be
    /// buffered there if its reader is slow: the transfer would seem further than it is, and a hop that fails would be
    /// noticed late. On a longer link the next body needs that buffer, and the congestion window that belongs to it.
    pub(super) fn begin_body(&mut self, length: u64) {
        self.remaining = length;
        self.grown |= self.low_rtt && length >= FLOWING_AFTER;
    }

    /// Returns true if the connection can carry another request: the last reply was read to its end, nothing was read
    /// behind it, and the peer keeps the connection open. One with grown buffers is kept only for the verification of
    /// what it delivered.
    pub(super) fn is_reusable(&mut self) -> bool {
        let is_read = self.remaining == 0 && self.read_ahead.is_empty() && !self.stream.holds_unread();
        is_read && !self.idle_time.is_zero() && (!self.grown || self.verification_pending)
    }

    /// Returns true if neither bytes nor an end have arrived, by asking the kernel: tokio learns of them only when the
    /// runtime polls for events, which may be after the next request.
    pub(super) fn is_silent(&self) -> bool {
        recv(&*self.stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) == Err(Errno::AGAIN)
    }
}

impl Source for UpstreamBody<'_> {
    fn peek(&mut self, max: usize) -> io::Result<&[u8]> {
        let link = &*self.0;
        let bytes = link.read_ahead.bytes();
        Ok(&bytes[..max.min(bytes.len()).min(usize::try_from(link.remaining).unwrap_or(max))])
    }

    fn direct(&self) -> Option<Direct<'_>> {
        // Bytes read ahead have to be sent first.
        let incoming = Incoming { stream: &self.0.stream, low_rtt: self.0.low_rtt };
        let is_direct = self.0.read_ahead.is_empty() && self.0.stream.is_plain();
        is_direct.then_some(Direct::Socket(incoming))
    }

    fn socket(&self) -> Option<Arc<TcpStream>> {
        Some(self.0.stream.held())
    }

    fn consume(&mut self, bytes: u64) {
        let link = &mut *self.0;
        link.remaining = link.remaining.saturating_sub(bytes);
        link.read_ahead.consume(usize::try_from(bytes).unwrap_or(usize::MAX));
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
            let bytes = link.read_ahead.bytes();
            let read = max.min(bytes.len());
            buf.put_slice(&bytes[..read]);
            link.read_ahead.consume(read);
            read
        };
        link.remaining -= read as u64;
        Poll::Ready(Ok(()))
    }
}
