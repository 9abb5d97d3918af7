//! Streams of real folders: their exact length, their digests, and where a change ends them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use super::*;

/// A file or folder as a reader of a stream has it.
#[derive(Debug, PartialEq)]
struct Received {
    path: String,
    content: Vec<u8>,
    mode: u32,
}

fn name(path: &str) -> FileName {
    FileName::new(path.as_bytes()).unwrap()
}

fn packer(root: &Root, folder: Option<&FileName>, range: &WalkRange) -> Packer {
    let mut measuring = Measuring::new(root.walk(folder, range.clone()).unwrap(), folder, range);
    while !measuring.proceed().unwrap() {}
    measuring.pack(root, folder, range.clone()).unwrap()
}

/// Produces all that is left of a stream.
fn rest(packer: &mut Packer) -> (Vec<u8>, Result<(), WalkError>) {
    let mut stream = Vec::new();
    while !packer.is_done() {
        let mut chunk = Vec::new();
        let result = packer.fill(&mut chunk);
        assert!(chunk.capacity() <= CHUNK + ROOM, "{}", chunk.capacity());
        stream.extend(chunk);
        if result.is_err() {
            return (stream, result);
        }
    }
    (stream, Ok(()))
}

/// Reads a stream back; returns the entries whose digests came and are right, and the number of files without one. The
/// folder at the end is not among them.
fn received(stream: &[u8]) -> (Vec<Received>, usize) {
    let (mut proven, mut waiting) = (Vec::new(), Vec::new());
    let mut files = 0;
    for entry in tar::Archive::new(stream).entries().unwrap().raw(true) {
        let Ok(mut entry) = entry else { break };
        let header = entry.header().clone();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if header.entry_type() == tar::EntryType::XGlobalHeader {
            let record = String::from_utf8(content).unwrap();
            let digests: Vec<&str> = record.trim_end().split(' ').skip(2).collect();
            assert_eq!(digests.len(), files, "one for each file");
            let expected = waiting.iter().filter(|entry: &&Received| !entry.path.ends_with('/'));
            let expected: Vec<String> = expected.map(|file| blake3::hash(&file.content).to_hex().to_string()).collect();
            assert_eq!(digests, expected);
            proven.append(&mut waiting);
            files = 0;
            continue;
        }
        if content.len() as u64 != header.size().unwrap() {
            break;
        }
        files += usize::from(header.entry_type().is_file());
        let path = String::from_utf8(header.path_bytes().into_owned()).unwrap();
        waiting.push(Received { path, content, mode: header.mode().unwrap() });
    }
    (proven, files)
}

/// A folder `d` of files of these sizes, named by their number.
fn folder(sizes: &[usize]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    for (number, size) in sizes.iter().enumerate() {
        let content: Vec<u8> = (0..*size).map(|at| (at * 7 + number) as u8).collect();
        fs::write(dir.path().join(format!("d/{number:04}")), content).unwrap();
    }
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

#[test]
fn a_stream_has_the_announced_length_and_every_file_with_its_digest() {
    let mut sizes = vec![0, 1, 511, 512, 513, CHUNK - 512, CHUNK, CHUNK + ROOM, 3 * CHUNK + 1, 0];
    sizes.extend((0..200).map(|number| number * 37));
    let (dir, root) = folder(&sizes);
    fs::create_dir_all(dir.path().join("d/sub/empty")).unwrap();
    fs::write(dir.path().join("d/sub/tool"), "#!").unwrap();
    fs::set_permissions(dir.path().join("d/sub/tool"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut packer = packer(&root, Some(&name("d/")), &WalkRange::default());
    let length = packer.length;
    let (stream, result) = rest(&mut packer);
    result.unwrap();
    assert_eq!(stream.len() as u64, length);
    assert!(stream.ends_with(&[0; 1024]) && stream.len() % 512 == 0);
    let (entries, unproven) = received(&stream);
    let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!((entries.len(), unproven), (sizes.len() + 4, 0), "{paths:?}");
    assert_eq!((entries[0].path.as_str(), entries[0].mode), ("d/", 0o755));
    let tail: Vec<(&str, u32)> =
        entries[sizes.len() + 1..].iter().map(|entry| (entry.path.as_str(), entry.mode)).collect();
    assert_eq!(tail, [("d/sub/", 0o755), ("d/sub/empty/", 0o755), ("d/sub/tool", 0o755)]);
    for (number, entry) in entries[1..=sizes.len()].iter().enumerate() {
        assert_eq!((entry.path.clone(), entry.mode), (format!("d/{number:04}"), 0o644));
        assert!(entry.content == fs::read(dir.path().join(&entry.path)).unwrap(), "{}", entry.path);
    }
}

#[test]
fn parts_have_the_same_prefix_and_the_root_has_none() {
    let (_dir, root) = folder(&[1, 2, 3]);
    let paths = |folder: Option<&FileName>, after: Option<&str>, until: Option<&str>| {
        let range = WalkRange { after: after.map(name), until: until.map(name) };
        let mut packer = packer(&root, folder, &range);
        let length = packer.length;
        let (stream, result) = rest(&mut packer);
        result.unwrap();
        assert_eq!(stream.len() as u64, length);
        received(&stream).0.into_iter().map(|entry| entry.path).collect::<Vec<_>>()
    };
    let d = name("d");
    assert_eq!(paths(Some(&d), None, Some("0000")), ["d/", "d/0000"]);
    assert_eq!(paths(Some(&d), Some("0000"), Some("0001")), ["d/0001"]);
    assert_eq!(paths(Some(&d), Some("0002"), None), Vec::<String>::new());
    assert_eq!(paths(None, None, None).first().map(String::as_str), Some("d/"));
    assert_eq!(paths(None, Some("d/0000"), None), ["d/0001", "d/0002"]);
}

#[test]
fn a_change_ends_the_stream_short_and_what_came_before_is_proven() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 7] = [
        ("replaced", |path| {
            fs::write(path.with_extension("new"), vec![1; 100]).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("truncated", |path| fs::File::options().write(true).open(path).unwrap().set_len(50).unwrap()),
        ("grown", |path| fs::write(path, vec![1; 4000]).unwrap()),
        ("rewritten", |path| fs::write(path, vec![1; 100]).unwrap()),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("a link", |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("0000", path).unwrap();
        }),
        ("a folder", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    let count = 1000;
    for (what, change) in changes {
        let (dir, root) = folder(&vec![100; count]);
        let mut packer = packer(&root, Some(&name("d")), &WalkRange::default());
        let (length, mut first) = (packer.length, Vec::new());
        packer.fill(&mut first).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        change(&dir.path().join("d/0900"));
        let (stream, result) = rest(&mut packer);
        let error = result.expect_err(what).to_string();
        let stream = [first, stream].concat();
        assert!((stream.len() as u64) < length, "{what}: a changed stream has the announced length");
        let (entries, unproven) = received(&stream);
        assert!((entries.len(), unproven) == (901, 0), "{what}: {} entries, {unproven}, {error}", entries.len());
        assert_eq!(error, "d/0900 changed meanwhile", "{what}");
    }
}

#[test]
fn a_large_file_that_changes_while_it_is_read_is_never_complete() {
    for (what, at) in [("written", 0), ("written", 9 * CHUNK as u64), ("grown", 10 * CHUNK as u64)] {
        let (dir, root) = folder(&[5, 10 * CHUNK, 5]);
        let mut packer = packer(&root, Some(&name("d")), &WalkRange::default());
        let (length, mut first) = (packer.length, Vec::new());
        packer.fill(&mut first).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let file = fs::File::options().write(true).open(dir.path().join("d/0001")).unwrap();
        file.write_all_at(b"changed", at).unwrap();
        let (stream, result) = rest(&mut packer);
        let error = result.expect_err(what).to_string();
        assert!(error.contains("d/0001"), "{error}");
        let stream = [first, stream].concat();
        assert!((stream.len() as u64) < length);
        // Without a digest a reader takes neither the mixture nor the file before it.
        assert_eq!(received(&stream).0, []);
    }
    let (dir, root) = folder(&[5, 10 * CHUNK, 5]);
    let mut packer = packer(&root, Some(&name("d")), &WalkRange::default());
    packer.fill(&mut Vec::new()).unwrap();
    fs::File::options().write(true).open(dir.path().join("d/0001")).unwrap().set_len(CHUNK as u64 * 5).unwrap();
    assert!(rest(&mut packer).1.is_err());
}

#[test]
fn a_file_that_is_only_removed_while_it_is_read_is_complete() {
    let (dir, root) = folder(&[10 * CHUNK]);
    let mut packer = packer(&root, Some(&name("d")), &WalkRange::default());
    let mut first = Vec::new();
    packer.fill(&mut first).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    fs::remove_file(dir.path().join("d/0000")).unwrap();
    let (stream, result) = rest(&mut packer);
    result.unwrap();
    assert_eq!(received(&[first, stream].concat()).0.len(), 2);
}

#[test]
fn a_stream_that_got_longer_or_shorter_is_never_of_the_announced_length() {
    for extra in [1, 2, 3, 10, 100, 1000] {
        let (dir, root) = folder(&[100; 20]);
        // A time in the future hides that anything changed: only the length shows it.
        let mut measuring = Measuring::new(
            root.walk(Some(&name("d")), WalkRange::default()).unwrap(),
            Some(&name("d")),
            &WalkRange::default(),
        );
        while !measuring.proceed().unwrap() {}
        let (length, mut packer) =
            (measuring.length(), measuring.pack(&root, Some(&name("d")), WalkRange::default()).unwrap());
        packer.walk = root.walk(Some(&name("d")), WalkRange::default()).unwrap();
        for number in 0..extra {
            fs::write(dir.path().join(format!("d/x{number}")), "1").unwrap();
        }
        let (stream, result) = rest(&mut packer);
        assert!(result.is_err() && (stream.len() as u64) < length, "{extra}");
        fs::remove_dir_all(dir.path().join("d")).unwrap();
    }
}
