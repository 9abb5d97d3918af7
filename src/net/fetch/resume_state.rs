//! The state file of a partial file: it marks the partial file as ours and records the resume point.
//!
//! It is created before the partial file is named, stays locked while a fetch uses it, and is only changed through its
//! handle: no other program's file is ever written to, replaced or removed.

use std::cmp::Reverse;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::blocks::{BLOCK, RangeDigest};
use super::names;
use super::target::{FileId, TargetPath};
use super::validator::Validator;
use crate::route::{DEFAULT_BASE, Route};
use crate::wire::Digest;
use crate::wire::http::encode_name;

/// Version of the file format; another version is not recognized.
const VERSION: u32 = 2;
/// Limit on recorded ranges: several times as many as connections leave gaps.
const MAX_RANGES: usize = 64;
/// Largest state file that is read: an escaped name has at most 3 KB, a validator less than a response head, and the
/// ranges at most 7 KB.
const MAX_STATE_SIZE: u64 = 24 * 1024;

/// Identity of the file being fetched. Relays do not matter: another route to the same file can resume it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ResumeSource {
    /// Address and path of the file at its origin.
    pub(super) file: String,
    /// The whole size.
    pub(super) size: u64,
    /// Distinguishes this version of the file from others.
    #[serde(flatten)]
    pub(super) validator: Validator,
}

/// What of a partial file is synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResumePoint {
    /// The bytes up to an offset, and their digest; `None` if no digest is wanted.
    Prefix { offset: u64, digest: Option<Digest> },
    /// Ranges of the file in ascending order, which do not touch each other.
    Ranges(Vec<RecordedRange>),
}

/// A synced range of a partial file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordedRange {
    /// Offset of its first byte.
    pub(super) from: u64,
    /// Offset behind its last byte.
    pub(super) to: u64,
    /// `None` if no digest is wanted.
    pub(super) digest: Option<RangeDigest>,
}

/// First line of the state file: the partial file that it belongs to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    chainview: u32,
    inode: u64,
    /// Creation time, if the file system records it: an inode number alone is soon reused.
    born: Option<String>,
}

/// Second line, rewritten in place at every resume point; empty if there is nothing to resume.
#[derive(Serialize, Deserialize)]
struct SavedProgress {
    #[serde(flatten)]
    source: ResumeSource,
    #[serde(flatten)]
    synced: SavedPoint,
}

/// A resume point in the second line.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SavedPoint {
    Prefix {
        synced: u64,
        prefix: Option<String>,
    },
    /// Start, end and digest of each range. A third line has the BLAKE3 digest of the second one: a list is long enough
    /// to be torn when the program is killed, and ranges without digests would not show that.
    Ranges {
        ranges: Vec<(u64, u64, Option<String>)>,
    },
}

/// A locked state file of ours.
#[derive(Debug)]
pub(super) struct StateFile {
    name: OsString,
    file: File,
    id: FileId,
    identity: Identity,
    /// Offset of the second line.
    second: u64,
}

/// What exists under the name of a state file.
#[derive(Debug)]
pub(super) enum StateLookup {
    Absent,
    /// It is not ours, or cannot be locked: it is not touched.
    Foreign,
    /// Another fetch holds it.
    Locked,
    Ours(StateFile),
}

/// Identifies a route's file at its origin, independent of the relays.
pub(super) fn file_of(route: &Route) -> String {
    let origin = route.hops().last();
    let address = origin.map(|hop| hop.address.to_string()).unwrap_or_default();
    let base = origin.and_then(|hop| hop.base.as_deref()).unwrap_or(DEFAULT_BASE);
    format!("{address}{base}{}", encode_name(&route.file))
}

/// Returns true for a regular file that only this user can have created or changed: one link, own, not writable by
/// others.
pub(super) fn is_own(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && found.st_uid == rustix::process::geteuid().as_raw()
        && found.st_nlink == 1
        && found.st_mode & 0o022 == 0
}

/// Takes the lock of a file for as long as it is open: false if another process holds it, an error if locks are not
/// supported.
pub(super) fn lock(file: impl AsFd) -> Result<bool, Errno> {
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
    /// Creates the state file of a partial file that is about to be named or was just named; `None` if the name is
    /// taken.
    pub(super) fn create(target: &TargetPath, partial: &File, partial_name: &OsStr) -> Result<Option<Self>, Errno> {
        let identity = Identity::of(partial)?;
        let mut first = serde_json::to_vec(&identity).map_err(|_| Errno::INVAL)?;
        first.push(b'\n');
        let (name, mode) = (name_for(partial_name), Mode::from_raw_mode(0o600));
        let unnamed = names::unnamed(target, mode)?;
        let file = match &unnamed {
            Some(_) => None,
            None => match names::create(target, &name, mode)? {
                None => return Ok(None),
                made => made,
            },
        };
        let Some(file) = file.or(unnamed) else { return Ok(None) };
        // No other process locks a file that was just created; without locks its name is protection enough.
        let _ = lock(&file);
        let found = rustix::fs::fstat(&file)?;
        let state = Self { name, id: FileId::of(&found), second: first.len() as u64, file, identity };
        state.file.write_all_at(&first, 0).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if found.st_nlink == 0 && !names::link(target, &state.file, &state.name)? {
            return Ok(None);
        }
        Ok(Some(state))
    }

    /// Finds the state file of a partial file, and claims it if it is ours and not locked.
    pub(super) fn find(target: &TargetPath, partial_name: &OsStr) -> StateLookup {
        let name = name_for(partial_name);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(target.folder(), &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return StateLookup::Absent,
            Err(_) => return StateLookup::Foreign,
        };
        let Some(found) = rustix::fs::fstat(&file).ok().filter(is_own) else { return StateLookup::Foreign };
        match lock(&file) {
            Ok(true) => {}
            Ok(false) => return StateLookup::Locked,
            // Without locks it is unknown whether another fetch uses it.
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

    /// Returns true if the state belongs to this partial file.
    pub(super) fn is_about(&self, partial: &File) -> bool {
        Identity::of(partial).is_ok_and(|identity| identity == self.identity)
    }

    /// Returns true if its name still refers to it.
    pub(super) fn is_in_place(&self, target: &TargetPath) -> bool {
        target.holds(&self.name, self.id)
    }

    /// Returns the recorded source and resume point; `None` if there is none, or it is invalid.
    pub(super) fn resume_point(&self) -> Option<(ResumeSource, ResumePoint)> {
        let mut text = vec![0; MAX_STATE_SIZE as usize];
        let read = self.file.read_at(&mut text, self.second).ok()?;
        let mut lines = text[..read].split(|byte| *byte == b'\n');
        let line = lines.next()?;
        let SavedProgress { source, synced } = serde_json::from_slice(line).ok()?;
        let resume_point = match synced {
            SavedPoint::Prefix { synced, prefix } => {
                let digest = prefix.map(|text| text.parse()).transpose().ok()?;
                (1..=source.size).contains(&synced).then_some(ResumePoint::Prefix { offset: synced, digest })?
            }
            SavedPoint::Ranges { ranges } => {
                let is_whole = lines.next()? == checksum(line).as_bytes();
                let ranges = ranges.into_iter().map(|(from, to, digest)| {
                    let digest = digest.map(|text| text.parse()).transpose().ok()?;
                    Some(RecordedRange { from, to, digest })
                });
                let ranges: Vec<_> = ranges.collect::<Option<_>>()?;
                (is_whole && are_sound(&ranges, source.size)).then_some(ResumePoint::Ranges(ranges))?
            }
        };
        Some((source, resume_point))
    }

    /// Records a resume point; its bytes have to be on the disk already. Of ranges, only whole blocks are recorded, and
    /// of too many the longest.
    ///
    /// The state itself is not synced: after a power failure a torn line is rejected, which costs no more than having
    /// none.
    pub(super) fn write_resume_point(&self, source: &ResumeSource, resume_point: &ResumePoint) -> io::Result<()> {
        let synced = match resume_point {
            ResumePoint::Prefix { offset, digest } => {
                SavedPoint::Prefix { synced: *offset, prefix: digest.map(|digest| digest.to_string()) }
            }
            ResumePoint::Ranges(ranges) => {
                let saved =
                    |range: RecordedRange| (range.from, range.to, range.digest.map(|digest| digest.to_string()));
                let ranges: Vec<_> = recordable(ranges, source.size).into_iter().map(saved).collect();
                if ranges.is_empty() {
                    return self.clear();
                }
                SavedPoint::Ranges { ranges }
            }
        };
        let mut line = serde_json::to_vec(&SavedProgress { source: source.clone(), synced })?;
        if let ResumePoint::Ranges(_) = resume_point {
            let checksum = checksum(&line);
            line.push(b'\n');
            line.extend_from_slice(checksum.as_bytes());
        }
        line.push(b'\n');
        // The remainder of a longer previous line is ignored.
        self.file.write_all_at(&line, self.second)
    }

    /// Deletes the resume point.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.file.set_len(self.second)
    }

    /// Removes the file.
    pub(super) fn remove(&self, target: &TargetPath) {
        names::remove(target, &self.name, self.id);
    }
}

/// Reads the first line of a file no larger than a state file can be.
fn first_line(file: &File) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MAX_STATE_SIZE + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > MAX_STATE_SIZE {
        return None;
    }
    let end = text.iter().position(|byte| *byte == b'\n')?;
    text.truncate(end);
    Some(text)
}

/// Returns the third line for a second one.
fn checksum(line: &[u8]) -> String {
    blake3::hash(line).to_hex().to_string()
}

/// Returns the whole blocks in some ranges of a file of this size; at most as many ranges as may be recorded, the
/// longest.
fn recordable(ranges: &[RecordedRange], size: u64) -> Vec<RecordedRange> {
    let whole_blocks = |range: &RecordedRange| {
        let from = range.from.checked_next_multiple_of(BLOCK)?;
        let to = whole_blocks_before(range.to, size);
        (from < to).then_some(RecordedRange { from, to, ..*range })
    };
    let mut ranges: Vec<_> = ranges.iter().filter_map(whole_blocks).collect();
    if ranges.len() > MAX_RANGES {
        ranges.sort_by_key(|range| Reverse(range.to - range.from));
        ranges.truncate(MAX_RANGES);
        ranges.sort_by_key(|range| range.from);
    }
    ranges
}

/// Returns the last offset, up to this one, behind a block of a file of this size.
pub(super) fn whole_blocks_before(offset: u64, size: u64) -> u64 {
    if offset >= size { size } else { offset - offset % BLOCK }
}

/// Returns true if ranges of a file of this size are whole blocks in ascending order with gaps between them, and either
/// all or none have digests.
fn are_sound(ranges: &[RecordedRange], size: u64) -> bool {
    let is_sound = |range: &RecordedRange| {
        range.from < range.to
            && range.to <= size
            && range.from.is_multiple_of(BLOCK)
            && range.to == whole_blocks_before(range.to, size)
    };
    let fit =
        |pair: &[RecordedRange]| pair[0].to < pair[1].from && pair[0].digest.is_some() == pair[1].digest.is_some();
    (1..=MAX_RANGES).contains(&ranges.len()) && ranges.iter().all(is_sound) && ranges.windows(2).all(fit)
}

fn name_for(partial_name: &OsStr) -> OsString {
    let mut name = partial_name.to_owned();
    name.push(names::STATE_SUFFIX);
    name
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;
    use crate::route::FileName;

    const NAME: &str = "f.part";

    fn target(folder: &Path) -> TargetPath {
        TargetPath::of(folder, &FileName::new(b"f").unwrap()).unwrap()
    }

    fn source() -> ResumeSource {
        ResumeSource { file: "h:1/files/f".to_owned(), size: 10, validator: Validator::Etag("\"e\"".to_owned()) }
    }

    fn partial(target: &TargetPath) -> File {
        names::create(target, OsStr::new(NAME), Mode::from_raw_mode(0o600)).unwrap().unwrap()
    }

    fn create(target: &TargetPath, partial: &File) -> StateFile {
        StateFile::create(target, partial, OsStr::new(NAME)).unwrap().unwrap()
    }

    fn find(target: &TargetPath) -> StateLookup {
        StateFile::find(target, OsStr::new(NAME))
    }

    #[test]
    fn a_state_identifies_its_file_and_the_last_resume_point() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        assert!(matches!(find(&target), StateLookup::Absent));
        let file = partial(&target);
        let state = create(&target, &file);
        assert!(matches!(find(&target), StateLookup::Locked) && state.resume_point().is_none());
        assert!(StateFile::create(&target, &file, OsStr::new(NAME)).unwrap().is_none(), "it was created twice");
        let prefix = Some(Digest { algorithm: crate::wire::Algorithm::Sha256, value: [7; 32] });
        for resume_point in
            [ResumePoint::Prefix { offset: 10, digest: prefix }, ResumePoint::Prefix { offset: 3, digest: None }]
        {
            state.write_resume_point(&source(), &resume_point).unwrap();
            assert_eq!(state.resume_point(), Some((source(), resume_point)));
        }
        drop(state);
        let StateLookup::Ours(state) = find(&target) else { panic!("state file not found") };
        assert!(state.is_about(&file) && state.resume_point().is_some());
        state.clear().unwrap();
        assert_eq!(state.resume_point(), None);
        let other = File::create(folder.path().join("other")).unwrap();
        assert!(!state.is_about(&other));
        state.remove(&target);
        assert!(matches!(find(&target), StateLookup::Absent));
    }

    #[test]
    fn a_torn_or_invalid_resume_point_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        let state = create(&target, &partial(&target));
        let good = r#"{"file":"h:1/files/f","size":10,"etag":"\"e\"","synced":3,"prefix":null}"#;
        let read_back = |line: &str| {
            state.clear().unwrap();
            state.file.write_all_at(line.as_bytes(), state.second).unwrap();
            state.resume_point()
        };
        assert!(read_back(good).is_some());
        let padded = format!("{}{good}", " ".repeat(MAX_STATE_SIZE as usize));
        for bad in [
            "",
            &good[..40],
            &good.replace("\"synced\":3", "\"synced\":11"),
            &good.replace("\"synced\":3", "\"synced\":0"),
            &good.replace("\"synced\":3", "\"synced\":-3"),
            &good.replace("null", "\"blake3:00\""),
            &padded,
        ] {
            assert!(read_back(bad).is_none(), "{}", &bad[..bad.len().min(100)]);
        }
    }

    const SIZE: u64 = 1_000 * BLOCK + 5;

    /// Returns a range of blocks; hashed ones have a digest.
    fn blocks(range: Range<u64>, hashed: bool) -> RecordedRange {
        let digest = hashed.then(|| blake3::hash(&range.start.to_le_bytes()).to_hex().parse().unwrap());
        RecordedRange { from: range.start * BLOCK, to: (range.end * BLOCK).min(SIZE), digest }
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "the lists are lists of ranges")]
    fn ranges_are_recorded_in_whole_blocks_the_longest_ones() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        let state = create(&target, &partial(&target));
        let source = ResumeSource { size: SIZE, ..source() };
        let record = |ranges: &[RecordedRange]| {
            state.write_resume_point(&source, &ResumePoint::Ranges(ranges.to_vec())).unwrap();
            state.resume_point().map(|(found, resume_point)| {
                assert_eq!(found, source);
                let ResumePoint::Ranges(ranges) = resume_point else { panic!("{resume_point:?}") };
                ranges
            })
        };
        for hashed in [true, false] {
            for ranges in [&[0..1][..], &[5..9], &[0..1001], &[0..2, 3..4, 999..1001]] {
                let ranges: Vec<_> = ranges.iter().map(|range| blocks(range.clone(), hashed)).collect();
                assert_eq!(record(&ranges), Some(ranges));
            }
            // Every third one is longer.
            let ranges: Vec<_> = (0..100).map(|at| blocks(10 * at..10 * at + 1 + at % 3, hashed)).collect();
            let recorded = record(&ranges).unwrap();
            assert!(recorded.len() == 64 && recorded.is_sorted_by_key(|range| range.from));
            assert_eq!(recorded.iter().filter(|range| range.to - range.from == 3 * BLOCK).count(), 33);
            assert!(
                recorded.iter().all(|range| ranges.contains(range) && range.to - range.from > BLOCK),
                "{recorded:?}"
            );
        }
        let bytes = |from, to| RecordedRange { from, to, digest: None };
        let torn = [bytes(1, BLOCK * 2 - 1), bytes(BLOCK * 3 - 1, BLOCK * 5 + 1), bytes(SIZE - 6, SIZE)];
        assert_eq!(record(&torn), Some(vec![blocks(3..5, false), blocks(1000..1001, false)]));
        assert_eq!(record(&[bytes(1, BLOCK), bytes(SIZE - 4, SIZE)]), None);
        assert_eq!(record(&[bytes(u64::MAX - 2, u64::MAX)]), None);
    }

    #[test]
    fn torn_or_invalid_ranges_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        let state = create(&target, &partial(&target));
        let digest = "0".repeat(64);
        let read_back = |ranges: &str, sum: Option<&str>| {
            let line = format!(r#"{{"file":"h:1/files/f","size":{SIZE},"etag":"\"e\"","ranges":{ranges}}}"#);
            let sum = sum.map_or_else(|| checksum(line.as_bytes()), str::to_owned);
            state.clear().unwrap();
            state.file.write_all_at(format!("{line}\n{sum}\n").as_bytes(), state.second).unwrap();
            state.resume_point()
        };
        let good = format!("[[0,{BLOCK},\"{digest}\"],[{},{SIZE},\"{digest}\"]]", BLOCK * 3);
        assert!(read_back(&good, None).is_some());
        assert!(read_back(&good, Some("")).is_none() && read_back(&good, Some(&digest)).is_none());
        let (two, three, end) = (BLOCK * 2, BLOCK * 3, SIZE - 5);
        for bad in [
            "[]".to_owned(),
            "[[0,0,null]]".to_owned(),
            format!("[[{two},{BLOCK},null]]"),
            format!("[[1,{BLOCK},null]]"),
            format!("[[0,{},null]]", BLOCK - 1),
            format!("[[0,{},null]]", SIZE + 1),
            format!("[[0,{},null]]", SIZE - 1),
            format!("[[0,{BLOCK},\"00\"]]"),
            format!("[[0,{BLOCK},null],[{BLOCK},{two},null]]"),
            format!("[[0,{two},null],[{BLOCK},{three},null]]"),
            format!("[[{two},{three},null],[0,{BLOCK},null]]"),
            format!("[[0,{BLOCK},null],[{end},{SIZE},\"{digest}\"]]"),
            format!("[{}]", vec![format!("[0,{BLOCK},null]"); 65].join(",")),
        ] {
            assert_eq!(read_back(&bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_list_of_ranges_that_was_half_written_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        let state = create(&target, &partial(&target));
        let source = ResumeSource { size: SIZE, ..source() };
        let write = |ranges: &[Range<u64>]| {
            let ranges = ranges.iter().map(|range| blocks(range.clone(), false)).collect();
            state.write_resume_point(&source, &ResumePoint::Ranges(ranges)).unwrap();
            let mut text = vec![0; MAX_STATE_SIZE as usize];
            let length = state.file.read_at(&mut text, state.second).unwrap();
            text.truncate(length);
            text
        };
        // One range has grown, another is where the list ends in both.
        let (old, new) = (write(&[100..101, 400..500, 600..601]), write(&[100..201, 400..500, 600..700]));
        assert_eq!(old.len(), new.len());
        for cut in 1..new.len() {
            let mixed = [&new[..cut], &old[cut..]].concat();
            state.file.write_all_at(&mixed, state.second).unwrap();
            assert!(mixed == new || mixed == old || state.resume_point().is_none(), "{cut}");
        }
    }

    #[test]
    fn a_foreign_state_file_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (target, path) = (target(folder.path()), folder.path().join("f.part.state"));
        drop(create(&target, &partial(&target)));
        let good = std::fs::read(&path).unwrap();
        let is_ours = |content: &[u8], mode: u32| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            matches!(find(&target), StateLookup::Ours(_))
        };
        assert!(is_ours(&good, 0o600) && is_ours(&good, 0o644));
        let other_version = String::from_utf8(good.clone()).unwrap().replace(":2,", ":1,");
        for (content, mode) in [
            (&good[..], 0o620),
            (&good, 0o602),
            (b"", 0o600),
            (b"notes of the user\n", 0o600),
            (&good[..good.len() - 2], 0o600),
            (other_version.as_bytes(), 0o600),
        ] {
            assert!(!is_ours(content, mode) && std::fs::read(&path).unwrap() == content, "{mode:o}");
        }
        assert!(is_ours(&good, 0o600));
        std::fs::hard_link(&path, folder.path().join("second name")).unwrap();
        assert!(matches!(find(&target), StateLookup::Foreign), "it has two links");
        std::fs::remove_file(&path).unwrap();
        symlink("second name", &path).unwrap();
        assert!(matches!(find(&target), StateLookup::Foreign), "a link was followed");
        if rustix::process::geteuid().is_root() {
            std::fs::remove_file(&path).unwrap();
            std::fs::rename(folder.path().join("second name"), &path).unwrap();
            assert!(matches!(find(&target), StateLookup::Ours(_)));
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            assert!(matches!(find(&target), StateLookup::Foreign), "it belongs to another user");
        }
    }

    #[test]
    fn a_file_is_identified_by_its_origin_not_by_the_relays() {
        let of = |text: &str| file_of(&Route::parse(text.as_bytes()).unwrap());
        assert_eq!(of("a b\nh1 1\nh3 3\n"), "h3:3/files/a%20b");
        assert_eq!(of("a b\nh1 1\nh3 3\n"), of("a b\nh2 2\nh3 3 name=origin protocol=http\n"));
        assert_ne!(of("a b\nh3 3\n"), of("a b\nh3 3 base=/\n"));
        assert_ne!(of("a\nh3 3\n"), of("a\nh4 3\n"));
    }
}
