//! Evaluation: finds the limiting stage from the times that each stage spent waiting.

use super::stage::Stage;
use crate::snapshot::Flow;
use crate::snapshot::verdict::{Confidence, FaultKind, Limit, LinkCause, Resource, Verdict};

/// Share of time from which on a stage mostly waits.
const HIGH: f64 = 0.5;
/// Share of time below which a stage does not wait much.
const LOW: f64 = 0.3;
/// Scheduling delay, as a share of time, below which a stage has enough CPU.
const NEGLIGIBLE: f64 = 0.1;
/// Shortest evaluated time of a client, in µs.
const MIN_CLIENT_US: u64 = 500_000;
/// Shortest evaluated time of a hop, in µs; less counts as no report: it is late, or of another transfer.
const MIN_HOP_US: u64 = 100_000;
/// Round trip, in µs, below which nothing is queued in the network.
const SHORT_RTT_US: u64 = 2_000;
/// Unread bytes in the kernel from which on a stage does not read: more than accumulate between two reads.
const MIN_UNREAD: u64 = 256 * 1024;
/// Most segments in flight if all sent data has arrived: an acknowledgment may be delayed.
const MAX_IN_FLIGHT: u64 = 2;
/// The same for a short minimum round trip, where only a delayed acknowledgment or a queue takes long: a queue that
/// fills a window is several times as long.
const MAX_IN_FLIGHT_SHORT_RTT: u64 = 8;
/// Retransmitted segments in the evaluated time from which on a link counts as lossy.
const MIN_RETRANSMITS: u64 = 3;

/// Evaluates what limits the transfers of a client through these hops, in chain order, the origin last.
///
/// The limiting stage makes the stages downstream of it wait for input, and those upstream of it wait to send. So the
/// walk goes from the client toward the origin, past every stage that waits for input, and stops at the first blocked
/// hop. The kernel's figures of that link distinguish its two sides: it counts the time in which the receiver's window
/// was full, and that in which there was nothing to send.
pub fn evaluate(client: &Flow, hops: &[Stage]) -> Verdict {
    let Some(origin) = hops.last().map(|hop| hop.number) else { return Verdict::default() };
    let reporting_hops = reporting(hops);
    if let Some(verdict) = stall_injected(&reporting_hops) {
        return verdict;
    }
    if let Some(verdict) = delayed(client, hops) {
        return verdict;
    }
    if client.active_us < MIN_CLIENT_US || client.bytes_in == 0 {
        return Verdict::default();
    }
    let seen: Vec<StageShares<'_>> = reporting_hops.iter().map(|stage| StageShares::of(stage)).collect();
    let client = StageShares::client(client);
    if let Some(verdict) = seen.iter().rev().chain([&client]).find_map(rate_limited) {
        return verdict;
    }
    fragmented(walk(&client, &seen, origin), &reporting_hops)
}

/// Small pieces cost CPU at the sending hop and at all stages downstream: the hop with the injected fragmentation is
/// the cause, not the stage that runs out of CPU.
fn fragmented(verdict: Verdict, reporting_hops: &[&Stage]) -> Verdict {
    let slow = match verdict.limit {
        Limit::Relay { hop } | Limit::Origin { hop, resource: Resource::Processor } => hop,
        Limit::Client { resource: Resource::Processor } => 0,
        _ => return verdict,
    };
    let fragments = |hop: &&&Stage| hop.number >= slow && hop.active_fault() == Some(FaultKind::Fragment);
    let limit = reporting_hops
        .iter()
        .rev()
        .find(fragments)
        .map(|hop| Limit::Fault { hop: hop.number, fault: FaultKind::Fragment });
    Verdict { limit: limit.unwrap_or(verdict.limit), ..verdict }
}

/// The same for transfers of other clients, which are known only from the first hop on their route.
pub fn evaluate_others(hops: &[Stage]) -> Verdict {
    let Some(origin) = hops.last().map(|hop| hop.number) else { return Verdict::default() };
    let reporting_hops = reporting(hops);
    if let Some(verdict) = stall_injected(&reporting_hops) {
        return verdict;
    }
    let seen: Vec<StageShares<'_>> = reporting_hops.iter().map(|stage| StageShares::of(stage)).collect();
    let first = seen.first().filter(|first| first.flow.active_us >= MIN_CLIENT_US);
    let Some(first) = first else { return Verdict::default() };
    if let Some(verdict) = seen.iter().rev().find_map(rate_limited) {
        return verdict;
    }
    if first.is_blocked() {
        // Hops that report none of these bodies are not on their route.
        let direct = hops.iter().filter(|hop| hop.number < first.number).all(|hop| hop.reports);
        return at_a_foreign_receiver(first, direct);
    }
    if first.flow.bytes_out == 0 {
        return Verdict::default();
    }
    // The client waits whenever the first hop has nothing to send.
    let read = 1.0 - first.write.min(first.busy.unwrap_or(1.0));
    let other_client = StageShares { number: first.number - 1, read, ..StageShares::client(&Flow::default()) };
    fragmented(walk(&other_client, &seen, origin), &reporting_hops)
}

/// Evaluates a hop whose receiver does not report: only the kernel's figures show whether it reads.
fn at_a_foreign_receiver(hop: &StageShares<'_>, direct: bool) -> Verdict {
    let tcp = hop.stage.and_then(|stage| stage.tcp).unwrap_or_default();
    let quick = tcp.rtt_us < SHORT_RTT_US;
    let most = if tcp.min_rtt_us < SHORT_RTT_US { MAX_IN_FLIGHT_SHORT_RTT } else { MAX_IN_FLIGHT };
    let client = StageShares::client(&Flow::default());
    match hop.busy {
        // Its window is full of data that has arrived.
        Some(_) if direct && hop.full >= HIGH && (quick || tcp.under_way <= most) => {
            of(Limit::Receiver { from: hop.number, to: 0 }, hop.full, Confidence::High)
        }
        Some(_) if direct && hop.full < LOW && !quick => {
            of(Limit::Link { from: hop.number, to: 0, cause: cause(hop) }, hop.write, Confidence::Fair)
        }
        _ => unobserved(&client, hop.number, hop.write),
    }
}

/// Returns the hops that report these bodies.
fn reporting(hops: &[Stage]) -> Vec<&Stage> {
    hops.iter().filter(|hop| hop.reports && hop.flow.active_us >= MIN_HOP_US).collect()
}

fn stall_injected(reporting_hops: &[&Stage]) -> Option<Verdict> {
    let hop = reporting_hops.iter().rev().find(|hop| hop.active_fault() == Some(FaultKind::Stall))?;
    Some(of(Limit::Fault { hop: hop.number, fault: FaultKind::Stall }, 1.0, Confidence::High))
}

/// A stage and its shares of time; those of one body sum to at most 1.
#[derive(Clone, Copy)]
struct StageShares<'a> {
    number: usize,
    stage: Option<&'a Stage>,
    flow: Flow,
    read: f64,
    write: f64,
    limited: f64,
    /// Share with data to send in the kernel; `None` if unknown.
    busy: Option<f64>,
    /// Share with a full receive window.
    full: f64,
}

/// Returns the hop with the longest injected delay, if the delays took most of the time. A delay that costs less than
/// the body is not reported.
fn delayed(client: &Flow, hops: &[Stage]) -> Option<Verdict> {
    let whole = client.active_us.saturating_add(client.reply_us);
    let seen = || hops.iter().filter(|hop| hop.reports);
    let all = seen().map(|hop| hop.flow.reply_us).fold(0, u64::saturating_add);
    let share = |us: u64| (us as f64 / whole.max(1) as f64).min(1.0);
    let most = seen().max_by_key(|hop| hop.flow.reply_us)?;
    let limit = Limit::Fault { hop: most.number, fault: FaultKind::Delay };
    let enough = whole >= MIN_CLIENT_US && share(all) >= HIGH;
    enough.then(|| of(limit, share(most.flow.reply_us), Confidence::High))
}

fn walk(client: &StageShares<'_>, seen: &[StageShares<'_>], origin: usize) -> Verdict {
    let mut before = *client;
    for (at, hop) in seen.iter().enumerate() {
        let adjacent = hop.number == before.number + 1;
        if hop.is_blocked() {
            return match hop.slow_receiver(&before) {
                // Unobserved hops are in between, and yet this much is certain.
                _ if !adjacent && before.sched_delay_share() >= HIGH => receiver_limits(&before, hop, Confidence::Fair),
                _ if !adjacent => unobserved(&before, hop.number, hop.write),
                Some(confidence) => receiver_limits(&before, hop, confidence),
                None => link(hop, &before),
            };
        }
        if at == 0 && before.read < LOW {
            // Hop 1 is not blocked, and yet the client does not wait for it.
            return if before.write >= HIGH {
                client_is_slow(&before, before.write, Confidence::Fair)
            } else {
                balanced()
            };
        }
        if before.read < HIGH {
            return balanced();
        }
        if hop.number == origin {
            return at_the_origin(hop, &before);
        }
        if hop.read < HIGH {
            return at_a_relay(hop, &before, seen.get(at + 1));
        }
        before = *hop;
    }
    if before.number == 0 && before.write >= HIGH {
        return client_is_slow(&before, before.write, Confidence::Fair);
    }
    if before.read < HIGH { balanced() } else { unobserved(&before, origin, before.read) }
}

/// Verdict that the stage after `hop`, which receives from it, is the limit.
fn receiver_limits(receiver: &StageShares<'_>, hop: &StageShares<'_>, confidence: Confidence) -> Verdict {
    if receiver.number == 0 {
        return client_is_slow(receiver, hop.write, confidence);
    }
    own(receiver, hop.write, confidence)
}

fn client_is_slow(client: &StageShares<'_>, share: f64, confidence: Confidence) -> Verdict {
    // A client that is not scheduled during a disk access counts that time as the disk's; its timer shows the delay.
    let resource = match client.sched_delay_share() {
        _ if client.write < LOW => Resource::Processor,
        HIGH.. => Resource::Processor,
        ..NEGLIGIBLE => Resource::Disk,
        _ => Resource::Either,
    };
    of(Limit::Client { resource }, share, confidence)
}

/// Verdict that a hop itself is the limit.
fn own(hop: &StageShares<'_>, share: f64, confidence: Confidence) -> Verdict {
    of(Limit::Relay { hop: hop.number }, share, confidence)
}

/// Verdict if everything waits for the origin, and it is not blocked.
fn at_the_origin(hop: &StageShares<'_>, before: &StageShares<'_>) -> Verdict {
    let (resource, confidence) = match hop.busy {
        _ if hop.read >= HIGH => (Resource::Disk, Confidence::High),
        Some(_) => (Resource::Processor, Confidence::Fair),
        None if hop.write < LOW => (Resource::Processor, Confidence::Low),
        None => return balanced(),
    };
    of(Limit::Origin { hop: hop.number, resource }, before.read, confidence)
}

/// Verdict if everything downstream of this relay waits for it, and it waits neither for input nor to send.
fn at_a_relay(hop: &StageShares<'_>, before: &StageShares<'_>, upstream: Option<&StageShares<'_>>) -> Verdict {
    let fed = upstream.is_none_or(|upstream| upstream.write >= LOW);
    if !fed || hop.read >= LOW && hop.busy.is_none() {
        return balanced();
    }
    own(
        hop,
        before.read,
        if upstream.is_some_and(StageShares::is_blocked) { Confidence::High } else { Confidence::Fair },
    )
}

fn rate_limited(stage: &StageShares<'_>) -> Option<Verdict> {
    // The rate limit of a node that does not report it is estimated by its rate.
    let moved = if stage.number == 0 { stage.flow.bytes_in } else { stage.flow.bytes_out };
    let sent = moved as f64 * 1e6 / stage.flow.active_us.max(1) as f64;
    let (of_node, of_key) = stage.stage.map(|stage| (stage.faults.limit, stage.key_rate)).unwrap_or_default();
    let hop = stage.number;
    let limit = match of_key.filter(|rate| of_node.is_none_or(|limit| *rate < limit)) {
        Some(rate) => Limit::KeyRate { hop, rate },
        None => Limit::RateLimit { hop, rate: of_node.unwrap_or(sent as u64) },
    };
    (stage.limited >= HIGH).then(|| of(limit, stage.limited, Confidence::High))
}

fn link(from: &StageShares<'_>, to: &StageShares<'_>) -> Verdict {
    let cause = cause(from);
    let confidence = if cause == LinkCause::Unknown { Confidence::Fair } else { Confidence::High };
    // Both sides have to agree: a busy receiver is not a limit of the network.
    if to.read < HIGH {
        return balanced();
    }
    of(Limit::Link { from: from.number, to: to.number, cause }, from.write, confidence)
}

fn cause(from: &StageShares<'_>) -> LinkCause {
    let tcp = from.stage.and_then(|stage| stage.tcp).unwrap_or_default();
    match from.busy {
        None => LinkCause::Unknown,
        Some(_) if tcp.retransmits >= MIN_RETRANSMITS => LinkCause::Loss,
        Some(_) if from.full >= HIGH => LinkCause::RoundTrip,
        Some(_) => LinkCause::Congestion,
    }
}

fn unobserved(after: &StageShares<'_>, before: usize, share: f64) -> Verdict {
    of(Limit::Unobserved { after: after.number, before }, share, Confidence::Fair)
}

fn balanced() -> Verdict {
    of(Limit::Balanced, 0.0, Confidence::Fair)
}

fn of(limit: Limit, share: f64, confidence: Confidence) -> Verdict {
    Verdict { limit, share, confidence, since_ms: 0 }
}

impl<'a> StageShares<'a> {
    fn of(stage: &'a Stage) -> Self {
        let active = stage.flow.active_us.max(1) as f64;
        let share = |us: u64| (us as f64 / active).min(1.0);
        Self {
            number: stage.number,
            stage: Some(stage),
            busy: stage.tcp.map(|tcp| share(tcp.busy_us)),
            full: stage.tcp.map_or(0.0, |tcp| share(tcp.receiver_limited_us)),
            ..Self::client(&stage.flow)
        }
    }

    fn client(flow: &Flow) -> Self {
        let [read, write, limited] = [flow.starved_us, flow.blocked_us, flow.limited_us].map(|us| us as f64);
        // The counters are not read atomically, so their sum can slightly exceed the whole.
        let whole = (flow.active_us as f64).max(read + write + limited).max(1.0);
        Self {
            number: 0,
            stage: None,
            flow: *flow,
            read: read / whole,
            write: write / whole,
            limited: limited / whole,
            busy: None,
            full: 0.0,
        }
    }

    /// Returns its scheduling delay as a share of time.
    fn sched_delay_share(&self) -> f64 {
        let load = self.stage.and_then(|stage| stage.load).unwrap_or_default();
        (self.flow.sched_delay_us.max(load.sched_delay_us) as f64 / self.flow.active_us.max(1) as f64).min(1.0)
    }

    /// Returns true if it waits to send while the kernel has data to send: a node that was not scheduled when its
    /// receiver was ready also waits, by its own clock.
    fn is_blocked(&self) -> bool {
        self.write >= HIGH && self.busy.is_none_or(|busy| busy >= HIGH)
    }

    /// Returns the confidence that the receiver blocks it; `None` if the network does.
    fn slow_receiver(&self, receiver: &StageShares<'_>) -> Option<Confidence> {
        let rtt_us = self.stage.and_then(|stage| stage.tcp).map_or(0, |tcp| tcp.rtt_us);
        let Some(_) = self.busy else {
            return (receiver.read < HIGH).then_some(Confidence::Fair);
        };
        if receiver.stage.is_some_and(|stage| stage.unread >= MIN_UNREAD) {
            return Some(Confidence::High);
        }
        match rtt_us {
            // If the receiver waits for input, a window full of data in flight is due to the network.
            SHORT_RTT_US.. if self.full >= HIGH && receiver.read >= HIGH => None,
            _ if self.full >= HIGH => Some(Confidence::High),
            _ if receiver.read < LOW => Some(Confidence::Fair),
            // So short a round trip cannot block a hop.
            ..SHORT_RTT_US => Some(Confidence::Low),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
