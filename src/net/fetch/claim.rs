//! Claims the partial file of an earlier run, and waits for another fetch that fills the same one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::job::{FetchJob, blocking};
use super::part::{Busy, PartialFile};
use super::partial::{EarlierDownload, ResumeCandidate};
use super::pause::wait;
use super::resume_state;
use super::target::TargetPath;
use super::tracker::Tracker;
use crate::error::{Error, KeptBytes};
use crate::snapshot::Phase;

/// Interval between checks whether another fetch is over. Only a blocked thread could be woken by the lock, and it
/// could not be cancelled; the delay is not noticeable, and a check costs about ten system calls.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Outcome of the search for an earlier run's partial file.
#[expect(clippy::large_enum_variant, reason = "it is created once per fetch and destructured immediately")]
pub(super) enum EarlierClaim {
    /// The partial file, if any.
    ResumeCandidate(Option<ResumeCandidate>),
    /// Another fetch held it, and is over or skipped: everything has to be checked again.
    Waited,
}

/// Finds the partial file of an earlier run and verifies it locally; the user is shown why an unusable one is
/// discarded.
///
/// Waits for another fetch that holds it: `first` is the number of the first partial file that may be used, and grows
/// past a fetch that stalls for too long.
pub(super) async fn claim(
    job: &FetchJob,
    target: &Arc<TargetPath>,
    first: &mut usize,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<EarlierClaim, Error> {
    if PartialFile::exists(target) {
        tracker.phase(Phase::Verifying);
        let (algorithm, token) = (job.verify.algorithm(), stop.clone());
        let file = job.resume.then(|| resume_state::file_of(&job.route));
        let (there, from) = (Arc::clone(target), *first);
        let found = blocking(job.machine, move || {
            ResumeCandidate::find(&there, from, file.as_deref(), algorithm, &|| token.is_cancelled())
        });
        match found.await? {
            EarlierDownload::Nothing => {}
            EarlierDownload::Usable(candidate, lost) => {
                if let Some(why) = lost {
                    tracing::warn!("{}: parts of it are received again: {why}", candidate.part.shown());
                }
                return Ok(EarlierClaim::ResumeCandidate(Some(candidate)));
            }
            EarlierDownload::Unusable(candidate, why) => {
                if let Some(why) = why {
                    tracker.started_over(why);
                }
                return Ok(EarlierClaim::ResumeCandidate(Some(candidate)));
            }
            EarlierDownload::Busy(busy) => {
                if !wait_for_end(job, target, busy, tracker, stop).await? {
                    *first = busy.number + 1;
                }
                return Ok(EarlierClaim::Waited);
            }
        }
    }
    Ok(EarlierClaim::ResumeCandidate(None))
}

/// Waits until another fetch releases a partial file; false if it stalled for too long.
async fn wait_for_end(
    job: &FetchJob,
    target: &Arc<TargetPath>,
    busy: Busy,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    tracker.waiting_for_other_fetch();
    job.slot.release();
    let (mut length, mut moved) = (busy.length, Instant::now());
    loop {
        if !wait(POLL_INTERVAL, tracker, stop).await {
            return Err(Error::Interrupted { kept: KeptBytes::default() });
        }
        let there = Arc::clone(target);
        match blocking(job.machine, move || Ok(PartialFile::length_of_busy(&there, busy.number))).await? {
            None => {
                tracker.set_suspect(None);
                return Ok(true);
            }
            Some(now) if now != length => (length, moved) = (now, Instant::now()),
            Some(_) if moved.elapsed() >= job.limits.stall => {
                tracker.set_suspect(None);
                return Ok(false);
            }
            Some(_) => {}
        }
    }
}
