//! What a body may hold in this machine while its reader is slow: little in the kernel, nothing in the node.
//!
//! TCP buffers are one pool for the whole machine, and the kernel lets those of every connection grow by megabytes. So
//! little is queued below a reader that has not taken it yet, and a source is read only as far as its reader takes: a
//! body that stands still then keeps its bytes where they came from. Nothing here limits what is under way on a line, so
//! a long one still fills.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Most bytes queued at a reader, beyond what its window lets out, while it has not shown that it takes them: a thousand
/// readers that stand still hold a tenth of what the kernel has for all.
const UNSENT: u32 = 128 * 1024;
/// The same for a reader that takes what it is given: fewer wake-ups, and a node that is a millisecond late still keeps
/// a line of 4 Gbit/s busy.
const UNSENT_FLOWING: u32 = 512 * 1024;
/// What a source that flows may have under way on a near link, as asked for; the kernel doubles it for its own needs.
/// Left alone it takes every round trip for a millisecond at least, and lets such a link hold twenty times as much.
const NEAR_WINDOW: usize = 512 * 1024;
/// A link that was dialled in this many ms has a round trip no longer than that, so that the window above is worth
/// 1 GB/s at the least; a longer one keeps the kernel's own growth, without which it would never fill.
const NEAR_MS: f64 = 1.0;
/// Bytes that a body moves without being held up before it gets a pipe. What stands between a source and a reader that
/// never reads is less, so such a body never has one.
const PROVEN: u64 = 1 << 20;
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
    /// What it took to dial it, in ms.
    pub dial_ms: f64,
}

/// The kernel's buffers on both sides of one body; they follow how it flows, with a system call only where that changes.
#[derive(Debug)]
pub(super) struct Buffers<'a> {
    source: Option<Incoming<'a>>,
    reader: &'a TcpStream,
    flow: Flow,
}

impl<'a> Buffers<'a> {
    /// Bounds what may wait for a reader that has yet to show what it takes.
    pub(super) fn new(source: Option<Incoming<'a>>, reader: &'a TcpStream) -> Self {
        bound(reader);
        Self { source, reader, flow: Flow::new() }
    }

    /// Bytes reached the reader's socket.
    pub(super) fn moved(&mut self, bytes: u64) {
        if !self.flow.moved(bytes) {
            return;
        }
        bound_at(self.reader, UNSENT_FLOWING);
        if let Some(near) = self.source.filter(|source| source.dial_ms < NEAR_MS) {
            // Only now: an own size is there at once, and a body that stands still would fill it.
            let _ = SockRef::from(near.stream).set_recv_buffer_size(NEAR_WINDOW);
        }
    }

    /// The reader made it wait.
    pub(super) fn waited(&mut self, wait: Duration) {
        if self.flow.waited(wait) {
            bound(self.reader);
        }
    }

    /// How it flows.
    pub(super) fn flow(&mut self) -> &mut Flow {
        &mut self.flow
    }
}

/// Bounds what may wait in the kernel for a reader of which nothing is known.
pub(super) fn bound(reader: &TcpStream) {
    bound_at(reader, UNSENT);
}

fn bound_at(reader: &TcpStream, unsent: u32) {
    // A kernel that knows no such bound still has its own.
    let _ = SockRef::from(reader).set_tcp_notsent_lowat(unsent);
}

/// Whether a body flows, so that it is worth a pipe and large buffers, or is held up by its reader.
#[derive(Debug)]
pub(super) struct Flow {
    /// Bytes moved since it was last held up.
    moved: u64,
    /// How many of them it takes until a pipe is worth asking for; `None` is never.
    pipe_at: Option<u64>,
}

impl Flow {
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
    use super::*;

    #[test]
    fn a_pipe_is_for_a_body_that_flows() {
        let mut flow = Flow::new();
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
        let mut flow = Flow::new();
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
    async fn the_kernels_buffers_follow_how_a_body_flows() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (far, _other) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (near, far, reader) = (near.unwrap(), far.unwrap(), accepted.unwrap().0);
        let own = |stream: &TcpStream| SockRef::from(stream).recv_buffer_size().unwrap();
        let unsent = || SockRef::from(&reader).tcp_notsent_lowat().unwrap();
        let before = own(&far);
        for (stream, dial_ms) in [(&near, 0.1), (&far, 20.0)] {
            let mut buffers = Buffers::new(Some(Incoming { stream, dial_ms }), &reader);
            buffers.moved(PROVEN - 1);
            assert_eq!((unsent(), own(stream)), (UNSENT, before), "it has yet to flow");
            buffers.moved(1);
            assert_eq!(unsent(), UNSENT_FLOWING);
            buffers.waited(HELD_UP);
            assert_eq!(unsent(), UNSENT);
            buffers.moved(PROVEN);
            assert_eq!(unsent(), UNSENT_FLOWING, "the bound is lifted when it flows again");
        }
        assert_ne!(own(&near), before, "a near link is bounded");
        assert_eq!(own(&far), before, "a long one grows as the kernel sees fit");
    }
}
