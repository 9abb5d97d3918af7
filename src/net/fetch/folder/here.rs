//! Comparison of the origin's files with those that are here: what is missing, the same, or in the way.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::case::{NameCheck, clash};
use super::listing::Item;
use super::tree::{CurrentFolder, Tree, split};
use crate::error::{Error, KeptBytes, shown};
use crate::net::fetch::job::FetchJob;
use crate::net::fetch::names;
use crate::net::fetch::read::has_digest;
use crate::net::fetch::target::{another_size, open_existing};
use crate::options::VerifyMode;

/// Size from which a file is requested by itself: it is resumed where it broke off, and the requests that this needs
/// cost little in relation to its bytes.
const ALONE: u64 = 16 << 20;
/// Size from which there may be a partial file of an earlier run.
const MAY_BE_PARTIAL: u64 = 1 << 20;

/// What a file or folder of the origin is here.
#[derive(Debug)]
pub(super) enum Here {
    /// Nothing: it is received in a stream.
    Missing,
    /// It is requested by itself: it is large, was begun, or only its digest tells whether it is the same.
    Alone,
    /// The same file.
    Same,
    /// The same folder.
    Folder,
    /// Something else, or it must not be fetched.
    Refused(Error),
}

/// Compares files with those in an output folder, in sorted order.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    job: &'a FetchJob,
    tree: Option<&'a Tree>,
    current: Option<CurrentFolder<'a>>,
    names: NameCheck,
    stop: &'a CancellationToken,
}

impl<'a> Comparison<'a> {
    /// Returns a comparison with an output folder, if there is one.
    pub(super) fn new(job: &'a FetchJob, tree: Option<&'a Tree>, stop: &'a CancellationToken) -> Self {
        Self { job, tree, current: tree.map(CurrentFolder::new), names: NameCheck::default(), stop }
    }

    /// Compares one; blocks on the disk.
    pub(super) fn look(&mut self, item: &Item) -> Result<Here, Error> {
        if let Some(max) = self.job.max_size
            && let Some(size) = item.size.filter(|size| *size > max)
        {
            return Ok(Here::Refused(Error::TooLarge { file: item.path.shown(), size, most: max }));
        }
        if !item.path.is_visible() {
            return Ok(self.refused(item, "it is not usable as a local name"));
        }
        let (parent, name) = split(item.path.as_bytes());
        let (Some(current), Some(tree)) = (&mut self.current, self.tree) else { return Ok(missing(item)) };
        let folder = match current.existing(parent) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(missing(item)),
            Err(Errno::LOOP) => return Ok(self.refused(item, "it is in a symbolic link, which is not followed")),
            Err(Errno::NOTDIR) => return Ok(self.refused(item, "a file is in the place of its folder")),
            Err(error) => return Err(Error::disk("open its folder", &tree.join(item.path.as_bytes()), &error.into())),
        };
        let found = match statat(folder, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) if item.is_folder => return Ok(Here::Missing),
            Err(Errno::NOENT) => {
                let begun = item.size.is_none_or(|size| size > MAY_BE_PARTIAL) && has_partial(folder, name);
                return Ok(if begun { Here::Alone } else { missing(item) });
            }
            Err(error) => return Err(Error::disk("check it", &tree.join(item.path.as_bytes()), &error.into())),
        };
        match (FileType::from_raw_mode(found.st_mode), item.is_folder) {
            (FileType::RegularFile, false) if self.names.is_another(folder, name, &found) => {
                Ok(Here::Refused(clash(&tree.join(item.path.as_bytes()))))
            }
            (FileType::Directory, true) => Ok(Here::Folder),
            (FileType::RegularFile, false) => {
                compare(self.job, tree, item, &found, (folder, OsStr::from_bytes(name)), self.stop)
            }
            (FileType::Directory, false) => Ok(self.refused(item, "a folder is in its place")),
            (FileType::Symlink, _) => Ok(self.refused(item, "a symbolic link is in its place")),
            (_, true) => Ok(self.refused(item, "a file is in its place")),
            (_, false) => Ok(self.refused(item, "it is not a regular file")),
        }
    }

    fn refused(&self, item: &Item, reason: &str) -> Here {
        let path = self.tree.map_or_else(|| item.path.shown(), |tree| shown(&tree.join(item.path.as_bytes())));
        Here::Refused(Error::Disk { action: "write it", path, reason: reason.to_owned() })
    }
}

/// Compares a file with a regular one in its place: by size and time, else by digest, as far as it is known.
fn compare(
    job: &FetchJob,
    tree: &Tree,
    item: &Item,
    found: &Stat,
    (folder, name): (BorrowedFd<'_>, &OsStr),
    stop: &CancellationToken,
) -> Result<Here, Error> {
    let Some(size) = item.size else { return Ok(Here::Alone) };
    let other = |difference: String| {
        if job.force {
            return missing(item);
        }
        Here::Refused(Error::exists(&tree.join(item.path.as_bytes()), difference))
    };
    let there = found.st_size.unsigned_abs();
    if there != size {
        return Ok(other(another_size(there, size)));
    }
    if job.times && item.modified == Some(found.st_mtime) {
        return Ok(Here::Same);
    }
    let digest = item.digest.filter(|_| job.verify != VerifyMode::Skip);
    let Some(digest) = digest else { return Ok(Here::Alone) };
    let Ok(file) = open_existing(folder, name) else { return Ok(other("that cannot be read".to_owned())) };
    match has_digest(&file, size, digest, &|| stop.is_cancelled()) {
        Ok(Some(true)) => Ok(Here::Same),
        Ok(Some(false)) => Ok(other("with other content".to_owned())),
        Ok(None) => Err(Error::Interrupted { kept: KeptBytes::default() }),
        Err(_) => Ok(other("that cannot be read".to_owned())),
    }
}

/// Returns how an entry is received that is missing, or is replaced.
fn missing(item: &Item) -> Here {
    // A name of a list, of which no size is known, is requested by itself, too.
    if !item.is_folder && item.size.is_none_or(|size| size >= ALONE) { Here::Alone } else { Here::Missing }
}

fn has_partial(folder: BorrowedFd<'_>, name: &[u8]) -> bool {
    let partial = names::partial(OsStr::from_bytes(name), 0);
    statat(folder, partial, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::limits::Limits;
    use crate::net::fetch::folder::tree::TreePath;
    use crate::net::node::digests::Hasher;
    use crate::route::{FileName, Route};

    fn item(path: &str, size: u64) -> Item {
        let path = FileName::new(path.as_bytes()).unwrap();
        Item { size: Some(size), modified: Some(1_000_000_000), ..Item::named(path) }
    }

    fn write(folder: &Path, path: &str, content: &[u8], seconds: u64) {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(700);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }

    fn job(folder: &Path) -> FetchJob {
        let route = Route::parse(b"d/\n127.0.0.1 1\n").unwrap();
        FetchJob::new(1, route, PathBuf::from(folder), Limits::default())
    }

    /// Returns in a word what an entry is here.
    fn look(job: &FetchJob, item: &Item) -> String {
        let tree = TreePath::of(&job.output, &FileName::new(b"/").unwrap()).unwrap().open().unwrap();
        match Comparison::new(job, Some(&tree), &CancellationToken::new()).look(item).unwrap() {
            Here::Missing => "missing".to_owned(),
            Here::Alone => "alone".to_owned(),
            Here::Same => "same".to_owned(),
            Here::Folder => "folder".to_owned(),
            Here::Refused(error) => error.to_string(),
        }
    }

    #[test]
    fn size_and_time_are_compared_first_then_digests() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "d/f", b"abc", 1_000_000_000);
        write(folder.path(), "d/large.part", b"", 1);
        let job = job(folder.path());
        assert_eq!(look(&job, &item("d/f", 3)), "same");
        assert!(look(&job, &item("d/f", 4)).contains("of another size (3 bytes, not 4) exists already"));
        let later = Item { modified: Some(1_000_000_001), ..item("d/f", 3) };
        assert_eq!(look(&job, &later), "alone", "no digest is known");
        let digest = |content: &[u8]| {
            let mut hasher = Hasher::new(crate::wire::Algorithm::Blake3);
            hasher.update(content);
            Item { digest: Some(hasher.finish()), ..later.clone() }
        };
        assert_eq!(look(&job, &digest(b"abc")), "same");
        assert!(look(&job, &digest(b"abd")).contains("with other content exists already"));
        let forced = FetchJob { force: true, ..job.clone() };
        assert_eq!([look(&forced, &digest(b"abd")), look(&forced, &item("d/f", 4))], ["missing", "missing"]);
        let no_times = FetchJob { times: false, ..job.clone() };
        assert_eq!(look(&no_times, &item("d/f", 3)), "alone");
        assert_eq!(look(&no_times, &digest(b"abc")), "same");
        let unverified = FetchJob { verify: VerifyMode::Skip, ..job.clone() };
        assert_eq!([look(&unverified, &item("d/f", 3)), look(&unverified, &digest(b"abd"))], ["same", "alone"]);
        assert_eq!(look(&job, &item("d/g", 5)), "missing");
        assert_eq!(look(&job, &item("e/g", 5)), "missing");
        assert_eq!(look(&job, &item("d/large", MAY_BE_PARTIAL + 1)), "alone");
        assert_eq!(look(&job, &item("d/huge", ALONE)), "alone");
        assert_eq!(look(&job, &Item { size: None, ..item("d/g", 0) }), "alone");
        let small = FetchJob { max_size: Some(4), ..job };
        assert!(look(&small, &item("d/g", 5)).contains("--max-size"));
    }

    #[test]
    fn what_is_in_the_way_is_refused_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "real/f", b"abc", 1_000_000_000);
        write(folder.path(), "file", b"", 1);
        symlink("real", folder.path().join("link")).unwrap();
        symlink("real/f", folder.path().join("to-file")).unwrap();
        let job = FetchJob { force: true, ..job(folder.path()) };
        let is_folder = |path| Item { is_folder: true, ..item(path, 0) };
        assert_eq!([look(&job, &is_folder("real")), look(&job, &is_folder("new"))], ["folder", "missing"]);
        for (item, expected) in [
            (item("link/f", 3), "it is in a symbolic link"),
            (item("to-file", 3), "a symbolic link is in its place"),
            (item("real", 3), "a folder is in its place"),
            (item("file/x", 3), "a file is in the place of its folder"),
            (is_folder("file"), "a file is in its place"),
            (is_folder("link"), "a symbolic link is in its place"),
            (item("a\u{1b}", 3), "not usable as a local name"),
        ] {
            let found = look(&job, &item);
            assert!(found.contains(expected) && !found.contains('\u{1b}'), "{item:?}: {found}");
        }
    }
}
