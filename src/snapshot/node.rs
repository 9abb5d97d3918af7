//! Reports of a node: counters, connections, and its record of one transfer.

use serde::{Deserialize, Serialize};

use super::body_error::BodyError;
use super::bounded::bounded;
use super::totals::{Flow, Totals, UpstreamTotals};
use crate::faults::Faults;
use crate::fingerprint::Fingerprint;
use crate::route::Protocol;
use crate::text::SafeText;
use crate::wire::Leg;

/// Most connections in one snapshot; further ones are counted as omitted.
pub const MAX_CONNECTIONS: usize = 4096;

/// Label of a connection that carries an open tunnel.
pub const TUNNEL: &str = "tunnel";

/// Most protocols accepted in a report; there are two.
const MAX_PROTOCOLS: usize = 16;

/// Snapshot of a node: a line of `/v1/events`, and the body of `/v1/node`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSnapshot {
    /// The program's version.
    pub version: SafeText,
    /// Random id of this run of the node; it changes on a restart.
    pub node: SafeText,
    /// The process id.
    pub pid: u32,
    /// The listener's own address.
    pub address: SafeText,
    /// Time since the node started, in µs by its own clock; the time base of all differences.
    pub uptime_us: u64,
    /// Its connect policy, for display.
    pub policy: SafeText,
    /// The protocols it speaks.
    #[serde(deserialize_with = "bounded::<MAX_PROTOCOLS, _, _>")]
    pub protocols: Vec<SafeText>,
    /// The key that it serves TLS with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Fingerprint>,
    /// It accepts no new requests.
    pub draining: bool,
    /// Its current faults and limits.
    pub faults: Faults,
    /// CPU time and delays, if the system reports them.
    pub load: Option<Load>,
    /// Counters since the start.
    pub totals: Totals,
    /// Its connections to next hops.
    pub upstream: UpstreamTotals,
    /// The connections open now, oldest first.
    #[serde(deserialize_with = "bounded::<MAX_CONNECTIONS, _, _>")]
    pub connections: Vec<ConnSnapshot>,
    /// Number of connections not listed.
    pub omitted: u64,
}

/// CPU time and delays of a node since it started; they only increase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// CPU time of the thread that moves the bodies, in µs.
    pub busy_us: u64,
    /// Time in which that thread was runnable and waited for a CPU, in µs.
    pub run_delay_us: u64,
    /// CPU time of the whole process, in µs; disks and digests use other threads.
    pub process_us: u64,
    /// Scheduling delay of that thread's timers, in µs: while stopped, or one of the above. Counted while a client
    /// reads the node's events.
    pub sched_delay_us: u64,
}

/// Timestamps of a reply, in ms since its request was read, by the node's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timestamps {
    /// The head of the reply was available, and with it the size.
    pub head_ms: f64,
    /// The first byte of the body was sent.
    pub first_ms: Option<f64>,
    /// The last byte of the body was sent.
    pub last_ms: Option<f64>,
}

/// Kernel figures of a sending socket; the times and counts only increase while it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpSnapshot {
    /// Smoothed round trip, in µs.
    pub rtt_us: u64,
    /// Shortest recent round trip, in µs: without queues and delayed acknowledgments.
    pub min_rtt_us: u64,
    /// Congestion window, in segments.
    pub cwnd: u64,
    /// Segments in flight.
    pub under_way: u64,
    /// Segments retransmitted.
    pub retransmits: u64,
    /// The kernel's estimate of the delivery rate, in bytes per second.
    pub delivery_rate: u64,
    /// The congestion control sends on at its rate if packets are lost, as BBR does.
    pub tolerates_loss: bool,
    /// Time with data to send, in µs; includes the two below.
    pub busy_us: u64,
    /// Time limited by the receiver's window, in µs.
    pub receiver_limited_us: u64,
    /// Time limited by the send buffer, in µs.
    pub buffer_limited_us: u64,
}

/// State of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnState {
    /// Its request head is being read.
    #[default]
    Head,
    /// The next hop is being resolved or connected to.
    Connecting,
    /// Waiting for the next hop's reply, the digest or the go-ahead.
    Waiting,
    /// The reply is ready, and waits for the injected delay.
    Delayed,
    /// The body is in progress.
    Streaming,
    /// The last byte was sent; the peer is expected to close.
    Lingering,
    /// Idle between two requests.
    Idle,
    /// A request for one of the node's endpoints.
    Admin,
}

/// Role of the node for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnRole {
    /// Not known yet.
    #[default]
    Unknown,
    /// Relay.
    Relay,
    /// Origin.
    Origin,
    /// End or relay of a tunnel.
    Tunnel,
}

/// One accepted connection and, for a relay, its upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnSnapshot {
    /// Its number on this node, never reused.
    pub id: u64,
    /// Its state.
    pub state: ConnState,
    /// The role of the node.
    pub role: ConnRole,
    /// The address of the client.
    pub peer: SafeText,
    /// The address of the next hop.
    pub upstream: SafeText,
    /// The protocol toward the client.
    #[serde(with = "super::protocol")]
    pub protocol: Option<Protocol>,
    /// The protocol toward the origin, once the next hop has replied.
    #[serde(with = "super::protocol")]
    pub upstream_protocol: Option<Protocol>,
    /// The first digits of the transfer's id.
    pub transfer: SafeText,
    /// The requested file, or the target of a tunnel.
    pub name: SafeText,
    /// The name of the key that signed its request, if that is authorized.
    #[serde(skip_serializing_if = "SafeText::is_empty")]
    pub key: SafeText,
    /// The file, if its request was encrypted; never sent.
    #[serde(skip)]
    pub hidden_name: Option<SafeText>,
    /// Size of its body, in bytes.
    pub size: Option<u64>,
    /// Rate limit of the key of its request, in bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_rate: Option<u64>,
    /// Time since it was accepted, in ms.
    pub age_ms: u64,
    /// The socket toward the client, as the kernel sees it.
    pub tcp: Option<TcpSnapshot>,
    /// Bytes received from upstream that are buffered in the kernel.
    pub queued_in: u64,
    /// Bytes sent downstream that are buffered in the kernel or in flight.
    pub queued_out: u64,
    /// Time for which its body has moved no byte, in µs.
    pub idle_us: u64,
    /// Bytes and times of its body; of a tunnel, from the next hop to the client.
    pub flow: Flow,
    /// Of a tunnel, bytes and times from the client to the next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_flow: Option<Flow>,
}

/// A node's record of one transfer, also after it ended: `/v1/transfers/ID`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferRecord {
    /// The requested file, or the target of a tunnel.
    pub name: SafeText,
    /// The file, if its request was encrypted; never sent.
    #[serde(skip)]
    pub hidden_name: Option<SafeText>,
    /// The role of the node.
    pub role: ConnRole,
    /// Its current or last state.
    pub state: ConnState,
    /// It has ended.
    pub ended: bool,
    /// The status sent downstream; 0 before that.
    pub status: u16,
    /// How it failed, if it did.
    pub error: Option<SafeText>,
    /// Reason of an incomplete body.
    pub body_error: Option<BodyError>,
    /// The next hop.
    pub upstream: SafeText,
    /// The protocol toward the origin, once the next hop has replied.
    #[serde(with = "super::protocol")]
    pub upstream_protocol: Option<Protocol>,
    /// Set-up times of the leg to the next hop.
    pub leg: Option<Leg>,
    /// Size of the body, in bytes.
    pub size: Option<u64>,
    /// Bytes and times of its body; of a tunnel, from the next hop to the client.
    pub flow: Flow,
    /// Of a tunnel, bytes and times from the client to the next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_flow: Option<Flow>,
    /// The node's faults and limits at the last change.
    pub faults: Faults,
    /// Rate limit of the key of its request, in bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_rate: Option<u64>,
    /// Time of this record, in µs by the node's own clock.
    pub uptime_us: u64,
    /// CPU time and delays, if the system reports them.
    pub load: Option<Load>,
    /// The socket toward the client, as last sampled.
    pub tcp: Option<TcpSnapshot>,
    /// Bytes received from upstream that are buffered in the kernel.
    pub queued_in: u64,
    /// Bytes sent downstream that are buffered in the kernel or in flight.
    pub queued_out: u64,
    /// Time for which its body has moved no byte, in µs.
    pub idle_us: u64,
    /// When its head, its first and its last byte were sent.
    pub timestamps: Option<Timestamps>,
}

/// A hop's part in an ended transfer: the displayed part of its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HopRecord {
    /// The status sent downstream; 0 before that.
    pub status: u16,
    /// Reason of an incomplete body.
    pub body_error: Option<BodyError>,
    /// Bytes and times of its body.
    pub flow: Flow,
}

impl TransferRecord {
    /// Returns what this record of a tunnel has more than an earlier one, for a file that was moved since then and took
    /// this long. The time before it, in which the tunnel was silent, counts for no file.
    #[must_use]
    pub fn since(&self, earlier: &Self, file_us: u64) -> Self {
        let silent = |flow: Flow| {
            let us = flow.active_us.saturating_sub(file_us).min(flow.starved_us);
            Flow { active_us: flow.active_us - us, starved_us: flow.starved_us - us, ..flow }
        };
        let upstream_flow = self.upstream_flow.zip(earlier.upstream_flow);
        Self {
            flow: silent(self.flow.since(&earlier.flow)),
            upstream_flow: upstream_flow.map(|(now, before)| silent(now.since(&before))),
            tcp: self.tcp.map(|tcp| tcp.since(&earlier.tcp.unwrap_or_default())),
            leg: None,
            ..self.clone()
        }
    }

    /// Returns the displayed part.
    pub fn hop_record(&self) -> HopRecord {
        HopRecord { status: self.status, body_error: self.body_error, flow: self.flow }
    }
}

impl NodeSnapshot {
    /// Combines its sending sockets: the largest round trip and window, the sums of all else; `None` without any.
    pub fn tcp(&self) -> Option<TcpSnapshot> {
        self.connections.iter().filter_map(|conn| conn.tcp).reduce(|mut all, tcp| {
            all.add(&tcp);
            all
        })
    }

    /// Returns the bytes buffered: received and not yet sent, and those in its kernel queues.
    pub fn buffered(&self) -> u64 {
        self.connections.iter().map(ConnSnapshot::buffered).fold(0, u64::saturating_add)
    }
}

impl ConnSnapshot {
    /// Returns the label of its state for a table cell; an open tunnel is no file in transfer.
    pub fn state_label(&self) -> &'static str {
        match (self.role, self.state) {
            (ConnRole::Tunnel, ConnState::Streaming) => TUNNEL,
            (_, state) => state.label(),
        }
    }

    /// Returns the bytes of its body buffered on this node: received and not yet sent, and those in the kernel's
    /// queues.
    pub fn buffered(&self) -> u64 {
        let inside = |flow: &Flow| flow.bytes_in.saturating_sub(flow.bytes_out);
        let inside = inside(&self.flow).saturating_add(self.upstream_flow.as_ref().map_or(0, inside));
        inside.saturating_add(self.queued_in).saturating_add(self.queued_out)
    }
}

impl TcpSnapshot {
    /// Adds another socket: the larger of round trips and windows, the sum of all else.
    pub fn add(&mut self, other: &Self) {
        self.rtt_us = self.rtt_us.max(other.rtt_us);
        self.min_rtt_us = self.min_rtt_us.max(other.min_rtt_us);
        self.cwnd = self.cwnd.max(other.cwnd);
        self.under_way = self.under_way.saturating_add(other.under_way);
        self.retransmits = self.retransmits.saturating_add(other.retransmits);
        self.delivery_rate = self.delivery_rate.saturating_add(other.delivery_rate);
        self.tolerates_loss |= other.tolerates_loss;
        self.busy_us = self.busy_us.saturating_add(other.busy_us);
        self.receiver_limited_us = self.receiver_limited_us.saturating_add(other.receiver_limited_us);
        self.buffer_limited_us = self.buffer_limited_us.saturating_add(other.buffer_limited_us);
    }

    /// Returns the difference from an earlier sample of the same socket; round trip, window and rate are the current
    /// ones.
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
    /// Returns the difference from an earlier sample.
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

impl ConnState {
    /// Returns the label for a table cell.
    pub fn label(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Connecting => "connect",
            Self::Waiting => "wait",
            Self::Delayed => "delayed",
            Self::Streaming => "stream",
            Self::Lingering => "linger",
            Self::Idle => "idle",
            Self::Admin => "admin",
        }
    }
}
