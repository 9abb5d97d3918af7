//! One part of a folder: a run of files as a stream, or a file by itself, over as many attempts as that takes.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::listing::Item;
use super::plan::Run;
use super::publishing::Publishing;
use super::results::{Failures, Results};
use super::select::whole_name;
use super::stream;
use super::tree::TreePath;
use crate::error::Error;
use crate::net::fetch::job::{FetchJob, Fetched, blocking};
use crate::net::fetch::pause::next_attempt;
use crate::net::fetch::retry::RetryPolicy;
use crate::net::fetch::single::fetch_file;
use crate::net::fetch::tracker::Tracker;
use crate::net::upstream::Upstream;
use crate::route::Protocol;
use crate::snapshot::{FileOutcome, FileResult, Integrity, TransferSnapshot};
use crate::text::SafeText;
use crate::wire::{Leg, Reason, TransferIds};

/// What became of the files of a folder.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The chain that the first part came through.
    pub(super) chain: Option<(Protocol, Vec<Leg>)>,
    /// Bytes and ids of the largest part: the hops' records of it stand for the whole transfer.
    pub(super) largest: Option<(u64, TransferIds)>,
    pub(super) failures: Failures,
    /// Why a file was only compared by its size.
    pub(super) size_checked: Option<SafeText>,
}

impl Outcome {
    /// Adds what became of further files.
    pub(super) fn append(&mut self, later: Self) {
        self.chain = self.chain.take().or(later.chain);
        self.largest = self.largest.max(later.largest);
        self.failures.append(later.failures);
        self.size_checked = self.size_checked.take().or(later.size_checked);
    }
}

/// An ended part, and the chain that it leaves open.
pub(super) struct Ended {
    pub(super) upstream: Upstream,
    pub(super) result: Result<Outcome, Error>,
}

/// Receives a run, over as many attempts as that takes: each begins after the last published path.
pub(super) async fn receive_run(
    mut upstream: Upstream,
    mut job: FetchJob,
    publishing: Publishing,
    run: Run,
    progress: watch::Sender<TransferSnapshot>,
    stop: CancellationToken,
) -> Ended {
    let mut tracker = Tracker::new(&job, &progress);
    let (mut range, mut outcome) = (run.range, Outcome::default());
    let mut policy = RetryPolicy::of_part(job.retries);
    let result = loop {
        job.slot.regain(&stop).await;
        tracker.attempt(job.id);
        let received = stream::receive(&mut upstream, &job, &publishing, &range, &mut tracker, &stop).await;
        let (error, progressed) = match received {
            Ok(end) => {
                outcome.failures.append(end.summary.failures);
                outcome.chain = Some((end.protocol, end.legs));
                let last = end.summary.last.and_then(|last| last.as_folder());
                let progressed = last.is_some();
                range.after = last.or(range.after);
                match end.result {
                    Ok(()) => break Ok(outcome),
                    Err(error) => (error, progressed),
                }
            }
            Err(error) => (error, false),
        };
        upstream.close();
        if let Err(error) = next_attempt(&mut policy, (error, progressed), &mut tracker, &stop).await {
            break Err(error);
        }
        job.id = job.machine.transfer_id();
    };
    // The last bytes count, too.
    tracker.publish();
    Ended { upstream, result }
}

/// Receives a file by itself. Its failure is that of the folder only if the chain has failed.
pub(super) async fn receive_file(
    mut upstream: Upstream,
    job: FetchJob,
    path: TreePath,
    item: Item,
    results: Results,
    progress: watch::Sender<TransferSnapshot>,
    stop: CancellationToken,
) -> Ended {
    results.current(Some(&item.path));
    let fetched = fetch_item(&mut upstream, job, path, &item, &progress, &stop).await;
    let mut outcome = Outcome::default();
    let result = |size, outcome, error| FileResult { path: item.path.shown_whole(), size, outcome, error };
    match fetched {
        Ok(fetched) => {
            outcome.chain = Some((fetched.protocol, fetched.legs));
            let how = match fetched.integrity {
                _ if fetched.already_present => FileOutcome::Present,
                Integrity::SizeChecked { reason, .. } => {
                    outcome.size_checked = Some(reason);
                    FileOutcome::SizeChecked
                }
                Integrity::Verified { .. } | Integrity::Pending => FileOutcome::Verified,
            };
            results.record(result(fetched.size, how, None));
        }
        Err(error) => {
            upstream.close();
            if !is_of_file(&error) {
                return Ended { upstream, result: Err(error) };
            }
            let text = Some(error.to_string().into());
            results.record(result(item.size.unwrap_or_default(), FileOutcome::Failed, text));
            outcome.failures.add(error);
        }
    }
    Ended { upstream, result: Ok(outcome) }
}

async fn fetch_item(
    upstream: &mut Upstream,
    job: FetchJob,
    path: TreePath,
    item: &Item,
    progress: &watch::Sender<TransferSnapshot>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    let route = job.route.with_file(whole_name(&job.route, &item.path)?);
    let mut job = FetchJob { route, by_time: job.times, executable: item.executable, ..job };
    let name = item.path.clone();
    let (target, is_there) = blocking(job.machine, move || {
        let target = path.open()?.target(&name)?;
        let is_there = target.existing()?.is_some();
        Ok((Arc::new(target), is_there))
    })
    .await?;
    // One that comes meanwhile is not the file that was compared; it may be another one of the origin's, whose name
    // differs in case only.
    job.force &= is_there;
    let mut tracker = Tracker::new(&job, progress);
    let policy = RetryPolicy::of_part(job.retries);
    let fetched = fetch_file(upstream, &mut job, (&target, policy), &mut tracker, stop).await;
    // The last bytes count, too.
    tracker.publish();
    fetched
}

/// Returns true for the error of one file; others may be received nevertheless.
fn is_of_file(error: &Error) -> bool {
    match error {
        Error::Exists { .. }
        | Error::TooLarge { .. }
        | Error::Altered { .. }
        | Error::Changed { .. }
        | Error::Lost { .. }
        | Error::Usage(_)
        | Error::Disk { .. } => true,
        Error::Hop(fault) => {
            let of_server = matches!(fault.problem.reason, Reason::Policy | Reason::Unauthorized | Reason::BadResponse);
            fault.problem.reason == Reason::NotFound || (of_server && fault.problem.server.is_some())
        }
        _ => false,
    }
}
