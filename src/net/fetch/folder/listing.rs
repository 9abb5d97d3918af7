//! The listing of a folder and its subfolders, page by page, in the order of a walk.

use tokio_util::sync::CancellationToken;

use crate::error::{Error, KeptBytes};
use crate::net::admin_client::{self, Credentials};
use crate::net::fetch::job::FetchJob;
use crate::route::FileName;
use crate::snapshot::ListingEntry;
use crate::wire::{Digest, FailedAction, Reason};

/// A file or folder of the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Its path relative to the folder.
    pub(super) path: FileName,
    /// The size in bytes; unknown if it is a name of a list.
    pub(super) size: Option<u64>,
    /// Last change of its content, in seconds since 1970.
    pub(super) modified: Option<i64>,
    /// Its digest, if the origin has it.
    pub(super) digest: Option<Digest>,
    pub(super) executable: bool,
    pub(super) is_folder: bool,
}

/// A page of the listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    /// Links, special files and unusable names that are left out.
    pub(super) omitted: u64,
    /// Where the next one begins, if there is one.
    pub(super) next: Option<FileName>,
}

/// Requests the page after this path, or the first one.
///
/// # Errors
/// `Error::Hop` if a hop cannot be reached, or the origin has no such folder or sends no listing of it;
/// `Error::Interrupted` if `stop` was cancelled.
pub(super) async fn page(job: &FetchJob, after: Option<&FileName>, stop: &CancellationToken) -> Result<Page, Error> {
    let folder = job.route.file.as_folder();
    let credentials = Credentials { token: job.token.as_ref(), identity: job.identity.as_ref() };
    let listing = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
        listing = admin_client::walk(&job.route, folder.as_ref(), after, credentials) => listing,
    };
    let listing = listing.map_err(|problem| Error::at_hop(problem, &job.route))?;
    let leads_on = listing.next.is_some();
    let listing = listing.checked_walk(folder.as_ref(), after);
    if leads_on && listing.next.is_none() {
        let detail = "a page of its listing does not advance";
        return Err(Error::at_origin(Reason::BadResponse, FailedAction::Reply, detail, &job.route));
    }
    let items = listing.entries.into_iter().filter_map(|entry| Item::of(entry, folder.as_ref())).collect();
    Ok(Page { items, next: listing.next, omitted: listing.omitted })
}

impl Item {
    /// Returns an entry of which nothing but its path is known.
    pub(super) fn named(path: FileName) -> Self {
        Self { path, size: None, modified: None, digest: None, executable: false, is_folder: false }
    }

    /// Returns a checked entry, by its path relative to the folder.
    fn of(entry: ListingEntry, folder: Option<&FileName>) -> Option<Self> {
        let whole = entry.path.as_bytes();
        let path = match folder {
            None => whole,
            Some(folder) => whole.strip_prefix(folder.as_bytes())?.strip_prefix(b"/")?,
        };
        let digest = entry.digest.and_then(|digest| digest.parse().ok());
        let ListingEntry { modified, executable, is_folder, .. } = entry;
        Some(Self { path: FileName::new(path).ok()?, size: Some(entry.size), modified, digest, executable, is_folder })
    }
}
