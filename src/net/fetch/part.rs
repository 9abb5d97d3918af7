//! The part file: made and locked beside its target, filled, then moved into place in one step, or kept for the next try.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::place::Place;
use super::state::{self, Mark, Source};
use crate::error::{Error, Kept, shown};
use crate::text::SafeText;

/// Longest name a file system takes.
const LONGEST_NAME: usize = 255;
/// Room kept for `.999.part` and the state beside it behind a name that is too long.
const SUFFIX_ROOM: usize = ".999.part".len() + state::SUFFIX_ROOM;
/// Most fetches of one name at once.
const MOST_PARTS: usize = 1000;
/// Two files are compared in pieces of this size.
const PIECE: usize = 256 * 1024;

/// A part file that belongs to this transfer for as long as it is open: the lock says so to others.
#[derive(Debug)]
pub(super) struct Part {
    place: Arc<Place>,
    name: OsString,
    file: File,
    /// There may be a state beside it: where there is none, nothing has to be asked to go away.
    stated: AtomicBool,
}

/// How a file came into its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It was not there before, or has been replaced.
    New,
    /// The same bytes were there already.
    WasThere,
}

impl Part {
    /// Makes the part file, or starts a left-over one again; one that another fetch fills is left to it.
    pub(super) fn open(place: Arc<Place>) -> Result<Self, Error> {
        for number in 0..MOST_PARTS {
            let name = part_name(place.name(), number);
            let failed = |error: Errno| Error::disk("make it", &place.beside(&name), &error.into());
            match lock(&place, &name, OFlags::CREATE).map_err(failed)? {
                Locked::Ours(file) => {
                    let part = Self { place, name, file, stated: true.into() };
                    part.empty()?;
                    return Ok(part);
                }
                Locked::Taken => {}
                Locked::Absent | Locked::NoFile => {
                    let reason = "something else than a file is there: remove it".to_owned();
                    return Err(Error::Disk { action: "write it", path: shown(&place.beside(&name)), reason });
                }
            }
        }
        let reason = format!("{MOST_PARTS} fetches of this name are under way");
        Err(Error::Disk { action: "make a part file", path: shown(&place.path()), reason })
    }

    /// True if there is a part of that name, whoever it belongs to: one look, so that a fetch that begins pays for no more.
    pub(super) fn is_there(place: &Place) -> bool {
        let found = rustix::fs::statat(place.folder(), part_name(place.name(), 0), AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| found.st_size > 0)
    }

    /// The left-over part that a new fetch would start again, as it is, with what its state says.
    pub(super) fn left_over(place: &Arc<Place>) -> Option<(Self, Option<(Source, Mark)>)> {
        for number in 0..MOST_PARTS {
            let name = part_name(place.name(), number);
            match lock(place, &name, OFlags::empty()).ok()? {
                Locked::Ours(file) => {
                    let state = state::read(place, &name);
                    let place = Arc::clone(place);
                    return Some((Self { place, name, file, stated: true.into() }, state));
                }
                Locked::Taken => {}
                Locked::Absent | Locked::NoFile => return None,
            }
        }
        None
    }

    /// Makes it a part of nothing again.
    pub(super) fn empty(&self) -> Result<(), Error> {
        // First what says that there is something, then what there is.
        self.forget();
        self.file.set_len(0).map_err(|error| self.error("empty it", &error))
    }

    /// Writes down how far it got; what is before the mark has to be on the disk.
    pub(super) fn record(&self, source: &Source, mark: &Mark) {
        self.stated.store(true, Relaxed);
        // A part without a state is started again: that is all that is lost.
        let _ = state::write(&self.place, &self.name, source, mark);
    }

    /// Removes what says how far it got.
    pub(super) fn forget(&self) {
        if self.stated.swap(false, Relaxed) {
            state::remove(&self.place, &self.name);
        }
    }

    /// Takes the room on the disk, so that a full disk is found before the first byte and not after the last.
    ///
    /// The file's length stays what was written: it is how far a broken transfer got.
    pub(super) fn reserve(&self, size: u64) -> Result<(), Error> {
        if size == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                Err(Error::disk("reserve its size", &self.place.beside(&self.name), &error.into()))
            }
            // Not every file system can; then the disk may turn out to be full later.
            _ => Ok(()),
        }
    }

    /// The file, to be written to at explicit offsets.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The path, for people.
    pub(super) fn shown(&self) -> SafeText {
        shown(&self.place.beside(&self.name))
    }

    /// An error of this file.
    pub(super) fn error(&self, action: &'static str, error: &io::Error) -> Error {
        Error::disk(action, &self.place.beside(&self.name), error)
    }

    /// The transfer ends here: the part stays if it holds anything, and the answer is where it is.
    pub(super) fn keep(&self) -> Option<SafeText> {
        match self.file.metadata() {
            Ok(found) if found.len() == 0 => {
                self.remove();
                None
            }
            _ => {
                // Room that was reserved and not used is given back.
                if let Ok(found) = self.file.metadata() {
                    let _ = self.file.set_len(found.len());
                }
                Some(self.shown())
            }
        }
    }

    /// Moves the file into its place, on the disk for good; what is there already is compared, or replaced by force.
    pub(super) fn publish(self, force: bool, stopped: &dyn Fn() -> bool) -> Result<Published, Error> {
        if !force && self.place.existing()?.is_some() {
            return self.settle(stopped);
        }
        self.file.sync_all().map_err(|error| self.error("write it to the disk", &error))?;
        let moved = if force { self.replace() } else { self.rename() };
        match moved {
            Ok(()) => {
                self.forget();
                self.place.sync();
                Ok(Published::New)
            }
            Err(Errno::EXIST) => self.settle(stopped),
            Err(error) => Err(Error::disk("move the finished part to it", &self.place.path(), &error.into())),
        }
    }

    fn replace(&self) -> Result<(), Errno> {
        rustix::fs::renameat(self.place.folder(), &self.name, self.place.folder(), self.place.name())
    }

    /// Renames without replacing, by the best means that the file system has.
    fn rename(&self) -> Result<(), Errno> {
        let (folder, target) = (self.place.folder(), self.place.name());
        match rustix::fs::renameat_with(folder, &self.name, folder, target, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return other,
        }
        match rustix::fs::linkat(folder, &self.name, folder, target, AtFlags::empty()) {
            Ok(()) => {
                self.remove();
                return Ok(());
            }
            Err(Errno::EXIST) => return Err(Errno::EXIST),
            Err(_) => {}
        }
        // Without either, a look and a rename have to do: nothing else is left on such a file system.
        match rustix::fs::statat(folder, target, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => self.replace(),
            _ => Err(Errno::EXIST),
        }
    }

    /// A file is there already: the same bytes are success, others are not.
    fn settle(&self, stopped: &dyn Fn() -> bool) -> Result<Published, Error> {
        let exists = |difference: &str| Error::Exists {
            path: shown(&self.place.path()),
            difference: difference.to_owned(),
            kept: Kept(self.keep()),
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let there = rustix::fs::openat(self.place.folder(), self.place.name(), flags, Mode::empty())
            .map_err(|_| exists("that cannot be read"))?;
        let path = self.place.path();
        match same_bytes(&self.file, &File::from(there), stopped) {
            Ok(Some(true)) => {
                self.remove();
                Ok(Published::WasThere)
            }
            Ok(Some(false)) => Err(exists("with other content")),
            Ok(None) => Err(Error::Interrupted { kept: Kept(self.keep()) }),
            Err(error) => Err(Error::disk("compare it", &path, &error)),
        }
    }

    fn remove(&self) {
        self.forget();
        let _ = rustix::fs::unlinkat(self.place.folder(), &self.name, AtFlags::empty());
    }
}

/// What trying to lock a part file came to.
enum Locked {
    Ours(File),
    Taken,
    Absent,
    NoFile,
}

/// Opens a part and locks it; with `CREATE` as `how` it is made where it is not there.
fn lock(place: &Place, name: &OsStr, how: OFlags) -> Result<Locked, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | how;
    // The file becomes the target, so it is made as any new file is: readable as far as the umask lets it be.
    let mode = Mode::from_raw_mode(0o666);
    loop {
        let handle = match rustix::fs::openat(place.folder(), name, flags, mode) {
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(Locked::NoFile),
            Err(Errno::NOENT) if how.is_empty() => return Ok(Locked::Absent),
            other => other?,
        };
        let ours = rustix::fs::fstat(&handle)?;
        if FileType::from_raw_mode(ours.st_mode) != FileType::RegularFile {
            return Ok(Locked::NoFile);
        }
        match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(Locked::Taken),
            // A file system without locks has to do without this protection.
            Ok(()) | Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS) => {}
            Err(error) => return Err(error),
        }
        // Its owner may have moved it into place between our open and our lock: then this is the finished file.
        match rustix::fs::statat(place.folder(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) if (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino) => {
                return Ok(Locked::Ours(handle.into()));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
}

/// `NAME.part`, then `NAME.1.part` and so on; a name that is too long is shortened.
fn part_name(name: &OsStr, number: usize) -> OsString {
    let mut bytes = name.as_bytes().to_vec();
    if bytes.len() > LONGEST_NAME - SUFFIX_ROOM {
        let mut end = LONGEST_NAME - SUFFIX_ROOM;
        // Not in the middle of a character: some file systems take UTF-8 only.
        while end > 0 && bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        bytes.truncate(end);
    }
    if number > 0 {
        bytes.extend_from_slice(format!(".{number}").as_bytes());
    }
    bytes.extend_from_slice(b".part");
    OsString::from_vec(bytes)
}

/// Compares two files from their start; `None` where it was stopped.
fn same_bytes(ours: &File, there: &File, stopped: &dyn Fn() -> bool) -> io::Result<Option<bool>> {
    use std::os::unix::fs::FileExt;

    let size = ours.metadata()?.len();
    let found = there.metadata()?;
    if !found.is_file() || found.len() != size {
        return Ok(Some(false));
    }
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    let mut there = there;
    let mut offset = 0;
    while offset < size {
        if stopped() {
            return Ok(None);
        }
        let piece = usize::try_from(size - offset).unwrap_or(PIECE).min(PIECE);
        ours.read_exact_at(&mut left[..piece], offset)?;
        match there.read_exact(&mut right[..piece]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(false)),
            other => other?,
        }
        if left[..piece] != right[..piece] {
            return Ok(Some(false));
        }
        offset += piece as u64;
    }
    Ok(Some(true))
}

#[cfg(test)]
mod tests;
