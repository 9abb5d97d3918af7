//! Timeouts and size limits: every wait has a timeout, and 0 never means unlimited.

use std::time::Duration;

/// Timeouts and other limits of a node or a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whole set-up: from the request head read to the reply head sent.
    pub setup: Duration,
    /// Resolving and connecting to the next hop.
    pub connect: Duration,
    /// A request head: from accept, later from its first byte; progress does not prolong it.
    pub head: Duration,
    /// Waiting to read: between two requests, and for the next body bytes.
    pub idle: Duration,
    /// Blocked writing, because the receiver does not read.
    pub stall: Duration,
    /// A tunnel in which no byte moves in either direction.
    pub tunnel_idle: Duration,
    /// A tunnel of which one direction has ended, and in whose other one no byte moves.
    pub tunnel_half_closed: Duration,
    /// After the last byte, for the peer to close.
    pub linger: Duration,
    /// After SIGTERM, for transfers in progress.
    pub drain: Duration,
    /// The time over which a body has to keep to the minimum rate while connections are short.
    pub minimum_rate_over: Duration,
    /// Size of the kernel's buffers of each connection that carries files, in bytes; the kernel adds as much for its
    /// own data. `None` adapts them to the flow of a body.
    pub sockbuf: Option<u32>,
    /// Most idle connections to next hops, all hops together; none are kept at 0.
    pub idle_connections: usize,
    /// A sole client is scheduled before this program's own work: see the module `latency`.
    pub yield_to_sole_client: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            setup: Duration::from_secs(15),
            connect: Duration::from_secs(5),
            head: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            stall: Duration::from_mins(5),
            tunnel_idle: Duration::from_hours(2),
            tunnel_half_closed: Duration::from_mins(5),
            linger: Duration::from_secs(2),
            drain: Duration::from_secs(30),
            minimum_rate_over: Duration::from_mins(1),
            sockbuf: None,
            idle_connections: IDLE_CONNECTIONS,
            yield_to_sole_client: true,
        }
    }
}

/// Default for the most idle connections to next hops: at some kilobytes each, mostly in the kernel, as much memory as
/// a few stalled bodies.
pub const IDLE_CONNECTIONS: usize = 256;
/// Part of the remaining time that a relay keeps for itself: it forwards this much less.
pub const HOP_SHARE: Duration = Duration::from_millis(250);
/// Time that a relay waits beyond the forwarded timeout, so that the hop next to a failure reports first.
pub const HOP_GRACE: Duration = Duration::from_millis(200);
/// Most unread input drained before a close, in bytes; unread input would make the kernel reset the connection.
pub const DISCARD_BYTES: usize = 64 * 1024;
/// Most connections from one address whose request head is still being read.
pub const HEADS_PER_SOURCE: usize = 256;
/// Additional connections reserved for endpoints: an operator, a probe and a scraper at a time, and a few clients whose
/// heads have to be read before they can be rejected.
pub const RESERVED: usize = 16;
/// Most reserved connections of one address.
pub const RESERVED_PER_SOURCE: usize = 4;
/// Timeout of the head of a reserved connection; a request for an endpoint sends it immediately.
pub const RESERVED_HEAD: Duration = Duration::from_secs(1);
/// Timeout of a reserved connection as a whole.
pub const RESERVED_WHOLE: Duration = Duration::from_secs(5);
/// Most event streams: each buffers a line until its client reads it.
pub const MAX_EVENT_STREAMS: usize = 64;
/// Most event streams to one address: a dashboard may watch all hops of a route through the first one.
pub const MAX_EVENT_STREAMS_PER_SOURCE: usize = 32;
/// Minimum rate of a body while the node is running out of connections, in bytes per second.
pub const MINIMUM_RATE: u64 = 1024;
