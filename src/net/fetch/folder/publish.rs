//! Publishing of proven files in groups: synced together, given their names, and reported once the names are synced.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::case::{NameCheck, clash};
use super::queue::{Entry, Queue, Unsynced};
use super::results::{Item, Results, StagedFile, Summary};
use super::staging::Staging;
use super::tree::{CurrentFolder, Tree, split};
use crate::error::{Error, KeptBytes, shown};
use crate::net::fetch::part::same_bytes;
use crate::net::fetch::target::{another_size, open_existing};
use crate::route::FileName;
use crate::snapshot::{FileOutcome, FileResult};

/// Publishes groups, on a thread of its own: the next group is unpacked meanwhile.
pub(super) struct Publisher {
    staging: Arc<Staging>,
    tree: Arc<Tree>,
    force: bool,
    results: Results,
    stop: CancellationToken,
    names: NameCheck,
    /// What became of each stream that has not ended.
    summaries: HashMap<usize, Summary>,
    /// Entries whose names are not synced yet, with their streams.
    unsynced: Vec<(usize, Named)>,
}

/// What has its name, or ends a stream.
enum Named {
    /// A folder has a result only if it failed.
    Path(FileName, Option<FileResult>),
    End(oneshot::Sender<Summary>),
}

impl Publisher {
    pub(super) fn new(
        tree: Arc<Tree>,
        staging: Arc<Staging>,
        force: bool,
        results: Results,
        stop: CancellationToken,
    ) -> Self {
        let (names, summaries, unsynced) = (NameCheck::default(), HashMap::new(), Vec::new());
        Self { staging, tree, force, results, stop, names, summaries, unsynced }
    }

    /// Publishes groups until no more come.
    pub(super) fn run(mut self, queue: &Queue) -> Result<(), Error> {
        while let Some(group) = queue.next(self.unsynced()) {
            // One sync for the content of this group and the names of the previous one.
            rustix::fs::syncfs(self.staging.handle())
                .map_err(|error| Error::disk("write it to the disk", self.tree.path(), &error.into()))?;
            self.report();
            self.publish(group);
        }
        Ok(())
    }

    fn unsynced(&self) -> Unsynced {
        match self.unsynced.iter().any(|(_, named)| matches!(named, Named::End(_))) {
            true => Unsynced::End,
            false if self.unsynced.is_empty() => Unsynced::Nothing,
            false => Unsynced::Names,
        }
    }

    /// Reports the entries whose names are synced, and the streams that end with them.
    fn report(&mut self) {
        for (stream, named) in self.unsynced.drain(..) {
            match named {
                Named::Path(path, result) => {
                    if let Some(result) = result {
                        self.results.record(result);
                    }
                    self.summaries.entry(stream).or_default().last = Some(path);
                }
                Named::End(ended) => {
                    // A transfer that was dropped does not wait for it.
                    let _ = ended.send(self.summaries.remove(&stream).unwrap_or_default());
                }
            }
        }
    }

    /// Gives the files of a group their names.
    fn publish(&mut self, group: Vec<(usize, Entry)>) {
        let tree = Arc::clone(&self.tree);
        let mut current = CurrentFolder::new(&tree);
        for (stream, entry) in group {
            let item = match entry {
                Entry::Item(item) => item,
                Entry::End(ended) => {
                    self.unsynced.push((stream, Named::End(ended)));
                    continue;
                }
            };
            let (path, size, outcome) = match item {
                Item::Folder(path) => match current.open(path.as_bytes()) {
                    Ok(_) => {
                        self.unsynced.push((stream, Named::Path(path, None)));
                        continue;
                    }
                    Err(error) => {
                        let error = refused(&tree, &path, error);
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
                    self.summaries.entry(stream).or_default().failures.add(error);
                }
            }
            self.unsynced.push((stream, Named::Path(path, Some(result))));
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
        let tree = Arc::clone(&self.tree);
        let refused = |error| refused(&tree, &file.path, error);
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

    use super::super::tree::TreePath;
    use super::*;
    use crate::net::fetch::file_log::FileLog;

    #[test]
    fn a_file_that_is_not_published_before_the_stop_has_no_result() {
        let output = tempfile::tempdir().unwrap();
        std::fs::write(output.path().join("there"), "same").unwrap();
        let name = |path: &str| FileName::new(path.as_bytes()).unwrap();
        let tree = TreePath::of(output.path(), &name("/")).unwrap().open().unwrap();
        let staging = Staging::open(&tree).unwrap();
        let (results, stop) =
            (Results { progress: Arc::default(), files: FileLog::of_all() }, CancellationToken::new());
        stop.cancel();
        let (queue, (ended, mut summary)) = (Queue::default(), oneshot::channel());
        for path in ["new", "there"] {
            let (number, mut file) = staging.create(false).unwrap();
            file.write_all(b"same").unwrap();
            let item = Item::Proven(StagedFile { path: name(path), size: 4, number }, FileOutcome::Verified);
            assert!(queue.add(1, Entry::Item(item), 4));
        }
        queue.add(1, Entry::End(ended), 0);
        queue.close();
        Publisher::new(tree, Arc::new(staging), false, results.clone(), stop).run(&queue).unwrap();
        let failures = summary.try_recv().unwrap().failures;
        assert!(failures.count == 0 && failures.first.is_none(), "{failures:?}");
        let progress = results.progress.lock().unwrap();
        assert_eq!((progress.done, progress.present, progress.failed), (1, 0, 0), "{progress:?}");
        assert_eq!(results.files.take().len(), 1);
    }
}
