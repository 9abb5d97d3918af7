//! One act of the tour: prepared, observed while its transfer runs, and taken back.

use std::time::Duration;

use super::script::{
    ACTS, Cause, DUTY, KILLED_HOP, LIMITED_HOP, LINK, LINK_DELAY, LINK_RATE, Pace, RATE, SLOW_HOP, TourStep,
};
use crate::command::Command;
use crate::faults::FaultChange;
use crate::snapshot::verdict::{Limit, Verdict};
use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot, Integrity, NamedCause, Phase, TransferSnapshot};
use crate::units::{Bytes, Rate};

/// Share of a transfer from which on the next one starts, where one follows the other.
const NEARLY: f64 = 0.8;

/// State of the running act.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each records one event, and they occur in any combination")]
pub(super) struct Act {
    pub(super) index: usize,
    pub(super) since: Duration,
    /// What it needs was requested: hops that are down, the rate limit.
    prepared: bool,
    /// Start of its transfer, and the transfer's number once known.
    pub(super) fetched: Option<Duration>,
    pub(super) transfer: Option<u64>,
    /// Start of the cause.
    began: Option<Duration>,
    /// The rate limit was reported.
    in_effect: bool,
    /// Process that was slowed down.
    process: Option<u32>,
    /// The start of the killed hop was requested.
    restarted: bool,
    /// The user, or the tour itself, has ended the cause.
    is_undone: bool,
    /// Times when the interrupted transfer was seen to run again, and to be complete.
    resumed: Option<Duration>,
    pub(super) verified: Option<Duration>,
    pub(super) named: Option<(NamedCause, Duration)>,
}

impl Act {
    pub(super) fn new(index: usize, since: Duration) -> Self {
        Self {
            index,
            since,
            prepared: false,
            fetched: None,
            transfer: None,
            began: None,
            in_effect: false,
            process: None,
            restarted: false,
            is_undone: false,
            resumed: None,
            verified: None,
            named: None,
        }
    }

    fn cause(&self) -> Cause {
        ACTS[self.index].0
    }

    pub(super) fn title(&self) -> &'static str {
        ACTS[self.index].1
    }

    /// Starts the transfer once all hops are up and the rate limit is in effect; later, it starts as things are.
    pub(super) fn prepare(&mut self, now: Duration, may_wait: bool, chain: &ChainSnapshot) -> Vec<TourStep> {
        let cause = self.cause();
        self.in_effect |= rate_limit(chain) == Some(RATE);
        let limited = cause != Cause::RateLimit || self.in_effect;
        let mut steps = Vec::new();
        if !self.prepared {
            self.prepared = true;
            let down = chain.hops.iter().filter(|hop| hop.ours && is_down(hop));
            steps.extend(down.map(|hop| TourStep::Command(Command::StartNode(hop.number))));
            if cause == Cause::RateLimit {
                steps.push(set_limit(Some(RATE)));
            }
        }
        if may_wait && !(limited && chain.hops.iter().all(|hop| hop.link.is_up())) {
            return steps;
        }
        self.fetched = Some(now);
        if cause == Cause::Processor {
            self.process = process(chain);
            steps.push(TourStep::SlowProcess { hop: SLOW_HOP, on: true });
        }
        if cause != Cause::Killed {
            self.began = Some(now);
        }
        let rate = (cause == Cause::Killed).then_some(RATE);
        steps.push(TourStep::Fetch { over_slow_link: cause == Cause::Link, rate });
        steps
    }

    /// Records whether the dashboard names the cause, and whether the user has ended it.
    pub(super) fn observe(&mut self, now: Duration, chain: &ChainSnapshot) {
        let Some(began) = self.began else { return };
        if self.named.is_none()
            && let Some(cause) = self.name(chain)
        {
            self.named = Some((cause, now.saturating_sub(began)));
        }
        let (transfer, cause) = (self.current(chain), self.cause());
        let limited = rate_limit(chain) == Some(RATE);
        self.is_undone |= match cause {
            Cause::RateLimit => std::mem::replace(&mut self.in_effect, limited) && !limited,
            Cause::Processor => process(chain) != self.process,
            Cause::Link => transfer.is_some_and(|transfer| transfer.phase.is_over()),
            Cause::Killed => self.resumed.is_some(),
        };
        let runs_again =
            transfer.is_some_and(|transfer| transfer.phase == Phase::Streaming && transfer.resumed_from > 0);
        let verified = self.verified(chain).is_some();
        if cause == Cause::Killed && runs_again {
            self.resumed.get_or_insert(now);
        }
        if verified {
            self.verified.get_or_insert(now);
        }
    }

    /// Returns how the dashboard names the cause, if it does.
    fn name(&self, chain: &ChainSnapshot) -> Option<NamedCause> {
        let is_named = match (self.cause(), chain.verdict.limit) {
            (Cause::RateLimit, Limit::RateLimit { hop, .. }) => hop == LIMITED_HOP,
            (Cause::Processor, Limit::Relay { hop }) => hop == SLOW_HOP,
            (Cause::Link, Limit::Link { from, to, .. }) => [from, to] == LINK,
            (Cause::Killed, _) => {
                // Two facts of one screen: the hop is down, and the transfer waits for its retry for this reason.
                let waits = self.current(chain).filter(|_| chain.hop(KILLED_HOP).is_some_and(is_down))?;
                let error = waits.error.clone().filter(|_| waits.phase == Phase::Retrying)?;
                return Some(NamedCause::Interrupted { hop: KILLED_HOP, error, resumed_from: None });
            }
            _ => false,
        };
        // How long it has lasted is the tour's own figure.
        is_named.then_some(NamedCause::Verdict(Verdict { since_ms: 0, ..chain.verdict }))
    }

    /// Returns what the act does once its transfer runs.
    pub(super) fn proceed(&mut self, now: Duration, pace: Pace, chain: &ChainSnapshot) -> Vec<TourStep> {
        let since = |time: Option<Duration>| time.map(|time| now.saturating_sub(time));
        let current = self.current(chain);
        let command = |command| vec![TourStep::Command(command)];
        match self.cause() {
            Cause::RateLimit | Cause::Link => Vec::new(),
            Cause::Processor => {
                // How fast a process with so little time is depends on the machine, and a pause would end the verdict.
                let ends = current.is_some_and(|transfer| transfer.share() >= NEARLY || transfer.phase == Phase::Done);
                let time_left = pace.act.saturating_sub(now.saturating_sub(self.since));
                if ends && !self.is_undone && time_left > pace.settle {
                    return vec![TourStep::Fetch { over_slow_link: false, rate: None }];
                }
                Vec::new()
            }
            Cause::Killed if self.began.is_none() => {
                let runs = current.is_some_and(|transfer| transfer.phase == Phase::Streaming && transfer.received > 0);
                if runs && since(self.fetched) >= Some(pace.head_start) {
                    self.began = Some(now);
                    return command(Command::KillNode(KILLED_HOP));
                }
                Vec::new()
            }
            Cause::Killed => {
                let lasts = |time: Option<Duration>, limit: Duration| since(time).is_some_and(|time| time >= limit);
                let is_down = chain.hop(KILLED_HOP).is_some_and(is_down);
                if lasts(self.began, pace.down) && is_down && !std::mem::replace(&mut self.restarted, true) {
                    return command(Command::StartNode(KILLED_HOP));
                }
                // The rest may come at full speed, so that it ends within the act.
                match current.filter(|transfer| transfer.rate_limit == Some(RATE) && !transfer.phase.is_over()) {
                    Some(transfer) if lasts(self.resumed, pace.head_start) => {
                        command(Command::LimitTransfer { number: transfer.number, rate: None })
                    }
                    _ => Vec::new(),
                }
            }
        }
    }

    /// Returns what ends the cause, unless the user has ended it already.
    pub(super) fn undo(&self, chain: &ChainSnapshot) -> Vec<TourStep> {
        match self.cause() {
            // A limit that the user has set in its place stays.
            Cause::RateLimit if self.prepared && !self.is_undone => vec![set_limit(None)],
            Cause::Processor if self.fetched.is_some() => vec![TourStep::SlowProcess { hop: SLOW_HOP, on: false }],
            Cause::Link if self.fetched.is_some() => vec![TourStep::RestoreLink],
            Cause::Killed => {
                let down = chain.hop(KILLED_HOP).filter(|hop| self.began.is_some() && is_down(hop));
                let start = down.map(|hop| Command::StartNode(hop.number));
                let limited = self.current(chain).filter(|transfer| !transfer.phase.is_over());
                let rest = limited.map(|transfer| Command::LimitTransfer { number: transfer.number, rate: None });
                start.into_iter().chain(rest).map(TourStep::Command).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the interrupted transfer once it is complete.
    fn verified<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        self.current(chain).filter(|transfer| {
            let verified = matches!(transfer.integrity, Integrity::Verified { .. });
            self.cause() == Cause::Killed && transfer.phase == Phase::Done && verified
        })
    }

    /// Returns how the cause was named, and after what time; an interrupted transfer may be complete since.
    pub(super) fn outcome(&self, chain: &ChainSnapshot) -> Option<(NamedCause, Duration)> {
        let (mut cause, after) = self.named.clone()?;
        if let NamedCause::Interrupted { resumed_from, .. } = &mut cause {
            *resumed_from = self.verified(chain).map(|transfer| transfer.resumed_from);
        }
        Some((cause, after))
    }

    /// Returns what has been done to the chain, and what the user can do.
    pub(super) fn caption(&self, chain: &ChainSnapshot) -> (String, &'static str) {
        if self.fetched.is_none() {
            return ("preparing".to_owned(), "");
        }
        let [runs, stopped] = DUTY.map(|part| part.as_millis());
        match self.cause() {
            Cause::RateLimit if self.is_undone => (format!("the limit of hop {LIMITED_HOP} is gone"), ""),
            Cause::RateLimit => (
                format!("hop {LIMITED_HOP} sends at most {}", Rate(RATE)),
                "{faults} then {popup-off} removes the limit",
            ),
            Cause::Processor if self.is_undone => (format!("hop {SLOW_HOP} is a new process, at full speed"), ""),
            Cause::Processor => (
                format!("hop {SLOW_HOP} gets {}% of a processor", 100 * runs / (runs + stopped)),
                "{restart-node} twice restarts hop 1",
            ),
            Cause::Link => (
                format!("{} ms, {} from hop {} to {}", LINK_DELAY.as_millis(), Rate(LINK_RATE), LINK[0], LINK[1]),
                "{fetch} fetches without that link",
            ),
            Cause::Killed => match (self.began, chain.hop(KILLED_HOP).is_some_and(is_down)) {
                (None, _) => (format!("a transfer runs; next, hop {KILLED_HOP} is killed"), ""),
                (Some(_), true) => (format!("hop {KILLED_HOP} was killed (SIGKILL)"), "{start-node} starts it now"),
                (Some(_), false) if self.resumed.is_none() => (format!("hop {KILLED_HOP} was started again"), ""),
                (Some(_), false) => match self.verified(chain) {
                    Some(transfer) => (format!("resumed at {} and verified", Bytes(transfer.resumed_from)), ""),
                    None => ("the transfer has resumed where it was".to_owned(), ""),
                },
            },
        }
    }

    fn current<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        chain.transfer(self.transfer?)
    }
}

fn is_down(hop: &HopSnapshot) -> bool {
    matches!(hop.link, HopLink::Down { .. })
}

/// Returns the process of the hop that is slowed down.
fn process(chain: &ChainSnapshot) -> Option<u32> {
    match chain.hop(SLOW_HOP)?.link {
        HopLink::Spawned { pid } => Some(pid),
        _ => None,
    }
}

/// Returns the reported rate limit of the hop that is limited.
fn rate_limit(chain: &ChainSnapshot) -> Option<u64> {
    chain.hop(LIMITED_HOP)?.node.as_ref()?.faults.limit
}

pub(super) fn set_limit(rate: Option<u64>) -> TourStep {
    TourStep::Command(Command::SetFault { hop: LIMITED_HOP, change: FaultChange::Limit(rate) })
}
