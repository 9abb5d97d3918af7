//! How far a part got, in a small file beside it: believed by the next fetch of that name only where all of it fits.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::route::{DEFAULT_BASE, Route};
use crate::wire::Digest;
use crate::wire::http::encode_name;

/// The form of the file; one of another form is not believed.
const VERSION: u32 = 1;
/// Largest file that is read: a name has three kilobytes at most when escaped, a validator less than a head.
const LARGEST: u64 = 16 * 1024;

/// What a part is a part of. The relays do not matter: the same file over another way can be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// The origin and the file's name there.
    pub(super) file: String,
    /// The whole size.
    pub(super) size: u64,
    /// The validator, a strong one: the same one means the same bytes.
    pub(super) etag: String,
}

/// A point up to which a part is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Bytes from the start.
    pub(super) offset: u64,
    /// Their digest; none where a person wanted none.
    pub(super) prefix: Option<Digest>,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Form {
    version: u32,
    #[serde(flatten)]
    source: Source,
    synced: u64,
    prefix: Option<String>,
}

/// What names the file of a route at its origin, however it is reached.
pub(super) fn file_of(route: &Route) -> String {
    let origin = route.hops().last();
    let address = origin.map(|hop| hop.address.to_string()).unwrap_or_default();
    let base = origin.and_then(|hop| hop.base.as_deref()).unwrap_or(DEFAULT_BASE);
    format!("{address}{base}{}", encode_name(&route.file))
}

/// Writes the state of a part, in one step; the bytes up to the mark have to be on the disk already.
///
/// It is not synced itself: one that a power cut left torn is not believed, and costs no more than none.
pub(super) fn write(place: &Place, part: &OsStr, source: &Source, mark: &Mark) -> io::Result<()> {
    let form = Form {
        version: VERSION,
        source: source.clone(),
        synced: mark.offset,
        prefix: mark.prefix.map(|digest| digest.to_string()),
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let (fresh, name) = (fresh_name(part), state_name(part));
    let file = rustix::fs::openat(place.folder(), &fresh, flags, Mode::from_raw_mode(0o600))?;
    File::from(file).write_all(&serde_json::to_vec(&form)?)?;
    Ok(rustix::fs::renameat(place.folder(), &fresh, place.folder(), &name)?)
}

/// What a part is a part of and how far it got; `None` where nobody says so, or in no form that we know.
pub(super) fn read(place: &Place, part: &OsStr) -> Option<(Source, Mark)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(place.folder(), state_name(part), flags, Mode::empty()).ok()?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    File::from(file).take(LARGEST + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > LARGEST {
        return None;
    }
    let form: Form = serde_json::from_slice(&text).ok()?;
    let prefix = match form.prefix {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    let sound = form.version == VERSION && form.synced > 0 && form.synced <= form.source.size;
    sound.then_some((form.source, Mark { offset: form.synced, prefix }))
}

/// Removes the state of a part, if there is one.
pub(super) fn remove(place: &Place, part: &OsStr) {
    let _ = rustix::fs::unlinkat(place.folder(), state_name(part), AtFlags::empty());
}

/// Longest that is put behind a part's name here.
pub(super) const SUFFIX_ROOM: usize = ".state.new".len();

fn state_name(part: &OsStr) -> OsString {
    with(part, ".state")
}

fn fresh_name(part: &OsStr) -> OsString {
    with(part, ".state.new")
}

fn with(part: &OsStr, suffix: &str) -> OsString {
    let mut name = part.to_owned();
    name.push(suffix);
    name
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::route::FileName;

    fn place(folder: &Path) -> Place {
        Place::of(folder, &FileName::new(b"f").unwrap()).unwrap()
    }

    fn source() -> Source {
        Source { file: "h:1/files/f".to_owned(), size: 10, etag: "\"e\"".to_owned() }
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_replaced_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let (place, part) = (place(folder.path()), OsStr::new("f.part"));
        assert!(read(&place, part).is_none());
        let prefix = Some(Digest { algorithm: crate::wire::Algorithm::Sha256, value: [7; 32] });
        for mark in [Mark { offset: 3, prefix: None }, Mark { offset: 10, prefix }] {
            write(&place, part, &source(), &mark).unwrap();
            assert_eq!(read(&place, part), Some((source(), mark)));
        }
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["f.part.state"]);
        remove(&place, part);
        assert!(read(&place, part).is_none());
    }

    #[test]
    fn what_is_torn_foreign_or_impossible_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (place, part) = (place(folder.path()), OsStr::new("f.part"));
        let path = folder.path().join("f.part.state");
        let good = r#"{"version":1,"file":"h:1/files/f","size":10,"etag":"\"e\"","synced":3,"prefix":null}"#;
        std::fs::write(&path, good).unwrap();
        assert!(read(&place, part).is_some());
        let padded = format!("{good}{}", " ".repeat(LARGEST as usize));
        for bad in [
            "",
            &good[..40],
            &good.replace("\"version\":1", "\"version\":2"),
            &good.replace("\"synced\":3", "\"synced\":11"),
            &good.replace("\"synced\":3", "\"synced\":0"),
            &good.replace("\"synced\":3", "\"synced\":-3"),
            &good.replace("null", "\"blake3:00\""),
            &format!("{padded}x"),
        ] {
            std::fs::write(&path, bad).unwrap();
            assert!(read(&place, part).is_none(), "{}", &bad[..bad.len().min(100)]);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(folder.path().join("elsewhere"), good).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(read(&place, part).is_none(), "a link was followed");
    }

    #[test]
    fn a_file_is_known_by_its_origin_and_not_by_the_way_there() {
        let of = |text: &str| file_of(&Route::parse(text.as_bytes()).unwrap());
        assert_eq!(of("a b\nh1 1\nh3 3\n"), "h3:3/files/a%20b");
        assert_eq!(of("a b\nh1 1\nh3 3\n"), of("a b\nh2 2\nh3 3 name=origin wire=http\n"));
        assert_ne!(of("a b\nh3 3\n"), of("a b\nh3 3 base=/\n"));
        assert_ne!(of("a\nh3 3\n"), of("a\nh4 3\n"));
    }
}
