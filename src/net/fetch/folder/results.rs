//! Results of the files of a folder, and the entries of a stream that wait for theirs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::large::LargeFile;
use crate::error::Error;
use crate::net::fetch::file_log::FileLog;
use crate::route::FileName;
use crate::snapshot::{FileOutcome, FileResult, FolderProgress};

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
