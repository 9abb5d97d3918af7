//! The body on its way in: read from the first hop, handed to the disk, watched by three clocks.

use std::io;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::FetchJob;
use super::cap::Throttle;
use super::disk::Writer;
use super::tracker::Tracker;
use crate::error::{Error, Kept, plain};
use crate::meter::Wait;
use crate::net::upstream::Upstream;
use crate::text::SafeText;
use crate::wire::{Action, Problem, Reason};

/// Reads the bytes from an offset to exactly the whole size and hands them to the disk; where the disk fails, it is the
/// writer that says so.
///
/// An end of stream before that is never success, and neither is one after it asked for: nothing here waits for it.
pub(super) async fn receive(
    upstream: &mut Upstream,
    job: &FetchJob,
    (offset, size): (u64, u64),
    writer: &mut Writer,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    if let Err(error) = upstream.go_ahead().await {
        return Err(ended(job, offset, size, b"", &plain(&error)));
    }
    let mut first = Vec::with_capacity(NOT_OPENED.len() + 1);
    let mut throttle = job.cap.throttle();
    let mut received = offset;
    while received < size {
        if stop.is_cancelled() {
            return Err(Error::Interrupted { kept: Kept::default() });
        }
        let Some(mut buffer) = free_buffer(writer, job, tracker, stop).await? else { return Ok(()) };
        let most = throttle.most(buffer.len());
        let read = match read_some(upstream, job, &mut buffer[..most], (received, size), tracker, stop).await? {
            Ok(0) => return Err(ended(job, received, size, &first, "end of stream")),
            Ok(read) => read,
            Err(error) => return Err(ended(job, received, size, &first, &plain(&error))),
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
    tracker.wait(Wait::Cap);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Error::Interrupted { kept: Kept::default() }),
            () = throttle.turned() => break,
            () = tracker.due() => tracker.publish(),
            () = sleep_until(due) => break,
        }
    }
    tracker.resume();
    Ok(())
}

/// An empty buffer, as soon as the disk has one to spare; `None` where the writer has failed.
async fn free_buffer(
    writer: &mut Writer,
    job: &FetchJob,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Option<Vec<u8>>, Error> {
    if let Some(buffer) = writer.try_buffer() {
        return Ok(Some(buffer));
    }
    tracker.wait(Wait::Write);
    let deadline = Instant::now() + job.limits.stall;
    let buffer = loop {
        tokio::select! {
            biased;
            buffer = writer.buffer() => break buffer,
            () = stop.cancelled() => return Err(Error::Interrupted { kept: Kept::default() }),
            () = tracker.due() => tracker.publish(),
            () = sleep_until(deadline) => {
                let reason = format!("the disk took nothing for {}", crate::units::Span(job.limits.stall));
                return Err(Error::Disk { action: "write it", path: tracker.shown_path(), reason });
            }
        }
    };
    tracker.resume();
    Ok(buffer)
}

/// The next bytes, the end of the stream, or what became of the connection.
async fn read_some(
    upstream: &mut Upstream,
    job: &FetchJob,
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
    tracker.wait(Wait::Read);
    let deadline = Instant::now() + job.limits.idle;
    let read = loop {
        tokio::select! {
            biased;
            read = &mut read => break read,
            () = stop.cancelled() => return Err(Error::Interrupted { kept: Kept::default() }),
            () = tracker.due() => tracker.publish(),
            () = sleep_until(deadline) => {
                let waited = job.limits.idle;
                let address = first_address(job);
                return Err(Error::Stalled { hop: 1, address, waited, received, size, kept: Kept::default() });
            }
        }
    };
    tracker.resume();
    Ok(read)
}

/// The original answers for a folder with its size, and then with these two bytes.
const NOT_OPENED: &[u8] = b"NA";

/// The body ended early; the first hop is the nearest that is known to have had a part in it.
fn ended(job: &FetchJob, received: u64, size: u64, first: &[u8], detail: &str) -> Error {
    if first == NOT_OPENED && received == NOT_OPENED.len() as u64 {
        let hops = job.route.hops();
        let away = u32::try_from(hops.len()).unwrap_or(u32::MAX);
        let address = hops.last().map(|origin| origin.address.to_string()).unwrap_or_default();
        let problem = Problem::here(Reason::NotFound, Action::Open, address, "the origin could not open it");
        return Error::at_hop(Problem { hop: away, reporter: away, ..problem }, &job.route);
    }
    Error::Short { hop: 1, address: first_address(job), received, size, detail: detail.into(), kept: Kept::default() }
}

fn first_address(job: &FetchJob) -> SafeText {
    job.route.split_first().0.address.to_string().into()
}
