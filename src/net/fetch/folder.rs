//! Folders: received as one tar stream, unpacked while it arrives.

mod decode;
mod large;
mod publish;
mod staging;
mod stream;
mod tree;
mod unpack;

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::job::{FetchJob, Fetched};
use super::tracker::Tracker;
use crate::error::Error;
use crate::net::upstream::Upstream;
use crate::options::VerifyMode;
use crate::route::WalkRange;
use crate::snapshot::{FolderProgress, Integrity};

use publish::Results;
use tree::TreePath;

pub use decode::{ArchiveError, Decoder, Event, Fault, FileEntry};

/// Fetches a whole folder.
pub(super) async fn fetch_folder(
    upstream: &mut Upstream,
    job: &FetchJob,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    if let VerifyMode::Expect(_) = job.verify {
        return Err(Error::Usage("--expect is the digest of one file, and this is a folder".to_owned()));
    }
    let tree = TreePath::of(&job.output, &job.route.file)?;
    tracker.path(&tree.path());
    let progress = Arc::new(Mutex::new(FolderProgress::default()));
    tracker.folder(Arc::clone(&progress));
    tracker.attempt(job.id);
    let results = Results { progress, files: job.files.clone() };
    let end = stream::receive(upstream, job, (&tree, &WalkRange::default()), &results, tracker, stop).await?;
    end.result?;
    if let Some(first) = end.summary.first {
        let failed = end.summary.failed;
        return Err(Error::Files { folder: job.route.file.shown(), failed, first: Box::new(first) });
    }
    let integrity = match job.verify {
        VerifyMode::Skip => Integrity::SizeChecked { digest: String::new(), reason: "--no-verify was given".into() },
        _ => Integrity::Verified { digest: String::new() },
    };
    Ok(Fetched {
        path: tree.path(),
        size: end.length,
        integrity,
        origin: None,
        already_present: false,
        protocol: end.protocol,
        legs: end.legs,
        elapsed: tracker.elapsed(),
        flow: tracker.flow(),
    })
}

#[cfg(test)]
mod tests;
