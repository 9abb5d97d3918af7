//! What a body may hold in this machine while its reader is slow: little in the kernel, nothing in the node.
//!
//! TCP buffers are one pool for the whole machine, and the kernel lets those of every connection grow by megabytes. So
//! little is queued below a reader that has not taken it yet, and a source is read only as far as its reader takes: a
//! body that stands still then keeps its bytes where they came from. Nothing here limits what is under way on a line,
//! so a long one still fills.

use std::net::IpAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::net::os::sockopt;

/// Most bytes queued at a reader, beyond what its window lets out, while it has not shown that it takes them: a
/// thousand readers that stand still hold a tenth of what the kernel has for all.
const UNSENT: u32 = 128 * 1024;
/// The same for a reader that takes what it is given: fewer wake-ups, and a node that is a millisecond late still keeps
/// a line of 4 Gbit/s busy.
const UNSENT_FLOWING: u32 = 512 * 1024;
/// A receive buffer of a near link that is large enough: past the point of gain where a round trip is short. Left
/// alone, the kernel takes every round trip for a millisecond at least, and so makes room for five times as much.
const NEAR_ENOUGH: usize = 4 << 20;
/// The size of a receive buffer of a near link whose body stands still.
const NEAR_FIRST: usize = 128 * 1024;
/// Bytes between two looks at how large it is.
const LOOK_AGAIN: u64 = 1 << 20;
/// A link that was connected to in this many ms has a round trip no longer than that, so that the buffer above is worth
/// 2 GB/s at the least; a longer one needs all that the kernel gives it.
const NEAR_MS: f64 = 1.0;
/// Bytes that a body moves without being held up before it counts as flowing. What several hops hold between a source
/// and a reader that never reads is less.
const PROVEN: u64 = 2 << 20;
/// Waiting this long for a reader once is being held up: less than 3 MB/s, at which copying costs next to nothing, and
/// longer than a reader waits for its turn among a hundred fast ones.
const HELD_UP: Duration = Duration::from_millis(200);
/// Bytes copied after there was no pipe to be had: asking again costs several system calls.
const ASK_AGAIN: u64 = 16 << 20;

/// Where the next bytes of a body come from, when that is a socket.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The connection.
    pub stream: &'a TcpStream,
    /// See [`is_near`].
    pub near: bool,
}

/// True if the round trip to an address, opened in so many ms, is known to be short.
pub fn is_near(address: IpAddr, connect_ms: f64) -> bool {
    // Within this machine it is, however busy we were when we connected to.
    address.is_loopback() || connect_ms < NEAR_MS
}

/// The kernel's buffers on both sides of one body; they follow how it flows, with a system call only where that
/// changes.
#[derive(Debug)]
pub(super) struct Buffers<'a> {
    source: Option<Incoming<'a>>,
    reader: &'a TcpStream,
    flow: FlowState,
    /// A person chose how large they are.
    fixed: bool,
    /// Bytes until the receive buffer is looked at, where it grows and need not grow for ever.
    look_in: Option<u64>,
}

impl<'a> Buffers<'a> {
    /// Bounds what may wait for a reader that has yet to show what it takes.
    pub(super) fn new(source: Option<Incoming<'a>>, reader: &'a TcpStream, fixed: bool) -> Self {
        bound(reader, fixed);
        if let Some(source) = source.filter(|source| source.near && !fixed) {
            // What is there at first is enough for a body that may stand still; a long link begins slowly as it is.
            sockopt::hold(source.stream);
        }
        Self { source, reader, flow: FlowState::new(), fixed, look_in: None }
    }

    /// Bytes reached the reader's socket.
    pub(super) fn moved(&mut self, bytes: u64) {
        if self.flow.moved(bytes) && !self.fixed {
            bound_at(self.reader, UNSENT_FLOWING);
            if let Some(source) = self.source {
                if source.near {
                    // The kernel grows what is faster than it ever was, which a held buffer may not have allowed.
                    resize(source.stream, NEAR_ENOUGH);
                }
                sockopt::release(source.stream);
                self.look_in = source.near.then_some(0);
            }
        }
        match (self.look_in, self.source) {
            (Some(left), _) if left > bytes => self.look_in = Some(left - bytes),
            (Some(_), Some(source)) => {
                let enough = SockRef::from(source.stream).recv_buffer_size().is_ok_and(|size| size >= NEAR_ENOUGH);
                if enough {
                    sockopt::hold(source.stream);
                }
                self.look_in = (!enough).then_some(LOOK_AGAIN);
            }
            _ => {}
        }
    }

    /// The reader made it wait.
    pub(super) fn waited(&mut self, wait: Duration) {
        if self.flow.waited(wait) && !self.fixed {
            bound_at(self.reader, UNSENT);
            if let Some(source) = self.source {
                if source.near {
                    resize(source.stream, NEAR_FIRST);
                }
                sockopt::hold(source.stream);
            }
            self.look_in = None;
        }
    }

    /// How it flows.
    pub(super) fn flow(&mut self) -> &mut FlowState {
        &mut self.flow
    }
}

/// Bounds what may wait in the kernel for a reader of which nothing is known, unless buffers of a fixed size do.
pub(super) fn bound(reader: &TcpStream, fixed: bool) {
    if !fixed {
        bound_at(reader, UNSENT);
    }
}

/// Gives a receive buffer this size, or the most that this machine allows.
fn resize(stream: &TcpStream, bytes: usize) {
    // What is asked for is doubled, as socket(7) says.
    let _ = SockRef::from(stream).set_recv_buffer_size(bytes / 2);
}

fn bound_at(reader: &TcpStream, unsent: u32) {
    // A kernel that knows no such bound still has its own.
    let _ = SockRef::from(reader).set_tcp_notsent_lowat(unsent);
}

/// Whether a body flows, so that it is worth a pipe and large buffers, or is held up by its reader.
#[derive(Debug)]
pub(super) struct FlowState {
    /// Bytes moved since it was last held up.
    moved: u64,
    /// How many of them it takes until a pipe is worth asking for; `None` is never.
    pipe_at: Option<u64>,
}

impl FlowState {
    fn new() -> Self {
        Self { moved: 0, pipe_at: Some(PROVEN) }
    }

    /// Bytes moved on; true if this proves that it flows.
    fn moved(&mut self, bytes: u64) -> bool {
        let before = self.moved;
        self.moved += bytes;
        before < PROVEN && self.moved >= PROVEN
    }

    /// It had to wait; true if it no longer flows.
    fn waited(&mut self, wait: Duration) -> bool {
        if wait < HELD_UP {
            return false;
        }
        let flowed = self.moved >= PROVEN;
        self.moved = 0;
        self.pipe_at = self.pipe_at.map(|_| PROVEN);
        flowed
    }

    /// True if it should move through a pipe.
    pub(super) fn wants_pipe(&self) -> bool {
        self.pipe_at.is_some_and(|at| self.moved >= at)
    }

    /// There was no pipe.
    pub(super) fn ask_later(&mut self) {
        self.pipe_at = self.pipe_at.map(|_| self.moved + ASK_AGAIN);
    }

    /// A pipe is of no use to it.
    pub(super) fn never_ask(&mut self) {
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
    fn a_pipe_is_for_a_body_that_flows() {
        let mut flow = FlowState::new();
        assert!(!flow.moved(PROVEN - 1) && !flow.wants_pipe());
        assert!(flow.moved(1) && flow.wants_pipe());
        assert!(!flow.moved(PROVEN), "it was known to flow");
        assert!(!flow.waited(HELD_UP / 2) && flow.wants_pipe(), "a short wait is no stall");
        assert!(flow.waited(HELD_UP) && !flow.wants_pipe(), "a reader that is slow gives its pipe to others");
        assert!(!flow.waited(HELD_UP), "it was known to stand still");
        assert!(flow.moved(PROVEN) && flow.wants_pipe(), "it has one again when it is fast again");
    }

    #[test]
    fn what_was_refused_is_not_asked_for_at_every_turn() {
        let mut flow = FlowState::new();
        flow.moved(PROVEN);
        flow.ask_later();
        flow.moved(ASK_AGAIN - 1);
        assert!(!flow.wants_pipe());
        flow.moved(1);
        assert!(flow.wants_pipe());
        flow.never_ask();
        flow.waited(HELD_UP);
        flow.moved(u64::MAX / 2);
        assert!(!flow.wants_pipe());
    }

    #[tokio::test]
    async fn what_is_queued_at_a_reader_follows_how_its_body_flows() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (source, reader) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (source, reader) = (source.unwrap(), reader.unwrap().0);
        let unsent = || SockRef::from(&reader).tcp_notsent_lowat().unwrap();
        let mut buffers = Buffers::new(Some(Incoming { stream: &source, near: true }), &reader, false);
        buffers.moved(PROVEN - 1);
        assert_eq!(unsent(), UNSENT, "it has yet to flow");
        buffers.moved(1);
        assert_eq!(unsent(), UNSENT_FLOWING);
        buffers.waited(HELD_UP);
        assert_eq!(unsent(), UNSENT);
        buffers.moved(PROVEN);
        assert_eq!(unsent(), UNSENT_FLOWING, "the bound is lifted when it flows again");
        assert!(is_near(address.ip(), 20.0) && !is_near([10, 0, 0, 1].into(), NEAR_MS));
    }

    #[tokio::test]
    async fn buffers_of_a_fixed_size_keep_it() {
        const SIZE: u32 = 32 * 1024;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(fix(&listener, SIZE), "every machine allows that much");
        let address = listener.local_addr().unwrap();
        let (source, reader) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (source, reader) = (source.unwrap(), reader.unwrap().0);
        fix(&source, SIZE);
        let mut buffers = Buffers::new(Some(Incoming { stream: &source, near: true }), &reader, true);
        buffers.moved(PROVEN);
        buffers.waited(HELD_UP);
        let sizes = |socket: &TcpStream| {
            let socket = SockRef::from(socket);
            (socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap())
        };
        let doubled = 2 * SIZE as usize;
        assert_eq!((sizes(&source), sizes(&reader)), ((doubled, doubled), (doubled, doubled)));
        assert_eq!(SockRef::from(&reader).tcp_notsent_lowat().unwrap(), 0, "nothing else bounds them");
        assert!(!fix(&listener, 1 << 30), "no machine allows that much");
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
