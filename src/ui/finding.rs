//! What matters most about the chain now: a broken hop, a waiting or failed transfer, or what limits the flow. From the
//! snapshot alone.

mod periods;
mod refused;
mod rule;
mod sentence;

use std::time::Duration;

pub(crate) use periods::{Period, Periods};
pub(crate) use refused::what_helps;
pub(crate) use rule::{confidence, remedy, rule};
pub(crate) use sentence::{cause_word, sentences};

use crate::snapshot::verdict::{FaultKind, Limit, Verdict};
use crate::snapshot::{Awaited, ChainSnapshot, DownReason, HopLink, HopSnapshot, Phase, TransferSnapshot};

/// Age of a report from which its hop is silent: twelve reports are missing then.
const SILENT: Duration = Duration::from_secs(3);

/// What matters most about the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Finding {
    /// A hop of the route is down.
    Down {
        /// The hop, from 1.
        hop: usize,
        /// The user stopped or killed it.
        requested: bool,
    },
    /// A transfer waits for its next attempt.
    Retrying {
        /// Its number.
        number: u64,
        /// The hop that the last attempt failed at.
        hop: Option<usize>,
    },
    /// A hop that reported before sends no reports, and nothing moves.
    Silent {
        /// The hop, from 1.
        hop: usize,
    },
    /// A transfer waits for a connection or a reply.
    Waiting {
        /// Its number.
        number: u64,
        /// The hop that it waits for, from 1.
        hop: Option<usize>,
    },
    /// No byte of a transfer has arrived for longer than the chain explains.
    Stalled {
        /// Its number.
        number: u64,
        /// The hop that is silent, or that moved data last.
        hop: Option<usize>,
    },
    /// The last transfer that started has failed.
    Failed {
        /// Its number.
        number: u64,
        /// The hop that it failed at.
        hop: Option<usize>,
    },
    /// A transfer waits for another fetch of the same name.
    Locked {
        /// Its number.
        number: u64,
    },
    /// The digest of a transfer is being compared.
    Verifying {
        /// Its number.
        number: u64,
    },
    /// A transfer is paused.
    Paused {
        /// Its number.
        number: u64,
    },
    /// A hop of the route accepts no new requests.
    Draining {
        /// The hop, from 1.
        hop: usize,
    },
    /// The verdict on what is being transferred.
    Verdict {
        /// The verdict.
        verdict: Verdict,
        /// On the transfers of other clients.
        others: bool,
    },
    /// A hop of the route is being started.
    Starting {
        /// The hop, from 1.
        hop: usize,
    },
    /// The last transfer is complete.
    Finished {
        /// Its number.
        number: u64,
    },
    /// The last transfer was cancelled.
    Cancelled {
        /// Its number.
        number: u64,
    },
    /// Nothing has happened yet.
    #[default]
    Idle,
}

/// Weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// All is well.
    Calm,
    /// Something limits the flow, waits, or was stopped on request.
    Warn,
    /// Something is broken.
    Bad,
}

/// Stage or link that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A stage: a hop from 1, or 0 for the client.
    Stage(usize),
    /// The link, or all that is between two stages.
    Link {
        /// The stage on the origin's side.
        from: usize,
        /// The stage on the client's side; 0 is the client.
        to: usize,
    },
}

impl Finding {
    /// Returns what matters most about this chain.
    pub(crate) fn of(chain: &ChainSnapshot) -> Self {
        let is_active = |t: &&TransferSnapshot| t.phase.is_under_way() || t.phase == Phase::Retrying;
        let active = || chain.transfers.iter().filter(is_active);
        // While bytes arrive, neither a hop that cannot be watched nor another transfer is what matters.
        let moves = active().any(|t| t.phase == Phase::Streaming && t.stall.is_none());
        let still = |found: Option<Self>| found.filter(|_| !moves);
        let is_stalled_on_request = matches!(chain.verdict.limit, Limit::Fault { fault: FaultKind::Stall, .. });
        let verdict = || {
            let own = active().next().map(|_| Self::Verdict { verdict: chain.verdict, others: false });
            own.or(chain.others.map(|verdict| Self::Verdict { verdict, others: true }))
        };
        let retrying = || active().rfind(|t| t.phase == Phase::Retrying);
        let none_active = || active().next().is_none();
        let is_silent = |hop| {
            let link = HopLink::Down { reason: DownReason::Silent };
            chain.route_hops().any(|h| Some(h.number) == hop && h.link == link)
        };
        // How long its answer is waited for says more than that it is silent.
        let awaited = || active().find_map(|t| waiting(chain, t)).filter(|found| is_silent(found.hop()));
        still(awaited())
            .or_else(|| still(down(chain)))
            .or_else(|| retrying().map(|t| Self::Retrying { number: t.number, hop: t.failed_hop }))
            .or_else(|| still(silent(chain)))
            .or_else(|| still(active().find_map(|t| waiting(chain, t))))
            .or_else(|| verdict().filter(|_| is_stalled_on_request))
            .or_else(|| still(active().find_map(stalled)))
            .or_else(|| none_active().then(|| failed(chain).or_else(|| held(chain))).flatten())
            .or_else(|| draining(chain))
            .or_else(verdict)
            .or_else(|| starting(chain))
            .or_else(|| ended(chain))
            .unwrap_or_default()
    }

    /// Returns the stage or link that it is about, if it is a problem of one.
    pub(crate) fn place(&self) -> Option<Place> {
        match *self {
            Self::Down { hop, .. } | Self::Silent { hop } | Self::Draining { hop } => Some(Place::Stage(hop)),
            Self::Retrying { hop, .. }
            | Self::Waiting { hop, .. }
            | Self::Stalled { hop, .. }
            | Self::Failed { hop, .. } => hop.map(Place::Stage),
            Self::Verdict { verdict, .. } => limit_place(&verdict.limit),
            _ => None,
        }
    }

    /// Returns the hop to show for it, from 1: a problem of the client is visible at hop 1.
    pub(crate) fn hop(&self) -> Option<usize> {
        self.place().map(|place| match place {
            Place::Stage(stage) => stage.max(1),
            Place::Link { from, .. } => from,
        })
    }

    /// Returns its weight.
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::Down { requested: false, .. } | Self::Silent { .. } | Self::Failed { .. } | Self::Stalled { .. } => {
                Severity::Bad
            }
            Self::Down { .. }
            | Self::Retrying { .. }
            | Self::Waiting { .. }
            | Self::Draining { .. }
            | Self::Locked { .. } => Severity::Warn,
            Self::Verdict { verdict, .. } if !matches!(verdict.limit, Limit::Measuring | Limit::Balanced) => {
                Severity::Warn
            }
            _ => Severity::Calm,
        }
    }

    /// Returns true for a finding of the same kind about the same thing, whatever its figures.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Verdict { verdict, others }, Self::Verdict { verdict: new, others: new_others }) => {
                verdict.limit.is_same(&new.limit) && others == new_others
            }
            (one, other) => one == other,
        }
    }
}

/// Returns the stage or link that a limit is about.
pub(crate) fn limit_place(limit: &Limit) -> Option<Place> {
    match *limit {
        Limit::Link { from, to, .. } => Some(Place::Link { from, to }),
        Limit::Unobserved { after, before } => Some(Place::Link { from: before, to: after }),
        Limit::Setup { hop, .. } => Some(Place::Stage(hop)),
        _ => limit.stage().map(Place::Stage),
    }
}

/// Returns the first hop that is down. A hop that shuts down and may finish its transfers is draining.
fn down(chain: &ChainSnapshot) -> Option<Finding> {
    chain.route_hops().find_map(|hop| match &hop.link {
        HopLink::Down { reason: DownReason::Stopping } => None,
        HopLink::Down { reason } => Some(Finding::Down { hop: hop.number, requested: reason.is_requested() }),
        _ => None,
    })
}

fn silent(chain: &ChainSnapshot) -> Option<Finding> {
    let is_silent = |hop: &&HopSnapshot| hop.link.is_up() && hop.node.is_some() && hop.age >= SILENT;
    chain.route_hops().find(is_silent).map(|hop| Finding::Silent { hop: hop.number })
}

/// Returns that a transfer waits for a hop, unless the verdict states why already.
fn waiting(chain: &ChainSnapshot, t: &TransferSnapshot) -> Option<Finding> {
    let is_delayed = matches!(chain.verdict.limit, Limit::Fault { fault: FaultKind::Delay, .. });
    let wait =
        t.wait.filter(|wait| wait.awaited != Awaited::Data && !(wait.awaited == Awaited::Delay && is_delayed))?;
    Some(Finding::Waiting { number: t.number, hop: wait.hop })
}

/// Returns that a transfer is stalled, preferably at the hop that it found to be silent.
fn stalled(t: &TransferSnapshot) -> Option<Finding> {
    let silent = t.wait.and_then(|wait| wait.hop);
    t.stall.map(|stall| Finding::Stalled { number: t.number, hop: silent.or(stall.last_moved) })
}

fn failed(chain: &ChainSnapshot) -> Option<Finding> {
    let last = chain.transfers.iter().rfind(|t| t.phase != Phase::Queued)?;
    (last.phase == Phase::Failed).then_some(Finding::Failed { number: last.number, hop: last.failed_hop })
}

/// Returns the newest transfer that is neither over nor needs the hops.
fn held(chain: &ChainSnapshot) -> Option<Finding> {
    chain.transfers.iter().rev().find_map(|t| match t.phase {
        Phase::Locked => Some(Finding::Locked { number: t.number }),
        Phase::Verifying => Some(Finding::Verifying { number: t.number }),
        Phase::Paused => Some(Finding::Paused { number: t.number }),
        _ => None,
    })
}

fn draining(chain: &ChainSnapshot) -> Option<Finding> {
    let drains = |hop: &&HopSnapshot| match &hop.link {
        HopLink::Down { reason } => *reason == DownReason::Stopping,
        link => link.is_up() && hop.node.as_ref().is_some_and(|node| node.draining),
    };
    chain.route_hops().find(drains).map(|hop| Finding::Draining { hop: hop.number })
}

fn starting(chain: &ChainSnapshot) -> Option<Finding> {
    let hop = chain.route_hops().find(|hop| hop.link == HopLink::Starting)?;
    Some(Finding::Starting { hop: hop.number })
}

fn ended(chain: &ChainSnapshot) -> Option<Finding> {
    chain.transfers.iter().rev().find_map(|t| match t.phase {
        Phase::Done => Some(Finding::Finished { number: t.number }),
        Phase::Cancelled => Some(Finding::Cancelled { number: t.number }),
        _ => None,
    })
}
