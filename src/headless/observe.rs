//! Watches a transfer without a screen while it runs: what limits it, and whether it stands still.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Show;
use crate::net::diagnose::{accounts, reach};
use crate::net::os::clock::Clock;
use crate::net::watch::Watcher;
use crate::route::Route;
use crate::snapshot::{Stall, TransferSnapshot};
use crate::units::Span;
use crate::verdict::{Limit, Rolling, Verdict};

/// Where the evidence comes from.
#[derive(Clone, Debug)]
pub(super) enum Eyes {
    /// The hops' own reports, which are followed anyway.
    Watching(Arc<Watcher>),
    /// A question to each hop now and then: the transfer's id is the right to ask.
    Asking,
}

/// What was seen last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// What limits the transfer; `None` while nothing can be said.
    pub(super) verdict: Option<Verdict>,
    /// It stands still.
    pub(super) stall: Option<Stall>,
}

/// Time between two looks at reports that come by themselves.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two rounds of questions, each a connection to every hop.
const ASK: Duration = Duration::from_millis(500);

impl Eyes {
    /// Follows one transfer, and says what it sees, for as long as it is waited for.
    pub(super) async fn follow(
        &self,
        route: &Route,
        news: watch::Receiver<TransferSnapshot>,
        show: &Show,
        seen: &mut Seen,
    ) -> Infallible {
        let (clock, mut rolling) = (Clock::start(), Rolling::default());
        loop {
            sleep(if matches!(self, Self::Asking) { ASK } else { LOOK }).await;
            let transfer = news.borrow().clone();
            if !transfer.phase.is_under_way() {
                continue;
            }
            let verdict = match self {
                Self::Watching(watcher) => {
                    rolling.see(clock.now_us(), &watcher.hops(), std::slice::from_ref(&transfer))
                }
                Self::Asking => {
                    // Where nobody can be asked there is nothing to judge: not even that a hop sends no reports.
                    let reach = reach(transfer.legs.len(), transfer.wire);
                    let told = match transfer.asks.filter(|_| reach > 0) {
                        Some(id) => accounts(route, reach, id).await,
                        None => Vec::new(),
                    };
                    rolling.hear(clock.now_us(), &told, &transfer)
                }
            };
            let now = Seen {
                verdict: (verdict.limit != Limit::TooShort).then_some(verdict),
                stall: rolling.stall(transfer.number),
            };
            seen.tell(&now, &transfer, show);
            *seen = now;
        }
    }
}

impl Seen {
    /// Says what is new.
    fn tell(&self, now: &Self, transfer: &TransferSnapshot, show: &Show) {
        let cause = |seen: &Self| seen.verdict.map(|verdict| verdict.limit);
        if let Some(verdict) = now.verdict.filter(|_| cause(self) != cause(now)) {
            show.news(&format!("{}: {verdict}", transfer.name));
        }
        if let Some(stall) = now.stall.filter(|_| self.stall.is_none()) {
            let hop = stall.last_moved.map(|hop| format!(", hop {hop} moved data last")).unwrap_or_default();
            show.news(&format!("{}: no byte for {}{hop}", transfer.name, Span(stall.lasting)));
        }
    }
}
