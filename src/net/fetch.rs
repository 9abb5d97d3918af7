//! The client end: one transfer from the first question to the file in its place, over as many tries as that takes, or
//! the question alone.

mod attempt;
mod body;
mod check;
mod claim;
mod disk;
mod names;
mod part;
mod partial;
mod present;
mod rate_limit;
mod request;
mod resume_state;
mod retry;
mod stream;
mod target;
mod tracker;
mod validator;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::os::machine::Machine;
use super::upstream::Upstream;
use super::upstream::protocols::Links;
use crate::error::{Error, Kept};
use crate::limits::Limits;
use crate::options::VerifyMode;
use crate::route::{Protocol, Route};
use crate::snapshot::{Flow, Integrity, TransferSnapshot};
use crate::wire::{Digest, Leg, TransferId};

use attempt::{Ended, attempt};
use claim::{Claimed, claim};
use partial::Begun;
use retry::Patience;
use target::Place;
use tracker::Tracker;

pub use check::{Checked, check};
pub use rate_limit::Cap;
pub use stream::Output;

/// One file to fetch: what, from where, to where.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own, named as its flag is")]
pub struct FetchJob {
    /// Its number in this run, from 1.
    pub number: u64,
    /// Its id on the wire: never used twice, and the right to ask the hops about it. Each try has its own; this is the
    /// latest.
    pub id: TransferId,
    /// The file and the hops.
    pub route: Route,
    /// The file or folder to write to, or an [`Output`].
    pub output: PathBuf,
    /// Replace a file that is there already.
    pub force: bool,
    /// Give the file the modification time that the origin tells.
    pub times: bool,
    /// Ask first whether the file that is there already is the same, and move nothing then; not where the transfer
    /// itself is what a person wants to see.
    pub reuse: bool,
    /// Go on with what an earlier fetch left of the file, where it is the same file still.
    pub resume: bool,
    /// The largest file that is taken.
    pub max_size: Option<u64>,
    /// Further tries in a row that may bring nothing, once the file has begun to arrive.
    pub retries: u32,
    /// What to compare the bytes with.
    pub verify: VerifyMode,
    /// The most it takes; whoever has a clone can turn it while the transfer runs.
    pub cap: Cap,
    /// The waits.
    pub limits: Limits,
    /// Where it runs.
    pub machine: Machine,
}

/// A file that is in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// How sure we are of its content.
    pub integrity: Integrity,
    /// The digest that the origin gave.
    pub origin: Option<Digest>,
    /// The same bytes were there already.
    pub was_there: bool,
    /// The wire that the first hop speaks.
    pub protocol: Protocol,
    /// What each leg's set-up took, the client's own first.
    pub legs: Vec<Leg>,
    /// From the question to the file in its place.
    pub elapsed: Duration,
    /// What the client's own stage did.
    pub flow: Flow,
}

impl FetchJob {
    /// A job with a new id that goes on with what is there, and is tried once.
    pub fn new(number: u64, route: Route, output: PathBuf, limits: Limits) -> Self {
        let machine = Machine::default();
        Self {
            number,
            id: machine.transfer_id(),
            route,
            output,
            force: false,
            times: true,
            reuse: true,
            resume: true,
            max_size: None,
            retries: 0,
            verify: VerifyMode::default(),
            cap: Cap::default(),
            limits,
            machine,
        }
    }
}

/// A client's way to the first hop: it may connect to whatever a person names. `protocol` is for hops that are not
/// marked.
pub fn client(links: Arc<Links>, limits: Limits, protocol: Option<Protocol>) -> Upstream {
    Upstream::new(links, limits, Arc::new(|_, _| Ok(())), protocol)
}

/// Fetches one file and says how it goes through `progress`; the last value there is the outcome.
///
/// `upstream` can be used for the next file afterwards, whatever the outcome, and `job` for the next try: its id is
/// then that of the last. Cancel through `stop`: a transfer that is dropped instead leaves its part file without a
/// word.
///
/// # Errors
/// `Error::Hop` if a hop fails before the body, `Short`, `Stalled` or `Changed` if the body ends early, `Altered` if
/// its digest differs, and `Unresumable` or `ReaderLeft` for an output that is not a file. `Disk`, `Exists`, `Lost`,
/// `TooLarge` or `Usage` if the local file cannot be written or must not be; `Interrupted` if `stop` was cancelled.
/// Retries are exhausted, or would not have helped.
pub async fn fetch(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    progress: &watch::Sender<TransferSnapshot>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    let mut tracker = Tracker::new(job, progress);
    let result = run(upstream, job, &mut tracker, stop).await;
    match &result {
        Ok(fetched) => tracker.done(fetched),
        Err(error) => {
            upstream.close();
            tracker.failed(error);
        }
    }
    result
}

/// Tries until the file is in its place, or another try would not help.
async fn run(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    if let Some(output) = Output::of(&job.output) {
        return Box::pin(stream::run(upstream, job, output, tracker, stop)).await;
    }
    let place = Arc::new(Place::of(&job.output, &job.route.file)?);
    tracker.path(&place.path());
    let (mut first, mut patience) = (0, Patience::new(job.retries));
    let mut begun = match begin(upstream, job, &place, &mut first, tracker, stop).await? {
        Begin::Present(fetched) => return Ok(*fetched),
        Begin::From(begun) => begun,
    };
    let mut furthest = begun.as_ref().map_or(0, |begun| begun.offset);
    loop {
        tracker.attempt(job.id);
        let error = match attempt(upstream, job, &place, (&mut begun, first), tracker, stop).await {
            Ok(Ended::There(fetched)) => return Ok(*fetched),
            Ok(Ended::Busy) => {
                // The answer would be out of date by the time it is our turn.
                upstream.close();
                job.id = job.machine.transfer_id();
                begun = match begin(upstream, job, &place, &mut first, tracker, stop).await? {
                    Begin::Present(fetched) => return Ok(*fetched),
                    Begin::From(begun) => begun,
                };
                continue;
            }
            Err(error) => error,
        };
        // What is left on the connection belongs to a try that is over.
        upstream.close();
        if let Error::Lost { .. } = error {
            begun = restored(job.machine, begun.take()).await;
        }
        let reached = begun.as_ref().map_or(0, |begun| begun.offset);
        let brought = reached > furthest;
        furthest = furthest.max(reached);
        let pause = patience.after(&error, brought).filter(|_| !stop.is_cancelled());
        let Some(pause) = pause else { return Err(leave(job.machine, begun, error).await) };
        tracker.retrying(&error);
        if !wait(pause, tracker, stop).await {
            return Err(leave(job.machine, begun, Error::Interrupted { kept: Kept::default() }).await);
        }
        // A hop may still hold the connection of the try before, and would take the same id for a loop.
        job.id = job.machine.transfer_id();
    }
}

/// What there is before a try.
#[expect(clippy::large_enum_variant, reason = "it is made once a fetch and taken apart at once")]
enum Begin {
    /// The file itself.
    Present(Box<Fetched>),
    /// What an earlier run left of it, or nothing.
    From(Option<Begun>),
}

/// Looks for the file itself, and for what an earlier run left of it; once more after another fetch was waited for.
async fn begin(
    upstream: &mut Upstream,
    job: &FetchJob,
    place: &Arc<Place>,
    first: &mut usize,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Begin, Error> {
    loop {
        if let Some(there) = place.existing()?
            && job.reuse
            // Boxed: most fetches find nothing there, and would carry its size along.
            && let Some(fetched) =
                Box::pin(present::up_to_date(upstream, job, (place, there.size), tracker, stop)).await?
        {
            return Ok(Begin::Present(Box::new(fetched)));
        }
        // Boxed for the same reason.
        if let Claimed::Begun(begun) = Box::pin(claim(job, place, first, tracker, stop)).await? {
            return Ok(Begin::From(begun));
        }
    }
}

/// What had arrived when the partial file was taken away, saved under a new name; where that fails, it is gone.
async fn restored(machine: Machine, begun: Option<Begun>) -> Option<Begun> {
    let begun = begun?;
    blocking(machine, move || begun.restore()).await.ok()
}

/// The error of a transfer that is over, with the place where what arrived is kept for a later one.
async fn leave(machine: Machine, begun: Option<Begun>, error: Error) -> Error {
    let Some(begun) = begun else { return error };
    match blocking(machine, move || Ok(begun.leave())).await {
        Ok(kept) => error.keeping(kept),
        Err(_) => error,
    }
}

/// Lets a pause pass; false where a person stopped it.
async fn wait(pause: Duration, tracker: &mut Tracker<'_>, stop: &CancellationToken) -> bool {
    let until = Instant::now() + pause;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = sleep_until(until) => return true,
            () = tracker.due() => tracker.publish(),
        }
    }
}

/// Disk work that may take long has a thread of its own, so that it holds up no socket.
async fn blocking<T: Send + 'static>(
    machine: Machine,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let working = tokio::task::spawn_blocking(work);
    (machine.settle)(&|| working.is_finished());
    match working.await {
        Ok(result) => result,
        Err(error) => Err(Error::Other(format!("the disk thread failed: {error}"))),
    }
}

#[cfg(test)]
mod name_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
