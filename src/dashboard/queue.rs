//! The transfers of one run: a queue, some at once, and what the hops say of each afterwards.

#[cfg(test)]
mod tests;
mod transfer;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::cli::FetchPlan;
use crate::error::Error;
use crate::net::diagnose::{accounts, reach};
use crate::net::fetch::{self, FetchJob};
use crate::net::upstream::Upstream;
use crate::net::upstream::protocols::Links;
use crate::route::Route;
use crate::snapshot::{Flow, TransferAccount, TransferSnapshot};
use crate::verdict::{Stage, Verdict, judge};
use transfer::{AfterStop, State, Transfer};

/// Transfers that run at once unless `-j` says otherwise: each is a whole chain of connections.
const DEFAULT_JOBS: u32 = 4;
/// Transfers that may wait, run or be paused; each is a row of the screen, copied with every picture of it.
const MAX_OPEN: usize = 200;
/// Transfers that are kept for the screen after they ended.
const MAX_ENDED: usize = 100;

/// All transfers of one run.
#[derive(Debug)]
pub(super) struct Queue {
    plan: FetchPlan,
    links: Arc<Links>,
    numbered: u64,
    /// Oldest first; of those that wait, the first is the next.
    list: Vec<Transfer>,
    running: JoinSet<FinishedTask>,
    evaluating: JoinSet<Evaluated>,
    /// None starts before the chain is there to be asked, or while leaving.
    open: bool,
}

/// What becomes known of a transfer at its end.
#[derive(Debug)]
pub(super) enum QueueEvent {
    /// The file is in its place.
    Done(u64),
    /// It failed, or was cancelled, and how.
    Failed(u64, Error),
    /// It has come to rest, to go on some day.
    Paused(u64),
    /// It was to rest and goes on after all.
    Requeued,
    /// It ended in a way that is our own mistake.
    Panicked(u64, String),
    /// The hops were asked, or had no more time to answer: what limited it.
    Evaluated(Verdict),
}

/// What the hops said of a transfer that is over.
#[derive(Debug)]
struct Evaluated {
    number: u64,
    verdict: Verdict,
    accounts: Vec<Option<TransferAccount>>,
}

/// A transfer that no longer runs.
#[derive(Debug)]
struct FinishedTask {
    job: FetchJob,
    /// The chain it came over; the next in the queue may use it.
    upstream: Upstream,
    error: Option<Error>,
    flow: Flow,
    /// How many hops can say something of it; none is asked about one that never reached them, or was stopped.
    reach: Option<usize>,
}

impl Queue {
    pub(super) fn new(plan: FetchPlan) -> Self {
        Self {
            plan,
            links: Arc::default(),
            numbered: 0,
            list: Vec::new(),
            running: JoinSet::new(),
            evaluating: JoinSet::new(),
            open: false,
        }
    }

    /// Lets the queue run.
    pub(super) fn open(&mut self) {
        self.open = true;
        self.fill(None);
    }

    /// Puts one into the queue; the answer is its number, or why not.
    pub(super) fn add(&mut self, route: Route, cap: Option<u64>) -> Result<u64, String> {
        if self.list.iter().filter(|transfer| !transfer.is_over()).count() >= MAX_OPEN {
            return Err(format!("{MAX_OPEN} transfers are not over yet: wait for one, or cancel one"));
        }
        if self.list.len() >= MAX_OPEN + MAX_ENDED
            && let Some(oldest) = self.list.iter().position(Transfer::is_over)
        {
            self.list.remove(oldest);
        }
        self.numbered += 1;
        self.list.push(Transfer::new(self.numbered, route, cap));
        self.fill(None);
        Ok(self.numbered)
    }

    /// Queues anew what one that is over was to fetch; the answer is the new number.
    pub(super) fn retry(&mut self, number: u64) -> Result<u64, String> {
        let old = self.find(number)?;
        if !old.is_over() {
            return Err(format!("#{number} is not over yet"));
        }
        let (route, cap) = (old.route.clone(), old.cap.get());
        self.add(route, cap)
    }

    /// Cancels one that is not over.
    pub(super) fn cancel(&mut self, number: u64) -> Result<(), String> {
        self.find(number)?.cancel()
    }

    /// Cancels all that are not over.
    pub(super) fn cancel_all(&mut self) {
        for transfer in &mut self.list {
            // Those that are over stay so.
            let _ = transfer.cancel();
        }
    }

    /// Stops one for now.
    pub(super) fn pause(&mut self, number: u64) -> Result<(), String> {
        self.find(number)?.pause()
    }

    /// Lets a paused one go on, as soon as there is room.
    pub(super) fn resume(&mut self, number: u64) -> Result<(), String> {
        self.find(number)?.resume()?;
        self.fill(None);
        Ok(())
    }

    /// Caps what one takes.
    pub(super) fn cap(&mut self, number: u64, rate: Option<u64>) -> Result<(), String> {
        let transfer = self.find(number)?;
        if transfer.is_over() {
            return Err(format!("#{number} is over: there is nothing to cap"));
        }
        transfer.cap.set(rate);
        Ok(())
    }

    /// Moves a queued one among those that wait; the answer is its new place, from 1.
    pub(super) fn reorder(&mut self, number: u64, by: isize) -> Result<usize, String> {
        let waiting: Vec<usize> =
            (0..self.list.len()).filter(|at| matches!(self.list[*at].state, State::Queued(_))).collect();
        let place = waiting.iter().position(|at| self.list[*at].number == number);
        let place = place.ok_or_else(|| format!("#{number} does not wait in the queue"))?;
        let to = place.saturating_add_signed(by).min(waiting.len() - 1);
        let moved = self.list.remove(waiting[place]);
        self.list.insert(waiting[to], moved);
        Ok(to + 1)
    }

    /// Stops all and waits for them.
    pub(super) async fn end(&mut self) {
        self.open = false;
        self.cancel_all();
        while let Some(ended) = self.running.join_next_with_id().await {
            self.settle(ended.map(|(_, ended)| ended));
        }
    }

    /// The next news; `None` where none can come. Cancel-safe.
    ///
    /// That a transfer is over is told at once: a hop that answers no question would hold it back for a second.
    pub(super) async fn next_event(&mut self) -> Option<QueueEvent> {
        tokio::select! {
            biased;
            Some(ended) = self.running.join_next_with_id() => Some(self.settle(ended.map(|(_, ended)| ended))),
            Some(judged) = self.evaluating.join_next() => Some(match judged {
                Ok(Evaluated { number, verdict, accounts }) => {
                    if let Ok(transfer) = self.find(number) {
                        transfer.evaluated(verdict, &accounts);
                    }
                    QueueEvent::Evaluated(verdict)
                }
                Err(error) => QueueEvent::Panicked(0, error.to_string()),
            }),
            else => None,
        }
    }

    /// This one has not started yet.
    pub(super) fn waits(&self, number: u64) -> bool {
        self.list.iter().any(|transfer| transfer.number == number && matches!(transfer.state, State::Queued(_)))
    }

    /// Something is on its way.
    pub(super) fn any_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// All of them, oldest first, those that wait in the order in which they will start.
    pub(super) fn snapshots(&self) -> Vec<TransferSnapshot> {
        self.list.iter().map(Transfer::snapshot).collect()
    }

    fn find(&mut self, number: u64) -> Result<&mut Transfer, String> {
        let found = self.list.iter_mut().find(|transfer| transfer.number == number);
        found.ok_or_else(|| format!("there is no transfer #{number}"))
    }

    /// Starts as many of those that wait as there is room for; a chain that has just become free serves the first.
    fn fill(&mut self, mut free: Option<Upstream>) {
        let most = self.plan.jobs.unwrap_or(DEFAULT_JOBS) as usize;
        while self.open && self.running.len() < most {
            let next = self.list.iter_mut().find(|transfer| matches!(transfer.state, State::Queued(_)));
            let Some(transfer) = next else { return };
            let job = FetchJob { cap: transfer.cap.clone(), ..self.plan.job(transfer.number, transfer.route.clone()) };
            let (sender, progress) = watch::channel(transfer.snapshot());
            let stop = CancellationToken::new();
            let plan = &self.plan;
            let upstream =
                free.take().unwrap_or_else(|| fetch::client(Arc::clone(&self.links), plan.limits, plan.wire));
            let task = self.running.spawn(transfer_one(job, upstream, sender, stop.clone())).id();
            transfer.state = State::Running { progress, stop, task, then: AfterStop::Over };
        }
    }

    /// Notes how one ended, has the hops asked about it, and lets the next begin.
    fn settle(&mut self, ended: Result<FinishedTask, JoinError>) -> QueueEvent {
        let FinishedTask { job, upstream, error, flow, reach } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let broken = self.list.iter_mut().find(|transfer| transfer.task() == Some(error.id()));
                let number = broken.map_or(0, |transfer| transfer.panicked(&error));
                self.fill(None);
                return QueueEvent::Panicked(number, error.to_string());
            }
        };
        let number = job.number;
        let event = match self.find(number) {
            Ok(transfer) => transfer.ended(error),
            Err(why) => QueueEvent::Panicked(number, why),
        };
        if matches!(event, QueueEvent::Done(_) | QueueEvent::Failed(..)) {
            self.evaluating.spawn(async move {
                let accounts = match reach {
                    Some(reach) => accounts(&job.route, reach, job.id).await,
                    None => Vec::new(),
                };
                Evaluated { number, verdict: judge(&flow, &Stage::of(&accounts)), accounts }
            });
        }
        self.fill(Some(upstream));
        event
    }
}

async fn transfer_one(
    mut job: FetchJob,
    mut upstream: Upstream,
    progress: watch::Sender<TransferSnapshot>,
    stop: CancellationToken,
) -> FinishedTask {
    let result = fetch::fetch(&mut upstream, &mut job, &progress, &stop).await;
    let wire = result.as_ref().ok().map(|fetched| fetched.wire);
    let (flow, legs, moved) = {
        let last = progress.borrow();
        (last.flow, last.legs.len(), !last.was_up_to_date())
    };
    let reach = (legs > 0 && moved && !stop.is_cancelled()).then(|| reach(legs, wire));
    FinishedTask { job, upstream, error: result.err(), flow, reach }
}
