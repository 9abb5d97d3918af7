//! Tests of the decoder: archives of trees in any pieces, hostile ones, and mutations.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// An archive that is being made; it can be made wrong in any way.
#[derive(Clone, Default)]
pub(in crate::net::fetch) struct Archive {
    bytes: Vec<u8>,
    digests: Vec<[u8; 32]>,
}

impl Archive {
    /// Adds a header and a body.
    pub(in crate::net::fetch) fn entry(
        mut self,
        kind: u8,
        name: &str,
        body: &[u8],
        change: impl FnOnce(&mut [u8; BLOCK]),
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(body.len() as u64);
        header.set_mode(if name.ends_with("run") { 0o755 } else { 0o644 });
        header.set_mtime(1_000_000_000);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        change(header.as_mut_bytes());
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// Adds a folder.
    pub(in crate::net::fetch) fn folder(self, name: &str) -> Self {
        self.entry(b'5', &format!("{name}/"), b"", |_| {})
    }

    /// Adds a file; a long name has an extended header.
    pub(in crate::net::fetch) fn file(mut self, name: &str, content: &[u8]) -> Self {
        self.digests.push(*blake3::hash(content).as_bytes());
        if name.len() > 100 {
            return self.extended(&[("path", name)]).entry(b'0', "long", content, |_| {});
        }
        self.entry(b'0', name, content, |_| {})
    }

    /// Adds an extended header with these records.
    pub(in crate::net::fetch) fn extended(self, records: &[(&str, &str)]) -> Self {
        let body: String = records.iter().map(|(key, value)| record(key, value)).collect();
        self.entry(b'x', "pax", body.as_bytes(), |_| {})
    }

    /// Adds the digests of the files since the last ones.
    pub(in crate::net::fetch) fn digests(mut self) -> Self {
        let digests = std::mem::take(&mut self.digests);
        self.those(&digests)
    }

    /// Adds these digests.
    pub(in crate::net::fetch) fn those(self, digests: &[[u8; 32]]) -> Self {
        let hex = digests.iter().map(|digest| format!(" {}", blake3::Hash::from_bytes(*digest).to_hex()));
        let body = record("comment", &format!("blake3{}", hex.collect::<String>()));
        self.entry(b'g', "pax", body.as_bytes(), |_| {})
    }

    /// Ends the archive.
    pub(in crate::net::fetch) fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

/// Returns a record of an extended header, which begins with its own length.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length = (rest + 1..rest + 9).find(|length| length.to_string().len() + rest == *length).unwrap();
    format!("{length} {key}={value}\n")
}

fn name(text: &str) -> FileName {
    FileName::new(text.as_bytes()).unwrap()
}

fn text(path: &FileName) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

/// A file, and whether its content has the digest that followed.
type Decoded = (String, Vec<u8>, bool);

/// Decodes an archive of the folder `d` in pieces of these sizes; the result is what came before the end or the error.
fn decode(bytes: &[u8], range: WalkRange, mut piece: impl FnMut() -> usize) -> (Vec<Decoded>, Result<bool, Fault>) {
    let mut decoder = match Decoder::new(&name("x/d/"), range, bytes.len() as u64) {
        Ok(decoder) => decoder,
        Err(error) => return (Vec::new(), Err(error.fault)),
    };
    let (mut decoded, mut open, mut ended) = (Vec::<Decoded>::new(), None, false);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (mut input, after) = rest.split_at(piece().clamp(1, rest.len()));
        rest = after;
        loop {
            match decoder.next(&mut input) {
                Err(error) => return (decoded, Err(error.fault)),
                Ok(None) => break,
                Ok(Some(Event::Folder(path))) => decoded.push((text(&path) + "/", Vec::new(), true)),
                Ok(Some(Event::File(entry))) => open = Some((entry, Vec::new())),
                Ok(Some(Event::Data(data))) => open.as_mut().unwrap().1.extend_from_slice(data),
                Ok(Some(Event::FileEnd)) => {
                    let (entry, content) = open.take().unwrap();
                    assert_eq!(entry.size, content.len() as u64);
                    decoded.push((text(&entry.path), content, false));
                }
                Ok(Some(Event::Digests(digests))) => {
                    let mut unproven = decoded.iter_mut().filter(|file| !file.2);
                    for digest in &digests {
                        let file = unproven.next().expect("a digest of a file");
                        file.2 = *blake3::hash(&file.1).as_bytes() == *digest;
                    }
                    assert!(unproven.next().is_none(), "a file without a digest");
                    // Differing files are not proven by a later record either.
                    decoded.retain(|file| file.2);
                }
                Ok(Some(Event::End)) => ended = true,
            }
        }
        assert!(input.is_empty());
    }
    (decoded, Ok(ended))
}

fn fault(archive: Archive) -> Fault {
    decode(&archive.end(), WalkRange::default(), || 1000).1.expect_err("an invalid archive was accepted")
}

/// A tree in the order of its walk: folders have no content.
fn tree() -> impl Strategy<Value = Vec<(String, Option<Vec<u8>>)>> {
    let segment = prop_oneof![9 => "[a-c+ é-]{1,3}", 1 => "[a-c]{101}"];
    let path = vec(segment, 1..4).prop_map(|segments| segments.join("/"));
    btree_map(path, vec(any::<u8>(), 0..1500), 0..20).prop_map(|files| {
        let mut entries: Vec<(String, Option<Vec<u8>>)> = Vec::new();
        for (path, content) in files {
            let parents: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
            if parents.iter().any(|parent| entries.iter().any(|(path, file)| path == parent && file.is_some())) {
                continue;
            }
            for parent in parents {
                if !entries.iter().any(|(path, _)| path == parent) {
                    entries.push((parent.to_owned(), None));
                }
            }
            entries.push((path, Some(content)));
        }
        entries.sort_by(|left, right| walk_order(left.0.as_bytes(), right.0.as_bytes()));
        entries
    })
}

fn archived(tree: &[(String, Option<Vec<u8>>)], every: usize) -> Archive {
    let mut archive = Archive::default();
    for (path, content) in tree {
        let path = format!("d/{path}");
        archive = match content {
            Some(content) => archive.file(&path, content),
            None if path.len() > 98 => archive.extended(&[("path", &path)]).folder("long"),
            None => archive.folder(&path),
        };
        if archive.digests.len() == every {
            archive = archive.digests();
        }
    }
    if archive.digests.is_empty() { archive } else { archive.digests() }
}

fn expected(tree: &[(String, Option<Vec<u8>>)]) -> Vec<Decoded> {
    let entry = |(path, content): &(String, Option<Vec<u8>>)| match content {
        Some(content) => (path.clone(), content.clone(), true),
        None => (format!("{path}/"), Vec::new(), true),
    };
    tree.iter().map(entry).collect()
}

proptest! {
    #[test]
    fn any_pieces_of_an_archive_give_the_tree(tree in tree(), every in 1..65usize, pieces in vec(1..2000usize, 1..9)) {
        let bytes = archived(&tree, every).end();
        let mut pieces = pieces.iter().cycle().copied();
        let (decoded, ended) = decode(&bytes, WalkRange::default(), || pieces.next().unwrap());
        prop_assert_eq!((decoded, ended), (expected(&tree), Ok(true)));
    }

    #[test]
    fn a_cut_archive_never_ends(tree in tree(), cut in any::<prop::sample::Index>()) {
        let bytes = archived(&tree, 64).end();
        let mut decoder = Decoder::new(&name("d/"), WalkRange::default(), bytes.len() as u64).unwrap();
        let mut input = &bytes[..cut.index(bytes.len())];
        while let Some(event) = decoder.next(&mut input).unwrap() {
            prop_assert_ne!(event, Event::End);
        }
    }

    /// A changed byte is found by the checksum of a header or by a digest. Extended headers have neither, so that the
    /// tree has no long names here.
    #[test]
    fn a_changed_byte_gives_no_other_file(tree in tree(), at in any::<prop::sample::Index>(), by in 1..=255u8) {
        let tree: Vec<_> = tree.into_iter().filter(|(path, _)| path.len() < 90).collect();
        let mut bytes = archived(&tree, 3).end();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        let known = expected(&tree);
        for file in decode(&bytes, WalkRange::default(), || 700).0 {
            prop_assert!(!file.2 || known.contains(&file), "{}", file.0);
        }
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes in vec(any::<u8>(), 0..4096), blocks in 2..8usize) {
        let mut bytes = bytes;
        bytes.resize(blocks * BLOCK, 0);
        let (_, ended) = decode(&bytes, WalkRange::default(), || 512);
        prop_assert!(ended != Ok(true) || bytes.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn other_paths_than_requested_ones_are_refused() {
    let long = format!("d/{}", "x".repeat(1025));
    for (path, expected) in [
        ("/etc/passwd", Fault::Prefix),
        ("x/d/a", Fault::Prefix),
        ("da", Fault::Prefix),
        ("d/", Fault::Segment),
        ("d//a", Fault::Segment),
        ("d/a/", Fault::Segment),
        ("d/../a", Fault::Parent),
        ("d/a/../../b", Fault::Parent),
        ("d/..", Fault::Parent),
        ("d/.", Fault::Hidden),
        ("d/.ssh/config", Fault::Hidden),
        ("d/a\nb", Fault::Name(crate::route::NameError::Forbidden)),
        (&long, Fault::Name(crate::route::NameError::TooLong(1025))),
    ] {
        for archive in [Archive::default(), Archive::default().file("d/0", b"0").digests()] {
            if path.len() < 100 {
                assert_eq!(fault(archive.clone().file(path, b"x").digests()), expected, "{path}");
            }
            // The `tar` crate reads a record up to its line feed only.
            if !path.contains('\n') {
                let renamed = archive.extended(&[("path", path)]).file("d/a", b"x").digests();
                assert_eq!(fault(renamed), expected, "{path}");
            }
        }
    }
    assert_eq!(fault(Archive::default().folder("d").folder("d")), Fault::Prefix);
    assert_eq!(fault(Archive::default().folder("d/..")), Fault::Parent);
    // The folder itself comes once more at the end, and nowhere else.
    let file = || Archive::default().folder("d").file("d/a", b"x");
    assert!(decode(&file().digests().folder("d").end(), WalkRange::default(), || 1000).1.unwrap());
    assert_eq!(fault(file().folder("d").digests()), Fault::Prefix);
    assert_eq!(fault(file().digests().folder("d").file("d/b", b"x").digests()), Fault::Prefix);
}

#[test]
fn repeated_and_unordered_entries_are_refused() {
    for (first, second, expected) in [
        ("d/a", "d/a", Fault::Order),
        ("d/b", "d/a", Fault::Order),
        ("d/a.b", "d/a/b", Fault::Order),
        ("d/a", "d/a/b", Fault::BeneathFile),
    ] {
        assert_eq!(fault(Archive::default().file(first, b"1").file(second, b"2").digests()), expected, "{second}");
    }
    assert_eq!(fault(Archive::default().folder("d/a").folder("d/a")), Fault::Order);
    let range = |after: &str, until: &str| WalkRange { after: Some(name(after)), until: Some(name(until)) };
    for (path, result) in [("a", Err(Fault::Range)), ("a/x", Ok(true)), ("b", Ok(true)), ("c", Err(Fault::Range))] {
        let bytes = Archive::default().file(&format!("d/{path}"), b"").digests().end();
        assert_eq!(decode(&bytes, range("a", "b"), || 9).1, result, "{path}");
    }
}

#[test]
fn other_types_and_formats_are_refused() {
    for kind in *b"\x001234678LKSVMNXA" {
        assert_eq!(fault(Archive::default().entry(kind, "d/a", b"", |block| block[156] = kind)), Fault::Kind(kind));
    }
    let header = |change: fn(&mut [u8; BLOCK])| fault(Archive::default().entry(b'0', "d/a", b"x", change));
    assert_eq!(header(|block| block[257..265].copy_from_slice(b"ustar  \0")), Fault::Format);
    assert_eq!(header(|block| block[257..265].fill(0)), Fault::Format);
    assert_eq!(header(|block| block[124..136].copy_from_slice(&[0xff; 12])), Fault::Number("size"));
    assert_eq!(header(|block| block[124] = b'-'), Fault::Number("size"));
    assert_eq!(header(|block| block[136] = 0x80), Fault::Number("modification time"));
    assert_eq!(header(|block| block[100] = b'9'), Fault::Number("mode"));
    let largest = header(|block| block[124..136].copy_from_slice(b"77777777777\0"));
    assert_eq!(largest, Fault::Size { size: (8 << 30) - 1, left: 1536 });
    let mut bytes = Archive::default().file("d/a", b"x").digests().end();
    bytes[0] ^= 1;
    assert_eq!(decode(&bytes, WalkRange::default(), || 512).1, Err(Fault::Checksum));
    assert_eq!(fault(Archive::default().entry(b'5', "d/a/", b"x", |_| {})), Fault::FolderWithContent);
}

#[test]
fn extended_headers_are_limited() {
    let record = |text: &str| Fault::Record(text.into());
    let file = |archive: Archive| fault(archive.file("d/a", b"x").digests());
    let extended = |records: &[(&str, &str)]| file(Archive::default().extended(records));
    let size = u64::MAX.to_string();
    assert_eq!(extended(&[("size", &size)]), Fault::Size { size: u64::MAX, left: 1024 + 1024 + 512 });
    for text in ["-1", "+1", "1e3", "", "99999999999999999999999"] {
        assert_eq!(extended(&[("size", text)]), Fault::Number("size"), "{text}");
    }
    for key in ["GNU.sparse.major", "GNU.sparse.realsize", "linkpath", "mtime", "SCHILY.xattr.user.a"] {
        assert_eq!(extended(&[(key, "1")]), record(key));
    }
    assert_eq!(extended(&[("path", "d/b"), ("path", "d/c")]), record("path"));
    let empty = Archive::default().extended(&[]);
    assert_eq!(file(empty), Fault::ExtendedLength(0));
    let long = "x".repeat(MAX_PAX as usize);
    assert!(matches!(extended(&[("path", &long)]), Fault::ExtendedLength(_)));
    let chain = Archive::default().extended(&[("path", "d/b")]).extended(&[("path", "d/c")]);
    assert_eq!(file(chain), Fault::ExtendsNothing);
    assert_eq!(fault(Archive::default().extended(&[("path", "d/b")])), Fault::ExtendsNothing);
    for body in ["9 path=a", "10 path=ab\n", "6 path\n", "x path=a\n", "9 path=a\n\nrest", "\n9 path=a\n"] {
        assert_eq!(file(Archive::default().entry(b'x', "pax", body.as_bytes(), |_| {})), record("malformed"), "{body}");
    }
}

#[test]
fn every_file_needs_its_digest() {
    let files = |count: usize| {
        (0..count).fold(Archive::default(), |archive, number| archive.file(&format!("d/{number:03}"), b"x"))
    };
    let count = |found, files| Fault::DigestCount { found, files };
    assert_eq!(fault(files(2)), Fault::Unproven(2));
    assert_eq!(fault(files(65)), Fault::Unproven(64));
    assert_eq!(fault(files(2).those(&[[0; 32]])), count(1, 2));
    assert_eq!(fault(files(2).those(&[[0; 32]; 3])), count(3, 2));
    assert_eq!(fault(files(1).digests().those(&[[0; 32]])), count(1, 0));
    let large = Archive::default().file("d/a", &vec![7; 1 << 20]);
    assert_eq!(fault(large.file("d/b", b"x").digests()), Fault::Unproven(1));
    for body in ["comment=blake3", "comment=sha256 00", "path=d/x", "comment=blake3 "] {
        let (key, value) = body.split_once('=').unwrap();
        let archive = files(1).entry(b'g', "pax", record(key, value).as_bytes(), |_| {});
        assert!(matches!(fault(archive), Fault::Record(_)), "{body}");
    }
    // Wrong digests are counted, and prove nothing.
    let (decoded, ended) = decode(&files(2).those(&[[0; 32]; 2]).end(), WalkRange::default(), || 512);
    assert_eq!((decoded, ended), (Vec::new(), Ok(true)));
}

#[test]
fn the_end_is_at_the_announced_length() {
    let archive = || Archive::default().file("d/a", b"x").digests();
    let mut longer = archive().end();
    longer.resize(longer.len() + BLOCK, 0);
    assert_eq!(decode(&longer, WalkRange::default(), || 512).1, Err(Fault::AfterEnd));
    let mut one_block = archive().end();
    let last = one_block.len() - 1;
    one_block[last] = 1;
    assert_eq!(decode(&one_block, WalkRange::default(), || 512).1, Err(Fault::AfterEnd));
    for length in [0, 512, 1025] {
        assert_eq!(decode(&vec![0; length], WalkRange::default(), || 512).1, Err(Fault::Length(length as u64)));
    }
    let mut no_end = archive().folder("d/b").folder("d/c").bytes;
    no_end.truncate(no_end.len());
    assert!(matches!(decode(&no_end, WalkRange::default(), || 512).1, Err(Fault::Size { .. })));
    let mut decoder = Decoder::new(&name("d/"), WalkRange::default(), 1024).unwrap();
    let zeros = [0; 1025];
    let mut input = &zeros[..];
    assert_eq!(decoder.next(&mut input), Ok(Some(Event::End)));
    assert_eq!(decoder.next(&mut input).unwrap_err().to_string(), "the archive does not end at its announced length");
}

#[test]
fn errors_name_the_entry() {
    let bytes = Archive::default().file("d/../\u{1b}x", b"").end();
    let mut decoder = Decoder::new(&name("d/"), WalkRange::default(), bytes.len() as u64).unwrap();
    let error = decoder.next(&mut &bytes[..]).unwrap_err();
    assert_eq!(error.to_string(), "entry \"d/../\\\\u{1b}x\": its name contains a parent folder (..)");
    // The root has no name of its own.
    let bytes = Archive::default().file("run", b"").digests().end();
    let mut decoder = Decoder::new(&name("/"), WalkRange::default(), bytes.len() as u64).unwrap();
    let entry = FileEntry { path: name("run"), size: 0, modified: 1_000_000_000, executable: true };
    assert_eq!(decoder.next(&mut &bytes[..]), Ok(Some(Event::File(entry))));
}
