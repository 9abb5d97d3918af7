//! One attempt: request what is missing, receive it, verify the whole file, publish it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use super::attribution::attributed;
use super::body::{self, Wanted};
use super::disk::DiskWriter;
use super::group::SMALL;
use super::job::{FetchJob, Fetched, blocking};
use super::part::{ClaimResult, PartialFile, Published};
use super::partial::ResumeCandidate;
use super::ranges;
use super::request::{all_legs, request_rest};
use super::resume_state::ResumeSource;
use super::target::TargetPath;
use super::tracker::Tracker;
use super::verify;
use crate::error::Error;
use crate::net::os::starvation::SchedDelayProbe;
use crate::net::upstream::Upstream;
use crate::snapshot::Phase;
use crate::wire::Digest;

/// Outcome of an attempt that did not fail.
pub(super) enum AttemptResult {
    /// The file is published.
    Done(Box<Fetched>),
    /// Another fetch holds the partial file.
    Busy,
}

/// Resumes `candidate`, or starts a new partial file. After an error, `candidate` holds what has been received by then.
pub(super) async fn attempt(
    upstream: &mut Upstream,
    job: &FetchJob,
    target: &Arc<TargetPath>,
    (candidate, first): (&mut Option<ResumeCandidate>, usize),
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<AttemptResult, Error> {
    job.slot.regain(stop).await;
    tracker.phase(Phase::Connecting);
    let response = request_rest(upstream, job, candidate, tracker, stop).await?;
    let size = response.reply.size().unwrap_or_default();
    if let Some(max) = job.max_size.filter(|max| size > *max) {
        return Err(Error::TooLarge { file: job.route.file.shown(), size, most: max });
    }
    let legs = all_legs(&response);
    tracker.on_reply(size, response.protocol, &legs, candidate.as_ref().map_or(0, ResumeCandidate::bytes));
    let source = ResumeSource::of(&job.route, &response).map_err(|why| {
        tracker.cannot_resume(why);
        tracker.one_connection(job, why);
    });
    let source = source.ok();
    let part = match ready(target, (candidate.take(), first), source, size, job).await? {
        ReceiveTarget::PartialFile(part) => *part,
        ReceiveTarget::Busy => return Ok(AttemptResult::Busy),
    };
    let mut via = None;
    let received = if ranges::can_receive(job, &part) {
        // Boxed to keep the parent future small.
        let received = Box::pin(ranges::receive(upstream, job, part, &response, size, tracker, stop)).await?;
        via = received.via;
        *candidate = Some(received.candidate);
        received.result
    } else {
        let (part, received) = receive(upstream, job, part, size, tracker, stop).await?;
        *candidate = Some(part);
        match received {
            Ok(()) => Ok(()),
            Err(error) => Err(attributed(job, (response.protocol, tracker), error, stop).await),
        }
    };
    match received {
        // The bytes may mix both versions of the file.
        Err(error @ Error::Changed { .. }) => {
            return Err(error.with_kept(candidate.take().map(ResumeCandidate::abandon).unwrap_or_default()));
        }
        other => other?,
    }
    upstream.finish();
    tracker.phase(Phase::Verifying);
    let arrived = digest(job, candidate, stop).await?;
    let (by, replied) = via.as_ref().map_or((job, &response), |(job, response)| (job, &**response));
    let verified = verify::verify(upstream, by, replied, arrived, tracker, stop).await;
    let unfit = matches!(verified, Err(Error::Altered { .. } | Error::Changed { .. }));
    let (integrity, origin) = match (verified, candidate.take()) {
        (Err(error), Some(part)) if unfit => return Err(error.with_kept(part.abandon())),
        (verified, part) => {
            *candidate = part;
            verified?
        }
    };
    let modified = response.reply.last_modified.as_deref().filter(|_| job.times);
    let modified = modified.and_then(|date| httpdate::parse_http_date(date).ok());
    let published = publish(job, candidate.take(), modified, stop).await?;
    Ok(AttemptResult::Done(Box::new(Fetched {
        path: target.path(),
        size,
        integrity,
        origin,
        already_present: published == Published::WasThere,
        protocol: response.protocol,
        legs,
        elapsed: tracker.elapsed(),
        flow: tracker.flow(),
    })))
}

/// Receives the body and waits until the last byte is written; returns the partial file and the result.
async fn receive(
    upstream: &mut Upstream,
    job: &FetchJob,
    part: ResumeCandidate,
    size: u64,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(ResumeCandidate, Result<(), Error>), Error> {
    if part.offset > 0 && part.offset == size {
        // Nothing was missing, so no body was requested.
        return Ok((part, Ok(())));
    }
    let offset = part.offset;
    tracker.begin();
    let meter = tracker.meter();
    let _probe = SchedDelayProbe::start(job.machine, move |us| meter.record_sched_delay(us));
    let mut writer = DiskWriter::start(job.machine, part, size, tracker.meter());
    let received =
        body::receive(upstream, job, (Wanted::Rest { at: offset }, size), &mut writer.queue, tracker, stop).await;
    let (part, written) = writer.finish().await?;
    tracker.end();
    Ok((part, received.and(written)))
}

/// Returns the digest of the whole file, if one is wanted.
async fn digest(
    job: &FetchJob,
    candidate: &mut Option<ResumeCandidate>,
    stop: &CancellationToken,
) -> Result<Option<Digest>, Error> {
    let Some(algorithm) = job.verify.algorithm() else { return Ok(None) };
    let Some(part) = candidate.take() else { return Ok(None) };
    let stop = stop.clone();
    let (part, digest) = blocking(job.machine, move || {
        let digest = part.digest(algorithm, &|| stop.is_cancelled());
        Ok((part, digest))
    })
    .await?;
    *candidate = Some(part);
    digest.map(Some)
}

/// Destination of the body.
enum ReceiveTarget {
    PartialFile(Box<ResumeCandidate>),
    Busy,
}

/// Opens the partial file unless there is one, and reserves disk space; both before the first byte is requested.
async fn ready(
    target: &Arc<TargetPath>,
    (candidate, first): (Option<ResumeCandidate>, usize),
    source: Option<ResumeSource>,
    size: u64,
    job: &FetchJob,
) -> Result<ReceiveTarget, Error> {
    let (target, force, algorithm) = (Arc::clone(target), job.force, job.verify.algorithm());
    blocking(job.machine, move || {
        // A replacement is never readable by more users than the file that it replaces.
        let private = target.check_existing(size, force)?.is_some();
        let mut candidate = match candidate {
            Some(mut candidate) => {
                if candidate.stale {
                    candidate.part.empty()?;
                }
                if private {
                    candidate.part.restrict()?;
                }
                candidate
            }
            None => match PartialFile::open(&target, size, private, first)? {
                ClaimResult::Ours(part) => ResumeCandidate::new(part, algorithm),
                ClaimResult::Busy(_) => return Ok(ReceiveTarget::Busy),
            },
        };
        candidate.part.reserve(size).inspect_err(|_| drop(candidate.part.keep()))?;
        Ok(ReceiveTarget::PartialFile(Box::new(ResumeCandidate { source, stale: false, ..candidate })))
    })
    .await
}

async fn publish(
    job: &FetchJob,
    part: Option<ResumeCandidate>,
    modified: Option<SystemTime>,
    stop: &CancellationToken,
) -> Result<Published, Error> {
    let (stop, force, executable) = (stop.clone(), job.force, job.executable);
    let Some(candidate) = part else { return Err(Error::Other("the partial file is missing".to_owned())) };
    let (part, is_small) = (candidate.part.executable(executable), candidate.offset <= SMALL);
    if let Some(modified) = modified {
        // Some file systems do not store this time.
        let _ = part.file().set_modified(modified);
    }
    if is_small {
        // Its sync is waited for beside other transfers.
        job.slot.release();
        return job.publisher.publish(job.machine, part, force, &stop).await;
    }
    blocking(job.machine, move || part.publish(force, &|| stop.is_cancelled())).await
}
