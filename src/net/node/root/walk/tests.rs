//! Walks of real folders: what is in them, in which order, with how much held at once, and what ends a second one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use rustix::fs::CWD;

use super::*;
use crate::route::walk_order;

fn name(path: &[u8]) -> FileName {
    FileName::new(path).unwrap()
}

/// The default, and bounds so tight that every folder is read in several parts and opened again.
const TIGHT: Bounds = Bounds { open: 1, names: 24, above: 0 };

/// Walks through a folder; returns the paths, those of folders with a slash, and how much was left out.
fn walked(root: &Root, folder: Option<&FileName>, range: WalkRange, bounds: Bounds) -> (Vec<Vec<u8>>, u64) {
    let mut walk = Walk { bounds, ..root.walk(folder, range).unwrap() };
    let mut paths = Vec::new();
    while let Some(entry) = walk.advance().unwrap() {
        let mut path = walk.path().to_vec();
        match entry {
            WalkEntry::Folder(_) => path.push(b'/'),
            WalkEntry::File => {
                if walk.read().unwrap().is_none() {
                    continue;
                }
                assert!(walk.open().unwrap().is_some());
            }
        }
        assert!(walk.levels.iter().filter(|level| level.handle.is_some()).count() <= bounds.open + 1);
        paths.push(path);
    }
    (paths, walk.omitted())
}

fn text(paths: &[Vec<u8>]) -> Vec<&str> {
    paths.iter().map(|path| std::str::from_utf8(path).unwrap()).collect()
}

fn create(root: &Path, path: &[u8]) {
    let path = root.join(OsStr::from_bytes(path));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[test]
fn only_visible_regular_files_and_folders_are_in_a_walk() {
    let dir = tempfile::tempdir().unwrap();
    let served = dir.path().join("served");
    for path in ["d/b", "d/a/x", "d/a.txt", "d/.hidden", "d/.git/x", "d/line\nbreak/x", "d/cr\r"] {
        create(&served, path.as_bytes());
    }
    fs::create_dir(served.join("d/empty")).unwrap();
    create(&served, b"outside");
    symlink("b", served.join("d/link")).unwrap();
    symlink("../outside", served.join("d/out")).unwrap();
    symlink("a", served.join("d/to-a")).unwrap();
    symlink("none", served.join("d/dangling")).unwrap();
    symlink("d", served.join("to-d")).unwrap();
    rustix::fs::mkfifoat(CWD, served.join("d/pipe"), Mode::from(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(served.join("d/socket")).unwrap();
    let root = Root::open(&served).unwrap();
    for bounds in [Bounds::default(), TIGHT] {
        for folder in [&b"d"[..], b"d/", b"to-d", b"to-d/"] {
            let (paths, omitted) = walked(&root, Some(&name(folder)), WalkRange::default(), bounds);
            assert_eq!((text(&paths), omitted), (vec!["a/", "a/x", "a.txt", "b", "empty/"], 6));
        }
        let (paths, omitted) = walked(&root, None, WalkRange::default(), bounds);
        let expected = vec!["d/", "d/a/", "d/a/x", "d/a.txt", "d/b", "d/empty/", "outside"];
        assert_eq!((text(&paths), omitted), (expected, 7));
    }
    for folder in [&b".."[..], b"/", b"/etc", b"d/.git", b".", b"outside", b"d/pipe", b"none", b"d/../.."] {
        let walk = root.walk(Some(&name(folder)), WalkRange::default());
        assert!(matches!(walk, Err(OpenError::NotFound)), "{}", String::from_utf8_lossy(folder));
    }
}

#[test]
fn names_longer_than_a_request_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (mut folder, mut at) = (Vec::new(), rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap());
    for _ in 0..5 {
        let part = "f".repeat(239);
        rustix::fs::mkdirat(&at, &part, Mode::from(0o755)).unwrap();
        at = openat(&at, &part, OFlags::PATH, Mode::empty()).unwrap();
        folder.push(part);
        for length in [63, 64, 65] {
            openat(&at, "x".repeat(length), OFlags::CREATE | OFlags::WRONLY, Mode::from(0o644)).unwrap();
        }
    }
    let root = Root::open(dir.path()).unwrap();
    for bounds in [Bounds::default(), TIGHT] {
        let (paths, _) = walked(&root, None, WalkRange::default(), bounds);
        let mut lengths: Vec<usize> = paths.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        // Four folders, and the files in them; a name of 1,024 bytes is the longest.
        assert_eq!(lengths, [240, 303, 304, 305, 480, 543, 544, 545, 720, 783, 784, 785, 960, 1023, 1024]);
    }
}

#[test]
fn generated_files_are_left_out_and_unreadable_ones_are_counted() {
    let walk = |path: &str| {
        let root = Root::open(Path::new(path)).unwrap();
        let range = WalkRange { until: Some(name(b"kernel/random")), after: None };
        walked(&root, None, range, Bounds::default())
    };
    assert_eq!(walk("/proc"), (Vec::new(), 0));
    let (whole, _) =
        walked(&Root::open(Path::new("/")).unwrap(), Some(&name(b"proc")), WalkRange::default(), Bounds::default());
    assert_eq!(whole, Vec::<Vec<u8>>::new());
    let dir = tempfile::tempdir().unwrap();
    create(dir.path(), b"a/secret");
    create(dir.path(), b"b");
    fs::set_permissions(dir.path().join("b"), fs::Permissions::from_mode(0o000)).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let readable = fs::read(dir.path().join("b")).is_ok();
    let (paths, omitted) = walked(&root, None, WalkRange::default(), Bounds::default());
    assert_eq!((paths.len(), omitted), if readable { (3, 0) } else { (2, 1) });
}

#[test]
fn a_folder_of_many_levels_is_walked_with_few_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut path = String::new();
    for level in 0..100 {
        create(dir.path(), format!("{path}a{level}").as_bytes());
        create(dir.path(), format!("{path}z{level}").as_bytes());
        path.push_str("d/");
    }
    let root = Root::open(dir.path()).unwrap();
    let (paths, _) = walked(&root, None, WalkRange::default(), Bounds::default());
    assert_eq!(paths.len(), 299);
    assert!(paths.is_sorted_by(|one, other| walk_order(one, other).is_lt()));
    assert_eq!(walked(&root, None, WalkRange::default(), TIGHT).0, paths);
    // One that is replaced meanwhile is no longer the same.
    let mut walk = Walk { bounds: TIGHT, ..root.walk(None, WalkRange::default()).unwrap() };
    while walk.path() != b"d/d/d/a3" {
        walk.advance().unwrap();
    }
    fs::rename(dir.path().join("d/d"), dir.path().join("moved")).unwrap();
    create(dir.path(), b"d/d/z1");
    let error = loop {
        match walk.advance() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the walk ended in another folder"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, WalkError::Changed(_)), "{error}");
}

#[test]
fn a_second_walk_ends_at_what_changed_since_the_first() {
    type Change = fn(&Path);
    let changes: [(Change, &str); 7] = [
        (|root| fs::write(root.join("d/f"), "longer").unwrap(), "d/f"),
        (|root| fs::write(root.join("d/f"), "y").unwrap(), "d/f"),
        (|root| fs::remove_file(root.join("d/f")).unwrap(), "d"),
        (|root| fs::rename(root.join("e"), root.join("d/e")).unwrap(), ""),
        (|root| fs::write(root.join("d/new"), "").unwrap(), "d"),
        (|root| fs::rename(root.join("d"), root.join("c")).unwrap(), ""),
        (|root| fs::set_permissions(root.join("e"), fs::Permissions::from_mode(0o755)).unwrap(), "e"),
    ];
    for (change, changed) in changes {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), b"d/f");
        create(dir.path(), b"e");
        let root = Root::open(dir.path()).unwrap();
        let all = |mut walk: Walk| {
            while let Some(entry) = walk.advance()? {
                if matches!(entry, WalkEntry::File) {
                    walk.open()?;
                }
            }
            Ok::<_, WalkError>(())
        };
        let mut first = root.walk(None, WalkRange::default()).unwrap();
        while let Some(entry) = first.advance().unwrap() {
            if matches!(entry, WalkEntry::File) {
                first.read().unwrap();
            }
        }
        let newest = first.newest();
        let again = || root.walk(None, WalkRange::default()).unwrap().unchanged_since(newest);
        again().and_then(all).unwrap();
        // The clock of a file system may stand still for a few ms.
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(dir.path());
        let error = again().and_then(all).unwrap_err();
        assert!(matches!(&error, WalkError::Changed(path) if path.as_str() == changed), "{error}, not {changed:?}");
    }
}

/// Trees of a few short names, some of which sort differently as whole paths.
fn trees() -> impl Strategy<Value = BTreeSet<Vec<String>>> {
    btree_set(vec("[a-c.-][.a-]{0,2}", 1..4), 0..24)
}

/// Creates the files of a tree; returns every path of a walk, folders with a slash.
fn build(root: &Path, tree: &BTreeSet<Vec<String>>) -> Vec<Vec<u8>> {
    let mut expected = BTreeMap::new();
    for segments in tree {
        let path = segments.join("/");
        // Where a file has the name of a folder, or the other way around, the first one stays.
        let path = root.join(&path);
        if fs::create_dir_all(path.parent().unwrap()).is_ok() {
            let _ = fs::File::create_new(&path);
        }
    }
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().as_bytes().starts_with(b".") {
                continue;
            }
            let is_folder = entry.file_type().unwrap().is_dir();
            let path = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            expected.insert(path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>(), is_folder);
            if is_folder {
                folders.push(entry.path());
            }
        }
    }
    expected
        .into_iter()
        .map(|(segments, is_folder)| {
            let mut path = segments.join(&b'/');
            path.extend_from_slice(if is_folder { b"/" } else { b"" });
            path
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_parts_of_any_split_hold_every_entry_once_in_order(
        tree in trees(),
        splits in btree_set("[a-c.-][.a-]{0,2}(/[a-c.-][.a-]{0,2}){0,3}", 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let expected = build(dir.path(), &tree);
        let root = Root::open(dir.path()).unwrap();
        let mut splits: Vec<FileName> = splits.iter().map(|path| name(path.as_bytes())).collect();
        splits.sort_by(|one, other| walk_order(one.as_bytes(), other.as_bytes()));
        for bounds in [Bounds::default(), TIGHT] {
            prop_assert_eq!(&walked(&root, None, WalkRange::default(), bounds).0, &expected);
            let mut parts = Vec::new();
            let mut after = None;
            for until in splits.iter().cloned().map(Some).chain([None]) {
                let range = WalkRange { after: std::mem::replace(&mut after, until.clone()), until };
                let (part, _) = walked(&root, None, range.clone(), bounds);
                prop_assert!(part.iter().all(|path| range.contains(path.strip_suffix(b"/").unwrap_or(path))));
                parts.extend(part);
            }
            prop_assert_eq!(&parts, &expected);
        }
    }
}
