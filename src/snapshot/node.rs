//! What a node reports of itself: counters, connections, and its account of one transfer.

use serde::{Deserialize, Serialize};

use super::body_error::BodyError;
use super::bounded::bounded;
use crate::faults::Faults;
use crate::route::Protocol;
use crate::text::SafeText;
use crate::wire::Leg;

/// Most connections one snapshot lists; a node with more says how many it left out.
pub const MAX_CONNECTIONS: usize = 4096;

/// Most protocols one node is believed to speak; there are two.
const MAX_WIRES: usize = 16;

/// One node at one moment: a line of `/v1/events`, and the whole of `/v1/node`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSnapshot {
    /// The program's version.
    pub version: SafeText,
    /// A random name of this run of the node; a new one means that it was restarted.
    pub node: SafeText,
    /// The process.
    pub pid: u32,
    /// The listener's own address.
    pub address: SafeText,
    /// Since the node started, in µs by its own clock; all differences are taken on this.
    pub uptime_us: u64,
    /// Whom it relays to, in words.
    pub policy: SafeText,
    /// The protocols it speaks.
    #[serde(deserialize_with = "bounded::<MAX_WIRES, _, _>")]
    pub protocols: Vec<SafeText>,
    /// It takes no new work.
    pub draining: bool,
    /// How it disturbs what it sends.
    pub faults: Faults,
    /// What the node got of the machine, where the system says.
    pub load: Option<Load>,
    /// Counters since the start.
    pub totals: Totals,
    /// The connections open now, oldest first.
    #[serde(deserialize_with = "bounded::<MAX_CONNECTIONS, _, _>")]
    pub connections: Vec<ConnSnapshot>,
    /// Connections left out of the list.
    pub omitted: u64,
}

/// A node's counters since it started; they only grow, `open` apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Connections open now.
    pub open: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections answered `503` or dropped for want of room.
    pub refused: u64,
    /// File requests answered with a file.
    pub served: u64,
    /// File requests that failed.
    pub failed: u64,
    /// What the bodies did.
    pub flow: Flow,
}

/// Bytes moved and time spent waiting; of one connection, or of a whole node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flow {
    /// Body bytes taken from upstream (a relay), the disk (an origin) or the last hop (a client).
    pub bytes_in: u64,
    /// Body bytes given downstream (a client: written to the disk).
    pub bytes_out: u64,
    /// Time blocked reading from upstream or the disk, in µs.
    pub starved_us: u64,
    /// Time blocked writing downstream or to the disk, in µs.
    pub blocked_us: u64,
    /// Time held back by the node's own cap, in µs.
    pub limited_us: u64,
    /// Time with a body on its way, in µs; the three above are parts of it.
    pub active_us: u64,
    /// Time spent on the digest of what comes in, in µs; a client's alone, for a node has other threads for it.
    pub hash_us: u64,
    /// Time in which this stage was not running when its own timer wanted it to, in µs, whatever else it waited for
    /// meanwhile; a client's alone.
    pub sched_delay_us: u64,
    /// Time before the body, in µs, and no part of the active time: for so long a node's delay held the reply back, or
    /// a client waited for it.
    pub reply_us: u64,
}

/// What a node got of the machine since it started; the times only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Processor time of the thread that moves the bodies, in µs.
    pub busy_us: u64,
    /// Time in which that thread was ready to run and others had the processors, in µs.
    pub run_delay_us: u64,
    /// Processor time of the whole process, in µs; disks and digests have threads of their own.
    pub process_us: u64,
    /// Time in which that thread was not running when its own timer wanted it to, in µs: stopped, or one of those
    /// above. Counted while somebody follows the node's events.
    pub sched_delay_us: u64,
}

/// When what happened to a body, in ms since its request was read, by the node's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timestamps {
    /// The head of the reply, and with it the size, was there.
    pub head_ms: f64,
    /// The first byte of the body went out.
    pub first_ms: Option<f64>,
    /// The last byte of the body went out.
    pub last_ms: Option<f64>,
}

/// What the kernel knows of a sending socket; the times and counts only grow while it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpSnapshot {
    /// Smoothed round trip, in µs.
    pub rtt_us: u64,
    /// The shortest round trip of late, in µs: that of the way alone, with nothing queued and no acknowledgement
    /// delayed.
    pub min_rtt_us: u64,
    /// Congestion window, in segments.
    pub cwnd: u64,
    /// Segments that are not known to have arrived.
    pub under_way: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// The kernel's own estimate of what arrives, in bytes per second.
    pub delivery_rate: u64,
    /// Time with something to send, in µs; the two below are parts of it.
    pub busy_us: u64,
    /// Time held back by the receiver's window, in µs.
    pub receiver_limited_us: u64,
    /// Time held back by our own send buffer, in µs.
    pub buffer_limited_us: u64,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnState {
    /// Its request head is being read.
    #[default]
    Head,
    /// The next hop is being resolved or connected to.
    Connecting,
    /// The next hop's reply, the digest or the go-ahead is awaited.
    Waiting,
    /// The reply is there, and the delay that was turned on the node holds it back.
    Delayed,
    /// The body is moving.
    Streaming,
    /// The last byte is out; the peer is expected to close.
    Lingering,
    /// Kept alive between two requests.
    Idle,
    /// Reading one of the node's own pages.
    Page,
}

/// What the node is for this connection's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnRole {
    /// Not known yet.
    #[default]
    Unknown,
    /// It relays.
    Relay,
    /// It serves.
    Origin,
}

/// One accepted connection and, for a relay, its upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnSnapshot {
    /// Its number on this node, never used twice.
    pub id: u64,
    /// What it is doing.
    pub state: ConnState,
    /// What the node is for it.
    pub role: ConnRole,
    /// Who connected.
    pub peer: SafeText,
    /// Whom the node connected to for it.
    pub upstream: SafeText,
    /// The protocol toward the client.
    #[serde(with = "super::protocol")]
    pub protocol: Option<Protocol>,
    /// The protocol toward the origin, once the next hop has answered.
    #[serde(with = "super::protocol")]
    pub upstream_protocol: Option<Protocol>,
    /// The first digits of the transfer's id.
    pub transfer: SafeText,
    /// The file asked for.
    pub name: SafeText,
    /// Bytes that this body has in all.
    pub size: Option<u64>,
    /// Since it was accepted, in ms.
    pub age_ms: u64,
    /// The socket toward the client, as the kernel sees it.
    pub tcp: Option<TcpSnapshot>,
    /// Bytes received from upstream that wait in the kernel.
    pub queued_in: u64,
    /// Bytes sent downstream that wait in the kernel or on the way.
    pub queued_out: u64,
    /// Its body has moved no byte for so long, in µs.
    pub idle_us: u64,
    /// What its body did.
    pub flow: Flow,
}

/// What a node knows of one transfer, also after it ended: `/v1/transfers/ID`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferRecord {
    /// The file asked for.
    pub name: SafeText,
    /// What the node was for it.
    pub role: ConnRole,
    /// What it is doing, or did last.
    pub state: ConnState,
    /// It is over.
    pub ended: bool,
    /// The status sent downstream; 0 before there was one.
    pub status: u16,
    /// How it failed, if it did.
    pub error: Option<SafeText>,
    /// Reason of an incomplete body.
    pub body_error: Option<BodyError>,
    /// The next hop.
    pub upstream: SafeText,
    /// The protocol toward the origin, once the next hop has answered.
    #[serde(with = "super::protocol")]
    pub upstream_protocol: Option<Protocol>,
    /// What setting up the leg to the next hop took.
    pub leg: Option<Leg>,
    /// Bytes that the body has in all.
    pub size: Option<u64>,
    /// What its body did.
    pub flow: Flow,
    /// How this node disturbed what it sent, as its faults stood last.
    pub faults: Faults,
    /// When this was said, in µs by the node's own clock.
    pub uptime_us: u64,
    /// What the node got of the machine, where the system says.
    pub load: Option<Load>,
    /// The socket toward the client, as the kernel saw it last.
    pub tcp: Option<TcpSnapshot>,
    /// Bytes received from upstream that wait in the kernel.
    pub queued_in: u64,
    /// Bytes sent downstream that wait in the kernel or on the way.
    pub queued_out: u64,
    /// Its body has moved no byte for so long, in µs.
    pub idle_us: u64,
    /// When its head, its first byte and its last went out.
    pub moments: Option<Timestamps>,
}

/// What a hop did for a transfer that is over: the part of its account that the screen shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HopRecord {
    /// The status sent downstream; 0 before there was one.
    pub status: u16,
    /// Reason of an incomplete body.
    pub body_error: Option<BodyError>,
    /// What its body did.
    pub flow: Flow,
}

impl TransferRecord {
    /// What the screen shows of it.
    pub fn part(&self) -> HopRecord {
        HopRecord { status: self.status, body_error: self.body_error, flow: self.flow }
    }
}

impl NodeSnapshot {
    /// Its sending sockets together: the largest round trip and window, the sums of all else; `None` without any.
    pub fn tcp(&self) -> Option<TcpSnapshot> {
        self.connections.iter().filter_map(|conn| conn.tcp).reduce(|mut all, tcp| {
            all.add(&tcp);
            all
        })
    }

    /// Bytes it holds: received and not yet sent, and those in its kernel queues.
    pub fn buffered(&self) -> u64 {
        self.connections.iter().map(ConnSnapshot::buffered).fold(0, u64::saturating_add)
    }
}

impl ConnSnapshot {
    /// Bytes that its body has on this node: received and not yet sent, and those in the kernel's queues.
    pub fn buffered(&self) -> u64 {
        let inside = self.flow.bytes_in.saturating_sub(self.flow.bytes_out);
        inside.saturating_add(self.queued_in).saturating_add(self.queued_out)
    }
}

impl TcpSnapshot {
    /// Adds another socket: the larger of round trips and windows counts, the sum of all else.
    pub fn add(&mut self, other: &Self) {
        self.rtt_us = self.rtt_us.max(other.rtt_us);
        self.min_rtt_us = self.min_rtt_us.max(other.min_rtt_us);
        self.cwnd = self.cwnd.max(other.cwnd);
        self.under_way = self.under_way.saturating_add(other.under_way);
        self.retransmits = self.retransmits.saturating_add(other.retransmits);
        self.delivery_rate = self.delivery_rate.saturating_add(other.delivery_rate);
        self.busy_us = self.busy_us.saturating_add(other.busy_us);
        self.receiver_limited_us = self.receiver_limited_us.saturating_add(other.receiver_limited_us);
        self.buffer_limited_us = self.buffer_limited_us.saturating_add(other.buffer_limited_us);
    }

    /// What happened between an earlier look at the same socket and this one; round trip, window and rate are as now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            retransmits: self.retransmits.saturating_sub(earlier.retransmits),
            busy_us: self.busy_us.saturating_sub(earlier.busy_us),
            receiver_limited_us: self.receiver_limited_us.saturating_sub(earlier.receiver_limited_us),
            buffer_limited_us: self.buffer_limited_us.saturating_sub(earlier.buffer_limited_us),
            ..*self
        }
    }
}

impl Load {
    /// What happened between an earlier moment and this one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            busy_us: self.busy_us.saturating_sub(earlier.busy_us),
            run_delay_us: self.run_delay_us.saturating_sub(earlier.run_delay_us),
            process_us: self.process_us.saturating_sub(earlier.process_us),
            sched_delay_us: self.sched_delay_us.saturating_sub(earlier.sched_delay_us),
        }
    }
}

impl Flow {
    /// Adds what another stage, or the same at another time, did.
    pub fn add(&mut self, other: &Self) {
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.starved_us = self.starved_us.saturating_add(other.starved_us);
        self.blocked_us = self.blocked_us.saturating_add(other.blocked_us);
        self.limited_us = self.limited_us.saturating_add(other.limited_us);
        self.active_us = self.active_us.saturating_add(other.active_us);
        self.hash_us = self.hash_us.saturating_add(other.hash_us);
        self.sched_delay_us = self.sched_delay_us.saturating_add(other.sched_delay_us);
        self.reply_us = self.reply_us.saturating_add(other.reply_us);
    }

    /// What happened between an earlier moment and this one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(earlier.bytes_out),
            starved_us: self.starved_us.saturating_sub(earlier.starved_us),
            blocked_us: self.blocked_us.saturating_sub(earlier.blocked_us),
            limited_us: self.limited_us.saturating_sub(earlier.limited_us),
            active_us: self.active_us.saturating_sub(earlier.active_us),
            hash_us: self.hash_us.saturating_sub(earlier.hash_us),
            sched_delay_us: self.sched_delay_us.saturating_sub(earlier.sched_delay_us),
            reply_us: self.reply_us.saturating_sub(earlier.reply_us),
        }
    }
}

impl ConnState {
    /// One word for a table cell.
    pub fn word(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Connecting => "connect",
            Self::Waiting => "wait",
            Self::Delayed => "delayed",
            Self::Streaming => "stream",
            Self::Lingering => "linger",
            Self::Idle => "idle",
            Self::Page => "page",
        }
    }
}
