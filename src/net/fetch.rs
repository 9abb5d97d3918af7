//! The client end: one transfer from the first question to the file in its place, over as many tries as that takes, or
//! the question alone.
//!
//! A fetch from a node of this process:
//!
//! ```
//! # use chainview::allow_list::AllowList;
//! # use chainview::limits::Limits;
//! # use chainview::net::access::Access;
//! use chainview::net::fetch::{FetchJob, client, fetch};
//! use chainview::net::node::drain::Drain;
//! # use chainview::net::node::root::Root;
//! use chainview::net::node::{Node, NodeConfig};
//! use chainview::net::server;
//! # use chainview::net::upstream::policy::Policy;
//! use chainview::route::Route;
//! use chainview::snapshot::{Integrity, TransferSnapshot};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (served, output) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! std::fs::write(served.path().join("hello.txt"), "hello")?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! let config = NodeConfig {
//!     root: Root::open(served.path())?,
//!     max_connections: 64,
//!     // …
//! #     policy: Policy::new(address, AllowList::default()),
//! #     access: Access::new(address),
//! #     limits: Limits::default(),
//! #     faults: Default::default(),
//! #     protocol: None,
//! #     resolver: Default::default(),
//! };
//! tokio::spawn(server::run(Node::new(config, address), listener, Drain::new()));
//!
//! let limits = Limits::default();
//! let route = Route::parse(format!("hello.txt\n{address}\n").as_bytes())?;
//! let mut job = FetchJob::new(1, route, output.path().to_owned(), limits);
//! let (progress, _) = tokio::sync::watch::channel(TransferSnapshot::default());
//! let mut upstream = client(Default::default(), limits, None);
//! let fetched = fetch(&mut upstream, &mut job, &progress, &CancellationToken::new()).await?;
//! assert!(matches!(fetched.integrity, Integrity::Verified { .. }));
//! assert_eq!(std::fs::read(fetched.path)?, b"hello");
//! # Ok(())
//! # }
//! ```

mod attempt;
mod body;
mod check;
mod claim;
mod disk;
mod job;
mod names;
mod output;
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

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::os::machine::Machine;
use super::upstream::Upstream;
use super::upstream::protocols::ProtocolCache;
use crate::error::{Error, KeptBytes};
use crate::limits::Limits;
use crate::route::Protocol;
use crate::snapshot::TransferSnapshot;

use attempt::{AttemptResult, attempt};
use claim::{EarlierClaim, claim};
use job::blocking;
use partial::ResumeCandidate;
use retry::RetryPolicy;
use target::TargetPath;
use tracker::{Tracker, wait};

pub use check::{Checked, check};
pub use job::{FetchJob, Fetched};
pub use output::Output;
pub use rate_limit::RateLimit;

/// A client's way to the first hop: it may connect to whatever a person names. `protocol` is for hops that are not
/// marked.
pub fn client(links: Arc<ProtocolCache>, limits: Limits, protocol: Option<Protocol>) -> Upstream {
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
    let place = Arc::new(TargetPath::of(&job.output, &job.route.file)?);
    tracker.path(&place.path());
    let (mut first, mut patience) = (0, RetryPolicy::new(job.retries));
    let mut begun = match begin(upstream, job, &place, &mut first, tracker, stop).await? {
        AttemptStart::Present(fetched) => return Ok(*fetched),
        AttemptStart::From(begun) => begun,
    };
    let mut furthest = begun.as_ref().map_or(0, |begun| begun.offset);
    loop {
        tracker.attempt(job.id);
        let error = match attempt(upstream, job, &place, (&mut begun, first), tracker, stop).await {
            Ok(AttemptResult::There(fetched)) => return Ok(*fetched),
            Ok(AttemptResult::Busy) => {
                // The answer would be out of date by the time it is our turn.
                upstream.close();
                job.id = job.machine.transfer_id();
                begun = match begin(upstream, job, &place, &mut first, tracker, stop).await? {
                    AttemptStart::Present(fetched) => return Ok(*fetched),
                    AttemptStart::From(begun) => begun,
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
            return Err(leave(job.machine, begun, Error::Interrupted { kept: KeptBytes::default() }).await);
        }
        // A hop may still hold the connection of the try before, and would take the same id for a loop.
        job.id = job.machine.transfer_id();
    }
}

/// What there is before a try.
#[expect(clippy::large_enum_variant, reason = "it is made once a fetch and taken apart at once")]
enum AttemptStart {
    /// The file itself.
    Present(Box<Fetched>),
    /// What an earlier run left of it, or nothing.
    From(Option<ResumeCandidate>),
}

/// Looks for the file itself, and for what an earlier run left of it; once more after another fetch was waited for.
async fn begin(
    upstream: &mut Upstream,
    job: &FetchJob,
    place: &Arc<TargetPath>,
    first: &mut usize,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<AttemptStart, Error> {
    loop {
        if let Some(there) = place.existing()?
            && job.reuse
            // Boxed: most fetches find nothing there, and would carry its size along.
            && let Some(fetched) =
                Box::pin(present::up_to_date(upstream, job, (place, there.size), tracker, stop)).await?
        {
            return Ok(AttemptStart::Present(Box::new(fetched)));
        }
        // Boxed for the same reason.
        if let EarlierClaim::ResumeCandidate(begun) = Box::pin(claim(job, place, first, tracker, stop)).await? {
            return Ok(AttemptStart::From(begun));
        }
    }
}

/// What had arrived when the partial file was taken away, saved under a new name; where that fails, it is gone.
async fn restored(machine: Machine, begun: Option<ResumeCandidate>) -> Option<ResumeCandidate> {
    let begun = begun?;
    blocking(machine, move || begun.restore()).await.ok()
}

/// The error of a transfer that is over, with the place where what arrived is kept for a later one.
async fn leave(machine: Machine, begun: Option<ResumeCandidate>, error: Error) -> Error {
    let Some(begun) = begun else { return error };
    match blocking(machine, move || Ok(begun.leave())).await {
        Ok(kept) => error.with_kept(kept),
        Err(_) => error,
    }
}

#[cfg(test)]
mod name_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
