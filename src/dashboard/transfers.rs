//! The transfers of one run: started, followed, cancelled, and what the hops say of them afterwards.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::FetchPlan;
use crate::error::Error;
use crate::net::accounts::{accounts, reach};
use crate::net::fetch::{self, FetchJob};
use crate::net::link::Links;
use crate::route::Route;
use crate::snapshot::{Flow, Phase, TransferSnapshot};
use crate::verdict::{Stage, Verdict, judge};

/// Transfers that may run at once; more are refused, for each is a whole chain of connections.
const AT_ONCE: usize = 16;
/// Transfers that are kept for the screen after they ended.
const KEPT: usize = 100;

/// All transfers of one run.
#[derive(Debug)]
pub(super) struct Transfers {
    plan: FetchPlan,
    links: Arc<Links>,
    started: u64,
    list: Vec<Transfer>,
    running: JoinSet<Ended>,
}

/// One transfer, running or not.
#[derive(Debug)]
struct Transfer {
    number: u64,
    news: watch::Receiver<TransferSnapshot>,
    stop: CancellationToken,
    verdict: Option<Verdict>,
}

/// How a transfer ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its number.
    pub(super) number: u64,
    /// How it failed, if it did.
    pub(super) error: Option<Error>,
    verdict: Verdict,
}

impl Transfers {
    pub(super) fn new(plan: FetchPlan) -> Self {
        Self { plan, links: Arc::default(), started: 0, list: Vec::new(), running: JoinSet::new() }
    }

    /// Starts one; the answer is its number, or why not.
    pub(super) fn start(&mut self, route: Route) -> Result<u64, String> {
        if self.running.len() >= AT_ONCE {
            return Err(format!("{AT_ONCE} transfers run already: wait for one to end, or cancel one"));
        }
        self.started += 1;
        let number = self.started;
        let plan = &self.plan;
        let job = plan.job(number, route);
        let first = TransferSnapshot { number, name: job.route.file.shown(), ..TransferSnapshot::default() };
        let (progress, news) = watch::channel(first);
        let stop = CancellationToken::new();
        self.list.push(Transfer { number, news, stop: stop.clone(), verdict: None });
        let upstream = fetch::client(Arc::clone(&self.links), plan.limits, plan.wire);
        self.running.spawn(transfer(job, upstream, progress, stop));
        let over = |transfer: &Transfer| transfer.news.borrow().phase.is_over();
        if self.list.len() > KEPT
            && let Some(oldest) = self.list.iter().position(over)
        {
            self.list.remove(oldest);
        }
        Ok(number)
    }

    /// Cancels one that runs.
    pub(super) fn cancel(&self, number: u64) {
        if let Some(transfer) = self.list.iter().find(|transfer| transfer.number == number) {
            transfer.stop.cancel();
        }
    }

    /// Cancels all and waits for them.
    pub(super) async fn end(&mut self) {
        self.list.iter().for_each(|transfer| transfer.stop.cancel());
        while self.running.join_next().await.is_some() {}
    }

    /// The next that ends; `None` where none runs. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Option<Result<Ended, String>> {
        let ended = self.running.join_next().await?.map_err(|error| error.to_string());
        if let Ok(ended) = &ended
            && let Some(transfer) = self.list.iter_mut().find(|transfer| transfer.number == ended.number)
        {
            transfer.verdict = Some(ended.verdict);
        }
        Some(ended)
    }

    /// Something is on its way.
    pub(super) fn any_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// All of them, oldest first.
    pub(super) fn snapshots(&self) -> Vec<TransferSnapshot> {
        let copy = |transfer: &Transfer| {
            let snapshot = transfer.news.borrow().clone();
            TransferSnapshot { verdict: transfer.verdict.or(snapshot.verdict), ..snapshot }
        };
        self.list.iter().map(copy).collect()
    }

    /// What the client's own stage has done in all transfers whose bodies are moving.
    pub(super) fn flow(&self) -> Flow {
        let mut sum = Flow::default();
        for transfer in &self.list {
            let snapshot = transfer.news.borrow();
            if snapshot.phase == Phase::Streaming {
                sum.add(&snapshot.flow);
            }
        }
        sum
    }
}

async fn transfer(
    job: FetchJob,
    mut upstream: crate::net::upstream::Upstream,
    progress: watch::Sender<TransferSnapshot>,
    stop: CancellationToken,
) -> Ended {
    let result = fetch::fetch(&mut upstream, &job, &progress, &stop).await;
    let reach = |legs| reach(legs, result.as_ref().ok().map(|fetched| fetched.wire));
    let snapshot = progress.borrow().clone();
    // A transfer that never reached the first hop is known to none.
    let accounts = match snapshot.legs.is_empty() || stop.is_cancelled() {
        true => Vec::new(),
        false => accounts(&job.route, reach(snapshot.legs.len()), job.id).await,
    };
    let verdict = judge(&snapshot.flow, &Stage::of(&accounts));
    Ended { number: job.number, error: result.err(), verdict }
}
