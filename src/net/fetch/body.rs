//! The body on its way in: read from the first hop, handed to the disk, watched by four clocks.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::disk::DiskWriter;
use super::job::FetchJob;
use super::rate_limit::Throttle;
use super::tracker::Tracker;
use crate::error::{BodyFailure, Error, KeptBytes};
use crate::meter::WaitKind;
use crate::net::diagnose::{Blame, findings, suspect};
use crate::net::os::deadline::Deadline;
use crate::net::upstream::Upstream;
use crate::route::Protocol;
use crate::text::SafeText;
use crate::wire::{FailedAction, Problem, Reason};

/// Reads the bytes from an offset to exactly the whole size and hands them to the disk; where the disk fails, it is the
/// writer that says so.
///
/// An end of stream before that is never success, and neither is one after it asked for: nothing here waits for it.
pub(super) async fn receive<S>(
    upstream: &mut Upstream,
    job: &FetchJob,
    (offset, size): (u64, u64),
    writer: &mut DiskWriter<S>,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    if upstream.go_ahead().await.is_err() {
        return Err(ended(job, offset, size, b"", BodyFailure::Reset));
    }
    let mut watch = StallWatch::new(job, upstream.protocol() == Some(Protocol::Http));
    let mut first = Vec::with_capacity(NOT_OPENED.len() + 1);
    let mut throttle = job.cap.throttle();
    let mut received = offset;
    while received < size {
        if stop.is_cancelled() {
            return Err(Error::Interrupted { kept: KeptBytes::default() });
        }
        let Some(mut buffer) = free_buffer(writer, job, tracker, stop).await? else { return Ok(()) };
        let most = throttle.most(buffer.len());
        let read = match read_some(upstream, &mut watch, &mut buffer[..most], (received, size), tracker, stop).await? {
            Ok(0) => return Err(ended(job, received, size, &first, BodyFailure::Closed)),
            Ok(read) => read,
            Err(_) => return Err(ended(job, received, size, &first, BodyFailure::Reset)),
        };
        let room = first.capacity().saturating_sub(first.len()).min(read);
        first.extend_from_slice(&buffer[..room]);
        received += read as u64;
        tracker.took(read as u64);
        if !writer.write(buffer, read) {
            return Ok(());
        }
        hold(&mut throttle, read, tracker, stop).await?;
    }
    Ok(())
}

/// Waits as long as the transfer's own cap wants after so many bytes, or until somebody turns it.
async fn hold(
    throttle: &mut Throttle,
    read: usize,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let pause = throttle.took(read, tracker.now_us());
    if pause.is_zero() {
        return Ok(());
    }
    let due = Instant::now() + pause;
    tracker.wait(WaitKind::RateLimit);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
            () = throttle.turned() => break,
            () = tracker.due() => tracker.publish(),
            () = sleep_until(due) => break,
        }
    }
    tracker.resume();
    Ok(())
}

/// An empty buffer, as soon as the disk has one to spare; `None` where the writer has failed.
async fn free_buffer<S>(
    writer: &mut DiskWriter<S>,
    job: &FetchJob,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Option<Vec<u8>>, Error> {
    if let Some(buffer) = writer.try_buffer() {
        return Ok(Some(buffer));
    }
    tracker.wait(WaitKind::Write);
    let mut deadline = Deadline::after(job.limits.stall);
    let mut passed = pin!(deadline.passed());
    let buffer = loop {
        tokio::select! {
            biased;
            buffer = writer.buffer() => break buffer,
            () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
            () = &mut passed => {
                let reason = format!("it took nothing for {}", crate::units::HumanDuration(job.limits.stall));
                return Err(Error::Disk { action: "write it", path: tracker.shown_path(), reason });
            }
            () = tracker.due() => tracker.publish(),
        }
    };
    tracker.resume();
    Ok(buffer)
}

/// Who is watched while nothing comes.
struct StallWatch<'a> {
    job: &'a FetchJob,
    /// Hop 1 can be asked.
    http: bool,
    /// How long nothing comes before the hops are asked, and between two times.
    pause: Duration,
    /// The hop that did not answer when it was last asked.
    suspect: Option<Blame>,
}

impl<'a> StallWatch<'a> {
    fn new(job: &'a FetchJob, http: bool) -> Self {
        Self { job, http, pause: LOOK_AFTER.min(job.limits.idle / LOOKS), suspect: None }
    }
}

/// Asks every hop what it knows of the transfer: the first that does not answer in time.
async fn look(job: &FetchJob, limit: Duration) -> Option<Blame> {
    suspect(&findings(&job.route, job.route.hops().len(), job.id, limit).await)
}

/// The next bytes, the end of the stream, or what became of the connection.
async fn read_some(
    upstream: &mut Upstream,
    watch: &mut StallWatch<'_>,
    buffer: &mut [u8],
    (received, size): (u64, u64),
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<io::Result<usize>, Error> {
    let read = upstream.read_body(buffer);
    tokio::pin!(read);
    // What is there already is taken without looking at a clock.
    tokio::select! {
        biased;
        read = &mut read => return Ok(read),
        () = std::future::ready(()) => {}
    }
    tracker.wait(WaitKind::Read);
    let (since, waited) = (Instant::now(), watch.job.limits.idle);
    let mut deadline = Deadline::after(waited);
    let mut passed = pin!(deadline.passed());
    let (mut looking, mut next_look) = (None, since + watch.pause);
    let read = loop {
        tokio::select! {
            biased;
            read = &mut read => break read,
            () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
            found = async { looking.as_mut()?.await }, if looking.is_some() => {
                (looking, next_look) = (None, Instant::now() + watch.pause);
                watch.suspect = found;
                tracker.suspects(found.map(|blame| sentence(watch.job, blame)));
            }
            () = &mut passed => {
                let (hop, silent) = (watch.suspect.map_or(1, |blame| blame.hop), watch.suspect.is_some());
                let address = address_of(watch.job, hop);
                return Err(Error::Stalled { hop, address, silent, waited, received, size, kept: KeptBytes::default() });
            }
            // Often enough to see as well that it is time to ask.
            () = tracker.due() => {
                tracker.publish();
                if watch.http && looking.is_none() && Instant::now() >= next_look {
                    looking = Some(Box::pin(look(watch.job, LOOK.min(watch.pause))));
                }
            }
        }
    };
    if watch.suspect.take().is_some() {
        tracker.suspects(None);
    }
    tracker.resume();
    Ok(read)
}

fn sentence(job: &FetchJob, blame: Blame) -> String {
    let (hop, address, how) = (blame.hop, address_of(job, blame.hop), blame.how);
    format!("hop {hop} ({address}): {how}, and no byte comes")
}

/// How long nothing comes before the hops are asked, and between two times: a short pause is nobody's fault.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// At least so many times that long are in the idle limit: one for the pause, one for the answers, one to spare.
const LOOKS: u32 = 3;
/// How long their answers may take: one that is merely busy, or far away, is not to be named.
const LOOK: Duration = Duration::from_secs(3);

/// The original answers for a folder with its size, and then with these two bytes.
const NOT_OPENED: &[u8] = b"NA";

/// The body ended early; the first hop is the nearest that is known to have had a part in it.
fn ended(job: &FetchJob, received: u64, size: u64, first: &[u8], how: BodyFailure) -> Error {
    if first == NOT_OPENED && received == NOT_OPENED.len() as u64 {
        let hops = job.route.hops();
        let away = u32::try_from(hops.len()).unwrap_or(u32::MAX);
        let address = hops.last().map(|origin| origin.address.to_string()).unwrap_or_default();
        let problem = Problem::here(Reason::NotFound, FailedAction::Open, address, "the origin could not open it");
        return Error::at_hop(Problem { hop: away, reporter: away, ..problem }, &job.route);
    }
    Error::Short { hop: 1, address: address_of(job, 1), how, reporter: 0, received, size, kept: KeptBytes::default() }
}

/// The address of a hop, counted from 1.
pub(super) fn address_of(job: &FetchJob, hop: usize) -> SafeText {
    let hop = hop.checked_sub(1).and_then(|at| job.route.hops().get(at));
    hop.map(|hop| hop.address.to_string().into()).unwrap_or_default()
}
