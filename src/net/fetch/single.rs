//! One file: attempts until it is published, from the partial file of an earlier run if there is one.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptResult, attempt};
use super::claim::{EarlierClaim, claim};
use super::job::{FetchJob, Fetched, blocking};
use super::partial::ResumeCandidate;
use super::present;
use super::retry::RetryPolicy;
use super::target::TargetPath;
use super::tracker::{Tracker, wait_to_retry};
use crate::error::{Error, KeptBytes};
use crate::net::os::machine::Machine;
use crate::net::upstream::Upstream;

/// Repeats attempts until the file is published, or another attempt would not help.
pub(super) async fn fetch_file(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    target: &Arc<TargetPath>,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    let (mut first, mut policy) = (0, RetryPolicy::new(job.retries));
    let mut candidate = match begin(upstream, job, target, &mut first, tracker, stop).await? {
        AttemptStart::Present(fetched) => return Ok(*fetched),
        AttemptStart::From(candidate) => candidate,
    };
    let mut furthest = candidate.as_ref().map_or(0, |candidate| candidate.offset);
    loop {
        tracker.attempt(job.id);
        let error = match attempt(upstream, job, target, (&mut candidate, first), tracker, stop).await {
            Ok(AttemptResult::Done(fetched)) => return Ok(*fetched),
            Ok(AttemptResult::Busy) => {
                // The reply would be stale by the time the other fetch is over.
                upstream.close();
                job.id = job.machine.transfer_id();
                candidate = match begin(upstream, job, target, &mut first, tracker, stop).await? {
                    AttemptStart::Present(fetched) => return Ok(*fetched),
                    AttemptStart::From(candidate) => candidate,
                };
                continue;
            }
            Err(error) => error,
        };
        // Bytes left on the connection belong to the failed attempt.
        upstream.close();
        if let Error::Lost { .. } = error {
            candidate = restore(job.machine, candidate.take()).await;
        }
        let reached = candidate.as_ref().map_or(0, |candidate| candidate.offset);
        let progressed = reached > furthest;
        furthest = furthest.max(reached);
        let retry = policy.after(&error, progressed).filter(|_| !stop.is_cancelled());
        let Some(retry) = retry else { return Err(keep_partial(job.machine, candidate, error, tracker).await) };
        if !wait_to_retry(&error, retry, tracker, stop).await {
            let error = Error::Interrupted { kept: KeptBytes::default() };
            return Err(keep_partial(job.machine, candidate, error, tracker).await);
        }
        // A hop may still hold the connection of the previous attempt, and would report the same id as a loop.
        job.id = job.machine.transfer_id();
    }
}

/// What exists locally before an attempt.
#[expect(clippy::large_enum_variant, reason = "it is created once per fetch and destructured immediately")]
enum AttemptStart {
    /// The file itself.
    Present(Box<Fetched>),
    /// The partial file of an earlier run, if any.
    From(Option<ResumeCandidate>),
}

/// Checks for the file itself, then for the partial file of an earlier run; repeated after another fetch was waited
/// for.
async fn begin(
    upstream: &mut Upstream,
    job: &FetchJob,
    target: &Arc<TargetPath>,
    first: &mut usize,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<AttemptStart, Error> {
    loop {
        if let Some(there) = target.existing()?
            && job.reuse
            // Boxed to keep the parent future small: most fetches find no file.
            && let Some(fetched) =
                Box::pin(present::up_to_date(upstream, job, (target, there), tracker, stop)).await?
        {
            return Ok(AttemptStart::Present(Box::new(fetched)));
        }
        // Boxed for the same reason.
        if let EarlierClaim::ResumeCandidate(candidate) = Box::pin(claim(job, target, first, tracker, stop)).await? {
            return Ok(AttemptStart::From(candidate));
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
    let bytes = candidate.offset;
    let Ok(kept) = blocking(machine, move || Ok(candidate.keep())).await else { return error };
    if kept.resumable {
        tracker.resumable(bytes);
    }
    error.with_kept(kept)
}
