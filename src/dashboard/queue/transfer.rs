//! State machine of one transfer: queued, running, paused or ended.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{Id, JoinError};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::net::fetch::RateLimit;
use crate::on_done::DoneReport;
use crate::route::Route;
use crate::snapshot::verdict::Verdict;
use crate::snapshot::{Phase, TransferRecord, TransferSnapshot};
use crate::waterfall;

/// Transfer of one file.
#[derive(Debug)]
pub(super) struct QueuedTransfer {
    pub(super) number: u64,
    pub(super) route: Route,
    pub(super) rate_limit: RateLimit,
    pub(super) verdict: Option<Verdict>,
    pub(super) state: TransferState,
}

/// State of a transfer; those that do not run keep their last snapshot.
#[derive(Debug)]
pub(super) enum TransferState {
    /// Queued.
    Queued(TransferSnapshot),
    /// A task transfers the file.
    Running {
        /// Snapshots from the task.
        progress: watch::Receiver<TransferSnapshot>,
        /// Stops the task.
        stop: CancellationToken,
        /// Id of the task.
        task: Id,
        /// State after it was stopped.
        then: AfterStop,
    },
    /// The user paused it.
    Paused(TransferSnapshot),
    /// Done, failed or cancelled.
    Over(TransferSnapshot),
}

/// State that follows when a stopped task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterStop {
    /// Cancelled.
    Over,
    /// Paused.
    Paused,
    /// Queued: resumed before it had stopped.
    Queued,
}

/// Event of a transfer that stopped.
#[derive(Debug)]
pub(in crate::dashboard) enum QueueEvent {
    /// The file is complete, at its target path.
    Done(u64),
    /// It failed, or was cancelled, and how.
    Failed(u64, Error),
    /// It is paused, and can be resumed.
    Paused(u64),
    /// It was resumed before it had paused, and waits in the queue.
    Requeued,
    /// Its task panicked: a bug of this program.
    Panicked(u64, String),
    /// The records of the hops arrived or timed out: the verdict on the transfer, and all that is known about its end.
    Evaluated(Verdict, Box<DoneReport>),
}

impl QueuedTransfer {
    /// Makes a queued transfer.
    pub(super) fn new(number: u64, route: Route, cap: Option<u64>) -> Self {
        let file = Some(Arc::new(route.file.clone()));
        let first = TransferSnapshot { number, name: route.file.shown(), file, ..TransferSnapshot::default() };
        Self { number, route, rate_limit: RateLimit::new(cap), verdict: None, state: TransferState::Queued(first) }
    }

    /// Returns whether it waits for its turn.
    pub(super) fn is_queued(&self) -> bool {
        matches!(self.state, TransferState::Queued(_))
    }

    /// Returns whether it is done, failed or cancelled.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, TransferState::Over(_))
    }

    /// Returns whether the user cancelled it.
    pub(super) fn is_cancelled(&self) -> bool {
        match &self.state {
            TransferState::Running { stop, then, .. } => stop.is_cancelled() && *then == AfterStop::Over,
            TransferState::Over(last) => last.phase == Phase::Cancelled,
            TransferState::Queued(_) | TransferState::Paused(_) => false,
        }
    }

    /// Returns the id of its task.
    pub(super) fn task(&self) -> Option<Id> {
        if let TransferState::Running { task, .. } = self.state { Some(task) } else { None }
    }

    /// Returns its snapshot for the screen.
    pub(super) fn snapshot(&self) -> TransferSnapshot {
        let snapshot = match &self.state {
            TransferState::Queued(last) | TransferState::Paused(last) | TransferState::Over(last) => last.clone(),
            // The task reports `Cancelled` before its end is processed; show the state that the user requested.
            TransferState::Running { progress, then, .. } => match (progress.borrow().clone(), then) {
                (last, AfterStop::Paused) if last.phase == Phase::Cancelled => stopped(last, Phase::Paused),
                (last, AfterStop::Queued) if last.phase == Phase::Cancelled => stopped(last, Phase::Queued),
                (last, _) => last,
            },
        };
        TransferSnapshot { rate_limit: self.rate_limit.get(), verdict: self.verdict.or(snapshot.verdict), ..snapshot }
    }

    /// Cancels it.
    pub(super) fn cancel(&mut self) -> Result<(), String> {
        match &mut self.state {
            TransferState::Queued(last) | TransferState::Paused(last) => {
                self.state = TransferState::Over(stopped(last.clone(), Phase::Cancelled));
            }
            TransferState::Running { stop, then, .. } => {
                *then = AfterStop::Over;
                stop.cancel();
            }
            TransferState::Over(_) => return Err(format!("#{} has ended already", self.number)),
        }
        Ok(())
    }

    /// Pauses it.
    pub(super) fn pause(&mut self) -> Result<(), String> {
        match &mut self.state {
            TransferState::Queued(last) => self.state = TransferState::Paused(stopped(last.clone(), Phase::Paused)),
            TransferState::Running { stop, then, .. } => {
                if stop.is_cancelled() && *then == AfterStop::Over {
                    return Err(format!("#{} is being cancelled", self.number));
                }
                *then = AfterStop::Paused;
                stop.cancel();
            }
            TransferState::Paused(_) | TransferState::Over(_) => {
                return Err(format!(
                    "#{} is {}: there is nothing to pause",
                    self.number,
                    self.snapshot().phase.label()
                ));
            }
        }
        Ok(())
    }

    /// Resumes it: it is queued again.
    pub(super) fn resume(&mut self) -> Result<(), String> {
        match &mut self.state {
            TransferState::Paused(last) => self.state = TransferState::Queued(stopped(last.clone(), Phase::Queued)),
            TransferState::Running { then: then @ AfterStop::Paused, .. } => *then = AfterStop::Queued,
            _ => return Err(format!("#{} is {}, not paused", self.number, self.snapshot().phase.label())),
        }
        Ok(())
    }

    /// Records the end of its task, successful or not.
    pub(super) fn ended(&mut self, error: Option<Error>) -> QueueEvent {
        let last = self.snapshot();
        let then = if let TransferState::Running { then, .. } = self.state { then } else { AfterStop::Over };
        let stopped = matches!(error, Some(Error::Interrupted { .. }));
        let (state, event) = match (error, then) {
            (Some(_), AfterStop::Paused) if stopped => (TransferState::Paused(last), QueueEvent::Paused(self.number)),
            (Some(_), AfterStop::Queued) if stopped => (TransferState::Queued(last), QueueEvent::Requeued),
            (Some(error), _) => (TransferState::Over(last), QueueEvent::Failed(self.number, error)),
            (None, _) => (TransferState::Over(last), QueueEvent::Done(self.number)),
        };
        self.state = state;
        event
    }

    /// Records the verdict and the records of the hops.
    pub(super) fn evaluated(&mut self, verdict: Verdict, records: &[Option<TransferRecord>]) {
        self.verdict = Some(verdict);
        if let TransferState::Over(last) = &mut self.state {
            last.waterfall = waterfall::with_timestamps(&last.legs, records, &last.waterfall);
            last.hop_records = records.iter().map(|record| record.as_ref().map(TransferRecord::hop_record)).collect();
        }
    }

    /// Records that its task panicked, and returns its number.
    pub(super) fn panicked(&mut self, error: &JoinError) -> u64 {
        let why = Some(format!("internal error in the transfer: {error}").into());
        self.state = TransferState::Over(TransferSnapshot { error: why, ..stopped(self.snapshot(), Phase::Failed) });
        self.number
    }
}

/// Returns the snapshot of a transfer that no longer runs.
fn stopped(last: TransferSnapshot, phase: Phase) -> TransferSnapshot {
    TransferSnapshot { phase, rate: 0, eta: None, stall: None, error: None, ..last }
}
