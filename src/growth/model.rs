//! Chains of links as a model in steps of 5 ms, to test the growth on: Reno connections that share rate, queue and
//! random losses of each link, relays with buffers, and the verdict that their hops would give.
//!
//! The model reproduces what was recorded on links of 50 ms, 100 Mbit/s and 0.1 % loss: 0.7 to 1.1 MB/s of one
//! connection, 1.0 to 2.5 MB/s in its first seconds, variations by half from second to second.

use std::collections::VecDeque;

use super::{Growth, LinkState, Sample, Step};
use crate::connections::ConnectionCount;
use crate::snapshot::verdict::{Limit, LinkCause};

/// Length of a step, in µs.
const STEP_US: u64 = 5_000;
/// Bytes in a segment.
const SEGMENT: f64 = 1448.0;
/// Growth of a window in a round trip, in segments: less than one, as some acknowledgments are lost or late.
const GROWTH: f64 = 0.6;
/// Largest window, in bytes, as the kernel's default allows.
const WINDOW: f64 = 3_000_000.0;
/// Bytes that a relay buffers for one connection.
const BUFFER: f64 = 2_000_000.0;

/// A link between two hops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Round trip without a queue, in ms.
    pub(super) rtt_ms: f64,
    /// Bytes per second.
    pub(super) rate: f64,
    /// Longest queue, in bytes.
    pub(super) queue: f64,
    /// Probability of the loss of a segment.
    pub(super) loss: f64,
}

/// A stage that limits all connections together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// Bytes per second through it.
    pub(super) rate: f64,
    /// Share of the rate that each further connection costs.
    pub(super) cost: f64,
    /// The verdict on it.
    pub(super) limit: Limit,
}

/// What a transfer goes through.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    /// The links, the client's first.
    pub(super) links: Vec<Link>,
    /// A stage before the client that limits them.
    pub(super) gate: Option<Gate>,
    /// The congestion control does not react to losses.
    pub(super) ignores_loss: bool,
}

/// A limit, and the round trips of the link that it names.
pub(super) type Found = (Limit, Option<LinkState>);

/// Result of a transfer.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Its time, in seconds.
    pub(super) seconds: f64,
    /// Steps, with their times in seconds.
    pub(super) steps: Vec<(f64, Step)>,
    /// Most connections that were open.
    pub(super) most: usize,
    /// Connections at the end.
    pub(super) last: usize,
    /// When all 16 were open, in seconds.
    pub(super) sixteen: Option<f64>,
}

/// Numbers from a seed: xorshift.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        (0..4).for_each(|_| _ = random.share());
        random
    }

    /// Returns a number from 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// One connection over one link.
#[derive(Clone, Debug)]
struct Flow {
    /// In segments.
    window: f64,
    threshold: f64,
    /// Bytes that the sender has to send; those of the origin are unlimited.
    unsent: f64,
    /// Bytes in the link's queue.
    queued: f64,
    /// Bytes on the way to the receiver, one entry a step.
    under_way: VecDeque<f64>,
    /// Bytes that wait for a lost segment, and until when.
    held: f64,
    held_until_us: u64,
    /// Times of losses.
    losses: VecDeque<u64>,
    blocked: bool,
}

/// One connection through all links.
#[derive(Clone, Debug)]
struct Connection {
    delivers_us: u64,
    flows: Vec<Flow>,
    received: f64,
}

/// State of a transfer.
struct Chain<'a> {
    path: &'a Path,
    random: Random,
    now_us: u64,
    connections: Vec<Connection>,
    /// Bytes at the gate.
    waiting: f64,
    received: f64,
    gated: bool,
}

impl Chain<'_> {
    fn open(&mut self) {
        let queued = |at: usize| self.connections.iter().map(|one| one.flows[at].queued).sum::<f64>();
        let trips = self.path.links.iter().enumerate();
        let setup_ms: f64 = trips.map(|(at, link)| 2.0 * (link.rtt_ms + queued(at) / link.rate * 1e3)).sum();
        let flow = |(at, link): (usize, &Link)| Flow {
            window: 10.0,
            threshold: f64::INFINITY,
            unsent: if at + 1 == self.path.links.len() { f64::INFINITY } else { 0.0 },
            queued: 0.0,
            under_way: VecDeque::from(vec![0.0; ((link.rtt_ms * 500.0) as u64 / STEP_US).max(1) as usize]),
            held: 0.0,
            held_until_us: 0,
            losses: VecDeque::new(),
            blocked: false,
        };
        let flows = self.path.links.iter().enumerate().map(flow).collect();
        let delivers_us = self.now_us + (setup_ms * 1e3) as u64;
        self.connections.push(Connection { delivers_us, flows, received: 0.0 });
    }

    fn rtt_us(&self, at: usize) -> f64 {
        let link = self.path.links[at];
        let queued: f64 = self.connections.iter().map(|one| one.flows[at].queued).sum();
        link.rtt_ms * 1e3 + queued / link.rate * 1e6
    }

    fn step(&mut self) {
        self.now_us += STEP_US;
        let seconds = STEP_US as f64 / 1e6;
        let mut arrived = 0.0;
        for at in (0..self.path.links.len()).rev() {
            let (link, rtt_us) = (self.path.links[at], self.rtt_us(at));
            let count = self.connections.len() as f64;
            for one in self.connections.iter_mut().filter(|one| one.delivers_us <= self.now_us) {
                let room = if at == 0 { f64::INFINITY } else { BUFFER - one.flows[at - 1].unsent };
                let flow = &mut one.flows[at];
                let most = flow.window * SEGMENT * STEP_US as f64 / rtt_us;
                let sent = most.min(flow.unsent).min(room.max(0.0));
                flow.blocked = sent > 0.99 * most;
                flow.unsent -= sent;
                flow.queued += sent;
                if flow.blocked {
                    let segments = sent / SEGMENT;
                    flow.window +=
                        if flow.window < flow.threshold { segments } else { GROWTH * segments / flow.window };
                    let most =
                        if self.path.ignores_loss { 1.25 * link.rate * link.rtt_ms / 1e3 / count } else { WINDOW };
                    flow.window = flow.window.min(most / SEGMENT);
                }
                if self.random.share() < 1.0 - (1.0 - link.loss).powf(sent / SEGMENT) {
                    flow.lose(self.now_us, rtt_us, self.path.ignores_loss);
                }
            }
            let queued: f64 = self.connections.iter().map(|one| one.flows[at].queued).sum();
            let served = (link.rate * seconds / queued.max(1.0)).min(1.0);
            let dropped = ((queued * (1.0 - served) - link.queue) / queued.max(1.0)).max(0.0);
            for one in self.connections.iter_mut().filter(|one| one.delivers_us <= self.now_us) {
                let flow = &mut one.flows[at];
                let lost = flow.queued * dropped;
                if lost > 0.0 && self.random.share() < lost / SEGMENT {
                    flow.lose(self.now_us, rtt_us, false);
                }
                // Dropped bytes are sent again.
                flow.unsent += lost;
                let moved = flow.queued * served;
                flow.queued -= moved + lost;
                flow.under_way.push_back(moved);
                flow.held += flow.under_way.pop_front().unwrap_or_default();
                if flow.held_until_us > self.now_us {
                    continue;
                }
                let moved = std::mem::take(&mut flow.held);
                if at > 0 {
                    one.flows[at - 1].unsent += moved;
                } else {
                    one.received += moved;
                    arrived += moved;
                }
            }
        }
        self.receive(arrived, seconds);
    }

    fn receive(&mut self, arrived: f64, seconds: f64) {
        let Some(gate) = self.path.gate else {
            self.received += arrived;
            return;
        };
        self.waiting += arrived;
        let noise = 0.8 + 0.4 * self.random.share();
        let most = gate.rate * seconds * noise * (1.0 - gate.cost * (self.connections.len() - 1) as f64);
        let passed = self.waiting.min(most);
        self.gated = passed >= 0.9 * most;
        (self.waiting, self.received) = (self.waiting - passed, self.received + passed);
        // What does not pass fills the buffers, and the first hop waits.
        if self.waiting > BUFFER {
            self.waiting = BUFFER;
        }
    }

    /// Returns the verdict on the first connection.
    fn verdict(&mut self) -> Found {
        if self.gated
            && let Some(gate) = self.path.gate
        {
            return (gate.limit, None);
        }
        if self.random.share() < 0.03 {
            return (Limit::Relay { hop: 2 }, None);
        }
        let first = &self.connections[0];
        // The first link on the way to the origin whose sender has data to send.
        let Some(at) = first.flows.iter().position(|flow| flow.unsent > 100_000.0) else {
            return (Limit::Balanced, None);
        };
        let recent = first.flows[at].losses.iter().filter(|lost_us| **lost_us + 1_500_000 >= self.now_us).count();
        let cause = if recent >= 3 { LinkCause::Loss } else { LinkCause::Congestion };
        let limit = Limit::Link { from: at + 1, to: at, cause };
        let jitter = 1.0 + 0.15 * self.random.share();
        let now_us = (self.rtt_us(at) * jitter) as u64;
        (limit, Some(LinkState { now_us, least_us: (self.path.links[at].rtt_ms * 1e3) as u64, tolerates_loss: false }))
    }
}

impl Flow {
    fn lose(&mut self, now_us: u64, rtt_us: f64, ignored: bool) {
        self.losses.push_back(now_us);
        if self.losses.len() > 100 {
            self.losses.pop_front();
        }
        // Losses within one round trip are one event.
        let recovering = now_us < self.held_until_us;
        if !ignored && !recovering {
            self.threshold = (self.window / 2.0).max(2.0);
            self.window = self.threshold;
        }
        if !recovering {
            self.held_until_us = now_us + rtt_us as u64;
        }
    }
}

/// Transfers a file of this size; with `fixed` connections, or as many as the growth decides.
pub(super) fn transfer(path: &Path, size: f64, fixed: Option<usize>, seed: u64) -> Outcome {
    let mut chain = Chain {
        path,
        random: Random::new(seed),
        now_us: 0,
        connections: Vec::new(),
        waiting: 0.0,
        received: 0.0,
        gated: false,
    };
    let cap = ConnectionCount::new(16).unwrap_or(ConnectionCount::ONE);
    let mut growth = Growth::new(cap);
    let mut outcome = Outcome::default();
    let rtt_us = path.links.iter().map(|link| link.rtt_ms * 1e3).sum::<f64>() as u64;
    // One request at a time; it takes a round trip through the chain or two.
    let mut reply: Option<(u64, Found)> = None;
    (0..fixed.unwrap_or(1)).for_each(|_| chain.open());
    let first_us = chain.connections[0].delivers_us;
    while chain.received < size && chain.now_us < 300_000_000 {
        chain.step();
        if fixed.is_some() || !chain.now_us.is_multiple_of(100_000) {
            continue;
        }
        let now_us = chain.now_us;
        let mut verdict = None;
        if let Some((_, found)) = reply.filter(|(at_us, _)| *at_us <= now_us) {
            (verdict, reply) = (Some(found), None);
        } else if reply.is_none() && now_us >= first_us + 500_000 && growth.wants_verdict(now_us) {
            let found = chain.verdict();
            let delay_us = 50_000 + (rtt_us as f64 * (1.0 + chain.random.share())) as u64;
            reply = Some((now_us + delay_us, found));
        }
        let active = chain.connections.iter().filter(|one| one.received > 0.0).count();
        let sample = Sample {
            now_us,
            bytes: chain.received as u64,
            active,
            pending: chain.connections.len() - active,
            rtt_us,
            limit: verdict.map(|(limit, _)| limit),
            link: verdict.and_then(|(_, link)| link),
            own_limit: false,
            left: (size - chain.received) as u64,
        };
        if let Some(step) = growth.feed(&sample) {
            outcome.steps.push((now_us as f64 / 1e6, step));
            while chain.connections.len() < step.connections {
                chain.open();
            }
            chain.connections.truncate(step.connections);
        }
        outcome.most = outcome.most.max(growth.connections());
        outcome.last = growth.connections();
        if active == 16 && outcome.sixteen.is_none() {
            outcome.sixteen = Some(now_us as f64 / 1e6);
        }
    }
    Outcome { seconds: chain.now_us as f64 / 1e6, ..outcome }
}
