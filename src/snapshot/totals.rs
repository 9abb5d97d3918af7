//! Counters of a node since it started, and of its connections.

use serde::{Deserialize, Serialize};

/// Counters of a node since it started; they only increase, except `open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Connections open now.
    pub open: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections rejected with `503` or dropped, because the node was full.
    pub refused: u64,
    /// Connections rejected because the node does not serve their address.
    pub denied: u64,
    /// File requests replied to with a file.
    pub served: u64,
    /// File requests and tunnels that failed.
    pub failed: u64,
    /// Tunnels opened.
    pub tunnels: u64,
    /// Sums over all bodies, and over the directions of tunnels toward clients.
    pub flow: Flow,
    /// Sums over the directions of tunnels toward next hops.
    pub upstream_flow: Flow,
}

/// Connections of a node to its next hops since it started; the counters only increase, except `idle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamTotals {
    /// Idle connections kept now for the next request to the same hop, of any client.
    pub idle: u64,
    /// Connections opened.
    pub opened: u64,
    /// Requests sent on a connection that was idle.
    pub reused: u64,
    /// Idle connections closed because no request came in time.
    pub expired: u64,
    /// Idle connections closed because there were too many.
    pub displaced: u64,
    /// Idle connections that turned out to be closed by the hop when they were to be reused.
    pub found_closed: u64,
}

/// Bytes moved and time spent waiting, of one connection or of a whole node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flow {
    /// Body bytes read from upstream (a relay), the disk (an origin) or the first hop (a client).
    pub bytes_in: u64,
    /// Body bytes written downstream (a client: to the disk).
    pub bytes_out: u64,
    /// Time blocked reading from upstream or the disk, in µs.
    pub starved_us: u64,
    /// Time blocked writing downstream or to the disk, in µs.
    pub blocked_us: u64,
    /// Time blocked by the node's own rate limit, in µs.
    pub limited_us: u64,
    /// Time with a body in progress, in µs; includes the three above.
    pub active_us: u64,
    /// Time spent on the digest of the input, in µs; of a client only, as a node uses other threads for it.
    pub hash_us: u64,
    /// Scheduling delay of this stage's timers, in µs, which overlaps other waits; of a client only.
    pub sched_delay_us: u64,
    /// Time before the body, in µs, not part of the active time: a node's injected delay, or a client's wait for the
    /// reply.
    pub reply_us: u64,
}

impl UpstreamTotals {
    /// Returns the share of requests that were sent on a kept connection, 0 to 1; `None` before the first request.
    pub fn reused_share(&self) -> Option<f64> {
        let requests = self.opened.saturating_add(self.reused);
        (requests > 0).then(|| self.reused as f64 / requests as f64)
    }
}

impl Flow {
    /// Returns the time before and with a body, in µs.
    pub fn whole_us(&self) -> u64 {
        self.active_us.saturating_add(self.reply_us)
    }

    /// Adds the counters of another stage or time.
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

    /// Returns the difference from an earlier sample.
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
