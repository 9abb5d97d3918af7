//! Receiving the body: reads from the first hop, hands buffers to the disk writer, and checks four timeouts.

use std::io;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::disk::WriteQueue;
use super::job::FetchJob;
use super::pieces::PieceMap;
use super::rate_limit::Throttle;
use super::tracker::Tracker;
use crate::error::{BodyFailure, Error, KeptBytes};
use crate::meter::WaitKind;
use crate::net::diagnose::{Blame, query_hops, suspect};
use crate::net::os::deadline::Deadline;
use crate::net::tls::is_altered;
use crate::net::upstream::Upstream;
use crate::route::Protocol;
use crate::snapshot::Awaited;
use crate::text::SafeText;
use crate::wire::{FailedAction, Problem, Reason, TransferIds};

/// The bytes that a body is read for.
pub(super) enum Wanted<'a> {
    /// The rest of the file.
    Rest {
        /// The next byte.
        at: u64,
    },
    /// The piece of this connection, whose end may move closer meanwhile.
    Piece(&'a Mutex<PieceMap>, u32),
}

impl Wanted<'_> {
    /// Returns the next byte, and how many are wanted from there on.
    fn next(&self, size: u64) -> (u64, u64) {
        match self {
            Self::Rest { at } => (*at, size - at),
            Self::Piece(map, number) => {
                let map = map.lock().unwrap_or_else(PoisonError::into_inner);
                map.piece(*number).map_or((0, 0), |piece| (piece.at, piece.left()))
            }
        }
    }

    /// Counts bytes that were read; returns how many of them are still wanted.
    fn advance(&mut self, read: u64) -> u64 {
        match self {
            Self::Rest { at } => {
                *at += read;
                read
            }
            Self::Piece(map, number) => map.lock().unwrap_or_else(PoisonError::into_inner).advance(*number, read),
        }
    }
}

/// Reads the wanted bytes of a file of this size and hands them to the disk writer, which reports its own errors.
///
/// An end of stream before the last wanted byte is never success, and one after it is not waited for.
pub(super) async fn receive(
    upstream: &mut Upstream,
    job: &FetchJob,
    (mut wanted, size): (Wanted<'_>, u64),
    writer: &mut WriteQueue,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let (mut at, mut left) = wanted.next(size);
    if upstream.go_ahead().await.is_err() {
        return Err(ended(job, at, size, b"", BodyFailure::Reset));
    }
    let mut watch = StallWatch::new(job, upstream.protocol() == Some(Protocol::Http));
    let mut first = Vec::with_capacity(NOT_OPENED.len() + 1);
    let mut throttle = job.rate_limit.throttle();
    while left > 0 {
        if stop.is_cancelled() {
            return Err(Error::Interrupted { kept: KeptBytes::default() });
        }
        let Some(mut buffer) = free_buffer(writer, job, tracker, stop).await? else { return Ok(()) };
        // The body of a piece that was divided is longer.
        let max = throttle.max_read(buffer.len()).min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = match read_some(upstream, &mut watch, &mut buffer[..max], (at, size), tracker, stop).await? {
            Ok(0) => return Err(ended(job, at, size, &first, BodyFailure::Closed)),
            Ok(read) => read,
            Err(error) => return Err(ended(job, at, size, &first, failure_of(&error))),
        };
        let sampled = first.capacity().saturating_sub(first.len()).min(read);
        first.extend_from_slice(&buffer[..sampled]);
        let accepted = usize::try_from(wanted.advance(read as u64)).unwrap_or(read);
        (at, left) = wanted.next(size);
        tracker.record_read(accepted as u64);
        if accepted > 0 && !writer.write(buffer, accepted) {
            return Ok(());
        }
        throttle_read(&mut throttle, read, tracker, stop).await?;
    }
    Ok(())
}

/// Waits for the transfer's own rate limit after a read, until the wait is over or the limit is changed.
async fn throttle_read(
    throttle: &mut Throttle,
    read: usize,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let pause = throttle.record_read(read, tracker.now_us());
    if pause.is_zero() {
        return Ok(());
    }
    let due = Instant::now() + pause;
    tracker.wait(WaitKind::RateLimit);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
            () = throttle.changed() => break,
            () = tracker.due() => tracker.publish(),
            () = sleep_until(due) => break,
        }
    }
    tracker.resume();
    Ok(())
}

/// Returns an empty buffer as soon as the disk writer has one; `None` if the writer has failed.
async fn free_buffer(
    writer: &mut WriteQueue,
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
                let reason = format!("no progress for {}", crate::units::HumanDuration(job.limits.stall));
                return Err(Error::Disk { action: "write it", path: tracker.shown_path(), reason });
            }
            () = tracker.due() => tracker.publish(),
        }
    };
    tracker.resume();
    Ok(buffer)
}

/// State of the search for a silent hop while no data arrives.
struct StallWatch<'a> {
    job: &'a FetchJob,
    /// True if hop 1 can be queried.
    http: bool,
    /// Time without data before the hops are queried, and between two queries.
    pause: Duration,
    /// The hop that did not reply to the last query.
    suspect: Option<Blame>,
}

impl<'a> StallWatch<'a> {
    fn new(job: &'a FetchJob, http: bool) -> Self {
        Self { job, http, pause: PROBE_INTERVAL.min(job.limits.idle / PROBES_PER_IDLE_LIMIT), suspect: None }
    }
}

/// Queries every hop about the transfer; returns the first that does not reply in time.
async fn find_suspect(job: &FetchJob, ids: TransferIds, limit: Duration) -> Option<Blame> {
    let (reach, identity) = (job.route.hops().len(), job.identity.as_ref());
    suspect(&query_hops(job.machine, &job.route, reach, ids, identity, limit).await)
}

/// Reads the next bytes; returns the end of the stream or the connection's error as the inner result.
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
    // Data that is already there is read without checking a clock.
    tokio::select! {
        biased;
        read = &mut read => return Ok(read),
        () = std::future::ready(()) => {}
    }
    tracker.wait(WaitKind::Read);
    let (since, waited) = (Instant::now(), watch.job.limits.idle);
    let mut deadline = Deadline::after(waited);
    let mut passed = pin!(deadline.passed());
    let (mut probe, mut next_probe) = (None, since + watch.pause);
    let read = loop {
        tokio::select! {
            biased;
            read = &mut read => break read,
            () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
            found = async { probe.as_mut()?.await }, if probe.is_some() => {
                (probe, next_probe) = (None, Instant::now() + watch.pause);
                watch.suspect = found;
                tracker.set_suspect(found.map(|blame| sentence(watch.job, blame)));
            }
            () = &mut passed => {
                let (hop, silent) = (watch.suspect.map_or(1, |blame| blame.hop), watch.suspect.is_some());
                let address = address_of(watch.job, hop);
                return Err(Error::Stalled { hop, address, silent, waited, received, size, kept: KeptBytes::default() });
            }
            // This timer is frequent enough to also start the next query.
            () = tracker.due() => {
                tracker.wait_for(Awaited::Data, since, waited, watch.suspect.map(|blame| blame.hop));
                tracker.publish();
                if watch.http && probe.is_none() && Instant::now() >= next_probe {
                    let ids = tracker.ids().unwrap_or(TransferIds::of(watch.job.id));
                    probe = Some(Box::pin(find_suspect(watch.job, ids, PROBE_TIMEOUT.min(watch.pause))));
                }
            }
        }
    };
    if watch.suspect.take().is_some() {
        tracker.set_suspect(None);
    }
    tracker.wait_is_over();
    tracker.resume();
    Ok(read)
}

fn sentence(job: &FetchJob, blame: Blame) -> String {
    let (hop, address, how) = (blame.hop, address_of(job, blame.hop), blame.how);
    format!("hop {hop} ({address}): {how}, and no data arrives")
}

/// Time without data before the hops are queried, and between two queries: a short pause is no failure.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Least number of such intervals in the idle limit: one for the pause, one for the replies, one spare.
const PROBES_PER_IDLE_LIMIT: u32 = 3;
/// Timeout of a query: a hop that is merely busy or far away must not be reported.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The legacy Python program replies for a folder with its size, then with these two bytes as the body.
const NOT_OPENED: &[u8] = b"NA";

/// Returns the error of a body that ended early, attributed to hop 1, the only one known to be involved.
fn ended(job: &FetchJob, received: u64, size: u64, first: &[u8], how: BodyFailure) -> Error {
    if first == NOT_OPENED && received == NOT_OPENED.len() as u64 {
        let hops = job.route.hops();
        let away = u32::try_from(hops.len()).unwrap_or(u32::MAX);
        let address = hops.last().map(|origin| origin.address.to_string()).unwrap_or_default();
        let problem = Problem::here(Reason::NotFound, FailedAction::Open, address, "the origin could not open it");
        return Error::at_hop(Problem { hop: away, reporter: away, ..problem }, &job.route);
    }
    // Which relay has altered encrypted bytes cannot be seen from outside: only whose they were.
    let hop = if how == BodyFailure::Altered { job.route.hops().len() } else { 1 };
    Error::Short { hop, address: address_of(job, hop), how, reporter: 0, received, size, kept: KeptBytes::default() }
}

/// Classifies the error of a read.
fn failure_of(error: &io::Error) -> BodyFailure {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        // The connection ended without the end that TLS has.
        return BodyFailure::Closed;
    }
    if is_altered(error) { BodyFailure::Altered } else { BodyFailure::Reset }
}

/// Returns the address of a hop, counted from 1.
pub(super) fn address_of(job: &FetchJob, hop: usize) -> SafeText {
    let hop = hop.checked_sub(1).and_then(|at| job.route.hops().get(at));
    hop.map(|hop| hop.address.to_string().into()).unwrap_or_default()
}
