//! Builds the `ChainSnapshot` that the screen shows, and logs what changed since the last one.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinError;

use super::log::RunLog;
use super::queue::{Queue, QueueEvent};
use crate::error::Error;
use crate::net::os::clock::Clock;
use crate::net::supervisor::OriginToken;
use crate::net::watch::Watcher;
use crate::plan::ChainPlan;
use crate::route::Route;
use crate::snapshot::verdict::{Limit, Verdict};
use crate::snapshot::{
    ChainSnapshot, ConnSnapshot, ConnState, DownReason, FileOutcome, HopLink, HopSnapshot, Level, Listing,
    TourSnapshot, TransferSnapshot,
};
use crate::text::SafeText;
use crate::verdict::{Observed, Rolling, refine_wait};

/// Most failed files of a folder that are logged one by one: the details of the transfer list them.
const MAX_FAILED_FILES: u64 = 5;

/// Result of a background task.
#[derive(Debug)]
pub(super) enum TaskResult {
    /// Line for the log, about a hop or about the client.
    Log(Level, Option<usize>, String),
    /// Listing of a folder at the origin.
    List(Listing),
}

/// Source of the snapshots, with the last one published.
pub(super) struct Publisher {
    pub(super) route: Arc<Route>,
    pub(super) queue: Queue,
    pub(super) log: RunLog,
    pub(super) listing: Option<Listing>,
    pub(super) tour: Option<TourSnapshot>,
    /// Nodes are being started: refused connections are not logged yet.
    pub(super) starting: bool,
    pub(super) exiting: bool,
    pub(super) last: Arc<ChainSnapshot>,
    source: SafeText,
    folder: SafeText,
    input: Option<Arc<Path>>,
    clock: Clock,
    rolling: Rolling,
    /// Verdicts during each transfer.
    observed: Observed,
    verdict: Verdict,
    /// Evaluation of the transfers of other clients.
    watching: Rolling,
    others: Option<Verdict>,
    links: Vec<HopLink>,
    draining: Vec<bool>,
}

impl Publisher {
    pub(super) fn new(plan: &ChainPlan, origin_token: OriginToken) -> Self {
        Self {
            route: Arc::new(plan.route.clone()),
            input: plan.input.as_deref().map(Arc::from),
            queue: Queue::new(plan.fetch.clone(), origin_token),
            log: RunLog::default(),
            listing: None,
            tour: None,
            starting: true,
            exiting: false,
            last: Arc::default(),
            source: plan.source.clone(),
            folder: crate::error::shown(&plan.fetch.output),
            clock: Clock::start(),
            rolling: Rolling::default(),
            observed: Observed::default(),
            verdict: Verdict::default(),
            watching: Rolling::default(),
            others: None,
            links: Vec::new(),
            draining: Vec::new(),
        }
    }

    /// Logs an event of the queue.
    pub(super) fn transfer_changed(&mut self, event: QueueEvent) {
        match event {
            QueueEvent::Done(number) => {
                let results = self.queue.file_results(number).map_or_else(String::new, |files| format!(": {files}"));
                self.log.push(Level::Info, None, format!("#{number} is complete{results}"));
            }
            // The user cancelled it: no error.
            QueueEvent::Failed(number, error @ Error::Interrupted { .. }) => {
                let how = self.queue.file_results(number).unwrap_or_else(|| error.to_string());
                self.log.push(Level::Info, None, format!("#{number} is cancelled: {how}"));
            }
            QueueEvent::Failed(number, error) => {
                let results = self.queue.file_results(number).map_or_else(String::new, |files| format!("; {files}"));
                self.log.push(Level::Error, error.hop(), format!("#{number} {error}{results}"));
            }
            QueueEvent::Paused(number) => {
                self.log.push(Level::Info, None, format!("#{number} is paused; received bytes are kept"));
            }
            QueueEvent::Panicked(number, why) => {
                self.log.push(Level::Error, None, format!("#{number}: internal error: {why}"));
            }
            QueueEvent::Evaluated(verdict, _) if !self.queue.any_running() => self.verdict = verdict,
            QueueEvent::Evaluated(..) | QueueEvent::Requeued => {}
        }
    }

    /// Takes the result of a background task.
    pub(super) fn task_ended(&mut self, done: Result<TaskResult, JoinError>) {
        match done {
            Ok(TaskResult::Log(level, hop, text)) => self.log.push(level, hop, text),
            Ok(TaskResult::List(listing)) => self.listing = Some(listing),
            Err(error) => self.log.push(Level::Error, None, format!("internal error in a background task: {error}")),
        }
    }

    /// Returns whether any transfer runs, of this or of another client.
    pub(super) fn any_transfer_runs(&self) -> bool {
        self.queue.any_running() || self.others.is_some() || self.last.any_body()
    }

    /// Evaluates what limits running transfers: those of this program, else those of other clients.
    pub(super) fn evaluate(&mut self, watcher: &Watcher) {
        let (now_us, hops) = (self.clock.now_us(), watcher.hops());
        if self.queue.any_running() {
            let transfers = self.queue.snapshots();
            self.verdict = self.rolling.update(now_us, &hops, &transfers);
            self.observed.feed(&transfers, self.verdict);
            (self.watching, self.others) = (Rolling::default(), None);
        } else {
            let found = self.watching.update_others(now_us, &hops);
            self.others = found.filter(|verdict| verdict.limit != Limit::Measuring);
        }
    }

    /// Adds what only the reports of the hops show: a stall, which hop is waited for, and what limited an ended one.
    fn with_reports(&self, transfer: TransferSnapshot, hops: &[HopSnapshot]) -> TransferSnapshot {
        let wait = transfer.wait.map(|wait| refine_wait(wait, &transfer, hops));
        let observed = self.observed.of(transfer.number).filter(|_| transfer.phase.is_over());
        let verdict = observed.or(transfer.verdict);
        TransferSnapshot { stall: self.rolling.stall(transfer.number), wait, verdict, ..transfer }
    }

    /// Logs how the links to the hops have changed.
    pub(super) fn log_links(&mut self, hops: &[HopSnapshot]) {
        self.log_draining(hops);
        self.links.resize(hops.len(), HopLink::default());
        for (hop, before) in hops.iter().zip(&mut self.links) {
            if hop.link == *before {
                continue;
            }
            let before = std::mem::replace(before, hop.link.clone());
            let (level, text) = match &hop.link {
                HopLink::Unknown | HopLink::Starting => continue,
                HopLink::Spawned { pid } => (Level::Info, format!("started, process {pid}")),
                HopLink::Attached => (Level::Info, "attached to a running node".to_owned()),
                HopLink::Legacy => (Level::Info, "legacy node, no metrics".to_owned()),
                HopLink::Foreign => (Level::Info, "HTTP server, no metrics".to_owned()),
                HopLink::Detached => (Level::Info, "detached, the node keeps running".to_owned()),
                HopLink::Down { reason } => match before {
                    _ if *reason == DownReason::Stopped => (Level::Info, reason.to_string()),
                    _ if reason.is_requested() => (Level::Info, format!("down: {reason}")),
                    _ if *reason == DownReason::Silent => {
                        let level = if before.is_up() { Level::Error } else { Level::Warn };
                        (level, format!("no answer: {reason}"))
                    }
                    HopLink::Down { .. } => (Level::Warn, format!("still down: {reason}")),
                    _ if before.is_up() => (Level::Error, format!("went down: {reason}")),
                    _ => (Level::Warn, format!("down: {reason}")),
                },
            };
            self.log.push(level, Some(hop.number), text);
        }
    }

    /// Logs which nodes have begun to drain.
    fn log_draining(&mut self, hops: &[HopSnapshot]) {
        self.draining.resize(hops.len(), false);
        for (hop, was) in hops.iter().zip(&mut self.draining) {
            let Some(node) = &hop.node else { continue };
            if node.draining && !*was {
                let left = node.connections.iter().filter(|conn| is_busy(conn)).count();
                let s = if left == 1 { "" } else { "s" };
                self.log.push(Level::Info, Some(hop.number), format!("draining, {left} transfer{s} left"));
            }
            *was = node.draining;
        }
    }

    /// Logs failures, retries and resumptions of running transfers.
    fn log_progress(&mut self, transfers: &[TransferSnapshot]) {
        let (last, unknown) = (Arc::clone(&self.last), TransferSnapshot::default());
        for transfer in transfers {
            let before = last.transfers.iter().find(|before| before.number == transfer.number).unwrap_or(&unknown);
            let events = transfer.log_events_since(before);
            for (level, text) in events.into_iter().chain(transfer.connection_events_since(before)) {
                self.log.push(level, None, format!("#{} {text}", transfer.number));
            }
            self.log_failed_files(transfer, before);
        }
    }

    /// Logs which files of a folder have failed since an earlier snapshot: the first ones, then that there are more.
    fn log_failed_files(&mut self, transfer: &TransferSnapshot, before: &TransferSnapshot) {
        let Some(folder) = &transfer.folder else { return };
        let known = before.folder.as_ref().map_or(0, |before| before.failed);
        let new = usize::try_from(folder.failed.saturating_sub(known)).unwrap_or(usize::MAX);
        let failed: Vec<_> = folder.recent.iter().filter(|file| file.outcome == FileOutcome::Failed).collect();
        let room = MAX_FAILED_FILES.saturating_sub(known);
        for (file, _) in failed[failed.len().saturating_sub(new)..].iter().zip(0..room) {
            let why = file.reason(&transfer.path).unwrap_or("unknown error");
            let text = format!("#{} {}{}: {why}", transfer.number, transfer.name, file.path);
            self.log.push(Level::Warn, None, text);
        }
        if known <= MAX_FAILED_FILES && folder.failed > MAX_FAILED_FILES {
            let text = format!("#{} {}: further failed files are in its details", transfer.number, transfer.name);
            self.log.push(Level::Warn, None, text);
        }
    }

    /// Builds the current snapshot; `None` where it equals the last one.
    pub(super) fn snapshot(&mut self, hops: Vec<HopSnapshot>) -> Option<Arc<ChainSnapshot>> {
        if !self.starting {
            self.log_links(&hops);
        }
        let transfers = self.queue.snapshots().into_iter();
        let transfers: Vec<_> = transfers.map(|transfer| self.with_reports(transfer, &hops)).collect();
        self.log_progress(&transfers);
        let snapshot = ChainSnapshot {
            generation: self.last.generation,
            source: self.source.clone(),
            folder: self.folder.clone(),
            file: self.route.file.shown(),
            hops,
            transfers,
            verdict: self.verdict,
            others: self.others,
            log: self.log.lines(),
            listing: self.listing.clone(),
            tour: self.tour.clone(),
            exiting: self.exiting,
            route: Some(Arc::clone(&self.route)),
            input: self.input.clone(),
        };
        if snapshot == *self.last && self.last.generation > 0 {
            return None;
        }
        self.last = Arc::new(ChainSnapshot { generation: self.last.generation + 1, ..snapshot });
        Some(Arc::clone(&self.last))
    }
}

/// Returns whether the connection has a transfer under way.
fn is_busy(conn: &ConnSnapshot) -> bool {
    use ConnState::{Connecting, Delayed, Streaming, Waiting};
    matches!(conn.state, Connecting | Waiting | Delayed | Streaming) && !conn.transfer.as_str().is_empty()
}
