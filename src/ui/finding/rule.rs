//! Explanation of a finding in plain words: the rule that it follows from, what its confidence means, what helps.

use super::Finding;
use crate::snapshot::verdict::{Confidence, FaultKind, Limit, LinkCause, Resource, SetupStep};

/// Returns the rule that a finding follows from.
pub(crate) fn rule(finding: &Finding) -> &'static str {
    match finding {
        Finding::Verdict { verdict, .. } => limit_rule(&verdict.limit),
        Finding::Down { .. } => "The node of this hop has ended or accepts no connections, so nothing can pass it.",
        Finding::Retrying { .. } => {
            "The last attempt failed for a reason that may pass, so the transfer is retried after a growing pause."
        }
        Finding::Silent { .. } => "Nodes report four times a second. This one has sent no report for 3 s or longer.",
        Finding::Waiting { .. } => {
            "The request has reached the hops before this one, by their reports, and no reply has come back."
        }
        Finding::Stalled { .. } => {
            "No byte has arrived for a second or three round trips, and no rate limit explains the pause."
        }
        Finding::Failed { .. } => "The error of a hop is passed on toward the client, so it names the hop that failed.",
        Finding::Draining { .. } => "A draining node finishes its transfers and accepts no new ones.",
        Finding::Locked { .. } => "Two fetches of one name take turns, as they write to the same file.",
        Finding::Finished { .. }
        | Finding::Verifying { .. }
        | Finding::Paused { .. }
        | Finding::Cancelled { .. }
        | Finding::Starting { .. }
        | Finding::Idle => "",
    }
}

/// Returns the rule that a limit follows from.
pub(crate) fn limit_rule(limit: &Limit) -> &'static str {
    match limit {
        Limit::Measuring => "A verdict needs half a second of data from the client and a tenth from a hop.",
        Limit::Balanced => "No stage waits for another one half of the time or longer.",
        Limit::RateLimit { .. } => {
            "A stage that waits for its own rate limit at least half of the time is the bottleneck."
        }
        Limit::KeyRate { .. } => {
            "A stage that waits for the rate limit of the client's key at least half of the time is the bottleneck."
        }
        Limit::Fault { fault: FaultKind::Stall, .. } => "A stall is injected at this hop: it sends nothing.",
        Limit::Fault { fault: FaultKind::Delay, .. } => {
            "Injected delays took at least half of the time, before the body."
        }
        Limit::Fault { fault: FaultKind::Fragment, .. } => {
            "Small pieces cost processor time at every stage downstream, and one of them has none left."
        }
        Limit::Client { .. } => {
            "Hop 1 is blocked at least half of the time and its data has arrived: the client does not take it."
        }
        Limit::Origin { resource: Resource::Disk, .. } => {
            "Every stage is starved, and the origin itself waits for its disk at least half of the time."
        }
        Limit::Origin { .. } => {
            "Every stage is starved, while the origin waits neither for its disk nor for its reader."
        }
        Limit::Relay { .. } => {
            "The next stage is starved, while this hop has input and room for output: it needs processor time."
        }
        Limit::Link { cause, .. } => match cause {
            LinkCause::Unknown => {
                "The sender is blocked while the receiver is starved: the network between them limits."
            }
            LinkCause::Congestion => {
                "The sender is blocked while the receiver is starved, and the network holds the data in its queues."
            }
            LinkCause::Loss => {
                "The sender is blocked while the receiver is starved, and the kernel retransmits lost segments."
            }
            LinkCause::RoundTrip => {
                "The sender is blocked while the receiver is starved: a full window is in flight for a round trip."
            }
        },
        Limit::Receiver { .. } => "The hop before is blocked, as its receiver leaves what has arrived unread.",
        Limit::Setup { step: SetupStep::Delay, .. } => "The injected delay took at least half of the whole time.",
        Limit::Setup { .. } => "This step of the setup took at least half of the whole time.",
        Limit::Unobserved { .. } => "The cause is at a stage that sends no reports: its neighbors wait for it.",
    }
}

/// Returns what a confidence means.
pub(crate) fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "low: the best explanation, though some figures are missing or disagree",
        Confidence::Fair => "fair: supported by the clocks of the stages",
        Confidence::High => "high: supported by the stages on both sides and by the kernel",
    }
}

/// Returns what changes a limit, where no key does.
pub(crate) fn remedy(limit: &Limit) -> &'static str {
    match limit {
        Limit::Client { resource: Resource::Disk } => "a faster disk, or another folder (-o)",
        Limit::Client { .. } => "less load on this machine, or --no-verify",
        Limit::Origin { resource: Resource::Disk, .. } => "a faster disk at the origin, or a file in its cache",
        Limit::Origin { .. } | Limit::Relay { .. } => "more processor time for this node",
        Limit::Link { cause: LinkCause::RoundTrip, .. } => {
            "larger socket buffers (--sockbuf), or several transfers (-j)"
        }
        Limit::Link { .. } => "another route, or a better network between these two",
        Limit::Receiver { .. } => "a client that reads faster",
        Limit::Unobserved { .. } => "a chainview node at the hops that send no reports",
        _ => "",
    }
}
