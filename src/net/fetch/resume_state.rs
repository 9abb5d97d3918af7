//! The state file beside a partial file: it says that the partial file is ours, and how far it got.
//!
//! It is written before the partial file has its name, is locked for as long as a fetch is at it, and is only ever
//! changed through the handle: no name of somebody else's file is written to, replaced or removed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::names;
use super::target::{FileId, TargetPath};
use super::validator::Validator;
use crate::route::{DEFAULT_BASE, Route};
use crate::wire::Digest;
use crate::wire::http::encode_name;

/// The form of the file; one of another form is not ours.
const VERSION: u32 = 2;
/// Largest file that is read: a name has three kilobytes at most when escaped, a validator less than a head.
const LARGEST: u64 = 16 * 1024;

/// What a partial file is a part of. The relays do not matter: another route to the same file can resume it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ResumeSource {
    /// The origin and the file's name there.
    pub(super) file: String,
    /// The whole size.
    pub(super) size: u64,
    /// What tells this state of it from others.
    #[serde(flatten)]
    pub(super) validator: Validator,
}

/// A point up to which a partial file is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResumePoint {
    /// Bytes from the start.
    pub(super) offset: u64,
    /// Their digest; none where a person wanted none.
    pub(super) prefix: Option<Digest>,
}

/// The first line: the partial file this state is about.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    chainview: u32,
    inode: u64,
    /// When the file was made, where the file system knows that: a number alone is soon given to another file.
    born: Option<String>,
}

/// The second line, rewritten in place at every resume point; empty where there is nothing to resume.
#[derive(Serialize, Deserialize)]
struct SavedProgress {
    #[serde(flatten)]
    source: ResumeSource,
    synced: u64,
    prefix: Option<String>,
}

/// A state file of ours, locked.
#[derive(Debug)]
pub(super) struct StateFile {
    name: OsString,
    file: File,
    id: FileId,
    identity: Identity,
    /// Where the second line begins.
    second: u64,
}

/// What stands under the name of a state.
#[derive(Debug)]
pub(super) enum StateLookup {
    Absent,
    /// It is not ours, or cannot be locked: nothing is done with it.
    Foreign,
    /// Another fetch is at it.
    Locked,
    Ours(StateFile),
}

/// What names the file of a route at its origin, however it is reached.
pub(super) fn file_of(route: &Route) -> String {
    let origin = route.hops().last();
    let address = origin.map(|hop| hop.address.to_string()).unwrap_or_default();
    let base = origin.and_then(|hop| hop.base.as_deref()).unwrap_or(DEFAULT_BASE);
    format!("{address}{base}{}", encode_name(&route.file))
}

/// True for a regular file that nobody but this user can have put there, or can change: one name, own, not for others
/// to write to.
pub(super) fn is_own(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && found.st_uid == rustix::process::geteuid().as_raw()
        && found.st_nlink == 1
        && found.st_mode & 0o022 == 0
}

/// Takes the lock of a file for as long as it is open: false where somebody else has it, an error where there are no
/// locks.
pub(super) fn lock(file: &File) -> Result<bool, Errno> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Identity {
    fn of(partial: &File) -> Result<Self, Errno> {
        let found = rustix::fs::statx(partial, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)?;
        let knows = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        let born = knows.then(|| format!("{}.{:09}", found.stx_btime.tv_sec, found.stx_btime.tv_nsec));
        Ok(Self { chainview: VERSION, inode: found.stx_ino, born })
    }
}

impl StateFile {
    /// Makes the state of a partial file that has no name yet, or has just got it; `None` where something is in its
    /// place.
    pub(super) fn create(place: &TargetPath, partial: &File, partial_name: &OsStr) -> Result<Option<Self>, Errno> {
        let identity = Identity::of(partial)?;
        let mut first = serde_json::to_vec(&identity).map_err(|_| Errno::INVAL)?;
        first.push(b'\n');
        let (name, mode) = (name_for(partial_name), Mode::from_raw_mode(0o600));
        let unnamed = names::unnamed(place, mode)?;
        let file = match &unnamed {
            Some(_) => None,
            None => match names::create(place, &name, mode)? {
                None => return Ok(None),
                made => made,
            },
        };
        let Some(file) = file.or(unnamed) else { return Ok(None) };
        // A file that was just made is nobody else's to lock; without locks the name is protection enough.
        let _ = lock(&file);
        let found = rustix::fs::fstat(&file)?;
        let state = Self { name, id: FileId::of(&found), second: first.len() as u64, file, identity };
        state.file.write_all_at(&first, 0).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if found.st_nlink == 0 && !names::link(place, &state.file, &state.name)? {
            return Ok(None);
        }
        Ok(Some(state))
    }

    /// Looks for the state of a partial file, and takes it where it is ours and free.
    pub(super) fn find(place: &TargetPath, partial_name: &OsStr) -> StateLookup {
        let name = name_for(partial_name);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(place.folder(), &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return StateLookup::Absent,
            Err(_) => return StateLookup::Foreign,
        };
        let Some(found) = rustix::fs::fstat(&file).ok().filter(is_own) else { return StateLookup::Foreign };
        match lock(&file) {
            Ok(true) => {}
            Ok(false) => return StateLookup::Locked,
            // Without locks nobody can tell whether another fetch is at it.
            Err(_) => return StateLookup::Foreign,
        }
        let id = FileId::of(&found);
        let read = first_line(&file).and_then(|line| Some((serde_json::from_slice::<Identity>(&line).ok()?, line)));
        match read {
            Some((identity, line)) if identity.chainview == VERSION => {
                StateLookup::Ours(Self { name, file, id, identity, second: line.len() as u64 + 1 })
            }
            _ => StateLookup::Foreign,
        }
    }

    /// True where the state is about this very file.
    pub(super) fn is_about(&self, partial: &File) -> bool {
        Identity::of(partial).is_ok_and(|identity| identity == self.identity)
    }

    /// True where its name still is its own.
    pub(super) fn is_in_place(&self, place: &TargetPath) -> bool {
        place.holds(&self.name, self.id)
    }

    /// What the partial file is a part of and how far it got; `None` where nothing says so, or it cannot be.
    pub(super) fn mark(&self) -> Option<(ResumeSource, ResumePoint)> {
        let mut text = vec![0; LARGEST as usize];
        let read = self.file.read_at(&mut text, self.second).ok()?;
        let line = text[..read].split(|byte| *byte == b'\n').next()?;
        let progress: SavedProgress = serde_json::from_slice(line).ok()?;
        let prefix = match progress.prefix {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let sound = progress.synced > 0 && progress.synced <= progress.source.size;
        sound.then_some((progress.source, ResumePoint { offset: progress.synced, prefix }))
    }

    /// Writes down how far the partial file got; the bytes up to the mark have to be on the disk already.
    ///
    /// It is not synced itself: what a power cut left torn is not believed, and costs no more than no mark.
    pub(super) fn note(&self, source: &ResumeSource, mark: &ResumePoint) -> io::Result<()> {
        let prefix = mark.prefix.map(|digest| digest.to_string());
        let progress = SavedProgress { source: source.clone(), synced: mark.offset, prefix };
        let mut line = serde_json::to_vec(&progress)?;
        line.push(b'\n');
        // What a longer line left behind the end of this one is not read.
        self.file.write_all_at(&line, self.second)
    }

    /// Makes it the state of a partial file that cannot be resumed.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.file.set_len(self.second)
    }

    /// Removes it.
    pub(super) fn remove(&self, place: &TargetPath) {
        names::remove(place, &self.name, self.id);
    }
}

/// The first line of a file that is no longer than a state can be.
fn first_line(file: &File) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > LARGEST {
        return None;
    }
    let end = text.iter().position(|byte| *byte == b'\n')?;
    text.truncate(end);
    Some(text)
}

fn name_for(partial_name: &OsStr) -> OsString {
    let mut name = partial_name.to_owned();
    name.push(names::STATE_SUFFIX);
    name
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;
    use crate::route::FileName;

    const NAME: &str = "f.part";

    fn place(folder: &Path) -> TargetPath {
        TargetPath::of(folder, &FileName::new(b"f").unwrap()).unwrap()
    }

    fn source() -> ResumeSource {
        ResumeSource { file: "h:1/files/f".to_owned(), size: 10, validator: Validator::Etag("\"e\"".to_owned()) }
    }

    fn partial(place: &TargetPath) -> File {
        names::create(place, OsStr::new(NAME), Mode::from_raw_mode(0o600)).unwrap().unwrap()
    }

    fn create(place: &TargetPath, partial: &File) -> StateFile {
        StateFile::create(place, partial, OsStr::new(NAME)).unwrap().unwrap()
    }

    fn find(place: &TargetPath) -> StateLookup {
        StateFile::find(place, OsStr::new(NAME))
    }

    #[test]
    fn a_state_says_whose_it_is_and_what_was_noted_last() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        assert!(matches!(find(&place), StateLookup::Absent));
        let file = partial(&place);
        let state = create(&place, &file);
        assert!(matches!(find(&place), StateLookup::Locked) && state.mark().is_none());
        assert!(StateFile::create(&place, &file, OsStr::new(NAME)).unwrap().is_none(), "it was made twice");
        let prefix = Some(Digest { algorithm: crate::wire::Algorithm::Sha256, value: [7; 32] });
        for mark in [ResumePoint { offset: 10, prefix }, ResumePoint { offset: 3, prefix: None }] {
            state.note(&source(), &mark).unwrap();
            assert_eq!(state.mark(), Some((source(), mark)));
        }
        drop(state);
        let StateLookup::Ours(state) = find(&place) else { panic!("it is not ours") };
        assert!(state.is_about(&file) && state.mark().is_some());
        state.clear().unwrap();
        assert_eq!(state.mark(), None);
        let other = File::create(folder.path().join("other")).unwrap();
        assert!(!state.is_about(&other));
        state.remove(&place);
        assert!(matches!(find(&place), StateLookup::Absent));
    }

    #[test]
    fn what_is_torn_or_impossible_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let state = create(&place, &partial(&place));
        let good = r#"{"file":"h:1/files/f","size":10,"etag":"\"e\"","synced":3,"prefix":null}"#;
        let say = |line: &str| {
            state.clear().unwrap();
            state.file.write_all_at(line.as_bytes(), state.second).unwrap();
            state.mark()
        };
        assert!(say(good).is_some());
        let padded = format!("{}{good}", " ".repeat(LARGEST as usize));
        for bad in [
            "",
            &good[..40],
            &good.replace("\"synced\":3", "\"synced\":11"),
            &good.replace("\"synced\":3", "\"synced\":0"),
            &good.replace("\"synced\":3", "\"synced\":-3"),
            &good.replace("null", "\"blake3:00\""),
            &padded,
        ] {
            assert!(say(bad).is_none(), "{}", &bad[..bad.len().min(100)]);
        }
    }

    #[test]
    fn a_state_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (place, path) = (place(folder.path()), folder.path().join("f.part.state"));
        drop(create(&place, &partial(&place)));
        let good = std::fs::read(&path).unwrap();
        let says = |content: &[u8], mode: u32| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            matches!(find(&place), StateLookup::Ours(_))
        };
        assert!(says(&good, 0o600) && says(&good, 0o644));
        let other_version = String::from_utf8(good.clone()).unwrap().replace(":2,", ":1,");
        for (content, mode) in [
            (&good[..], 0o620),
            (&good, 0o602),
            (b"", 0o600),
            (b"a person's own notes\n", 0o600),
            (&good[..good.len() - 2], 0o600),
            (other_version.as_bytes(), 0o600),
        ] {
            assert!(!says(content, mode) && std::fs::read(&path).unwrap() == content, "{mode:o}");
        }
        assert!(says(&good, 0o600));
        std::fs::hard_link(&path, folder.path().join("second name")).unwrap();
        assert!(matches!(find(&place), StateLookup::Foreign), "it has two names");
        std::fs::remove_file(&path).unwrap();
        symlink("second name", &path).unwrap();
        assert!(matches!(find(&place), StateLookup::Foreign), "a link was followed");
        if rustix::process::geteuid().is_root() {
            std::fs::remove_file(&path).unwrap();
            std::fs::rename(folder.path().join("second name"), &path).unwrap();
            assert!(matches!(find(&place), StateLookup::Ours(_)));
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            assert!(matches!(find(&place), StateLookup::Foreign), "it is of another user");
        }
    }

    #[test]
    fn a_file_is_known_by_its_origin_and_not_by_the_way_there() {
        let of = |text: &str| file_of(&Route::parse(text.as_bytes()).unwrap());
        assert_eq!(of("a b\nh1 1\nh3 3\n"), "h3:3/files/a%20b");
        assert_eq!(of("a b\nh1 1\nh3 3\n"), of("a b\nh2 2\nh3 3 name=origin protocol=http\n"));
        assert_ne!(of("a b\nh3 3\n"), of("a b\nh3 3 base=/\n"));
        assert_ne!(of("a\nh3 3\n"), of("a\nh4 3\n"));
    }
}
