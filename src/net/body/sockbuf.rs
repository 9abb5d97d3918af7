//! Limits what a body buffers on this host while its reader is slow: little in the kernel, nothing in the node.
//!
//! TCP buffers are one pool for the whole host, and the kernel lets those of every connection grow by megabytes. So
//! little is queued for a reader that has not accepted it yet, and a source is read only as fast as its reader accepts:
//! the bytes of a stalled body remain at their source. Data in flight is not limited here, so a long path is still
//! filled.

use std::net::IpAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::net::os::sockopt;

/// Limit on bytes queued for a reader, beyond its window, until it has shown that it accepts them: a thousand stalled
/// readers use a tenth of the kernel's total.
const UNSENT: u32 = 128 * 1024;
/// The limit for a reader that keeps up: fewer wake-ups, and a node that is scheduled a millisecond late still keeps a
/// 4 Gbit/s line busy.
const UNSENT_FLOWING: u32 = 512 * 1024;
/// Sufficient receive buffer of a low-RTT link: a larger one gains nothing. By itself, the kernel assumes an RTT of at
/// least a millisecond, and so allows five times as much.
const LOW_RTT_BUFFER: usize = 4 << 20;
/// Window of a low-RTT link whose body is stalled.
const STALLED_WINDOW: i32 = 64 * 1024;
/// Bytes between two checks of the buffer's size.
const SAMPLE_INTERVAL: u64 = 1 << 20;
/// A link whose connect took at most this many ms has no longer RTT, so that the buffer above is worth at least 2 GB/s;
/// a longer RTT needs all that the kernel allows.
const LOW_RTT_MS: f64 = 1.0;
/// Bytes that a body moves without a stall before it counts as flowing. It is more than several hops buffer between a
/// source and a reader that never reads.
pub(in crate::net) const FLOWING_AFTER: u64 = 2 << 20;
/// A single wait for a reader of this length counts as a stall: that is less than 3 MB/s, at which copying costs next
/// to nothing, and longer than a reader waits for its turn among a hundred fast ones.
const STALL_WAIT: Duration = Duration::from_millis(200);
/// Bytes copied after no pipe was available: trying again costs several system calls.
const PIPE_RETRY_AFTER: u64 = 16 << 20;

/// The socket that a body is received from.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The connection.
    pub stream: &'a TcpStream,
    /// See [`has_low_rtt`].
    pub low_rtt: bool,
}

/// Returns true if the RTT to an address is known to be low, given its connect time.
pub fn has_low_rtt(address: IpAddr, connect_ms: f64) -> bool {
    // Loopback always has a low RTT, however busy the host was during the connect.
    address.is_loopback() || connect_ms < LOW_RTT_MS
}

/// The kernel's buffers on both sides of one body; they follow its flow, with a system call only on a change.
#[derive(Debug)]
pub(super) struct Buffers<'a> {
    source: Option<Incoming<'a>>,
    reader: &'a TcpStream,
    flow: FlowState,
    /// The user fixed their size.
    fixed: bool,
    /// Bytes until the receive buffer is checked; `None` if it does not grow, or may grow without limit.
    sample_in: Option<u64>,
}

impl<'a> Buffers<'a> {
    /// Limits the queue of a reader that has not shown yet what it accepts.
    pub(super) fn new(source: Option<Incoming<'a>>, reader: &'a TcpStream, fixed: bool) -> Self {
        bound(reader, fixed);
        if let Some(source) = source.filter(|source| source.low_rtt && !fixed) {
            // The initial buffer is enough for a body that may stall; a path with a long RTT starts slowly anyway.
            sockopt::hold(source.stream);
        }
        Self { source, reader, flow: FlowState::new(), fixed, sample_in: None }
    }

    /// Records bytes that reached the reader's socket.
    pub(super) fn moved(&mut self, bytes: u64) {
        if self.flow.moved(bytes) && !self.fixed {
            bound_at(self.reader, UNSENT_FLOWING);
            if let Some(source) = self.source {
                if source.low_rtt {
                    // The kernel grows a buffer only when the rate reaches a new maximum, which a fixed buffer may have
                    // prevented.
                    resize(source.stream, LOW_RTT_BUFFER);
                }
                sockopt::release(source.stream);
                self.sample_in = source.low_rtt.then_some(0);
            }
        }
        match (self.sample_in, self.source) {
            (Some(left), _) if left > bytes => self.sample_in = Some(left - bytes),
            (Some(_), Some(source)) => {
                let enough = SockRef::from(source.stream).recv_buffer_size().is_ok_and(|size| size >= LOW_RTT_BUFFER);
                if enough {
                    sockopt::hold(source.stream);
                }
                self.sample_in = (!enough).then_some(SAMPLE_INTERVAL);
            }
            _ => {}
        }
    }

    /// Records a wait for the reader.
    pub(super) fn waited(&mut self, wait: Duration) {
        if self.flow.waited(wait) && !self.fixed {
            bound_at(self.reader, UNSENT);
            if let Some(source) = self.source {
                if source.low_rtt {
                    sockopt::limit_window(source.stream, STALLED_WINDOW);
                }
                sockopt::hold(source.stream);
            }
            self.sample_in = None;
        }
    }

    /// Returns the flow state.
    pub(super) fn flow(&mut self) -> &mut FlowState {
        &mut self.flow
    }
}

/// Limits the queue of a reader about which nothing is known, unless buffer sizes are fixed.
pub(super) fn bound(reader: &TcpStream, fixed: bool) {
    if !fixed {
        bound_at(reader, UNSENT);
    }
}

/// Sets the size of a receive buffer, up to the host's maximum.
fn resize(stream: &TcpStream, bytes: usize) {
    // The kernel doubles the requested size, see socket(7).
    let _ = SockRef::from(stream).set_recv_buffer_size(bytes / 2);
}

fn bound_at(reader: &TcpStream, unsent: u32) {
    // A kernel without this option still has its own limit.
    let _ = SockRef::from(reader).set_tcp_notsent_lowat(unsent);
}

/// Whether a body flows, so that a pipe and large buffers pay off, or is stalled by its reader.
#[derive(Debug)]
pub(super) struct FlowState {
    /// Bytes moved since the last stall.
    moved: u64,
    /// Value of `moved` from which on a pipe is requested; `None` is never.
    pipe_at: Option<u64>,
}

impl FlowState {
    fn new() -> Self {
        Self { moved: 0, pipe_at: Some(FLOWING_AFTER) }
    }

    /// Records moved bytes; returns true if the body starts to flow.
    fn moved(&mut self, bytes: u64) -> bool {
        let before = self.moved;
        self.moved += bytes;
        before < FLOWING_AFTER && self.moved >= FLOWING_AFTER
    }

    /// Records a wait; returns true if the body stops flowing.
    fn waited(&mut self, wait: Duration) -> bool {
        if wait < STALL_WAIT {
            return false;
        }
        let flowed = self.moved >= FLOWING_AFTER;
        self.moved = 0;
        self.pipe_at = self.pipe_at.map(|_| FLOWING_AFTER);
        flowed
    }

    /// Returns true if it should move through a pipe.
    pub(super) fn wants_pipe(&self) -> bool {
        self.pipe_at.is_some_and(|at| self.moved >= at)
    }

    /// Postpones the next request for a pipe.
    pub(super) fn retry_pipe_later(&mut self) {
        self.pipe_at = self.pipe_at.map(|_| self.moved + PIPE_RETRY_AFTER);
    }

    /// Disables pipes for this body.
    pub(super) fn disable_pipe(&mut self) {
        self.pipe_at = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::net::os::sockopt::fix;

    #[test]
    fn only_a_flowing_body_gets_a_pipe() {
        let mut flow = FlowState::new();
        assert!(!flow.moved(FLOWING_AFTER - 1) && !flow.wants_pipe());
        assert!(flow.moved(1) && flow.wants_pipe());
        assert!(!flow.moved(FLOWING_AFTER), "it was flowing already");
        assert!(!flow.waited(STALL_WAIT / 2) && flow.wants_pipe(), "a short wait is no stall");
        assert!(flow.waited(STALL_WAIT) && !flow.wants_pipe(), "a slow reader returns its pipe");
        assert!(!flow.waited(STALL_WAIT), "it was stalled already");
        assert!(flow.moved(FLOWING_AFTER) && flow.wants_pipe(), "it has a pipe again when it flows");
    }

    #[test]
    fn a_refused_pipe_is_not_requested_every_time() {
        let mut flow = FlowState::new();
        flow.moved(FLOWING_AFTER);
        flow.retry_pipe_later();
        flow.moved(PIPE_RETRY_AFTER - 1);
        assert!(!flow.wants_pipe());
        flow.moved(1);
        assert!(flow.wants_pipe());
        flow.disable_pipe();
        flow.waited(STALL_WAIT);
        flow.moved(u64::MAX / 2);
        assert!(!flow.wants_pipe());
    }

    #[tokio::test]
    async fn the_queue_limit_follows_the_flow() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (source, reader) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (source, reader) = (source.unwrap(), reader.unwrap().0);
        let unsent = || SockRef::from(&reader).tcp_notsent_lowat().unwrap();
        let mut buffers = Buffers::new(Some(Incoming { stream: &source, low_rtt: true }), &reader, false);
        buffers.moved(FLOWING_AFTER - 1);
        assert_eq!(unsent(), UNSENT, "it does not flow yet");
        buffers.moved(1);
        assert_eq!(unsent(), UNSENT_FLOWING);
        buffers.waited(STALL_WAIT);
        assert_eq!(unsent(), UNSENT);
        buffers.moved(FLOWING_AFTER);
        assert_eq!(unsent(), UNSENT_FLOWING, "the limit is raised when it flows again");
        assert!(has_low_rtt(address.ip(), 20.0) && !has_low_rtt([10, 0, 0, 1].into(), LOW_RTT_MS));
    }

    #[tokio::test]
    async fn buffers_of_a_fixed_size_keep_it() {
        const SIZE: u32 = 32 * 1024;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(fix(&listener, SIZE), "every host allows this size");
        let address = listener.local_addr().unwrap();
        let (source, reader) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (source, reader) = (source.unwrap(), reader.unwrap().0);
        fix(&source, SIZE);
        let mut buffers = Buffers::new(Some(Incoming { stream: &source, low_rtt: true }), &reader, true);
        buffers.moved(FLOWING_AFTER);
        buffers.waited(STALL_WAIT);
        let sizes = |socket: &TcpStream| {
            let socket = SockRef::from(socket);
            (socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap())
        };
        let doubled = 2 * SIZE as usize;
        assert_eq!((sizes(&source), sizes(&reader)), ((doubled, doubled), (doubled, doubled)));
        assert_eq!(SockRef::from(&reader).tcp_notsent_lowat().unwrap(), 0, "no other limit applies");
        assert!(!fix(&listener, 1 << 30), "no host allows this size");
    }

    #[tokio::test]
    async fn a_receive_buffer_grows_unless_it_is_held() {
        for (held, grows) in [(true, false), (false, true)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (source, sender) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let (mut source, mut sender) = (source.unwrap(), sender.unwrap().0.into_std().unwrap());
            sender.set_nonblocking(false).unwrap();
            let content = vec![7; 64 << 20];
            let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &content));
            let first = SockRef::from(&source).recv_buffer_size().unwrap();
            sockopt::hold(&source);
            if !held {
                sockopt::release(&source);
            }
            source.read_exact(&mut vec![0; 64 << 20]).await.unwrap();
            assert_eq!(SockRef::from(&source).recv_buffer_size().unwrap() > first, grows);
            sending.join().unwrap().unwrap();
        }
    }
}
