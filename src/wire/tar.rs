//! The tar stream of a folder: its headers and records, their exact length, and the range that a request names.
//!
//! ustar headers; what does not fit one is in a pax record before it. Digests follow their files in global pax records
//! with a `comment`, which every tar program skips without a warning.

use std::io::Write as _;

use tar::{EntryType, Header};

use super::http::{HeadError, decode_name, encode_name};
pub use super::media::TAR as MEDIA_TYPE;
use crate::route::{FileName, WalkRange};

/// Everything in a tar stream is a multiple of this long.
const BLOCK: u64 = 512;
/// Two zero blocks end a stream.
const END: u64 = 2 * BLOCK;
/// Most files whose digests are in one record: a reader keeps as many until it may give them their names.
pub const MAX_UNPROVEN: usize = 64;
/// Bytes of files after which their digests follow: those that a reader keeps without a proof.
pub const MAX_UNPROVEN_BYTES: u64 = 1 << 20;
/// Largest size in a ustar header: eleven octal digits.
const MAX_SIZE: u64 = (1 << 33) - 1;
/// Name of the headers of pax records, as Python writes it; no program shows it.
const RECORD_NAME: &[u8] = b"././@PaxHeader";
/// Begins the value of a `comment` with digests, each of which follows after a space.
pub const DIGESTS: &[u8] = b"blake3";

/// What a header contains about a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead<'a> {
    /// The path in the stream; that of a folder ends in a slash.
    pub path: &'a [u8],
    /// Bytes of content; 0 for a folder.
    pub size: u64,
    /// Last change, in seconds since 1970.
    pub modified: i64,
    /// A folder, or a file that its owner can execute.
    pub executable: bool,
}

/// Files since the last record of digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unproven {
    files: usize,
    bytes: u64,
}

/// The length of a stream, added up without producing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TarLength {
    bytes: u64,
    unproven: Unproven,
    any_file: bool,
}

/// Writes a stream; the content of the files is the caller's.
#[derive(Debug, Default)]
pub struct TarWriter {
    unproven: Unproven,
    digests: Vec<[u8; 32]>,
    any_file: bool,
}

impl Unproven {
    /// Adds a file; returns true if a record follows it.
    fn add(&mut self, size: u64) -> bool {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        self.files == MAX_UNPROVEN || self.bytes >= MAX_UNPROVEN_BYTES
    }
}

impl TarLength {
    /// Adds a folder.
    pub fn add_folder(&mut self, path: &[u8]) {
        self.add(head_length(path, 0));
    }

    /// Adds a file with its content.
    pub fn add_file(&mut self, path: &[u8], size: u64) {
        self.add(head_length(path, size));
        self.add(size);
        self.add(padding(size));
        self.any_file = true;
        if self.unproven.add(size) {
            let files = std::mem::take(&mut self.unproven).files;
            self.add(digests_length(files));
        }
    }

    /// Returns the length with its end; `folder` is the path of the whole folder, unless it has no name.
    pub fn total(&self, folder: Option<&[u8]>) -> u64 {
        let repeated = folder.filter(|_| self.any_file).map_or(0, |folder| head_length(folder, 0));
        self.bytes.saturating_add(digests_length(self.unproven.files)).saturating_add(repeated + END)
    }

    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl TarWriter {
    /// Writes the header of a folder or file; the content of a file has to follow.
    pub fn head(&mut self, entry: &EntryHead<'_>, out: &mut Vec<u8>) {
        let split = split(entry.path);
        let long_size = entry.size > MAX_SIZE;
        if split.is_none() || long_size {
            let path = record(b"path", entry.path);
            let size = record(b"size", itoa::Buffer::new().format(entry.size).as_bytes());
            let records = [split.is_none().then_some(path), long_size.then_some(size)].into_iter().flatten();
            write_record(EntryType::XHeader, &records.collect::<Vec<_>>().concat(), out);
        }
        let (prefix, name) = split.unwrap_or((b"", &entry.path[..entry.path.len().min(MAX_NAME)]));
        let kind = if entry.path.ends_with(b"/") { EntryType::Directory } else { EntryType::Regular };
        let size = if long_size { 0 } else { entry.size };
        write_header(kind, (prefix, name), size, entry.modified, entry.executable, out);
    }

    /// Writes what follows the content of a file: its padding, and digests where they are due.
    pub fn end_of_file(&mut self, size: u64, digest: [u8; 32], out: &mut Vec<u8>) {
        pad(size, out);
        self.any_file = true;
        self.digests.push(digest);
        if self.unproven.add(size) {
            self.digests(out);
        }
    }

    /// Writes the digests of the files since the last record, if there are any.
    pub fn digests(&mut self, out: &mut Vec<u8>) {
        self.unproven = Unproven::default();
        if self.digests.is_empty() {
            return;
        }
        let mut value = Vec::with_capacity(digests_value_length(self.digests.len()));
        value.extend_from_slice(DIGESTS);
        for digest in self.digests.drain(..) {
            let _ = write!(value, " {}", blake3::Hash::from(digest).to_hex());
        }
        write_record(EntryType::XGlobalHeader, &record(b"comment", &value), out);
    }

    /// Writes the end of the stream; `folder` is the whole folder, unless it has no name.
    ///
    /// It comes once more after the last digests: Python fails where a global record is followed by no entry.
    pub fn finish(&mut self, folder: Option<&EntryHead<'_>>, out: &mut Vec<u8>) {
        self.digests(out);
        if let Some(folder) = folder.filter(|_| self.any_file) {
            self.head(folder, out);
        }
        out.resize(out.len() + END as usize, 0);
    }
}

/// Bytes of a path in a header, and of the folders before it.
const MAX_NAME: usize = 100;
const MAX_PREFIX: usize = 155;

/// Splits a path into the two fields of a ustar header, if it fits them: the name is not empty.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= MAX_NAME {
        return Some((b"", path));
    }
    let first = path.len() - 1 - MAX_NAME;
    let last = MAX_PREFIX.min(path.len() - 2);
    let at = first + path.get(first..=last)?.iter().position(|byte| *byte == b'/')?;
    (at > 0).then(|| (&path[..at], &path[at + 1..]))
}

/// Returns the length of the headers of an entry.
fn head_length(path: &[u8], size: u64) -> u64 {
    let mut records = 0;
    if split(path).is_none() {
        records += record_length(b"path".len(), path.len());
    }
    if size > MAX_SIZE {
        records += record_length(b"size".len(), digits(size));
    }
    let extended = if records > 0 { BLOCK + padded(records as u64) } else { 0 };
    extended + BLOCK
}

fn digests_length(files: usize) -> u64 {
    if files == 0 {
        return 0;
    }
    BLOCK + padded(record_length(b"comment".len(), digests_value_length(files)) as u64)
}

fn digests_value_length(files: usize) -> usize {
    DIGESTS.len() + files * 65
}

/// Formats a pax record: its own length in decimal digits, a keyword and a value.
fn record(keyword: &[u8], value: &[u8]) -> Vec<u8> {
    let length = record_length(keyword.len(), value.len());
    let mut number = itoa::Buffer::new();
    [number.format(length).as_bytes(), b" ", keyword, b"=", value, b"\n"].concat()
}

/// Returns the length of a pax record, which counts its own digits.
fn record_length(keyword: usize, value: usize) -> usize {
    let rest = keyword + value + 3;
    let length = rest + digits(rest as u64);
    // The digits of the sum may be one more than those of the rest.
    rest + digits(length as u64)
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

fn padded(size: u64) -> u64 {
    size.saturating_add(padding(size))
}

fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

fn pad(size: u64, out: &mut Vec<u8>) {
    out.resize(out.len() + padding(size) as usize, 0);
}

fn write_record(kind: EntryType, records: &[u8], out: &mut Vec<u8>) {
    write_header(kind, (b"", RECORD_NAME), records.len() as u64, 0, false, out);
    out.extend_from_slice(records);
    pad(records.len() as u64, out);
}

fn write_header(
    kind: EntryType,
    (prefix, name): (&[u8], &[u8]),
    size: u64,
    modified: i64,
    executable: bool,
    out: &mut Vec<u8>,
) {
    let mut header = Header::new_ustar();
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.name[..name.len()].copy_from_slice(name);
        ustar.prefix[..prefix.len()].copy_from_slice(prefix);
    }
    header.set_entry_type(kind);
    header.set_mode(if executable || kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    // The field has no sign, and eleven digits, too.
    header.set_mtime(u64::try_from(modified).unwrap_or_default().min(MAX_SIZE));
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}

/// Parses the part of a folder that a query names; parameters other than `after` and `until` are ignored.
///
/// # Errors
/// [`HeadError`] if one of them is no path of a file or folder below the requested one.
pub fn walk_range(query: Option<&str>) -> Result<WalkRange, HeadError> {
    let path = |key: &str| {
        let parts = query.into_iter().flat_map(|query| query.split('&'));
        let value = parts.filter_map(|part| part.strip_prefix(key)?.strip_prefix('=')).find(|value| !value.is_empty());
        let path = value.map(decode_name).transpose()?;
        match path {
            Some(path) if !is_clean(&path) => {
                Err(HeadError::malformed(format!("{key} is not a path below the folder")))
            }
            path => Ok(path),
        }
    };
    Ok(WalkRange { after: path("after")?, until: path("until")? })
}

/// Formats a range as the query of a request; `None` for the whole folder.
pub fn walk_query(range: &WalkRange) -> Option<Box<str>> {
    let part = |key: &str, path: &Option<FileName>| path.as_ref().map(|path| format!("{key}={}", encode_name(path)));
    let parts: Vec<String> = [part("after", &range.after), part("until", &range.until)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("&").into())
}

/// True if a path can be one of a walk.
fn is_clean(path: &FileName) -> bool {
    path.as_bytes().split(|byte| *byte == b'/').all(|segment| !matches!(segment, b"" | b"." | b".."))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Produces a stream of these entries, and its announced length.
    fn stream(entries: &[(Vec<u8>, usize)]) -> (Vec<u8>, u64) {
        let (mut out, mut writer, mut length) = (Vec::new(), TarWriter::default(), TarLength::default());
        for (path, size) in entries {
            let size = *size as u64;
            writer.head(&EntryHead { path, size, modified: 1_700_000_000, executable: false }, &mut out);
            if path.ends_with(b"/") {
                length.add_folder(path);
                continue;
            }
            length.add_file(path, size);
            out.resize(out.len() + size as usize, b'x');
            writer.end_of_file(size, [7; 32], &mut out);
        }
        let folder = EntryHead { path: b"whole/", size: 0, modified: 0, executable: true };
        writer.finish(Some(&folder), &mut out);
        (out, length.total(Some(folder.path)))
    }

    fn paths() -> impl Strategy<Value = Vec<u8>> {
        let segment = prop_oneof![vec(1..=255_u8, 1..20), vec(b'a'..=b'c', 90..130), vec(b'a'..=b'c', 240..256)];
        let clean = |mut segments: Vec<Vec<u8>>| {
            for byte in segments.iter_mut().flatten().filter(|byte| matches!(**byte, b'/' | b'\n')) {
                *byte = b'_';
            }
            segments.join(&b'/')
        };
        vec(segment, 1..5).prop_map(clean)
    }

    proptest! {
        #[test]
        fn the_announced_length_is_that_of_the_stream_and_every_entry_is_read_back(
            mut entries in vec((paths(), prop_oneof![0..1100_usize, 0..10 * 1024 * 1024_usize], any::<bool>()), 0..6),
            small in 0..200_usize,
        ) {
            for (path, _, is_folder) in &mut entries {
                if *is_folder {
                    path.push(b'/');
                }
            }
            let mut entries: Vec<(Vec<u8>, usize)> = entries
                .into_iter()
                .map(|(path, size, is_folder)| (path, if is_folder { 0 } else { size }))
                .collect();
            entries.extend((0..small).map(|number| (format!("small/{number}").into_bytes(), number % 3)));
            let (bytes, length) = stream(&entries);
            prop_assert_eq!(bytes.len() as u64, length);
            let mut read = Vec::new();
            for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
                let mut entry = entry.unwrap();
                if entry.header().entry_type() == EntryType::XGlobalHeader {
                    continue;
                }
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                read.push((entry.path_bytes().into_owned(), content.len()));
            }
            if entries.iter().any(|(path, _)| !path.ends_with(b"/")) {
                prop_assert_eq!(read.pop(), Some((b"whole/".to_vec(), 0)));
            }
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn ranges_round_trip(after in proptest::option::of(paths()), until in proptest::option::of(paths())) {
            let name = |path: Option<Vec<u8>>| {
                let path = path.and_then(|path| FileName::new(&path).ok());
                path.filter(is_clean)
            };
            let range = WalkRange { after: name(after), until: name(until) };
            let query = walk_query(&range);
            prop_assert_eq!(walk_range(query.as_deref()).unwrap(), range);
        }
    }

    #[test]
    fn digests_come_after_64_files_after_a_mebibyte_and_at_the_end() {
        let records = |sizes: &[usize]| {
            let entries: Vec<_> = sizes.iter().map(|size| (b"f".to_vec(), *size)).collect();
            let (bytes, length) = stream(&entries);
            assert_eq!(bytes.len() as u64, length);
            let mut counts = Vec::new();
            let mut archive = tar::Archive::new(&bytes[..]);
            for entry in archive.entries().unwrap().raw(true) {
                let mut entry = entry.unwrap();
                if entry.header().entry_type() == EntryType::XGlobalHeader {
                    let mut text = String::new();
                    entry.read_to_string(&mut text).unwrap();
                    let (length, value) = text.split_once(' ').unwrap();
                    assert_eq!(length.parse(), Ok(text.len()));
                    let digests = value.strip_prefix("comment=blake3 ").unwrap().strip_suffix('\n').unwrap();
                    assert!(digests.split(' ').all(|digest| digest == "07".repeat(32)));
                    counts.push(digests.split(' ').count());
                }
            }
            counts
        };
        assert_eq!(records(&[]), Vec::<usize>::new());
        assert_eq!(records(&[0]), [1]);
        assert_eq!(records(&[1; 64]), [64]);
        assert_eq!(records(&[1; 130]), [64, 64, 2]);
        assert_eq!(records(&[1, 1 << 20, 1, 1 << 19, 1 << 19, 5]), [2, 3, 1]);
    }

    #[test]
    fn sizes_beyond_a_header_are_in_a_record() {
        for (size, extended) in [(MAX_SIZE, false), (MAX_SIZE + 1, true), (9 << 30, true), (u64::MAX >> 1, true)] {
            let (mut out, path) = (Vec::new(), b"holes");
            TarWriter::default().head(&EntryHead { path, size, modified: -1, executable: true }, &mut out);
            assert_eq!((out.len() as u64, out.len() > 512), (head_length(path, size), extended), "{size}");
            let mut length = TarLength::default();
            length.add_file(path, size);
            let expected = head_length(path, size) + padded(size) + digests_length(1) + END;
            assert_eq!(length.total(None), expected);
            let mut archive = tar::Archive::new(&out[..]);
            let entry = archive.entries().unwrap().next().unwrap().unwrap();
            assert_eq!((entry.size(), entry.header().mtime().unwrap()), (size, 0));
            assert_eq!((entry.header().mode().unwrap(), entry.header().uid().unwrap()), (0o755, 0));
        }
        let mut length = TarLength::default();
        length.add_file(b"a", u64::MAX);
        length.add_file(b"b", u64::MAX);
        assert_eq!(length.total(Some(b"d/")), u64::MAX, "no stream has this length, so it cannot be announced");
    }

    #[test]
    fn paths_fit_a_header_up_to_its_two_fields() {
        let path = |parts: &[usize]| parts.iter().map(|length| "x".repeat(*length)).collect::<Vec<_>>().join("/");
        for (parts, fits) in [
            (&[100][..], true),
            (&[101], false),
            (&[155, 100], true),
            (&[155, 101], false),
            (&[156, 100], false),
            (&[100, 99, 0], true),
            (&[100, 100, 0], false),
            (&[50, 50, 100, 0], false),
            (&[101, 0], false),
            (&[0, 120], false),
        ] {
            assert_eq!(split(path(parts).as_bytes()).is_some(), fits, "{parts:?}");
        }
    }

    #[test]
    fn only_paths_below_the_folder_are_ranges() {
        let range = |query: &str| walk_range(Some(query));
        assert_eq!(range("after=&x=1"), Ok(WalkRange::default()));
        let expected = WalkRange { after: FileName::new(b"a b/c").ok(), until: FileName::new(b"\xff").ok() };
        assert_eq!(range("x&until=%FF&after=a%20b/c"), Ok(expected));
        for invalid in ["/a", "a/", "a//b", ".", "a/..", "%00", "%zz", "a%0A"] {
            assert!(range(&format!("after={invalid}")).is_err() && range(&format!("until={invalid}")).is_err());
        }
    }
}
