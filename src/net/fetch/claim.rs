//! What an earlier run left of a file, and the wait for another fetch that fills the same partial file.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::job::{FetchJob, blocking};
use super::part::{Busy, PartialFile};
use super::partial::{EarlierDownload, ResumeCandidate};
use super::resume_state;
use super::target::TargetPath;
use super::tracker::Tracker;
use crate::error::{Error, KeptBytes};
use crate::snapshot::Phase;

/// Time between two looks whether another fetch is over. Only a thread of its own could be woken by the lock, and a
/// thread that waits for a lock cannot be cancelled; a person does not notice this, and it costs some ten system calls.
const LOOK: Duration = Duration::from_millis(250);

/// What looking for an earlier run's partial file came to.
#[expect(clippy::large_enum_variant, reason = "it is made once a fetch and taken apart at once")]
pub(super) enum EarlierClaim {
    /// What it left, or nothing.
    ResumeCandidate(Option<ResumeCandidate>),
    /// Another fetch was at it and is over, or is passed by: everything may be different now.
    Waited,
}

/// What an earlier run left of the file, proven as far as that can be done here; what cannot be used is said aloud.
///
/// Where another fetch is at it, its end is waited for: `first` is the first partial file that may be used, and grows
/// where such a fetch moves nothing for too long.
pub(super) async fn claim(
    job: &FetchJob,
    place: &Arc<TargetPath>,
    first: &mut usize,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<EarlierClaim, Error> {
    if PartialFile::is_there(place) {
        tracker.phase(Phase::Verifying);
        let (algorithm, stopped) = (job.verify.algorithm(), stop.clone());
        let file = job.resume.then(|| resume_state::file_of(&job.route));
        let (there, from) = (Arc::clone(place), *first);
        let found = blocking(job.machine, move || {
            ResumeCandidate::left_over(&there, from, file.as_deref(), algorithm, &|| stopped.is_cancelled())
        });
        match found.await? {
            EarlierDownload::Nothing => {}
            EarlierDownload::Usable(begun) => return Ok(EarlierClaim::ResumeCandidate(Some(begun))),
            EarlierDownload::Unusable(begun, why) => {
                if let Some(why) = why {
                    tracker.started_over(why);
                }
                return Ok(EarlierClaim::ResumeCandidate(Some(begun)));
            }
            EarlierDownload::Busy(busy) => {
                if !is_over(job, place, busy, tracker, stop).await? {
                    *first = busy.number + 1;
                }
                return Ok(EarlierClaim::Waited);
            }
        }
    }
    Ok(EarlierClaim::ResumeCandidate(None))
}

/// Waits until another fetch no longer fills a partial file; false where it moved nothing for too long.
async fn is_over(
    job: &FetchJob,
    place: &Arc<TargetPath>,
    busy: Busy,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    tracker.waits_for_another();
    let (mut length, mut moved) = (busy.length, Instant::now());
    loop {
        let until = Instant::now() + LOOK;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
                () = sleep_until(until) => break,
                () = tracker.due() => tracker.publish(),
            }
        }
        let there = Arc::clone(place);
        match blocking(job.machine, move || Ok(PartialFile::length_of_busy(&there, busy.number))).await? {
            None => {
                tracker.suspects(None);
                return Ok(true);
            }
            Some(now) if now != length => (length, moved) = (now, Instant::now()),
            Some(_) if moved.elapsed() >= job.limits.stall => {
                tracker.suspects(None);
                return Ok(false);
            }
            Some(_) => {}
        }
    }
}
