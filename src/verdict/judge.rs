//! From where each stage spent its time to the one that limits the others.

use super::{Confidence, Limit, Part, Verdict, Why};
use crate::snapshot::{Flow, TransferAccount};

/// One hop's evidence: what it did during the time that is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The hop's number, from 1.
    pub number: usize,
    /// It sends reports; of a hop that does not, nothing else counts.
    pub seen: bool,
    /// What it did, counted from the start of that time.
    pub flow: Flow,
    /// Its cap, in bytes per second, if it has one.
    pub limit: Option<u64>,
}

impl Stage {
    /// The evidence of a transfer's whole life, from what its hops say of it afterwards, hop 1 first.
    pub fn of(accounts: &[Option<TransferAccount>]) -> Vec<Self> {
        let stage = |(at, account): (usize, &Option<TransferAccount>)| {
            let (flow, limit) = account.as_ref().map(|account| (account.flow, account.dials.limit)).unwrap_or_default();
            Self { number: at + 1, seen: account.is_some(), flow, limit }
        };
        accounts.iter().enumerate().map(stage).collect()
    }
}

/// Shares of a stage's active time; they add up to at most 1.
#[derive(Clone, Copy)]
struct Shares {
    number: usize,
    read: f64,
    write: f64,
    cap: f64,
}

/// A stage waits for something at least this share of the time: most of it.
const HIGH: f64 = 0.5;
/// A stage that waits for less than this share does not wait much.
const LOW: f64 = 0.3;
/// A client active for less than this, in µs, has not seen enough.
const SHORTEST_CLIENT: u64 = 500_000;
/// A hop active for less than this, in µs, is counted as silent: its report is late, or of another transfer.
const SHORTEST_HOP: u64 = 100_000;

/// Says what limits the transfers of a client through these hops, which are in chain order, the origin last.
///
/// Whatever is slow makes those downstream of it wait for input and those upstream of it wait to send. So the walk goes
/// from the client toward the origin, past every stage that waits for input, and stops at the first that does not.
pub fn judge(client: &Flow, hops: &[Stage]) -> Verdict {
    let Some(origin) = hops.last().map(|hop| hop.number) else { return Verdict::default() };
    if client.active_us < SHORTEST_CLIENT || client.bytes_in == 0 {
        return Verdict::default();
    }
    let told = |hop: &&Stage| hop.seen && hop.flow.active_us >= SHORTEST_HOP;
    if let Some(verdict) = hops.iter().rev().filter(told).find_map(capped) {
        return verdict;
    }
    let seen: Vec<Shares> = hops.iter().filter(told).map(|hop| Shares::of(hop.number, &hop.flow)).collect();
    let client = Shares::of(0, client);
    if client.read < HIGH {
        return at_the_client(client, seen.first());
    }
    let mut before = client;
    for (at, hop) in seen.iter().enumerate() {
        if hop.write >= HIGH {
            let adjacent = hop.number == before.number + 1;
            return verdict(if adjacent { link(hop, before) } else { unseen(before, hop.number) }, hop.write);
        }
        if hop.number == origin {
            let slow = hop.write < LOW || hop.read >= HIGH;
            return if slow {
                verdict(Limit::Origin { hop: origin, part: Part::Either }, before.read)
            } else {
                balanced()
            };
        }
        if hop.read < HIGH {
            let fed = seen.get(at + 1).is_none_or(|upstream| upstream.write >= LOW);
            let own = hop.read < LOW && hop.write < LOW && fed;
            return if own { verdict(Limit::Hop { hop: hop.number }, before.read) } else { balanced() };
        }
        before = *hop;
    }
    verdict(unseen(before, origin), before.read)
}

/// The client waits for no one: it is slow itself, where the hops wait for it.
fn at_the_client(client: Shares, first: Option<&Shares>) -> Verdict {
    let waited_for = first.filter(|hop| hop.write >= HIGH && client.read < LOW);
    match waited_for {
        _ if client.write >= HIGH => verdict(Limit::Client { part: Part::Either }, client.write),
        Some(hop) if hop.number == 1 => verdict(Limit::Client { part: Part::Either }, hop.write),
        Some(hop) => verdict(unseen(client, hop.number), hop.write),
        None => balanced(),
    }
}

fn capped(hop: &Stage) -> Option<Verdict> {
    let share = Shares::of(hop.number, &hop.flow).cap;
    // A node that does not say what its cap is shows it by what it sends.
    let sent = hop.flow.bytes_out as f64 * 1e6 / hop.flow.active_us.max(1) as f64;
    let rate = hop.limit.unwrap_or(sent as u64);
    (share >= HIGH).then(|| verdict(Limit::Cap { hop: hop.number, rate }, share))
}

fn link(from: &Shares, to: Shares) -> Limit {
    Limit::Link { from: from.number, to: to.number, why: Why::Unknown }
}

fn unseen(after: Shares, before: usize) -> Limit {
    Limit::Unseen { after: after.number, before }
}

fn balanced() -> Verdict {
    verdict(Limit::Balanced, 0.0)
}

fn verdict(limit: Limit, share: f64) -> Verdict {
    Verdict { limit, share, confidence: Confidence::Fair, held_ms: 0 }
}

impl Shares {
    fn of(number: usize, flow: &Flow) -> Self {
        let [read, write, cap] = [flow.read_blocked_us, flow.write_blocked_us, flow.capped_us].map(|us| us as f64);
        // The counters are read one after the other, so their sum can be a little more than the whole.
        let whole = (flow.active_us as f64).max(read + write + cap).max(1.0);
        Self { number, read: read / whole, write: write / whole, cap: cap / whole }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dials::Dials;

    /// A second of work, waiting these percents of it to read, to write and for the cap.
    fn flow(read: u64, write: u64, cap: u64) -> Flow {
        Flow {
            bytes_in: 1 << 20,
            bytes_out: 1 << 20,
            read_blocked_us: read * 10_000,
            write_blocked_us: write * 10_000,
            capped_us: cap * 10_000,
            active_us: 1_000_000,
            ..Flow::default()
        }
    }

    /// Hops 1, 2 and so on; `None` sends no reports.
    fn chain(hops: &[Option<Flow>]) -> Vec<Stage> {
        let stage = |(at, flow): (usize, &Option<Flow>)| Stage {
            number: at + 1,
            seen: flow.is_some(),
            flow: flow.unwrap_or_default(),
            limit: None,
        };
        hops.iter().enumerate().map(stage).collect()
    }

    fn limit(client: Flow, hops: &[Option<Flow>]) -> Limit {
        judge(&client, &chain(hops)).limit
    }

    const WAITS: u64 = 90;

    #[test]
    fn the_stage_that_is_slow_is_named() {
        let (reads, writes, works) = (Some(flow(WAITS, 2, 0)), Some(flow(2, 88, 0)), Some(flow(5, 5, 0)));
        let client = flow(WAITS, 0, 0);
        assert_eq!(limit(client, &[reads, reads, writes]), Limit::Link { from: 3, to: 2, why: Why::Unknown });
        assert_eq!(limit(client, &[reads, writes, writes]), Limit::Link { from: 2, to: 1, why: Why::Unknown });
        assert_eq!(limit(client, &[writes, writes, writes]), Limit::Link { from: 1, to: 0, why: Why::Unknown });
        assert_eq!(limit(client, &[reads, reads, works]), Limit::Origin { hop: 3, part: Part::Either });
        assert_eq!(limit(client, &[reads, reads, reads]), Limit::Origin { hop: 3, part: Part::Either });
        assert_eq!(limit(client, &[works]), Limit::Origin { hop: 1, part: Part::Either });
        assert_eq!(limit(client, &[reads, works, writes]), Limit::Hop { hop: 2 });
        assert_eq!(limit(client, &[works, writes, writes]), Limit::Hop { hop: 1 });
        assert_eq!(limit(flow(5, 80, 0), &[writes, writes, writes]), Limit::Client { part: Part::Either });
        assert_eq!(limit(flow(5, 5, 0), &[writes, writes, writes]), Limit::Client { part: Part::Either });
        assert_eq!(limit(flow(20, 20, 0), &[works, works, works]), Limit::Balanced);
        assert_eq!(limit(flow(60, 0, 0), &[Some(flow(40, 40, 0)), reads, works]), Limit::Balanced);
        assert_eq!(limit(client, &[reads, reads, Some(flow(20, 40, 0))]), Limit::Balanced);
        assert_eq!(limit(client, &[works, works, works]), Limit::Balanced);
    }

    #[test]
    fn a_cap_goes_before_everything_and_the_one_nearest_the_origin_before_others() {
        let (reads, writes, capped) = (Some(flow(WAITS, 2, 0)), Some(flow(2, 88, 0)), Some(flow(1, 2, 90)));
        let client = flow(WAITS, 0, 0);
        assert_eq!(limit(client, &[reads, capped, writes]), Limit::Cap { hop: 2, rate: 1 << 20 });
        assert_eq!(limit(client, &[capped, capped, writes]), Limit::Cap { hop: 2, rate: 1 << 20 });
        let mut hops = chain(&[reads, capped]);
        hops[1].limit = Some(2_000_000);
        assert_eq!(judge(&client, &hops).to_string(), "slowest: hop 2, capped at 2.0M/s");
    }

    #[test]
    fn silent_hops_make_a_bracket_and_only_where_the_cause_can_be_theirs() {
        let (reads, writes, works) = (Some(flow(WAITS, 2, 0)), Some(flow(2, 88, 0)), Some(flow(5, 5, 0)));
        let client = flow(WAITS, 0, 0);
        assert_eq!(limit(client, &[reads, None, writes]), Limit::Unseen { after: 1, before: 3 });
        assert_eq!(limit(client, &[None, None, writes]), Limit::Unseen { after: 0, before: 3 });
        assert_eq!(limit(client, &[reads, reads, None]), Limit::Unseen { after: 2, before: 3 });
        assert_eq!(limit(client, &[None, None, None]), Limit::Unseen { after: 0, before: 3 });
        assert_eq!(limit(flow(5, 5, 0), &[None, writes, writes]), Limit::Unseen { after: 0, before: 2 });
        assert_eq!(limit(client, &[reads, None, works]), Limit::Origin { hop: 3, part: Part::Either });
        assert_eq!(limit(client, &[None, reads, writes]), Limit::Link { from: 3, to: 2, why: Why::Unknown });
        assert_eq!(limit(flow(5, 80, 0), &[None, None, None]), Limit::Client { part: Part::Either });
        let late = Some(Flow { active_us: SHORTEST_HOP - 1, ..flow(2, 88, 0) });
        assert_eq!(limit(client, &[reads, late]), Limit::Unseen { after: 1, before: 2 });
    }

    #[test]
    fn accounts_are_evidence_too() {
        let dials = Dials { limit: Some(5), ..Dials::default() };
        let account = TransferAccount { flow: flow(1, 2, 90), dials, ..TransferAccount::default() };
        let stages = Stage::of(&[None, Some(account)]);
        assert_eq!((stages[0].seen, stages[1].number), (false, 2));
        assert_eq!(judge(&flow(WAITS, 0, 0), &stages).limit, Limit::Cap { hop: 2, rate: 5 });
    }

    #[test]
    fn what_was_too_short_or_did_not_move_is_not_judged() {
        let writes = Some(flow(2, 88, 0));
        let short = Flow { active_us: SHORTEST_CLIENT - 1, ..flow(40, 0, 0) };
        let stuck = Flow { bytes_in: 0, ..flow(WAITS, 0, 0) };
        assert_eq!([limit(short, &[writes]), limit(stuck, &[writes])], [Limit::TooShort; 2]);
        assert_eq!(limit(flow(WAITS, 0, 0), &[]), Limit::TooShort);
    }

    fn any_flow() -> impl Strategy<Value = Flow> {
        let small = || prop_oneof![0u64..2_000_000, any::<u64>()];
        (small(), small(), small(), small(), small()).prop_map(|(bytes, read, write, cap, active)| Flow {
            bytes_in: bytes,
            bytes_out: bytes,
            read_blocked_us: read,
            write_blocked_us: write,
            capped_us: cap,
            active_us: active,
            ..Flow::default()
        })
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_is_accused_when_nothing_moved(
            client in any_flow(),
            hops in proptest::collection::vec(proptest::option::of(any_flow()), 0..5),
        ) {
            let hops = chain(&hops);
            let verdict = judge(&client, &hops);
            prop_assert!((0.0..=1.0).contains(&verdict.share), "{verdict:?}");
            prop_assert!(!verdict.to_string().is_empty());
            let still = Flow { bytes_in: 0, bytes_out: 0, ..client };
            prop_assert_eq!(judge(&still, &hops).limit, Limit::TooShort);
            prop_assert_eq!(judge(&Flow::default(), &hops).limit, Limit::TooShort);
        }
    }
}
