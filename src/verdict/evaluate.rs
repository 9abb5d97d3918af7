//! From where each stage spent its time to the one that limits the others.

use super::stage::Stage;
use crate::snapshot::Flow;
use crate::snapshot::verdict::{Confidence, FaultKind, Limit, LinkCause, Resource, Verdict};

/// A stage waits for something at least this share of the time: most of it.
const HIGH: f64 = 0.5;
/// A stage that waits for less than this share does not wait much.
const LOW: f64 = 0.3;
/// A stage that was not running for less than this share got all that it needs of its machine.
const RARELY: f64 = 0.1;
/// A client active for less than this, in µs, has not seen enough.
const SHORTEST_CLIENT: u64 = 500_000;
/// A hop active for less than this, in µs, is counted as silent: its report is late, or of another transfer.
const SHORTEST_HOP: u64 = 100_000;
/// A round trip of less than this, in µs, is that of a network with nothing queued in it.
const QUICK_US: u64 = 2_000;
/// So many bytes that have arrived and wait to be read are more than lie there between two reads of a stage that reads.
const UNREAD: u64 = 256 * 1024;
/// At most so many segments are on their way where all that was sent has arrived: an acknowledgement may be, too.
const UNDER_WAY: u64 = 2;
/// The same where the way is short, and only a delayed acknowledgement or a queue can be what takes long: what waits in
/// a queue until a window is full is several times as much.
const UNDER_WAY_NEAR: u64 = 8;
/// Segments sent again in the time that is judged, from which on a link counts as one that loses them.
const LOSSES: u64 = 3;

/// Says what limits the transfers of a client through these hops, which are in chain order, the origin last.
///
/// Whatever is slow makes those downstream of it wait for input and those upstream of it wait to send. So the walk goes
/// from the client toward the origin, past every stage that waits for input, and stops at the first link on which a hop
/// is held up. Which side of that link is to blame, the kernel knows: it counts the time in which the receiver's window
/// was full, and that in which there was nothing to send.
pub fn evaluate(client: &Flow, hops: &[Stage]) -> Verdict {
    let Some(origin) = hops.last().map(|hop| hop.number) else { return Verdict::default() };
    let told = told(hops);
    if let Some(verdict) = stalled(&told) {
        return verdict;
    }
    if let Some(verdict) = delayed(client, hops) {
        return verdict;
    }
    if client.active_us < SHORTEST_CLIENT || client.bytes_in == 0 {
        return Verdict::default();
    }
    let seen: Vec<StageShares<'_>> = told.iter().map(|stage| StageShares::of(stage)).collect();
    let client = StageShares::client(client);
    if let Some(verdict) = seen.iter().rev().chain([&client]).find_map(capped) {
        return verdict;
    }
    fragmented(walk(&client, &seen, origin), &told)
}

/// Small pieces cost the processor that sends them as much as all those below it: whoever was told to send them is
/// named, not the one that has no time left for them.
fn fragmented(verdict: Verdict, told: &[&Stage]) -> Verdict {
    let slow = match verdict.limit {
        Limit::Relay { hop } | Limit::Origin { hop, resource: Resource::Processor } => hop,
        Limit::Client { resource: Resource::Processor } => 0,
        _ => return verdict,
    };
    let fragments = |hop: &&&Stage| hop.number >= slow && hop.active_fault() == Some(FaultKind::Fragment);
    let limit =
        told.iter().rev().find(fragments).map(|hop| Limit::Fault { hop: hop.number, fault: FaultKind::Fragment });
    Verdict { limit: limit.unwrap_or(verdict.limit), ..verdict }
}

/// The same for transfers of other clients, of which nothing is known but what the first hop on their way sees of them.
pub fn evaluate_others(hops: &[Stage]) -> Verdict {
    let Some(origin) = hops.last().map(|hop| hop.number) else { return Verdict::default() };
    let told = told(hops);
    if let Some(verdict) = stalled(&told) {
        return verdict;
    }
    let seen: Vec<StageShares<'_>> = told.iter().map(|stage| StageShares::of(stage)).collect();
    let first = seen.first().filter(|first| first.flow.active_us >= SHORTEST_CLIENT);
    let Some(first) = first else { return Verdict::default() };
    if let Some(verdict) = seen.iter().rev().find_map(capped) {
        return verdict;
    }
    if first.is_held_up() {
        // Hops that report and have none of these bodies are not on their way.
        let direct = hops.iter().filter(|hop| hop.number < first.number).all(|hop| hop.seen);
        return before_a_stranger(first, direct);
    }
    if first.flow.bytes_out == 0 {
        return Verdict::default();
    }
    // Whenever the first hop has nothing for it to read, it waits.
    let read = 1.0 - first.write.min(first.busy.unwrap_or(1.0));
    let stranger = StageShares { number: first.number - 1, read, ..StageShares::client(&Flow::default()) };
    fragmented(walk(&stranger, &seen, origin), &told)
}

/// What holds a hop up is behind its back: its reader tells nothing, and only the kernel knows whether it reads.
fn before_a_stranger(hop: &StageShares<'_>, direct: bool) -> Verdict {
    let tcp = hop.stage.and_then(|stage| stage.tcp).unwrap_or_default();
    let quick = tcp.rtt_us < QUICK_US;
    let most = if tcp.min_rtt_us < QUICK_US { UNDER_WAY_NEAR } else { UNDER_WAY };
    let client = StageShares::client(&Flow::default());
    match hop.busy {
        // Its window is full of what has arrived.
        Some(_) if direct && hop.full >= HIGH && (quick || tcp.under_way <= most) => {
            of(Limit::Receiver { from: hop.number, to: 0 }, hop.full, Confidence::High)
        }
        Some(_) if direct && hop.full < LOW && !quick => {
            of(Limit::Link { from: hop.number, to: 0, cause: cause(hop) }, hop.write, Confidence::Fair)
        }
        _ => unseen(&client, hop.number, hop.write),
    }
}

/// The hops that have something to say of these bodies.
fn told(hops: &[Stage]) -> Vec<&Stage> {
    hops.iter().filter(|hop| hop.seen && hop.flow.active_us >= SHORTEST_HOP).collect()
}

fn stalled(told: &[&Stage]) -> Option<Verdict> {
    let hop = told.iter().rev().find(|hop| hop.active_fault() == Some(FaultKind::Stall))?;
    Some(of(Limit::Fault { hop: hop.number, fault: FaultKind::Stall }, 1.0, Confidence::High))
}

/// A stage, and the shares of its time; those of one body add up to at most 1.
#[derive(Clone, Copy)]
struct StageShares<'a> {
    number: usize,
    stage: Option<&'a Stage>,
    flow: Flow,
    read: f64,
    write: f64,
    cap: f64,
    /// The kernel had something to send; `None` where it does not say.
    busy: Option<f64>,
    /// The receiver's window was full.
    full: f64,
}

/// Most of the time went by before the bodies, because hops were told to hold replies back; the one that held the most
/// is named. A delay that costs less than the body is not.
fn delayed(client: &Flow, hops: &[Stage]) -> Option<Verdict> {
    let whole = client.active_us.saturating_add(client.reply_us);
    let seen = || hops.iter().filter(|hop| hop.seen);
    let all = seen().map(|hop| hop.flow.reply_us).fold(0, u64::saturating_add);
    let share = |us: u64| (us as f64 / whole.max(1) as f64).min(1.0);
    let most = seen().max_by_key(|hop| hop.flow.reply_us)?;
    let limit = Limit::Fault { hop: most.number, fault: FaultKind::Delay };
    let enough = whole >= SHORTEST_CLIENT && share(all) >= HIGH;
    enough.then(|| of(limit, share(most.flow.reply_us), Confidence::High))
}

fn walk(client: &StageShares<'_>, seen: &[StageShares<'_>], origin: usize) -> Verdict {
    let mut before = *client;
    for (at, hop) in seen.iter().enumerate() {
        let adjacent = hop.number == before.number + 1;
        if hop.is_held_up() {
            return match hop.refuser(&before) {
                // Hops that tell nothing stand between, and yet this much is certain.
                _ if !adjacent && before.late() >= HIGH => blame(&before, hop, Confidence::Fair),
                _ if !adjacent => unseen(&before, hop.number, hop.write),
                Some(confidence) => blame(&before, hop, confidence),
                None => link(hop, &before),
            };
        }
        if at == 0 && before.read < LOW {
            // Nobody holds hop 1 up, and yet the client does not wait for it.
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
    if before.read < HIGH { balanced() } else { unseen(&before, origin, before.read) }
}

/// What holds `hop` up is the stage that receives from it.
fn blame(receiver: &StageShares<'_>, hop: &StageShares<'_>, confidence: Confidence) -> Verdict {
    if receiver.number == 0 {
        return client_is_slow(receiver, hop.write, confidence);
    }
    own(receiver, hop.write, confidence)
}

fn client_is_slow(client: &StageShares<'_>, share: f64, confidence: Confidence) -> Verdict {
    // A client that is not running while its disk is at work counts that time as the disk's. Its timer knows better.
    let resource = match client.late() {
        _ if client.write < LOW => Resource::Processor,
        HIGH.. => Resource::Processor,
        ..RARELY => Resource::Disk,
        _ => Resource::Either,
    };
    of(Limit::Client { resource }, share, confidence)
}

/// The time is lost within a hop.
fn own(hop: &StageShares<'_>, share: f64, confidence: Confidence) -> Verdict {
    of(Limit::Relay { hop: hop.number }, share, confidence)
}

/// Everything waits for the origin, and nothing holds it up.
fn at_the_origin(hop: &StageShares<'_>, before: &StageShares<'_>) -> Verdict {
    let (resource, confidence) = match hop.busy {
        _ if hop.read >= HIGH => (Resource::Disk, Confidence::High),
        Some(_) => (Resource::Processor, Confidence::Fair),
        None if hop.write < LOW => (Resource::Processor, Confidence::Low),
        None => return balanced(),
    };
    of(Limit::Origin { hop: hop.number, resource }, before.read, confidence)
}

/// Everything below this relay waits for it, and it waits neither for input nor to send.
fn at_a_relay(hop: &StageShares<'_>, before: &StageShares<'_>, upstream: Option<&StageShares<'_>>) -> Verdict {
    let fed = upstream.is_none_or(|upstream| upstream.write >= LOW);
    if !fed || hop.read >= LOW && hop.busy.is_none() {
        return balanced();
    }
    own(
        hop,
        before.read,
        if upstream.is_some_and(StageShares::is_held_up) { Confidence::High } else { Confidence::Fair },
    )
}

fn capped(look: &StageShares<'_>) -> Option<Verdict> {
    // A node that does not say what its cap is shows it by what it sends.
    let moved = if look.number == 0 { look.flow.bytes_in } else { look.flow.bytes_out };
    let sent = moved as f64 * 1e6 / look.flow.active_us.max(1) as f64;
    let rate = look.stage.and_then(|stage| stage.faults.limit).unwrap_or(sent as u64);
    (look.cap >= HIGH).then(|| of(Limit::RateLimit { hop: look.number, rate }, look.cap, Confidence::High))
}

fn link(from: &StageShares<'_>, to: &StageShares<'_>) -> Verdict {
    let cause = cause(from);
    let confidence = if cause == LinkCause::Unknown { Confidence::Fair } else { Confidence::High };
    // Both sides have to say so: a receiver that has other things to do is no fault of the network.
    if to.read < HIGH {
        return balanced();
    }
    of(Limit::Link { from: from.number, to: to.number, cause }, from.write, confidence)
}

fn cause(from: &StageShares<'_>) -> LinkCause {
    let tcp = from.stage.and_then(|stage| stage.tcp).unwrap_or_default();
    match from.busy {
        None => LinkCause::Unknown,
        Some(_) if tcp.retransmits >= LOSSES => LinkCause::Loss,
        Some(_) if from.full >= HIGH => LinkCause::RoundTrip,
        Some(_) => LinkCause::Congestion,
    }
}

fn unseen(after: &StageShares<'_>, before: usize, share: f64) -> Verdict {
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
        let [read, write, cap] = [flow.starved_us, flow.blocked_us, flow.limited_us].map(|us| us as f64);
        // The counters are read one after the other, so their sum can be a little more than the whole.
        let whole = (flow.active_us as f64).max(read + write + cap).max(1.0);
        Self {
            number: 0,
            stage: None,
            flow: *flow,
            read: read / whole,
            write: write / whole,
            cap: cap / whole,
            busy: None,
            full: 0.0,
        }
    }

    /// The share of time in which it was not running.
    fn late(&self) -> f64 {
        let load = self.stage.and_then(|stage| stage.load).unwrap_or_default();
        (self.flow.sched_delay_us.max(load.sched_delay_us) as f64 / self.flow.active_us.max(1) as f64).min(1.0)
    }

    /// It waits to send, and the kernel has something of it to send: a node that was not running when its reader was
    /// ready waits too, by its own clock.
    fn is_held_up(&self) -> bool {
        self.write >= HIGH && self.busy.is_none_or(|busy| busy >= HIGH)
    }

    /// It is the receiver that holds it up: how sure that is, or `None` where it is the network.
    fn refuser(&self, receiver: &StageShares<'_>) -> Option<Confidence> {
        let rtt_us = self.stage.and_then(|stage| stage.tcp).map_or(0, |tcp| tcp.rtt_us);
        let Some(_) = self.busy else {
            return (receiver.read < HIGH).then_some(Confidence::Fair);
        };
        if receiver.stage.is_some_and(|stage| stage.unread >= UNREAD) {
            return Some(Confidence::High);
        }
        match rtt_us {
            // A window that is full of what is on its way is the network's doing, when the receiver waits for it.
            QUICK_US.. if self.full >= HIGH && receiver.read >= HIGH => None,
            _ if self.full >= HIGH => Some(Confidence::High),
            _ if receiver.read < LOW => Some(Confidence::Fair),
            // Nothing that takes so short a time can hold anyone up.
            ..QUICK_US => Some(Confidence::Low),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
