//! Publishing the finished partial file: linked by its handle, so that the published file is the one that was verified.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};

use rustix::fs::{Gid, Mode, RenameFlags, Uid};
use rustix::io::Errno;

use super::PartialFile;
use crate::error::Error;
use crate::net::fetch::names;
use crate::net::fetch::target::{Existing, FileId, open_existing};
use crate::net::os::kernel::begin_writing;

/// Size of the chunks in which two files are compared.
const CHUNK: usize = 256 * 1024;
/// Files from which their whole file system is synced at once: fewer are synced one by one, which does not wait for
/// what other programs write.
const MIN_GROUP: usize = 8;

/// How a file was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::fetch) enum Published {
    /// The target is new, or was replaced.
    New,
    /// The target held the same bytes already.
    WasThere,
}

/// A finished file that is to be published.
pub(in crate::net::fetch) struct Publication<'a> {
    pub(in crate::net::fetch) part: PartialFile,
    /// An existing target is replaced; otherwise it is compared.
    pub(in crate::net::fetch) force: bool,
    pub(in crate::net::fetch) cancelled: Box<dyn Fn() -> bool + 'a>,
}

/// How far the publication of a file has come.
enum Step<'a> {
    /// It has its permissions.
    Ready(Publication<'a>, Option<Existing>),
    /// It has its final name.
    Named(PartialFile),
    Ended(Result<Published, Error>),
}

/// Publishes files: their content is synced, then they get their final names, then these are synced. Returns a result
/// for each; a published one is on the disk.
pub(in crate::net::fetch) fn publish_all(files: Vec<Publication<'_>>) -> Vec<Result<Published, Error>> {
    let mut steps: Vec<Step<'_>> = files.into_iter().map(Publication::prepare).collect();
    if steps.len() > 1 {
        // The disk writes all while the first is waited for.
        steps.iter().filter_map(Step::unsynced).for_each(PartialFile::begin_writing);
    }
    sync_all(&mut steps, PartialFile::sync_content);
    let mut steps: Vec<Step<'_>> = steps.into_iter().map(Step::name).collect();
    let mut folders = Vec::new();
    sync_all(&mut steps, |part| {
        let folder = rustix::fs::fstat(part.target.folder()).map(|found| FileId::of(&found)).ok();
        if folder.is_some() && folders.contains(&folder) {
            return Ok(());
        }
        folders.push(folder);
        part.target.sync()
    });
    let result = |step| match step {
        Step::Ended(result) => result,
        Step::Ready(..) | Step::Named(_) => Ok(Published::New),
    };
    steps.into_iter().map(result).collect()
}

/// Syncs what the steps have written: by itself if it is little, else with the rest of its file system.
fn sync_all(steps: &mut [Step<'_>], mut sync: impl FnMut(&PartialFile) -> Result<(), Error>) {
    let mut devices: BTreeMap<u64, usize> = BTreeMap::new();
    for part in steps.iter().filter_map(Step::unsynced) {
        *devices.entry(part.id.device()).or_default() += 1;
    }
    devices.retain(|device, count| {
        let mut parts = steps.iter().filter_map(Step::unsynced);
        let part = parts.find(|part| part.id.device() == *device).filter(|_| *count >= MIN_GROUP);
        // After an error each is synced by itself, so that it fails no other file.
        part.is_some_and(|part| rustix::fs::syncfs(part.target.folder()).is_ok())
    });
    for step in steps {
        if let Some(part) = step.unsynced()
            && !devices.contains_key(&part.id.device())
            && let Err(error) = sync(part)
        {
            *step = Step::Ended(Err(error));
        }
    }
}

impl<'a> Publication<'a> {
    /// Sets the permissions; an existing target that may not be replaced is compared.
    fn prepare(mut self) -> Step<'a> {
        let there = match self.part.target.existing() {
            Ok(Some(_)) if !self.force => {
                return Step::Ended(self.part.compare_with_existing(&self.cancelled));
            }
            Ok(there) => there,
            Err(error) => return Step::Ended(Err(error)),
        };
        match self.part.set_permissions(there) {
            Ok(()) => Step::Ready(self, there),
            Err(error) => Step::Ended(Err(error)),
        }
    }
}

impl Step<'_> {
    /// Returns the file whose content or name is not synced yet.
    fn unsynced(&self) -> Option<&PartialFile> {
        match self {
            Self::Ready(file, _) => Some(&file.part),
            Self::Named(part) => Some(part),
            Self::Ended(_) => None,
        }
    }

    /// Gives the file its final name; an existing target that may not be replaced is compared.
    fn name(self) -> Self {
        let Self::Ready(Publication { mut part, force, cancelled }, there) = self else { return self };
        match part.link_final_name(force, there) {
            Ok(true) => {
                part.remove();
                Self::Named(part)
            }
            Ok(false) => Self::Ended(part.compare_with_existing(&cancelled)),
            Err(error) => Self::Ended(Err(error)),
        }
    }
}

impl PartialFile {
    /// Publishes the file, see [`publish_all`].
    pub(in crate::net::fetch) fn publish(self, force: bool, cancelled: &dyn Fn() -> bool) -> Result<Published, Error> {
        let file = Publication { part: self, force, cancelled: Box::new(cancelled) };
        publish_all(vec![file]).pop().unwrap_or(Ok(Published::New))
    }

    fn set_permissions(&self, replaced: Option<Existing>) -> Result<(), Error> {
        self.set_final_permissions(replaced).map_err(|error| self.error("set its permissions", &error))
    }

    fn begin_writing(&self) {
        if let Ok(found) = self.file.metadata() {
            // A small file: larger ones are published alone.
            let _ = begin_writing(&self.file, 0, usize::try_from(found.len()).unwrap_or(usize::MAX));
        }
    }

    fn sync_content(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(|error| self.error("write it to the disk", &error))
    }

    /// Sets the final permissions, and syncs the file.
    fn finish(&self, replaced: Option<Existing>) -> Result<(), Error> {
        self.set_permissions(replaced)?;
        self.sync_content()
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
