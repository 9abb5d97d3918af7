//! Publishing the finished partial file: linked by its handle, so that the published file is the one that was verified.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};

use rustix::fs::{Gid, Mode, RenameFlags, Uid};
use rustix::io::Errno;

use super::PartialFile;
use crate::error::Error;
use crate::net::fetch::names;
use crate::net::fetch::target::{Existing, FileId, open_existing};

/// Size of the chunks in which two files are compared.
const CHUNK: usize = 256 * 1024;

/// How a file was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::fetch) enum Published {
    /// The target is new, or was replaced.
    New,
    /// The target held the same bytes already.
    WasThere,
}

impl PartialFile {
    /// Gives the file its final name and syncs it; an existing target is compared with it, or replaced if forced.
    pub(in crate::net::fetch) fn publish(
        mut self,
        force: bool,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Published, Error> {
        let there = self.target.existing()?;
        if !force && there.is_some() {
            return self.compare_with_existing(cancelled);
        }
        self.finish(there)?;
        if !self.link_final_name(force, there)? {
            return self.compare_with_existing(cancelled);
        }
        self.remove();
        self.target.sync()?;
        Ok(Published::New)
    }

    /// Sets the final permissions, and syncs the file.
    fn finish(&self, replaced: Option<Existing>) -> Result<(), Error> {
        self.set_final_permissions(replaced).map_err(|error| self.error("set its permissions", &error))?;
        self.file.sync_all().map_err(|error| self.error("write it to the disk", &error))
    }

    /// Links the open file to the final name; false if the target exists and may not be replaced.
    fn link_final_name(&mut self, force: bool, there: Option<Existing>) -> Result<bool, Error> {
        for restored in [false, true] {
            let name = self.target.name();
            let named = if force {
                names::replace(&self.target, &self.file, name).map(|()| true)
            } else {
                names::link(&self.target, &self.file, name)
            };
            match named {
                Ok(named) => return Ok(named),
                // Its last name was removed, and a file without a link cannot be linked again.
                Err(Errno::NOENT) if !restored && self.names.is_some() => {
                    self.restore()?;
                    self.finish(there)?;
                }
                Err(error) if names::cannot_link(error) => {
                    if self.names.is_none() {
                        // Only a name can be renamed, and an unnamed file has none.
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

    /// Gives the file its final name on a file system without hard links: renames by name, with a check before and one
    /// after.
    fn rename(&self, force: bool) -> Result<bool, Error> {
        let Some(from) = self.names.as_ref().map(|names| &names.name) else { return Err(self.lost()) };
        let (folder, name) = (self.target.folder(), self.target.name());
        if !self.is_in_place() {
            return Err(self.lost());
        }
        let renamed = match rustix::fs::renameat_with(folder, from, folder, name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if force => rustix::fs::renameat(folder, from, folder, name),
            // Without RENAME_NOREPLACE only a check and a rename remain, which race.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if force || self.target.is_free(name) => {
                rustix::fs::renameat(folder, from, folder, name)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(Errno::EXIST),
            other => other,
        };
        match renamed {
            Ok(()) if self.target.holds(name, self.id) => Ok(true),
            Ok(()) => Err(self.lost()),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.cannot_move(error)),
        }
    }

    fn cannot_move(&self, error: Errno) -> Error {
        Error::disk("move the finished file to it", &self.target.path(), &error.into())
    }

    /// Sets the owner and permissions of the file that it replaces, or those of a new file.
    fn set_final_permissions(&self, replaced: Option<Existing>) -> io::Result<()> {
        let Some(old) = replaced else { return self.set_usual_permissions() };
        let now = rustix::fs::fstat(&self.file)?;
        let mut mode = old.mode;
        if now.st_uid != old.owner {
            // Root may do this; for other users the file becomes their own, as with any program that replaces files.
            let _ = rustix::fs::fchown(&self.file, Some(Uid::from_raw(old.owner)), None);
        }
        if now.st_gid != old.group && rustix::fs::fchown(&self.file, None, Some(Gid::from_raw(old.group))).is_err() {
            // Permissions of one group are not given to another.
            mode &= !0o070;
        }
        if now.st_mode & 0o777 == mode {
            return Ok(());
        }
        self.file.set_permissions(Permissions::from_mode(mode))
    }

    /// Sets the permissions of a new file, which the umask decides on.
    fn set_usual_permissions(&self) -> io::Result<()> {
        if !self.restricted && !self.executable {
            return Ok(());
        }
        let mode = if self.executable { 0o777 } else { 0o666 };
        if let Some(usual) = names::unnamed(&self.target, Mode::from_raw_mode(mode))? {
            return self.file.set_permissions(usual.metadata()?.permissions());
        }
        if self.executable {
            let mode = self.file.metadata()?.permissions().mode() & 0o777;
            self.file.set_permissions(Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
        }
        Ok(())
    }

    /// Handles an existing target: the same bytes are success, others an error.
    fn compare_with_existing(&mut self, cancelled: &dyn Fn() -> bool) -> Result<Published, Error> {
        let Ok(there) = open_existing(self.target.folder(), self.target.name()) else {
            return Err(self.already_exists("that cannot be read"));
        };
        let found = rustix::fs::fstat(&there).map(|found| FileId::of(&found));
        match same_bytes(&self.file, &there, cancelled) {
            Ok(Some(true)) if found.is_ok_and(|id| self.target.holds(self.target.name(), id)) => {
                self.remove();
                Ok(Published::WasThere)
            }
            Ok(Some(true)) => Err(self.already_exists("that was replaced a moment ago")),
            Ok(Some(false)) => Err(self.already_exists("with other content")),
            Ok(None) => Err(Error::Interrupted { kept: self.keep() }),
            Err(error) => Err(Error::disk("compare it", &self.target.path(), &error)),
        }
    }

    fn already_exists(&mut self, difference: &str) -> Error {
        Error::exists(&self.target.path(), difference).with_kept(self.keep())
    }
}

/// Compares two files from their start; `None` if cancelled.
pub(in crate::net::fetch) fn same_bytes(
    ours: &File,
    there: &File,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<Option<bool>> {
    let size = ours.metadata()?.len();
    let found = there.metadata()?;
    if !found.is_file() || found.len() != size {
        return Ok(Some(false));
    }
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut there = there;
    let mut offset = 0;
    while offset < size {
        if cancelled() {
            return Ok(None);
        }
        let chunk = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
        ours.read_exact_at(&mut left[..chunk], offset)?;
        match there.read_exact(&mut right[..chunk]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(false)),
            other => other?,
        }
        if left[..chunk] != right[..chunk] {
            return Ok(Some(false));
        }
        offset += chunk as u64;
    }
    Ok(Some(true))
}
