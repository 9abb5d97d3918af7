//! One try: ask for what is missing, receive it, prove the whole, move it into its place.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::body::address_of;
use super::disk::DiskWriter;
use super::job::{FetchJob, Fetched, blocking};
use super::part::{ClaimResult, PartialFile, Published};
use super::partial::ResumeCandidate;
use super::request::{all_legs, ask_for_rest};
use super::resume_state::ResumeSource;
use super::target::TargetPath;
use super::tracker::Tracker;
use super::{body, verify};
use crate::error::{BodyFailure, Error, KeptBytes};
use crate::net::diagnose::{Blame, blame, findings};
use crate::net::node::digests::Hasher;
use crate::net::os::starvation::SchedDelayProbe;
use crate::net::upstream::Upstream;
use crate::route::Protocol;
use crate::snapshot::Phase;

/// How a try ended that did not fail.
pub(super) enum AttemptResult {
    /// The file is in its place.
    There(Box<Fetched>),
    /// Another fetch was there first.
    Busy,
}

/// Goes on with what has begun, or begins. Where it fails, what there is by then is in `begun` again.
pub(super) async fn attempt(
    upstream: &mut Upstream,
    job: &FetchJob,
    place: &Arc<TargetPath>,
    (begun, first): (&mut Option<ResumeCandidate>, usize),
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<AttemptResult, Error> {
    tracker.phase(Phase::Connecting);
    let answer = ask_for_rest(upstream, job, begun, tracker, stop).await?;
    let size = answer.reply.size().unwrap_or_default();
    if let Some(most) = job.max_size.filter(|most| size > *most) {
        return Err(Error::TooLarge { file: job.route.file.shown(), size, most });
    }
    let legs = all_legs(&answer);
    tracker.answered(size, answer.protocol, &legs, begun.as_ref().map_or(0, |begun| begun.offset));
    let source = ResumeSource::of(&job.route, &answer).map_err(|why| tracker.cannot_resume(why)).ok();
    let part = match ready(place, (begun.take(), first), source, size, job).await? {
        ReceiveTarget::PartialFile(part) => *part,
        ReceiveTarget::Busy => return Ok(AttemptResult::Busy),
    };
    let (part, received) = receive(upstream, job, part, size, tracker, stop).await?;
    let arrived = part.hasher.as_ref().map(Hasher::so_far);
    *begun = Some(part);
    if let Err(error) = received {
        return Err(match blamed(job, answer.protocol, error, stop).await {
            // What came may be of the one state or the other.
            error @ Error::Changed { .. } => {
                error.with_kept(begun.take().map(ResumeCandidate::give_up).unwrap_or_default())
            }
            error => error,
        });
    }
    upstream.finish();
    tracker.phase(Phase::Verifying);
    let proven = verify::prove(upstream, job, &answer, arrived, stop).await;
    let unfit = matches!(proven, Err(Error::Altered { .. } | Error::Changed { .. }));
    let (integrity, origin) = match (proven, begun.take()) {
        (Err(error), Some(part)) if unfit => return Err(error.with_kept(part.give_up())),
        (proven, part) => {
            *begun = part;
            proven?
        }
    };
    let modified = answer.reply.last_modified.as_deref().filter(|_| job.times);
    let modified = modified.and_then(|date| httpdate::parse_http_date(date).ok());
    let published = publish(job, begun.take(), modified, stop).await?;
    Ok(AttemptResult::There(Box::new(Fetched {
        path: place.path(),
        size,
        integrity,
        origin,
        already_present: published == Published::WasThere,
        protocol: answer.protocol,
        legs,
        elapsed: tracker.elapsed(),
        flow: tracker.flow(),
    })))
}

/// The body, from the go-ahead to the last byte written: the part as far as it is then, and how that ended.
async fn receive(
    upstream: &mut Upstream,
    job: &FetchJob,
    part: ResumeCandidate,
    size: u64,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(ResumeCandidate, Result<(), Error>), Error> {
    if part.offset > 0 && part.offset == size {
        // Nothing was missing, and no body was asked for.
        return Ok((part, Ok(())));
    }
    let offset = part.offset;
    tracker.begin();
    let meter = tracker.meter();
    let _pulse = SchedDelayProbe::start(job.machine, move |us| meter.record_sched_delay(us));
    let mut writer = DiskWriter::start(job.machine, part, size, tracker.meter());
    let received = body::receive(upstream, job, (offset, size), &mut writer, tracker, stop).await;
    let (part, written) = writer.finish().await?;
    tracker.end();
    Ok((part, received.and(written)))
}

/// Puts a body that broke off on the hop that broke it, as far as the hops can tell: through the chain as far as it
/// still stands, and directly.
pub(super) async fn blamed(job: &FetchJob, protocol: Protocol, error: Error, stop: &CancellationToken) -> Error {
    let Error::Short { received, size, how, .. } = error else { return error };
    if protocol == Protocol::Legacy {
        return error;
    }
    let asking = findings(&job.route, job.route.hops().len(), job.id, ASK);
    let findings = tokio::select! {
        findings = asking => findings,
        () = stop.cancelled() => return error,
    };
    let Blame { hop, reporter, how } = blame(&findings, how);
    if how == BodyFailure::Changed {
        return Error::Changed { file: job.route.file.shown(), kept: KeptBytes::default() };
    }
    Error::Short { hop, address: address_of(job, hop), how, reporter, received, size, kept: KeptBytes::default() }
}

/// How long the hops may take to say who broke a body off: the error is to be there within a second.
const ASK: Duration = Duration::from_millis(700);

/// What there is to receive into.
enum ReceiveTarget {
    PartialFile(Box<ResumeCandidate>),
    Busy,
}

/// Opens the partial file, unless there is one, and reserves the disk; both before the first byte is asked for.
async fn ready(
    place: &Arc<TargetPath>,
    (begun, first): (Option<ResumeCandidate>, usize),
    source: Option<ResumeSource>,
    size: u64,
    job: &FetchJob,
) -> Result<ReceiveTarget, Error> {
    let (place, force, algorithm) = (Arc::clone(place), job.force, job.verify.algorithm());
    blocking(job.machine, move || {
        // What is to replace a file is never open to more people than that file is.
        let tight = place.check_existing(size, force)?.is_some();
        let mut begun = match begun {
            Some(mut begun) => {
                if begun.stale {
                    begun.part.empty()?;
                }
                if tight {
                    begun.part.tighten()?;
                }
                begun
            }
            None => match PartialFile::open(&place, size, tight, first)? {
                ClaimResult::Ours(part) => ResumeCandidate::new(part, algorithm),
                ClaimResult::Busy(_) => return Ok(ReceiveTarget::Busy),
            },
        };
        begun.part.reserve(size).inspect_err(|_| drop(begun.part.keep()))?;
        Ok(ReceiveTarget::PartialFile(Box::new(ResumeCandidate { source, stale: false, ..begun })))
    })
    .await
}

async fn publish(
    job: &FetchJob,
    part: Option<ResumeCandidate>,
    modified: Option<SystemTime>,
    stop: &CancellationToken,
) -> Result<Published, Error> {
    let (stop, force) = (stop.clone(), job.force);
    let Some(begun) = part else { return Err(Error::Other("the part is gone".to_owned())) };
    blocking(job.machine, move || {
        if let Some(modified) = modified {
            // A file system without such times keeps its own.
            let _ = begun.part.file().set_modified(modified);
        }
        begun.part.publish(force, &|| stop.is_cancelled())
    })
    .await
}
