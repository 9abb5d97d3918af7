//! Evaluates a running transfer without a screen: what limits it, and whether it has stalled.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::ProgressDisplay;
use crate::keys::KeyPair;
use crate::net::diagnose::{reach, transfer_records};
use crate::net::os::clock::Clock;
use crate::net::watch::Watcher;
use crate::route::Route;
use crate::snapshot::verdict::{Limit, Verdict};
use crate::snapshot::{Stall, TransferSnapshot};
use crate::units::HumanDuration;
use crate::verdict::Rolling;

/// Source of the evidence for a verdict.
#[derive(Clone, Debug)]
pub(super) enum VerdictSource {
    /// Reports that the watcher receives from the hops anyway.
    Watched(Arc<Watcher>),
    /// Periodic requests to each hop, authorized by the transfer's id, and signed by this key.
    Queried(Option<Arc<KeyPair>>),
}

/// Last evaluation of a transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observation {
    /// Verdict; `None` while there is too little evidence.
    pub(super) verdict: Option<Verdict>,
    /// Stall, while no byte moves.
    pub(super) stall: Option<Stall>,
}

/// Time between two evaluations of the watcher's reports.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two rounds of requests, each with a connection to every hop.
const QUERY_INTERVAL: Duration = Duration::from_millis(500);

impl VerdictSource {
    /// Follows one transfer and prints changes, until it is dropped.
    pub(super) async fn follow(
        &self,
        route: &Route,
        news: watch::Receiver<TransferSnapshot>,
        display: &ProgressDisplay,
        observation: &mut Observation,
    ) -> Infallible {
        let (clock, mut rolling) = (Clock::start(), Rolling::default());
        loop {
            sleep(if matches!(self, Self::Queried(_)) { QUERY_INTERVAL } else { POLL_INTERVAL }).await;
            let transfer = news.borrow().clone();
            if !transfer.phase.is_under_way() {
                continue;
            }
            let verdict = match self {
                Self::Watched(watcher) => {
                    rolling.update(clock.now_us(), &watcher.hops(), std::slice::from_ref(&transfer))
                }
                Self::Queried(identity) => {
                    // Without a hop to request from there is nothing to evaluate: not even that a hop sends no reports.
                    let reach = reach(transfer.legs.len(), transfer.protocol);
                    let reported = match transfer.ids.filter(|_| reach > 0) {
                        Some(ids) => transfer_records(route, reach, ids, identity.as_ref()).await,
                        None => Vec::new(),
                    };
                    rolling.update_from_records(clock.now_us(), &reported, &transfer)
                }
            };
            let now = Observation {
                verdict: (verdict.limit != Limit::Measuring).then_some(verdict),
                stall: rolling.stall(transfer.number),
            };
            observation.report_changes(&now, &transfer, display);
            *observation = now;
        }
    }
}

impl Observation {
    /// Prints what has changed since the last evaluation.
    fn report_changes(&self, now: &Self, transfer: &TransferSnapshot, display: &ProgressDisplay) {
        let cause = |observation: &Self| observation.verdict.map(|verdict| verdict.limit);
        if let Some(verdict) = now.verdict.filter(|_| cause(self) != cause(now)) {
            display.news(&format!("{}: {verdict}", transfer.name));
        }
        if let Some(stall) = now.stall.filter(|_| self.stall.is_none()) {
            let hop = stall.last_moved.map(|hop| format!(", hop {hop} moved data last")).unwrap_or_default();
            display.news(&format!("{}: no byte for {}{hop}", transfer.name, HumanDuration(stall.lasting)));
        }
    }
}
