//! One file: attempts until it is published, from the partial file of an earlier run if there is one.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptResult, attempt};
use super::claim::{EarlierClaim, claim};
use super::job::{FetchJob, Fetched, blocking};
use super::partial::ResumeCandidate;
use super::pause::next_attempt;
use super::present;
use super::retry::RetryPolicy;
use super::target::TargetPath;
use super::tracker::Tracker;
use crate::error::Error;
use crate::net::os::machine::Machine;
use crate::net::upstream::Upstream;

/// What is here of a file, as far as it is known.
#[derive(Debug, Default)]
struct Local {
    /// The rest is known.
    is_checked: bool,
    /// The partial file, of an earlier run or of this one.
    candidate: Option<ResumeCandidate>,
    /// Number of the first partial file that may be used.
    first: usize,
    /// Most bytes that it has had.
    furthest: u64,
}

/// Repeats attempts until the file is published, or another attempt would not help.
pub(super) async fn fetch_file(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    (target, mut policy): (&Arc<TargetPath>, RetryPolicy),
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    let mut local = Local::default();
    let mut untried = job.routes.len();
    loop {
        let error = match once(upstream, job, target, &mut local, tracker, stop).await {
            Ok(fetched) => return Ok(*fetched),
            Err(error) => error,
        };
        // Bytes left on the connection belong to the failed attempt.
        upstream.close();
        if let Error::Lost { .. } = error {
            local.candidate = restore(job.machine, local.candidate.take()).await;
        }
        let progressed = local.advance(tracker.furthest());
        if progressed {
            untried = job.routes.len();
        }
        if untried > 0 && error.hop().is_some() && !stop.is_cancelled() {
            untried -= 1;
            tracing::warn!("{error}: trying another route");
            job.next_route();
            job.id = job.machine.transfer_id();
            continue;
        }
        if let Err(error) = next_attempt(&mut policy, (error, progressed), tracker, stop).await {
            return Err(keep_partial(job.machine, local.candidate, error, tracker).await);
        }
        // A hop may still hold the connection of the previous attempt, and would report the same id as a loop.
        job.id = job.machine.transfer_id();
    }
}

/// Makes one attempt, after the end of all other fetches of the file.
async fn once(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    target: &Arc<TargetPath>,
    local: &mut Local,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Box<Fetched>, Error> {
    loop {
        if !local.is_checked
            && let Some(fetched) = check(upstream, job, target, local, tracker, stop).await?
        {
            return Ok(fetched);
        }
        tracker.attempt(job.id);
        let candidate = (&mut local.candidate, local.first);
        // Boxed to keep the parent future small.
        match Box::pin(attempt(upstream, job, target, candidate, tracker, stop)).await? {
            AttemptResult::Done(fetched) => return Ok(fetched),
            AttemptResult::Busy => {
                // The reply would be stale by the time the other fetch is over.
                upstream.close();
                job.id = job.machine.transfer_id();
                local.is_checked = false;
            }
        }
    }
}

impl Local {
    /// Returns true if there are more bytes than ever before, or have been during the last attempt.
    fn advance(&mut self, arrived: u64) -> bool {
        let reached = self.candidate.as_ref().map_or(0, ResumeCandidate::bytes).max(arrived);
        let advanced = reached > self.furthest;
        self.furthest = self.furthest.max(reached);
        advanced
    }
}

/// Checks for the file itself, which is returned, then for the partial file of an earlier run; repeated after another
/// fetch was waited for.
async fn check(
    upstream: &mut Upstream,
    job: &FetchJob,
    target: &Arc<TargetPath>,
    local: &mut Local,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Option<Box<Fetched>>, Error> {
    loop {
        job.slot.regain(stop).await;
        if let Some(there) = target.existing()?
            && job.reuse
            // Boxed to keep the parent future small: most fetches find no file.
            && let Some(fetched) =
                Box::pin(present::up_to_date(upstream, job, (target, there), tracker, stop)).await?
        {
            return Ok(Some(Box::new(fetched)));
        }
        // Boxed for the same reason.
        let claimed = Box::pin(claim(job, target, &mut local.first, tracker, stop)).await?;
        if let EarlierClaim::ResumeCandidate(candidate) = claimed {
            (local.is_checked, local.candidate) = (true, candidate);
            // What others received is no progress of this fetch.
            local.advance(0);
            return Ok(None);
        }
    }
}

/// Saves the partial file's content under a new name after its name was removed; `None` if that fails.
async fn restore(machine: Machine, candidate: Option<ResumeCandidate>) -> Option<ResumeCandidate> {
    let candidate = candidate?;
    blocking(machine, move || candidate.restore()).await.ok()
}

/// Returns the final error of a transfer, with the path of the partial file that is kept for a later one.
async fn keep_partial(
    machine: Machine,
    candidate: Option<ResumeCandidate>,
    error: Error,
    tracker: &mut Tracker<'_>,
) -> Error {
    let Some(candidate) = candidate else { return error };
    let bytes = candidate.bytes();
    let Ok(kept) = blocking(machine, move || Ok(candidate.keep())).await else { return error };
    if kept.resumable {
        tracker.resumable(bytes);
    }
    error.with_kept(kept)
}
