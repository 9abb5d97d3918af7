//! The fetch client: one transfer, from the first request to the published file, over as many attempts as that takes;
//! or a check without a body.
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
//! #     tls: None,
//! #     audit: None,
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
mod attribution;
mod blocks;
mod body;
mod check;
mod claim;
mod disk;
mod file_log;
mod folder;
mod group;
mod job;
mod names;
mod output;
mod part;
mod partial;
mod pause;
mod pieces;
mod present;
mod ranges;
mod rate_limit;
mod read;
mod request;
mod resume_state;
mod retry;
mod single;
mod slots;
mod stream;
mod target;
mod tracker;
mod validator;
mod verify;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::upstream::Upstream;
use super::upstream::protocols::UpstreamShared;
use crate::error::Error;
use crate::limits::Limits;
use crate::route::Protocol;
use crate::snapshot::TransferSnapshot;

use retry::RetryPolicy;
use target::TargetPath;
use tracker::Tracker;

pub use check::{Checked, check};
pub use file_log::FileLog;
pub use folder::{ArchiveError, Decoder, Event, Fault, FileEntry};
pub use group::Publisher;
pub use job::{DEFAULT_PARTS, FetchJob, Fetched};
pub use output::Output;
pub use rate_limit::RateLimit;
pub use slots::{Slot, Slots};

/// Returns a client that may connect to any first hop that the user names. `protocol` is for hops without a `protocol=`
/// of their own.
pub fn client(links: Arc<UpstreamShared>, limits: Limits, protocol: Option<Protocol>) -> Upstream {
    Upstream::new(links, limits, Arc::new(|_, _| Ok(())), protocol).end_to_end()
}

/// Fetches one file and publishes its progress on `progress`; the last value there is the outcome.
///
/// `upstream` can be reused for the next file and `job` for another attempt, whatever the outcome; the job's id is then
/// that of the last attempt. Cancel through `stop`: a transfer that is dropped instead leaves its partial file behind
/// without a message.
///
/// # Errors
/// `Error::Hop` if a hop fails before the body, `Short`, `Stalled` or `Changed` if the body ends early, `Altered` if
/// its digest differs, and `Unresumable` or `OutputClosed` for an output that is not a file. `Disk`, `Exists`, `Lost`,
/// `TooLarge` or `Usage` if the local file cannot be written or must not be; `Interrupted` if `stop` was cancelled.
/// The error is that of the last attempt, when retries are exhausted or would not help.
pub async fn fetch(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    progress: &watch::Sender<TransferSnapshot>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    let mut tracker = Tracker::new(job, progress);
    let result = run(upstream, job, &mut tracker, stop).await;
    match &result {
        Ok(fetched) => tracker.done(fetched, job.origin_key()),
        Err(error) => {
            upstream.close();
            tracker.failed(error);
        }
    }
    result
}

/// Fetches to what the output is: a pipe or device, a folder, or a file.
async fn run(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    // Boxed to keep the parent future small.
    if let Some(output) = Output::of(&job.output) {
        return Box::pin(stream::run(upstream, job, output, tracker, stop)).await;
    }
    if job.route.file.names_folder() {
        return Box::pin(folder::fetch_folder(upstream, job, tracker, stop)).await;
    }
    let target = Arc::new(TargetPath::of(&job.output, &job.route.file)?);
    tracker.path(&target.path());
    let policy = RetryPolicy::new(job.retries);
    single::fetch_file(upstream, job, (&target, policy), tracker, stop).await
}

#[cfg(test)]
mod name_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
