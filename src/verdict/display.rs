//! Sentence of a verdict, for the screen, JSON and runs without a screen.

use std::fmt;
use std::time::Duration;

use crate::snapshot::verdict::{FaultKind, Limit, LinkCause, Resource, SetupStep, Verdict};
use crate::units::{HumanDuration, Rate};

/// Shortest displayed duration of a verdict, in ms.
const MIN_DISPLAYED_MS: u64 = 1000;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (self.share.clamp(0.0, 1.0) * 100.0).round();
        let mut text = match self.limit {
            Limit::Measuring => return f.pad("too short to measure"),
            Limit::Balanced => return f.pad("balanced: no stage waits much more than the others"),
            Limit::RateLimit { hop, rate } => format!("slowest: {}, rate-limited to {}", stage_name(hop), Rate(rate)),
            Limit::KeyRate { hop, rate } => {
                format!("slowest: hop {hop}, limited by the key's rate of {}", Rate(rate))
            }
            Limit::Fault { hop, fault: FaultKind::Delay } => {
                format!("slowest: hop {hop}, injected delay, {percent}% of the time")
            }
            Limit::Fault { hop, fault: FaultKind::Stall } => {
                format!("slowest: hop {hop}, injected stall: it sends nothing")
            }
            Limit::Fault { hop, fault: FaultKind::Fragment } => {
                format!("slowest: hop {hop}, injected fragmentation: it sends small pieces")
            }
            Limit::Client { resource } => {
                format!("slowest: client, its {}: hop 1 is blocked {percent}% of the time", name(resource))
            }
            Limit::Origin { hop, resource } => {
                format!(
                    "slowest: origin (hop {hop}), its {}: all hops are starved {percent}% of the time",
                    name(resource)
                )
            }
            Limit::Relay { hop } => {
                format!("slowest: hop {hop}, its processor: the next stage is starved {percent}% of the time")
            }
            Limit::Link { from, to, cause } => format!(
                "slowest: link {from}>{}{}, hop {from} is blocked {percent}% of the time while {} is starved",
                if to == 0 { "client".to_owned() } else { to.to_string() },
                reason(cause),
                stage_with_article(to),
            ),
            Limit::Receiver { from, to } => {
                format!("slowest: {}, it does not read: hop {from} is blocked {percent}% of the time", stage_name(to))
            }
            Limit::Setup { hop, step } => match step {
                SetupStep::Resolve => format!("slowest: looking up the name of hop {hop}, {percent}% of the time"),
                SetupStep::Connect => format!("slowest: connecting to hop {hop}, {percent}% of the time"),
                SetupStep::Delay => format!("slowest: hop {hop}, its injected delay took {percent}% of the time"),
            },
            Limit::Unobserved { after, before } => {
                format!(
                    "slowest: between {} and hop {before}, where not every hop sends reports",
                    stage_with_article(after)
                )
            }
        };
        if self.since_ms >= MIN_DISPLAYED_MS {
            text = match self.since_ms / 1000 {
                seconds @ 0..60 => format!("{text}, for {seconds} s"),
                seconds => format!("{text}, for {}", HumanDuration(Duration::from_secs(seconds))),
            };
        }
        f.pad(&text)
    }
}

fn stage_with_article(stage: usize) -> String {
    if stage == 0 { "the client".to_owned() } else { stage_name(stage) }
}

fn stage_name(stage: usize) -> String {
    if stage == 0 { "client".to_owned() } else { format!("hop {stage}") }
}

fn name(resource: Resource) -> &'static str {
    match resource {
        Resource::Either => "disk or processor",
        Resource::Disk => "disk",
        Resource::Processor => "processor",
    }
}

fn reason(cause: LinkCause) -> &'static str {
    match cause {
        LinkCause::Unknown => "",
        LinkCause::Congestion => " (full)",
        LinkCause::Loss => " (loses packets)",
        LinkCause::RoundTrip => " (long round trip)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::verdict::Confidence;

    #[test]
    fn verdicts_have_one_sentence_and_round_trip() {
        for (limit, sentence) in [
            (Limit::Measuring, "too short to measure"),
            (Limit::Balanced, "balanced: no stage waits much more than the others"),
            (Limit::RateLimit { hop: 2, rate: 2_000_000 }, "slowest: hop 2, rate-limited to 2.0 MB/s"),
            (Limit::KeyRate { hop: 2, rate: 2_000_000 }, "slowest: hop 2, limited by the key's rate of 2.0 MB/s"),
            (Limit::RateLimit { hop: 0, rate: 2_000_000 }, "slowest: client, rate-limited to 2.0 MB/s"),
            (Limit::Fault { hop: 3, fault: FaultKind::Stall }, "slowest: hop 3, injected stall: it sends nothing"),
            (Limit::Fault { hop: 3, fault: FaultKind::Delay }, "slowest: hop 3, injected delay, 88% of the time"),
            (
                Limit::Fault { hop: 3, fault: FaultKind::Fragment },
                "slowest: hop 3, injected fragmentation: it sends small pieces",
            ),
            (
                Limit::Link { from: 3, to: 2, cause: LinkCause::Unknown },
                "slowest: link 3>2, hop 3 is blocked 88% of the time while hop 2 is starved",
            ),
            (
                Limit::Link { from: 1, to: 0, cause: LinkCause::Congestion },
                "slowest: link 1>client (full), hop 1 is blocked 88% of the time while the client is starved",
            ),
            (
                Limit::Origin { hop: 3, resource: Resource::Disk },
                "slowest: origin (hop 3), its disk: all hops are starved 88% of the time",
            ),
            (Limit::Relay { hop: 2 }, "slowest: hop 2, its processor: the next stage is starved 88% of the time"),
            (
                Limit::Client { resource: Resource::Either },
                "slowest: client, its disk or processor: hop 1 is blocked 88% of the time",
            ),
            (Limit::Receiver { from: 1, to: 0 }, "slowest: client, it does not read: hop 1 is blocked 88% of the time"),
            (Limit::Setup { hop: 2, step: SetupStep::Connect }, "slowest: connecting to hop 2, 88% of the time"),
            (
                Limit::Setup { hop: 2, step: SetupStep::Delay },
                "slowest: hop 2, its injected delay took 88% of the time",
            ),
            (
                Limit::Unobserved { after: 0, before: 2 },
                "slowest: between the client and hop 2, where not every hop sends reports",
            ),
        ] {
            let verdict = Verdict { limit, share: 0.884, confidence: Confidence::Fair, since_ms: 999 };
            assert_eq!(verdict.to_string(), sentence);
            let json = serde_json::to_string(&verdict).unwrap();
            assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict, "{json}");
        }
        let lasting = Verdict { limit: Limit::RateLimit { hop: 2, rate: 5 }, since_ms: 12_800, ..Verdict::default() };
        assert_eq!(lasting.to_string(), "slowest: hop 2, rate-limited to 5 B/s, for 12 s");
    }
}
