//! Watches a transfer without a screen while it runs: what limits it, and whether it stands still.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::ProgressDisplay;
use crate::net::diagnose::{accounts, reach};
use crate::net::os::clock::Clock;
use crate::net::watch::Watcher;
use crate::route::Route;
use crate::snapshot::{Stall, TransferSnapshot};
use crate::units::Span;
use crate::verdict::{Limit, Rolling, Verdict};

/// Where the evidence comes from.
#[derive(Clone, Debug)]
pub(super) enum VerdictSource {
    /// The hops' own reports, which are followed anyway.
    Watched(Arc<Watcher>),
    /// A question to each hop now and then: the transfer's id is the right to ask.
    Queried,
}

/// What was seen last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observation {
    /// What limits the transfer; `None` while nothing can be said.
    pub(super) verdict: Option<Verdict>,
    /// It stands still.
    pub(super) stall: Option<Stall>,
}

/// Time between two looks at reports that come by themselves.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two rounds of questions, each a connection to every hop.
const QUERY_INTERVAL: Duration = Duration::from_millis(500);

impl VerdictSource {
    /// Follows one transfer, and says what it sees, for as long as it is waited for.
    pub(super) async fn follow(
        &self,
        route: &Route,
        news: watch::Receiver<TransferSnapshot>,
        display: &ProgressDisplay,
        observation: &mut Observation,
    ) -> Infallible {
        let (clock, mut rolling) = (Clock::start(), Rolling::default());
        loop {
            sleep(if matches!(self, Self::Queried) { QUERY_INTERVAL } else { POLL_INTERVAL }).await;
            let transfer = news.borrow().clone();
            if !transfer.phase.is_under_way() {
                continue;
            }
            let verdict = match self {
                Self::Watched(watcher) => rolling.see(clock.now_us(), &watcher.hops(), std::slice::from_ref(&transfer)),
                Self::Queried => {
                    // Where nobody can be asked there is nothing to judge: not even that a hop sends no reports.
                    let reach = reach(transfer.legs.len(), transfer.wire);
                    let reported = match transfer.asks.filter(|_| reach > 0) {
                        Some(id) => accounts(route, reach, id).await,
                        None => Vec::new(),
                    };
                    rolling.hear(clock.now_us(), &reported, &transfer)
                }
            };
            let now = Observation {
                verdict: (verdict.limit != Limit::TooShort).then_some(verdict),
                stall: rolling.stall(transfer.number),
            };
            observation.report_changes(&now, &transfer, display);
            *observation = now;
        }
    }
}

impl Observation {
    /// Says what is new.
    fn report_changes(&self, now: &Self, transfer: &TransferSnapshot, display: &ProgressDisplay) {
        let cause = |observation: &Self| observation.verdict.map(|verdict| verdict.limit);
        if let Some(verdict) = now.verdict.filter(|_| cause(self) != cause(now)) {
            display.news(&format!("{}: {verdict}", transfer.name));
        }
        if let Some(stall) = now.stall.filter(|_| self.stall.is_none()) {
            let hop = stall.last_moved.map(|hop| format!(", hop {hop} moved data last")).unwrap_or_default();
            display.news(&format!("{}: no byte for {}{hop}", transfer.name, Span(stall.lasting)));
        }
    }
}
