//! Publishing of proven files in groups: synced together, given their names, and reported once the names are synced.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::case::{NameCheck, clash};
use super::large::LargeFile;
use super::staging::Staging;
use super::tree::{CurrentFolder, Tree, split};
use crate::error::{Error, KeptBytes, shown};
use crate::net::fetch::file_log::FileLog;
use crate::net::fetch::part::same_bytes;
use crate::net::fetch::target::{another_size, open_existing};
use crate::route::FileName;
use crate::snapshot::{FileOutcome, FileResult, FolderProgress};

/// Limits of a group: what a killed run has to receive again.
pub(super) const MAX_FILES: usize = 4096;
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// Time after which a group is published although it is small, and its names are synced although no group follows.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Receives the results of files, which are on the disk by then.
#[derive(Clone, Debug)]
pub(super) struct Results {
    pub(super) progress: Arc<Mutex<FolderProgress>>,
    pub(super) files: FileLog,
}

/// What became of the entries of a stream.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// The last path with a result; so have all before it.
    pub(super) last: Option<FileName>,
    pub(super) failures: Failures,
}

/// Files that failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    /// The error of the first.
    pub(super) first: Option<Error>,
}

/// An entry whose turn to be published has come.
#[derive(Debug)]
pub(super) enum Item {
    Folder(FileName),
    Proven(StagedFile, FileOutcome),
    Large(Box<LargeFile>, FileOutcome),
    Failed { path: FileName, size: u64, error: Error },
}

/// A complete file in the staging folder.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) path: FileName,
    pub(super) size: u64,
    pub(super) number: u64,
}

/// Publishes groups, on a thread of its own: the next group is unpacked meanwhile.
pub(super) struct Publisher<'a> {
    staging: &'a Staging<'a>,
    tree: &'a Tree,
    force: bool,
    results: &'a Results,
    stop: &'a CancellationToken,
    names: NameCheck,
    summary: Summary,
    /// Entries whose names are not synced yet, with their results; a folder has one only if it failed.
    unsynced: Vec<(FileName, Option<FileResult>)>,
}

impl Failures {
    /// Adds a file.
    pub(super) fn add(&mut self, error: Error) {
        self.append(Self { count: 1, first: Some(error) });
    }

    /// Adds later ones.
    pub(super) fn append(&mut self, later: Self) {
        self.count += later.count;
        self.first = self.first.take().or(later.first);
    }
}

impl Results {
    pub(super) fn record(&self, result: FileResult) {
        self.files.record(&result);
        self.lock().record(result);
    }

    /// Returns the number of files that have a result.
    pub(super) fn ended(&self) -> u64 {
        let progress = self.lock();
        progress.done + progress.present + progress.failed + progress.planned
    }

    /// Records how many files there are.
    pub(super) fn all_known(&self, files: u64) {
        self.lock().total = Some(files);
    }

    /// Returns the number of files, once it is known.
    pub(super) fn total(&self) -> Option<u64> {
        self.lock().total
    }

    /// Records how many links and special files the origin has left out.
    pub(super) fn omitted(&self, omitted: u64) {
        self.lock().omitted += omitted;
    }

    /// Records which file is being received.
    pub(super) fn current(&self, path: Option<&FileName>) {
        self.lock().current = path.map(FileName::shown);
    }

    fn lock(&self) -> MutexGuard<'_, FolderProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Publisher<'a> {
    pub(super) fn new(
        (tree, staging): (&'a Tree, &'a Staging<'a>),
        force: bool,
        results: &'a Results,
        stop: &'a CancellationToken,
    ) -> Self {
        let (names, summary) = (NameCheck::default(), Summary::default());
        Self { staging, tree, force, results, stop, names, summary, unsynced: Vec::new() }
    }

    /// Publishes groups until no more come; returns what became of the entries, and the error that ended it early.
    pub(super) fn run(mut self, queue: &Receiver<Vec<Item>>) -> (Summary, Result<(), Error>) {
        loop {
            let group = match queue.recv_timeout(PERIOD) {
                Ok(group) => group,
                Err(RecvTimeoutError::Timeout) if self.unsynced.is_empty() => continue,
                Err(RecvTimeoutError::Disconnected) if self.unsynced.is_empty() => return (self.summary, Ok(())),
                Err(_) => Vec::new(),
            };
            // One sync for the content of this group and the names of the previous one.
            if let Err(error) = rustix::fs::syncfs(self.staging.handle()) {
                let error = Error::disk("write it to the disk", self.tree.path(), &error.into());
                return (self.summary, Err(error));
            }
            self.report();
            self.publish(group);
        }
    }

    /// Reports the entries whose names are synced.
    fn report(&mut self) {
        for (path, result) in self.unsynced.drain(..) {
            if let Some(result) = result {
                self.results.record(result);
            }
            self.summary.last = Some(path);
        }
    }

    /// Gives the files of a group their names.
    fn publish(&mut self, group: Vec<Item>) {
        let mut current = CurrentFolder::new(self.tree);
        for item in group {
            let (path, size, outcome) = match item {
                Item::Folder(path) => match current.open(path.as_bytes()) {
                    Ok(_) => {
                        self.unsynced.push((path, None));
                        continue;
                    }
                    Err(error) => {
                        let error = refused(self.tree, &path, error);
                        (path, 0, Err(error))
                    }
                },
                Item::Failed { path, size, error } => (path, size, Err(error)),
                Item::Large(file, outcome) => {
                    let (path, size) = (file.path().clone(), file.size());
                    let published = file.publish(self.force, &|| self.stop.is_cancelled());
                    let present = |new| if new { outcome } else { FileOutcome::Present };
                    (path, size, published.map(present))
                }
                Item::Proven(file, outcome) => {
                    let named = self.name(&file, outcome, &mut current);
                    if named.as_ref().ok() != Some(&outcome) {
                        self.staging.remove(file.number);
                    }
                    (file.path, file.size, named)
                }
            };
            let mut result = FileResult { path: path.shown_whole(), size, outcome: FileOutcome::Failed, error: None };
            match outcome {
                Ok(outcome) => result.outcome = outcome,
                // The transfer was stopped before the file was published: it has no result.
                Err(Error::Interrupted { .. }) => continue,
                Err(error) => {
                    result.error = Some(error.to_string().into());
                    self.summary.failures.add(error);
                }
            }
            self.unsynced.push((path, Some(result)));
        }
    }

    /// Gives a file its name; an existing one is compared with it, or replaced if forced.
    fn name(
        &mut self,
        file: &StagedFile,
        outcome: FileOutcome,
        current: &mut CurrentFolder<'_>,
    ) -> Result<FileOutcome, Error> {
        let (parent, leaf) = split(file.path.as_bytes());
        let tree = self.tree;
        let refused = |error| refused(tree, &file.path, error);
        let folder = current.open(parent).map_err(refused)?;
        match self.staging.publish(file.number, folder, leaf) {
            Ok(()) => return Ok(outcome),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(refused(error)),
        }
        let found = rustix::fs::statat(folder, leaf, AtFlags::SYMLINK_NOFOLLOW).map_err(refused)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(refused(Errno::ISDIR)),
            FileType::Symlink => return Err(refused(Errno::LOOP)),
            _ => return Err(self.exists(&file.path, "that is not a regular file")),
        }
        if self.names.is_another(folder, leaf, &found) {
            return Err(clash(&self.path(&file.path)));
        }
        if self.force {
            return self.staging.replace(file.number, folder, leaf, &found).map(|()| outcome).map_err(refused);
        }
        self.compare(file, folder, leaf, &found)
    }

    fn compare(
        &self,
        file: &StagedFile,
        folder: BorrowedFd<'_>,
        leaf: &[u8],
        found: &Stat,
    ) -> Result<FileOutcome, Error> {
        let there = found.st_size.unsigned_abs();
        if there != file.size {
            return Err(self.exists(&file.path, &another_size(there, file.size)));
        }
        let Ok(existing) = open_existing(folder, OsStr::from_bytes(leaf)) else {
            return Err(self.exists(&file.path, "that cannot be read"));
        };
        let ours = self.staging.read(file.number);
        let same = ours.and_then(|ours| same_bytes(&ours, &existing, &|| self.stop.is_cancelled()));
        match same {
            Ok(Some(true)) => Ok(FileOutcome::Present),
            Ok(Some(false)) => Err(self.exists(&file.path, "with other content")),
            Ok(None) => Err(Error::Interrupted { kept: KeptBytes::default() }),
            Err(error) => Err(Error::disk("compare it", &self.path(&file.path), &error)),
        }
    }

    fn path(&self, path: &FileName) -> PathBuf {
        self.tree.join(path.as_bytes())
    }

    fn exists(&self, path: &FileName, difference: &str) -> Error {
        Error::exists(&self.path(path), difference)
    }
}

/// Returns the error of a file or folder that could not get its name.
fn refused(tree: &Tree, path: &FileName, error: Errno) -> Error {
    let path = tree.join(path.as_bytes());
    let reason = match error {
        Errno::LOOP => "it is, or is in, a symbolic link, which is not followed",
        Errno::NOTDIR => "a file is in the place of its folder",
        Errno::ISDIR => "a folder is in its place",
        Errno::XDEV => "its folder is on another file system",
        other => return Error::disk("write it", &path, &other.into()),
    };
    Error::Disk { action: "write it", path: shown(&path), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::sync_channel;

    use super::super::tree::TreePath;
    use super::*;

    #[test]
    fn a_file_that_is_not_published_before_the_stop_has_no_result() {
        let output = tempfile::tempdir().unwrap();
        std::fs::write(output.path().join("there"), "same").unwrap();
        let name = |path: &str| FileName::new(path.as_bytes()).unwrap();
        let tree = TreePath::of(output.path(), &name("/")).unwrap().open().unwrap();
        let staging = Staging::open(&tree).unwrap();
        let group: Vec<Item> = ["new", "there"]
            .into_iter()
            .zip(0..)
            .map(|(path, number)| {
                staging.create(number, false).unwrap().write_all(b"same").unwrap();
                Item::Proven(StagedFile { path: name(path), size: 4, number }, FileOutcome::Verified)
            })
            .collect();
        let (results, stop) =
            (Results { progress: Arc::default(), files: FileLog::of_all() }, CancellationToken::new());
        stop.cancel();
        let (groups, queue) = sync_channel(1);
        groups.send(group).unwrap();
        drop(groups);
        let publisher = Publisher::new((&tree, &staging), false, &results, &stop);
        let (summary, ended) = publisher.run(&queue);
        assert!(ended.is_ok() && summary.failures.count == 0 && summary.failures.first.is_none(), "{summary:?}");
        let progress = results.progress.lock().unwrap();
        assert_eq!((progress.done, progress.present, progress.failed), (1, 0, 0), "{progress:?}");
        assert_eq!(results.files.take().len(), 1);
    }
}
