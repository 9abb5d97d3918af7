//! How long anything may take and how large it may be: every wait has an end, and 0 never means unlimited.

use std::time::Duration;

/// The waits of a node or a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Set-up in all: from the request head read to the reply head sent.
    pub setup: Duration,
    /// Resolving and connecting to the next hop.
    pub connect: Duration,
    /// A request head: from accept, later from its first byte; progress does not prolong it.
    pub head: Duration,
    /// Waiting to read: between two requests, and for the next body bytes.
    pub idle: Duration,
    /// Blocked writing, because the reader does not read.
    pub stall: Duration,
    /// After the last byte, for the peer to close.
    pub linger: Duration,
    /// After SIGTERM, for what is in flight.
    pub drain: Duration,
    /// The time over which a body has to keep to the minimum rate while connections are short.
    pub minimum_rate_over: Duration,
    /// The size of the kernel's buffers of each connection that carries files, in bytes; the kernel keeps as much again
    /// for itself. `None` lets them follow how a body flows.
    pub sockbuf: Option<u32>,
    /// Whoever is served alone goes before this program's own work: see the module `latency`.
    pub give_way: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            setup: Duration::from_secs(15),
            connect: Duration::from_secs(5),
            head: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            stall: Duration::from_mins(5),
            linger: Duration::from_secs(2),
            drain: Duration::from_secs(30),
            minimum_rate_over: Duration::from_mins(1),
            sockbuf: None,
            give_way: true,
        }
    }
}

/// What a relay keeps of the time it was given: it passes on this much less.
pub const HOP_SHARE: Duration = Duration::from_millis(250);
/// How much longer than the time it passed on a relay waits, so that the hop next to a fault reports first.
pub const HOP_GRACE: Duration = Duration::from_millis(200);
/// Most unread input drained before a close; unread input would make the kernel reset the connection.
pub const DRAIN_BYTES: usize = 64 * 1024;
/// Most connections from one address whose request head is still being read.
pub const HEADS_PER_SOURCE: usize = 256;
/// Connections beyond the others that only endpoints get: an operator, a probe and a scraper at once, and a few clients
/// whose heads have to be read before it is known that they want something else.
pub const RESERVED: usize = 16;
/// Most of them for one address.
pub const RESERVED_PER_SOURCE: usize = 4;
/// How long a reserved connection has for its head; one that asks for an endpoint sends it at once.
pub const RESERVED_HEAD: Duration = Duration::from_secs(1);
/// How long a reserved connection has in all.
pub const RESERVED_WHOLE: Duration = Duration::from_secs(5);
/// Most readers of events: each holds a line of its own for as long as it does not take it.
pub const READERS: usize = 64;
/// Most of them from one address: a dashboard may watch as many hops as a route has through the first of them.
pub const READERS_PER_SOURCE: usize = 32;
/// The least that a body has to move while connections are short, in bytes per second.
pub const MINIMUM_RATE: u64 = 1024;
