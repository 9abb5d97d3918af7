//! What a verdict says about further connections: they help, the path is full, or the limit is elsewhere.

use super::{LinkState, Sample};
use crate::snapshot::verdict::{Limit, LinkCause};

/// Growth of a link's round trip beyond its minimum from which on data queues in the network, which is then at
/// capacity. Measured: 1.0 to 1.3 on links that lose packets, 1.5 to 20 on full ones.
const QUEUED: f64 = 1.4;
/// Round trip, in µs, that processing and delayed acknowledgments add on a link without a queue.
const SLACK_US: f64 = 500.0;

/// Meaning of a verdict for the number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// A link loses packets or is long, and is not full: further connections help.
    Helps,
    /// The path is not observed everywhere: only the gain shows whether they help.
    Open,
    /// Data queues at the limiting link.
    Full,
    /// Something else is the limit: a rate limit, a disk, a processor, a fault.
    Elsewhere,
}

impl Finding {
    /// Classifies a verdict; `None` if it names no limit.
    pub(super) fn of(limit: Limit, link: Option<LinkState>) -> Option<Self> {
        match limit {
            Limit::Measuring | Limit::Balanced => None,
            Limit::Unobserved { .. } => Some(Self::Open),
            Limit::Link { cause, .. } => Some(match link.filter(|link| link.least_us > 0 && link.now_us > 0) {
                Some(link) if link.now_us as f64 > link.least_us as f64 * QUEUED + SLACK_US => Self::Full,
                // One connection fills the link, however many packets it loses.
                Some(link) if link.tolerates_loss && matches!(cause, LinkCause::Loss | LinkCause::Congestion) => {
                    Self::Elsewhere
                }
                Some(_) => Self::Helps,
                // Without the round trips, the cause is the only evidence.
                None => match cause {
                    LinkCause::Loss | LinkCause::RoundTrip => Self::Helps,
                    LinkCause::Unknown => Self::Open,
                    LinkCause::Congestion => Self::Full,
                },
            }),
            Limit::Origin { .. }
            | Limit::Relay { .. }
            | Limit::RateLimit { .. }
            | Limit::KeyRate { .. }
            | Limit::Fault { .. }
            | Limit::Receiver { .. }
            | Limit::Client { .. }
            | Limit::Setup { .. } => Some(Self::Elsewhere),
        }
    }
}

/// The newest verdict, and for how long verdicts have had this meaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// Its meaning.
    pub(super) finding: Finding,
    /// The limit that it names.
    pub(super) limit: Limit,
    /// Time of this verdict, in µs.
    pub(super) at_us: u64,
    /// Time of the first verdict of the unbroken row with this meaning, in µs.
    pub(super) since_us: u64,
    /// Number of verdicts in that row.
    pub(super) count: u32,
}

impl Evidence {
    /// Adds the sample's verdict, if it has one.
    pub(super) fn add(before: Option<Self>, sample: &Sample) -> Option<Self> {
        let Some(limit) = sample.limit else { return before };
        let Some(finding) = Finding::of(limit, sample.link) else { return before };
        let now_us = sample.now_us;
        let row = before.filter(|before| before.finding == finding);
        let (since_us, count) = row.map_or((now_us, 1), |row| (row.since_us, row.count.saturating_add(1)));
        Some(Self { finding, limit, at_us: now_us, since_us, count })
    }
}
