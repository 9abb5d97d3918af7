//! Transfer queue: starts transfers, a limited number in parallel, and requests the records of the hops after each.

#[cfg(test)]
mod tests;
mod transfer;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::cli::FetchPlan;
use crate::error::Error;
use crate::net::diagnose::{reach, transfer_records};
use crate::net::fetch::{self, FetchJob, Publisher, Slot, Slots};
use crate::net::supervisor::OriginToken;
use crate::net::upstream::Upstream;
use crate::net::upstream::protocols::UpstreamShared;
use crate::on_done::DoneReport;
use crate::plan::fetch_job;
use crate::route::Route;
use crate::snapshot::verdict::Verdict;
use crate::snapshot::{Flow, FolderProgress, TransferRecord, TransferSnapshot};
use crate::verdict::{Stage, evaluate};
use crate::wire::TransferIds;
pub(super) use transfer::QueueEvent;
use transfer::{AfterStop, QueuedTransfer, TransferState};

/// Default of `-j`, the number of transfers that run in parallel: each uses a whole chain of connections. Those that
/// only wait, for a disk or for another fetch of the same file, do not count.
const DEFAULT_JOBS: u32 = 4;
/// Maximum number of transfers that wait, run or are paused; each is a row, copied with every snapshot.
pub(super) const MAX_OPEN: usize = 200;
/// Maximum number of ended transfers kept for the screen.
const MAX_ENDED: usize = 100;

/// Queue of all transfers of one run.
#[derive(Debug)]
pub(super) struct Queue {
    plan: FetchPlan,
    origin_token: OriginToken,
    links: Arc<UpstreamShared>,
    numbered: u64,
    /// Transfers, oldest first; of those that wait, the first starts next.
    list: Vec<QueuedTransfer>,
    running: JoinSet<FinishedTask>,
    slots: Slots,
    publisher: Publisher,
    evaluating: JoinSet<EndedVerdict>,
    /// Closed before the chain has started and at shutdown: no transfer starts.
    open: bool,
}

/// Verdict on an ended transfer, with the records of the hops.
#[derive(Debug)]
struct EndedVerdict {
    number: u64,
    verdict: Verdict,
    records: Vec<Option<TransferRecord>>,
    report: DoneReport,
}

/// Result of the task of one transfer.
#[derive(Debug)]
struct FinishedTask {
    job: FetchJob,
    error: Option<Error>,
    /// The path of the complete file.
    path: Option<PathBuf>,
    flow: Flow,
    /// Number of hops to request records from; `None` for a transfer that never reached them, or was stopped.
    reach: Option<usize>,
}

impl Queue {
    pub(super) fn new(plan: FetchPlan, origin_token: OriginToken) -> Self {
        Self {
            slots: Slots::new(plan.jobs.unwrap_or(DEFAULT_JOBS) as usize),
            publisher: Publisher::default(),
            plan,
            origin_token,
            links: Arc::default(),
            numbered: 0,
            list: Vec::new(),
            running: JoinSet::new(),
            evaluating: JoinSet::new(),
            open: false,
        }
    }

    /// Opens the queue: transfers may start.
    pub(super) fn open(&mut self) {
        self.open = true;
        self.fill();
    }

    /// Queues a transfer and returns its number, or the reason of the refusal.
    pub(super) fn add(&mut self, route: Route, cap: Option<u64>) -> Result<u64, String> {
        if self.list.iter().filter(|transfer| !transfer.is_over()).count() >= MAX_OPEN {
            return Err(format!("{MAX_OPEN} transfers are open: wait for one to end, or cancel one"));
        }
        if self.list.len() >= MAX_OPEN + MAX_ENDED
            && let Some(oldest) = self.list.iter().position(QueuedTransfer::is_over)
        {
            self.list.remove(oldest);
        }
        self.numbered += 1;
        self.list.push(QueuedTransfer::new(self.numbered, route, cap));
        self.fill();
        Ok(self.numbered)
    }

    /// Queues the same transfer as an ended one, and returns the new number.
    pub(super) fn retry(&mut self, number: u64) -> Result<u64, String> {
        let old = self.find(number)?;
        if !old.is_over() {
            return Err(format!("#{number} has not ended"));
        }
        let (route, cap) = (old.route.clone(), old.rate_limit.get());
        self.add(route, cap)
    }

    /// Cancels a transfer that has not ended.
    pub(super) fn cancel(&mut self, number: u64) -> Result<(), String> {
        self.find(number)?.cancel()
    }

    /// Cancels all transfers that have not ended.
    pub(super) fn cancel_all(&mut self) {
        for transfer in &mut self.list {
            // Those that have ended return an error, which is ignored here.
            let _ = transfer.cancel();
        }
    }

    /// Pauses a transfer.
    pub(super) fn pause(&mut self, number: u64) -> Result<(), String> {
        self.find(number)?.pause()
    }

    /// Resumes a paused transfer, as soon as its turn comes.
    pub(super) fn resume(&mut self, number: u64) -> Result<(), String> {
        self.find(number)?.resume()?;
        self.fill();
        Ok(())
    }

    /// Sets or removes the rate limit of a transfer.
    pub(super) fn set_rate_limit(&mut self, number: u64, rate: Option<u64>) -> Result<(), String> {
        let transfer = self.find(number)?;
        if transfer.is_over() {
            return Err(format!("#{number} has ended: there is nothing to limit"));
        }
        transfer.rate_limit.set(rate);
        Ok(())
    }

    /// Moves a queued transfer among those that wait, and returns its new position, from 1.
    pub(super) fn reorder(&mut self, number: u64, by: isize) -> Result<usize, String> {
        let waiting: Vec<usize> = (0..self.list.len()).filter(|at| self.list[*at].is_queued()).collect();
        let position = waiting.iter().position(|at| self.list[*at].number == number);
        let position = position.ok_or_else(|| format!("#{number} is not queued"))?;
        let to = position.saturating_add_signed(by).min(waiting.len() - 1);
        let moved = self.list.remove(waiting[position]);
        self.list.insert(waiting[to], moved);
        Ok(to + 1)
    }

    /// Cancels all transfers and waits for their tasks.
    pub(super) async fn end(&mut self) {
        self.open = false;
        self.cancel_all();
        while let Some(ended) = self.running.join_next_with_id().await {
            self.settle(ended.map(|(_, ended)| ended));
        }
    }

    /// Waits for the next event; `None` where none can come. Cancel-safe.
    ///
    /// The end of a transfer is reported before its verdict: a hop that does not respond would delay it by a second.
    pub(super) async fn next_event(&mut self) -> Option<QueueEvent> {
        loop {
            let waits = self.open && self.waiting().is_some();
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next_with_id() => {
                    return Some(self.settle(ended.map(|(_, ended)| ended)));
                }
                Some(evaluated) = self.evaluating.join_next() => return Some(self.evaluated(evaluated)),
                () = self.slots.vacancy(), if waits => self.fill(),
                else => return None,
            }
        }
    }

    /// Records the verdict on an ended transfer.
    fn evaluated(&mut self, evaluated: Result<EndedVerdict, JoinError>) -> QueueEvent {
        match evaluated {
            Ok(EndedVerdict { number, verdict, records, report }) => {
                if let Ok(transfer) = self.find(number) {
                    transfer.evaluated(verdict, &records);
                }
                QueueEvent::Evaluated(verdict, Box::new(DoneReport { verdict: Some(verdict), ..report }))
            }
            Err(error) => QueueEvent::Panicked(0, error.to_string()),
        }
    }

    /// Returns whether the transfer waits in the queue.
    pub(super) fn is_queued(&self, number: u64) -> bool {
        self.list.iter().any(|transfer| transfer.number == number && transfer.is_queued())
    }

    /// Returns whether any transfer runs.
    pub(super) fn any_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Returns a snapshot of each transfer, oldest first, those that wait in the order of their start.
    pub(super) fn snapshots(&self) -> Vec<TransferSnapshot> {
        self.list.iter().map(QueuedTransfer::snapshot).collect()
    }

    /// Returns the transfers that are cancelled, or being cancelled.
    pub(super) fn cancelled(&self) -> BTreeSet<u64> {
        self.list.iter().filter(|transfer| transfer.is_cancelled()).map(|transfer| transfer.number).collect()
    }

    /// Returns the results of the files of a folder, in words; `None` for a file, and before the first result.
    pub(super) fn file_results(&self, number: u64) -> Option<String> {
        let transfer = self.list.iter().find(|transfer| transfer.number == number)?;
        transfer.snapshot().folder.filter(FolderProgress::has_results).map(|folder| folder.results())
    }

    fn find(&mut self, number: u64) -> Result<&mut QueuedTransfer, String> {
        let found = self.list.iter_mut().find(|transfer| transfer.number == number);
        found.ok_or_else(|| format!("there is no transfer #{number}"))
    }

    /// Closes idle connections that have expired; returns true if others are left.
    pub(super) fn close_expired(&self) -> bool {
        self.links.close_expired()
    }

    /// Closes idle connections: the nodes at their other ends wait for that before they exit.
    pub(super) fn close_idle(&self) {
        self.links.drain();
    }

    /// Returns the position of the transfer that starts next.
    fn waiting(&self) -> Option<usize> {
        self.list.iter().position(QueuedTransfer::is_queued)
    }

    /// Starts waiting transfers up to the limit.
    fn fill(&mut self) {
        while self.open
            && let Some(at) = self.waiting()
            && let Some(slot) = self.slots.take()
        {
            let transfer = &mut self.list[at];
            let job = FetchJob {
                slot,
                publisher: self.publisher.clone(),
                rate_limit: transfer.rate_limit.clone(),
                token: self.origin_token.get(),
                ..fetch_job(&self.plan, transfer.number, transfer.route.clone())
            };
            let (sender, progress) = watch::channel(transfer.snapshot());
            let stop = CancellationToken::new();
            let plan = &self.plan;
            let upstream =
                fetch::client(Arc::clone(&self.links), plan.limits, plan.protocol).signed_by(plan.identity.clone());
            let task = self.running.spawn(transfer_one(job, upstream, sender, stop.clone())).id();
            transfer.state = TransferState::Running { progress, stop, task, then: AfterStop::Over };
        }
    }

    /// Records the end of a transfer, requests the records of the hops, and starts the next.
    fn settle(&mut self, ended: Result<FinishedTask, JoinError>) -> QueueEvent {
        let FinishedTask { job, error, path, flow, reach } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let broken = self.list.iter_mut().find(|transfer| transfer.task() == Some(error.id()));
                let number = broken.map_or(0, |transfer| transfer.panicked(&error));
                self.fill();
                return QueueEvent::Panicked(number, error.to_string());
            }
        };
        let number = job.number;
        let file = OsStr::from_bytes(job.route.file.as_bytes()).to_owned();
        let mut report =
            DoneReport { file, path, error: error.clone(), snapshot: TransferSnapshot::default(), verdict: None };
        let event = match self.find(number) {
            Ok(transfer) => {
                let event = transfer.ended(error);
                report.snapshot = transfer.snapshot();
                event
            }
            Err(why) => QueueEvent::Panicked(number, why),
        };
        if matches!(event, QueueEvent::Done(_) | QueueEvent::Failed(..)) {
            let ids = report.snapshot.ids.unwrap_or(TransferIds::of(job.id));
            let links = Arc::clone(&self.links);
            self.evaluating.spawn(async move {
                let records = match reach {
                    Some(reach) => transfer_records(&job.route, reach, ids, job.identity.as_ref()).await,
                    None => Vec::new(),
                };
                let records = links.records_of_file(ids, flow.whole_us(), records);
                EndedVerdict { number, verdict: evaluate(&flow, &Stage::of(&records)), records, report }
            });
        }
        self.fill();
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
    // Its job is kept for the records of the hops, and needs no slot then.
    job.slot = Slot::default();
    let protocol = result.as_ref().ok().map(|fetched| fetched.protocol);
    let (flow, legs, moved) = {
        let last = progress.borrow();
        (last.flow, last.legs.len(), !last.was_up_to_date())
    };
    let reach = (legs > 0 && moved && !stop.is_cancelled()).then(|| reach(legs, protocol));
    let (path, error) = match result {
        Ok(fetched) => (Some(fetched.path), None),
        Err(error) => (None, Some(error)),
    };
    FinishedTask { job, error, path, flow, reach }
}
