//! Folders: received as one tar stream, unpacked while it arrives.

mod case;
mod decode;
mod here;
mod large;
mod listing;
mod part;
mod parts;
mod plan;
mod publish;
mod publishing;
mod queue;
mod results;
mod select;
mod staging;
mod stream;
mod tree;
mod unpack;

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::job::{FetchJob, Fetched, blocking};
use super::pause::next_attempt;
use super::retry::RetryPolicy;
use super::tracker::Tracker;
use crate::error::Error;
use crate::net::upstream::Upstream;
use crate::options::VerifyMode;
use crate::route::{FileName, Protocol, WalkRange};
use crate::snapshot::{FolderProgress, Integrity};

use part::Outcome;
use publishing::Publishing;
use results::{Failures, Results};
use select::Walk;
use staging::Staging;
use tree::TreePath;

pub use decode::{ArchiveError, Decoder, Event, Fault, FileEntry};

/// Fetches a folder, and removes what killed runs left in its staging folders.
pub(super) async fn fetch_folder(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    if let VerifyMode::Expect(_) = job.verify {
        return Err(Error::Usage("--expect is the digest of one file, and this is a folder".to_owned()));
    }
    let path = TreePath::of(&job.output, &job.route.file)?;
    tracker.path(&path.path());
    let progress = Arc::new(Mutex::new(FolderProgress::default()));
    tracker.folder(Arc::clone(&progress));
    let results = Results { progress, files: job.files.clone() };
    let publishing = Publishing::new(path.clone(), job.force, results, stop.clone());
    let result = fetch_missing(upstream, job, (&path, &publishing), tracker, stop).await;
    if !job.dry_run {
        let removed = blocking(job.machine, move || {
            publishing.end();
            path.open_existing().map(|tree| tree.iter().for_each(Staging::remove_left_over))
        });
        // A folder that cannot be opened has no staging folder, either.
        let _ = removed.await;
    }
    result
}

/// Fetches a folder: as one stream if nothing of it is here, else the parts that are missing.
async fn fetch_missing(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    (path, publishing): (&TreePath, &Publishing),
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    tracker.attempt(job.id);
    let whole = job.selection.is_everything() && job.max_size.is_none() && !job.dry_run && path.is_vacant();
    let mut outcome = Outcome::default();
    let mut after = None;
    if whole {
        let begun = whole_stream(upstream, job, publishing, &mut outcome, tracker, stop).await?;
        match begun {
            None => return finished(job, path, outcome, tracker),
            Some(last) => after = Some(last),
        }
    }
    let shared = Arc::new(job.clone());
    let walk = Walk::after(Arc::clone(&shared), path.clone(), after);
    let rest = parts::receive(upstream, &shared, walk, (path, publishing), tracker, stop).await?;
    outcome.append(rest);
    if let Some((_, ids)) = outcome.largest {
        job.id = ids.file;
        tracker.follow(ids);
    }
    finished(job, path, outcome, tracker)
}

/// Receives all of a folder as one stream; if that breaks off, returns the last path that has a result.
async fn whole_stream(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    publishing: &Publishing,
    outcome: &mut Outcome,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Option<FileName>, Error> {
    let received = stream::receive(upstream, job, publishing, &WalkRange::default(), tracker, stop).await;
    let end = match received {
        Ok(end) => end,
        Err(error) => return Err(parts::without_folders(error)),
    };
    outcome.failures = end.summary.failures;
    outcome.largest = tracker.ids().map(|ids| (tracker.flow().bytes_in, ids));
    outcome.chain = Some((end.protocol, end.legs));
    let Err(error) = end.result else { return Ok(None) };
    upstream.close();
    let last = end.summary.last.and_then(|last| last.as_folder());
    next_attempt(&mut RetryPolicy::new(job.retries), (error, last.is_some()), tracker, stop).await?;
    job.slot.regain(stop).await;
    job.id = job.machine.transfer_id();
    Ok(last)
}

/// Returns the folder, if no file of it has failed.
fn finished(job: &FetchJob, path: &TreePath, outcome: Outcome, tracker: &Tracker<'_>) -> Result<Fetched, Error> {
    let Failures { count: failed, first } = outcome.failures;
    if let Some(first) = first {
        return Err(Error::Files { folder: job.route.file.shown(), failed, first: Box::new(first) });
    }
    let size_checked = |reason| Integrity::SizeChecked { digest: String::new(), reason };
    let integrity = match (job.verify, outcome.size_checked) {
        (VerifyMode::Skip, _) => size_checked("--no-verify was given".into()),
        (_, Some(reason)) => size_checked(reason),
        (_, None) => Integrity::Verified { digest: String::new() },
    };
    let flow = tracker.flow();
    let (protocol, legs) = outcome.chain.unwrap_or((Protocol::Http, Vec::new()));
    Ok(Fetched {
        path: path.path(),
        size: flow.bytes_in,
        integrity,
        origin: None,
        already_present: flow.bytes_in == 0 && !job.dry_run,
        protocol,
        legs,
        elapsed: tracker.elapsed(),
        flow,
    })
}

#[cfg(test)]
mod tests;
