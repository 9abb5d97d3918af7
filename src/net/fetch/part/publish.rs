//! The finished partial file gets its name: by its handle, so that what stands there is the file that was proven.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};

use rustix::fs::{Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;

use super::PartialFile;
use crate::error::{Error, KeptBytes, shown};
use crate::net::fetch::names;
use crate::net::fetch::target::{Existing, FileId};

/// Two files are compared in pieces of this size.
const PIECE: usize = 256 * 1024;

/// How a file came into its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::fetch) enum Published {
    /// It was not there before, or has been replaced.
    New,
    /// The same bytes were there already.
    WasThere,
}

impl PartialFile {
    /// Gives the file its final name, on the disk for good; what is there already is compared, or replaced by force.
    pub(in crate::net::fetch) fn publish(
        mut self,
        force: bool,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Published, Error> {
        let there = self.place.existing()?;
        if !force && there.is_some() {
            return self.settle(stopped);
        }
        self.finish(there)?;
        if !self.name_finally(force, there)? {
            return self.settle(stopped);
        }
        self.remove();
        self.place.sync()?;
        Ok(Published::New)
    }

    /// Gives the whole file its permissions, and writes it to the disk.
    fn finish(&self, replaced: Option<Existing>) -> Result<(), Error> {
        self.set_final_permissions(replaced).map_err(|error| self.error("set its permissions", &error))?;
        self.file.sync_all().map_err(|error| self.error("write it to the disk", &error))
    }

    /// Puts the open file under the final name; false where something is there and may not be replaced.
    fn name_finally(&mut self, force: bool, there: Option<Existing>) -> Result<bool, Error> {
        for restored in [false, true] {
            let target = self.place.name();
            let named = if force {
                names::replace(&self.place, &self.file, target).map(|()| true)
            } else {
                names::link(&self.place, &self.file, target)
            };
            match named {
                Ok(named) => return Ok(named),
                // Its last name was taken away, and a file without one cannot be named again.
                Err(Errno::NOENT) if !restored && self.names.is_some() => {
                    self.restore()?;
                    self.finish(there)?;
                }
                Err(error) if names::cannot_link(error) => {
                    if self.names.is_none() {
                        // Only a name can be moved, and a file that was made without one has none.
                        *self = self.copied()?;
                        self.finish(there)?;
                    }
                    return self.rename(force);
                }
                Err(error) => return Err(self.cannot_move(error)),
            }
        }
        Err(self.lost())
    }

    /// The same where a file system knows no second name of a file: by name, with a look before and one after.
    fn rename(&self, force: bool) -> Result<bool, Error> {
        let Some(from) = self.names.as_ref().map(|names| &names.name) else { return Err(self.lost()) };
        let (folder, target) = (self.place.folder(), self.place.name());
        if !self.is_in_place() {
            return Err(self.lost());
        }
        let renamed = match rustix::fs::renameat_with(folder, from, folder, target, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if force => rustix::fs::renameat(folder, from, folder, target),
            // Without that, a look and a rename have to do: nothing else is left on such a file system.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if force || self.place.is_free(target) => {
                rustix::fs::renameat(folder, from, folder, target)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(Errno::EXIST),
            other => other,
        };
        match renamed {
            Ok(()) if self.place.holds(target, self.id) => Ok(true),
            Ok(()) => Err(self.lost()),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.cannot_move(error)),
        }
    }

    fn cannot_move(&self, error: Errno) -> Error {
        Error::disk("move the finished file to it", &self.place.path(), &error.into())
    }

    /// The permissions and the owner of what it replaces, or those of any new file.
    fn set_final_permissions(&self, replaced: Option<Existing>) -> io::Result<()> {
        let Some(old) = replaced else {
            if self.narrow
                && let Some(usual) = names::unnamed(&self.place, Mode::from_raw_mode(0o666))?
            {
                self.file.set_permissions(usual.metadata()?.permissions())?;
            }
            return Ok(());
        };
        let now = rustix::fs::fstat(&self.file)?;
        let mut mode = old.mode;
        if now.st_uid != old.owner {
            // Root may do this; for others the file becomes their own, as with any program that replaces files.
            let _ = rustix::fs::fchown(&self.file, Some(Uid::from_raw(old.owner)), None);
        }
        if now.st_gid != old.group && rustix::fs::fchown(&self.file, None, Some(Gid::from_raw(old.group))).is_err() {
            // What one group was allowed is not given to another.
            mode &= !0o070;
        }
        if now.st_mode & 0o777 == mode {
            return Ok(());
        }
        self.file.set_permissions(Permissions::from_mode(mode))
    }

    /// A file is there already: the same bytes are success, others are not.
    fn settle(&mut self, stopped: &dyn Fn() -> bool) -> Result<Published, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let (folder, target) = (self.place.folder(), self.place.name());
        let there = match rustix::fs::openat(folder, target, flags, Mode::empty()) {
            Ok(there) => File::from(there),
            Err(_) => return Err(self.exists("that cannot be read")),
        };
        let found = rustix::fs::fstat(&there).map(|found| FileId::of(&found));
        match same_bytes(&self.file, &there, stopped) {
            Ok(Some(true)) if found.is_ok_and(|id| self.place.holds(self.place.name(), id)) => {
                self.remove();
                Ok(Published::WasThere)
            }
            Ok(Some(true)) => Err(self.exists("that was replaced a moment ago")),
            Ok(Some(false)) => Err(self.exists("with other content")),
            Ok(None) => Err(Error::Interrupted { kept: self.keep() }),
            Err(error) => Err(Error::disk("compare it", &self.place.path(), &error)),
        }
    }

    fn exists(&mut self, difference: &str) -> Error {
        let (path, kept): (_, KeptBytes) = (shown(&self.place.path()), self.keep());
        Error::Exists { path, difference: difference.to_owned(), kept }
    }
}

/// Compares two files from their start; `None` where it was stopped.
fn same_bytes(ours: &File, there: &File, stopped: &dyn Fn() -> bool) -> io::Result<Option<bool>> {
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
