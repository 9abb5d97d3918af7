//! Tests of the partial file: its owner, the loss of its name, and how it is published.

use std::os::unix::fs::{FileExt, MetadataExt, chown, symlink};
use std::path::Path;

use super::*;
use crate::net::fetch::resume_state::RecordedRange;
use crate::net::fetch::validator::Validator;
use crate::route::FileName;

const LARGE: u64 = MAX_UNNAMED_SIZE + 1;

fn target(folder: &Path) -> Arc<TargetPath> {
    Arc::new(TargetPath::of(folder, &FileName::new(b"f.bin").unwrap()).unwrap())
}

fn open(folder: &Path, size: u64) -> PartialFile {
    match PartialFile::open(&target(folder), size, false, 0).unwrap() {
        ClaimResult::Ours(part) => part,
        ClaimResult::Busy(busy) => panic!("{busy:?}"),
    }
}

/// Returns a named partial file.
fn filled(folder: &Path, bytes: &[u8]) -> PartialFile {
    holding(open(folder, LARGE), bytes)
}

fn holding(part: PartialFile, bytes: &[u8]) -> PartialFile {
    part.file().write_all_at(bytes, 0).unwrap();
    part
}

/// Leaves a partial file as an earlier fetch would.
fn keep(folder: &Path, bytes: &[u8]) {
    assert!(filled(folder, bytes).keep().file.is_some());
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Returns the default permissions of a new file.
fn usual_mode() -> u32 {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), b"").unwrap();
    mode(&folder.path().join("f"))
}

#[test]
fn publishes_under_the_final_name_only() {
    for (size, while_it_is_filled) in [(3, vec![]), (LARGE, vec!["f.bin.part", "f.bin.part.state"])] {
        let folder = tempfile::tempdir().unwrap();
        let part = holding(open(folder.path(), size), b"abc");
        assert_eq!(names(folder.path()), while_it_is_filled);
        assert_eq!(part.publish(false, &|| false), Ok(Published::New));
        assert_eq!((names(folder.path()), read(folder.path(), "f.bin")), (vec!["f.bin".to_owned()], b"abc".to_vec()));
        assert_eq!(mode(&folder.path().join("f.bin")), usual_mode());
    }
}

#[test]
fn a_second_fetch_sees_the_lock_of_the_first_and_then_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = filled(folder.path(), b"abc");
    let busy = Busy { number: 0, length: 3 };
    let again = || PartialFile::open(&target(folder.path()), LARGE, false, 0).unwrap();
    assert!(matches!(again(), ClaimResult::Busy(found) if found == busy));
    assert!(matches!(PartialFile::find(&target(folder.path()), 0), Some(ClaimResult::Busy(found)) if found == busy));
    assert_eq!(PartialFile::length_of_busy(&target(folder.path()), 0), Some(3));
    // One that stalls for too long is skipped.
    let passing = PartialFile::open(&target(folder.path()), LARGE, false, 1).unwrap();
    assert!(matches!(passing, ClaimResult::Ours(_)) && names(folder.path()).contains(&"f.bin.1.part".to_owned()));
    assert_eq!(first.publish(false, &|| false), Ok(Published::New));
    assert_eq!(PartialFile::length_of_busy(&target(folder.path()), 0), None);
    let ClaimResult::Ours(passing) = passing else { return };
    assert_eq!(holding(passing, b"abc").publish(false, &|| false), Ok(Published::WasThere));
    assert_eq!(names(folder.path()), ["f.bin"]);
}

#[test]
fn concurrent_small_fetches_are_unnamed_and_find_the_first_target() {
    let folder = tempfile::tempdir().unwrap();
    let parts: Vec<PartialFile> = (0..3).map(|_| holding(open(folder.path(), 3), b"abc")).collect();
    assert!(names(folder.path()).is_empty());
    let ended: Vec<Published> = parts.into_iter().map(|part| part.publish(false, &|| false).unwrap()).collect();
    assert_eq!(ended, [Published::New, Published::WasThere, Published::WasThere]);
    assert_eq!(names(folder.path()), ["f.bin"]);
}

#[test]
fn open_empties_a_left_over_partial_file() {
    let folder = tempfile::tempdir().unwrap();
    keep(folder.path(), b"old and long");
    filled(folder.path(), b"new").publish(false, &|| false).unwrap();
    assert_eq!((read(folder.path(), "f.bin"), names(folder.path())), (b"new".to_vec(), vec!["f.bin".to_owned()]));
}

#[test]
fn other_content_is_replaced_only_by_force() {
    for size in [3, LARGE] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f.bin"), b"abd").unwrap();
        let part = holding(open(folder.path(), size), b"abc");
        let error = part.publish(false, &|| false).unwrap_err();
        assert_eq!(error.exit_code(), 7);
        let text = error.to_string();
        assert!(text.contains("other content") && text.contains("f.bin.part") && text.ends_with("--force replaces it"));
        assert_eq!(read(folder.path(), "f.bin"), b"abd");
        assert_eq!(filled(folder.path(), b"abc").publish(true, &|| false), Ok(Published::New));
        assert_eq!((read(folder.path(), "f.bin"), names(folder.path())), (b"abc".to_vec(), vec!["f.bin".to_owned()]));
    }
}

#[test]
fn an_empty_partial_file_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut part = open(folder.path(), LARGE);
    part.reserve(1 << 20).unwrap();
    assert_eq!(part.keep(), KeptBytes::default());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn reserved_space_is_not_content() {
    let folder = tempfile::tempdir().unwrap();
    let mut part = holding(open(folder.path(), 3), b"abc");
    part.reserve(1 << 20).unwrap();
    assert_eq!(part.file().metadata().unwrap().len(), 3);
    assert!(part.keep().file.is_some_and(|path| path.as_str().ends_with("f.bin.part")));
    assert_eq!(names(folder.path()), ["f.bin.part", "f.bin.part.state"]);
}

#[test]
fn a_size_beyond_the_free_space_is_rejected_before_reserving() {
    let folder = tempfile::tempdir().unwrap();
    let part = open(folder.path(), LARGE);
    let disk = rustix::fs::fstatvfs(part.file()).unwrap();
    let free = disk.f_bavail * disk.f_frsize;
    for size in [free, free * 2, u64::MAX] {
        let error = part.reserve(size).unwrap_err();
        assert!(error.exit_code() == 7 && error.to_string().contains("not enough disk space"), "{error}");
        assert_eq!(part.file().metadata().unwrap().blocks(), 0);
    }
}

#[test]
fn a_foreign_file_is_not_touched_and_the_next_name_used() {
    type Lay = fn(&Path);
    let own = |path: &Path| std::fs::write(path, b"keep me").unwrap();
    let lays: [(&str, Lay); 9] = [
        ("no state", |folder| std::fs::write(folder.join("f.bin.part"), b"keep me").unwrap()),
        ("empty", |folder| std::fs::write(folder.join("f.bin.part"), b"").unwrap()),
        ("a state of the user", |folder| std::fs::write(folder.join("f.bin.part.state"), b"keep me").unwrap()),
        ("a symbolic link", |folder| symlink("precious", folder.join("f.bin.part")).unwrap()),
        ("a folder", |folder| std::fs::create_dir(folder.join("f.bin.part")).unwrap()),
        ("two names", |folder| {
            keep(folder, b"keep me");
            std::fs::hard_link(folder.join("f.bin.part"), folder.join("second")).unwrap();
        }),
        ("writable by others", |folder| {
            keep(folder, b"keep me");
            set_mode(&folder.join("f.bin.part"), 0o664);
        }),
        ("another file since", |folder| {
            keep(folder, b"left");
            std::fs::remove_file(folder.join("f.bin.part")).unwrap();
            std::fs::write(folder.join("f.bin.part"), b"keep me").unwrap();
        }),
        ("another user's", |folder| {
            keep(folder, b"keep me");
            // Only root can do this.
            if chown(folder.join("f.bin.part"), Some(65534), None).is_err() {
                set_mode(&folder.join("f.bin.part"), 0o606);
            }
        }),
    ];
    for (what, lay) in lays {
        let folder = tempfile::tempdir().unwrap();
        own(&folder.path().join("precious"));
        lay(folder.path());
        let before: Vec<(String, u64, Option<Vec<u8>>)> = names(folder.path())
            .into_iter()
            .map(|name| {
                let path = folder.path().join(&name);
                (name, path.symlink_metadata().unwrap().ino(), std::fs::read(path).ok())
            })
            .collect();
        assert!(!matches!(PartialFile::find(&target(folder.path()), 0), Some(ClaimResult::Ours(_))), "{what}");
        for force in [false, true] {
            let part = filled(folder.path(), b"new");
            assert!(part.shown().as_str().ends_with("f.bin.1.part"), "{what}: {}", part.shown());
            drop(part);
            filled(folder.path(), b"new").publish(force, &|| false).unwrap();
            assert_eq!(read(folder.path(), "f.bin"), b"new", "{what}");
        }
        for (name, inode, content) in before {
            let path = folder.path().join(&name);
            assert_eq!(path.symlink_metadata().map(|found| found.ino()).ok(), Some(inode), "{what}: {name}");
            assert_eq!(std::fs::read(path).ok(), content, "{what}: {name}");
        }
    }
}

#[test]
fn remains_of_a_killed_program_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    // The state file existed, the file had no name yet.
    keep(folder.path(), b"abc");
    std::fs::remove_file(folder.path().join("f.bin.part")).unwrap();
    drop(filled(folder.path(), b"abc"));
    assert_eq!(names(folder.path()), ["f.bin.part", "f.bin.part.state"]);
    // It had its final name and the partial name.
    std::fs::hard_link(folder.path().join("f.bin.part"), folder.path().join("f.bin")).unwrap();
    assert!(PartialFile::find(&target(folder.path()), 0).is_none());
    assert_eq!((names(folder.path()), read(folder.path(), "f.bin")), (vec!["f.bin".to_owned()], b"abc".to_vec()));
}

#[test]
fn a_partial_file_without_its_name_is_published_and_nothing_else() {
    type Spoil = fn(&Path);
    let spoils: [(Spoil, &[&str]); 4] = [
        (|part| std::fs::remove_file(part).unwrap(), &["f.bin"]),
        (
            |part| {
                std::fs::remove_file(part).unwrap();
                std::fs::write(part, b"EVIL").unwrap();
            },
            &["f.bin", "f.bin.part"],
        ),
        (
            |part| {
                std::fs::write(part.with_extension("new"), b"EVIL").unwrap();
                std::fs::rename(part.with_extension("new"), part).unwrap();
            },
            &["f.bin", "f.bin.part"],
        ),
        (|part| std::fs::rename(part, part.with_extension("moved")).unwrap(), &["f.bin", "f.bin.moved"]),
    ];
    for (number, (spoil, left)) in spoils.into_iter().enumerate() {
        for force in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            if force {
                std::fs::write(folder.path().join("f.bin"), b"older").unwrap();
            }
            let part = filled(folder.path(), b"abc");
            spoil(&folder.path().join("f.bin.part"));
            assert_eq!(part.publish(force, &|| false), Ok(Published::New), "{number}");
            assert_eq!(
                (read(folder.path(), "f.bin"), names(folder.path())),
                (b"abc".to_vec(), left.iter().map(ToString::to_string).collect()),
                "{number}"
            );
            assert!(number == 0 || number == 3 || read(folder.path(), "f.bin.part") == b"EVIL");
        }
    }
}

#[test]
fn content_is_saved_when_the_partial_file_or_its_state_is_removed() {
    let source = ResumeSource { file: "h:1/f".to_owned(), size: 9, validator: Validator::Etag("\"1\"".to_owned()) };
    let prefix = ResumePoint::Prefix { offset: 3, digest: None };
    let ranges = ResumePoint::Ranges(vec![RecordedRange { from: 0, to: 9, digest: None }]);
    for (taken, replaced, resume_point) in [
        ("f.bin.part", false, &prefix),
        ("f.bin.part", true, &ranges),
        ("f.bin.part.state", false, &ranges),
        ("f.bin.part.state", true, &prefix),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut part = filled(folder.path(), b"abc");
        part.record(&source, resume_point).unwrap();
        std::fs::remove_file(folder.path().join(taken)).unwrap();
        if replaced {
            std::fs::write(folder.path().join(taken), b"mine").unwrap();
        }
        assert_eq!(part.record(&source, resume_point), Err(Lost), "{taken}");
        part.restore().unwrap();
        part.record(&source, resume_point).unwrap();
        let kept = part.keep();
        assert!(kept.resumable, "{taken}");
        drop(part);
        let Some(ClaimResult::Ours(part)) = PartialFile::find(&target(folder.path()), 0) else { panic!("{taken}") };
        assert_eq!(
            (part.resume_point(), std::fs::read(kept.file.unwrap().as_str()).unwrap()),
            (Some((source.clone(), resume_point.clone())), b"abc".to_vec())
        );
        part.publish(false, &|| false).unwrap();
        let left = if replaced { vec!["f.bin", taken] } else { vec!["f.bin"] };
        assert_eq!(names(folder.path()), left);
        assert!(!replaced || read(folder.path(), taken) == b"mine");
    }
}

#[test]
fn force_keeps_the_permissions_of_the_target_and_never_widens_them() {
    for size in [3, LARGE] {
        for wanted in [0o600, 0o640, 0o666, 0o400] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("f.bin");
            std::fs::write(&path, b"older").unwrap();
            set_mode(&path, wanted);
            let part = PartialFile::open(&target(folder.path()), size, true, 0).unwrap();
            let ClaimResult::Ours(part) = part else { panic!("{part:?}") };
            assert_eq!(part.file().metadata().unwrap().mode() & 0o777, 0o600);
            holding(part, b"abc").publish(true, &|| false).unwrap();
            assert_eq!((mode(&path), read(folder.path(), "f.bin")), (wanted, b"abc".to_vec()));
        }
    }
}

#[test]
fn force_keeps_the_owner_where_permitted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.bin");
    std::fs::write(&path, b"older").unwrap();
    if chown(&path, Some(65534), Some(65534)).is_err() {
        eprintln!("SKIPPED: only root can give a file to another user");
        return;
    }
    set_mode(&path, 0o660);
    filled(folder.path(), b"abc").publish(true, &|| false).unwrap();
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (65534, 65534, 0o660));
}

#[test]
fn a_left_over_partial_file_gets_default_permissions() {
    let folder = tempfile::tempdir().unwrap();
    keep(folder.path(), b"old");
    set_mode(&folder.path().join("f.bin.part"), 0o600);
    filled(folder.path(), b"abc").publish(false, &|| false).unwrap();
    assert_eq!(mode(&folder.path().join("f.bin")), usual_mode());
}

#[test]
fn comparing_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f.bin"), b"abc").unwrap();
    let error = filled(folder.path(), b"abc").publish(false, &|| true).unwrap_err();
    assert_eq!(error.exit_code(), 130);
}
