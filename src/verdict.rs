//! What limits a transfer, from where each stage spent its time: a sentence for people, a stable form for machines.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::snapshot::{Flow, TransferAccount};
use crate::units::Rate;

/// The stage that limits a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "limit")]
pub enum Limit {
    /// Nothing is moving, or it has not moved for long enough.
    #[default]
    TooShort,
    /// The origin's disk or processor: every stage waits for input, the origin for nothing else.
    Origin {
        /// Its number: that of the last hop.
        hop: usize,
    },
    /// This hop itself.
    Hop {
        /// Its number, from 1.
        hop: usize,
    },
    /// This hop's own cap.
    Cap {
        /// Its number, from 1.
        hop: usize,
        /// Bytes per second.
        rate: u64,
    },
    /// The link from one hop down to the stage before it.
    Link {
        /// The sending hop, from 1.
        from: usize,
        /// The receiving stage: a hop, or 0 for the client.
        to: usize,
    },
    /// The client's disk or processor.
    Client,
    /// No stage waits much more than the others.
    Balanced,
    /// A hop that sends no reports stands where the cause would be.
    Unseen {
        /// The stage before the silent hops, nearer to the client; 0 is the client.
        after: usize,
        /// The stage behind them, nearer to the origin; the origin itself where that is silent too.
        before: usize,
    },
}

/// What limits a transfer, and the share of time that says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The stage.
    #[serde(flatten)]
    pub limit: Limit,
    /// The share of time, 0 to 1, that the evidence covers.
    pub share: f64,
}

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
            let (flow, limit) = account.as_ref().map(|account| (account.flow, account.limit)).unwrap_or_default();
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
            return if slow { verdict(Limit::Origin { hop: origin }, before.read) } else { balanced() };
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
        _ if client.write >= HIGH => verdict(Limit::Client, client.write),
        Some(hop) if hop.number == 1 => verdict(Limit::Client, hop.write),
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
    Limit::Link { from: from.number, to: to.number }
}

fn unseen(after: Shares, before: usize) -> Limit {
    Limit::Unseen { after: after.number, before }
}

fn balanced() -> Verdict {
    verdict(Limit::Balanced, 0.0)
}

fn verdict(limit: Limit, share: f64) -> Verdict {
    Verdict { limit, share }
}

impl Shares {
    fn of(number: usize, flow: &Flow) -> Self {
        let [read, write, cap] = [flow.read_blocked_us, flow.write_blocked_us, flow.capped_us].map(|us| us as f64);
        // The counters are read one after the other, so their sum can be a little more than the whole.
        let whole = (flow.active_us as f64).max(read + write + cap).max(1.0);
        Self { number, read: read / whole, write: write / whole, cap: cap / whole }
    }
}

impl fmt::Display for Verdict {
    /// The sentence; the same words on the screen, in JSON and without a screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (self.share.clamp(0.0, 1.0) * 100.0).round();
        let text = match self.limit {
            Limit::TooShort => "too short to judge".to_owned(),
            Limit::Balanced => "balanced: no stage waits much more than the others".to_owned(),
            Limit::Cap { hop, rate } => format!("slowest: hop {hop}, capped at {}", Rate(rate)),
            Limit::Client => {
                format!("slowest: client, its disk or processor: it keeps hop 1 waiting {percent}% of the time")
            }
            Limit::Origin { hop } => {
                format!(
                    "slowest: origin (hop {hop}), its disk or processor: every hop waits for it {percent}% of the time"
                )
            }
            Limit::Hop { hop } => format!(
                "slowest: hop {hop}, its processor: what is below it waits {percent}% of the time, it waits for nobody"
            ),
            Limit::Link { from, to } => format!(
                "slowest: link {from}>{}, hop {from} waits to send {percent}% of the time while {} waits for input",
                if to == 0 { "client".to_owned() } else { to.to_string() },
                stage(to),
            ),
            Limit::Unseen { after, before } => {
                format!("slowest: between {} and hop {before}, where not every hop sends reports", stage(after))
            }
        };
        f.pad(&text)
    }
}

fn stage(number: usize) -> String {
    if number == 0 { "the client".to_owned() } else { format!("hop {number}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A second of work, waiting these percents of it to read, to write and for the cap.
    fn flow(read: u64, write: u64, cap: u64) -> Flow {
        Flow {
            bytes_in: 1 << 20,
            bytes_out: 1 << 20,
            read_blocked_us: read * 10_000,
            write_blocked_us: write * 10_000,
            capped_us: cap * 10_000,
            active_us: 1_000_000,
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
        assert_eq!(limit(client, &[reads, reads, writes]), Limit::Link { from: 3, to: 2 });
        assert_eq!(limit(client, &[reads, writes, writes]), Limit::Link { from: 2, to: 1 });
        assert_eq!(limit(client, &[writes, writes, writes]), Limit::Link { from: 1, to: 0 });
        assert_eq!(limit(client, &[reads, reads, works]), Limit::Origin { hop: 3 });
        assert_eq!(limit(client, &[reads, reads, reads]), Limit::Origin { hop: 3 });
        assert_eq!(limit(client, &[works]), Limit::Origin { hop: 1 });
        assert_eq!(limit(client, &[reads, works, writes]), Limit::Hop { hop: 2 });
        assert_eq!(limit(client, &[works, writes, writes]), Limit::Hop { hop: 1 });
        assert_eq!(limit(flow(5, 80, 0), &[writes, writes, writes]), Limit::Client);
        assert_eq!(limit(flow(5, 5, 0), &[writes, writes, writes]), Limit::Client);
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
        assert_eq!(limit(client, &[reads, None, works]), Limit::Origin { hop: 3 });
        assert_eq!(limit(client, &[None, reads, writes]), Limit::Link { from: 3, to: 2 });
        assert_eq!(limit(flow(5, 80, 0), &[None, None, None]), Limit::Client);
        let late = Some(Flow { active_us: SHORTEST_HOP - 1, ..flow(2, 88, 0) });
        assert_eq!(limit(client, &[reads, late]), Limit::Unseen { after: 1, before: 2 });
    }

    #[test]
    fn accounts_are_evidence_too() {
        let account = TransferAccount { flow: flow(1, 2, 90), limit: Some(5), ..TransferAccount::default() };
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

    #[test]
    fn every_verdict_is_one_sentence_and_survives_json() {
        for (limit, sentence) in [
            (Limit::TooShort, "too short to judge"),
            (Limit::Balanced, "balanced: no stage waits much more than the others"),
            (Limit::Cap { hop: 2, rate: 2_000_000 }, "slowest: hop 2, capped at 2.0M/s"),
            (
                Limit::Link { from: 3, to: 2 },
                "slowest: link 3>2, hop 3 waits to send 88% of the time while hop 2 waits for input",
            ),
            (
                Limit::Link { from: 1, to: 0 },
                "slowest: link 1>client, hop 1 waits to send 88% of the time while the client waits for input",
            ),
            (
                Limit::Origin { hop: 3 },
                "slowest: origin (hop 3), its disk or processor: every hop waits for it 88% of the time",
            ),
            (
                Limit::Hop { hop: 2 },
                "slowest: hop 2, its processor: what is below it waits 88% of the time, it waits for nobody",
            ),
            (Limit::Client, "slowest: client, its disk or processor: it keeps hop 1 waiting 88% of the time"),
            (
                Limit::Unseen { after: 0, before: 2 },
                "slowest: between the client and hop 2, where not every hop sends reports",
            ),
        ] {
            let verdict = verdict(limit, 0.884);
            assert_eq!(verdict.to_string(), sentence);
            let json = serde_json::to_string(&verdict).unwrap();
            assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict, "{json}");
        }
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
