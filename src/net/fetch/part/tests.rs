//! Tests of the part file: locks, left-overs, publishing beside, over and against what is there.

use std::os::unix::fs::FileExt;
use std::path::Path;

use super::*;
use crate::route::FileName;

fn place(folder: &Path) -> Arc<Place> {
    Arc::new(Place::of(folder, &FileName::new(b"f.bin").unwrap()).unwrap())
}

fn filled(folder: &Path, bytes: &[u8]) -> Part {
    let part = Part::open(place(folder)).unwrap();
    part.file().write_all_at(bytes, 0).unwrap();
    part
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_part_is_published_under_the_final_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let part = filled(folder.path(), b"abc");
    assert_eq!(names(folder.path()), ["f.bin.part"]);
    assert_eq!(part.publish(false, &|| false), Ok(Published::New));
    assert_eq!(names(folder.path()), ["f.bin"]);
    assert_eq!(std::fs::read(folder.path().join("f.bin")).unwrap(), b"abc");
}

#[test]
fn two_at_once_take_two_parts_and_the_second_finds_the_first_ones_file() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (filled(folder.path(), b"abc"), filled(folder.path(), b"abc"));
    assert_eq!(names(folder.path()), ["f.bin.1.part", "f.bin.part"]);
    assert_eq!(first.publish(false, &|| false), Ok(Published::New));
    assert_eq!(second.publish(false, &|| false), Ok(Published::WasThere));
    assert_eq!(names(folder.path()), ["f.bin"]);
}

#[test]
fn a_left_over_part_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let kept = filled(folder.path(), b"old and long");
    assert!(kept.keep().is_some());
    drop(kept);
    let part = filled(folder.path(), b"new");
    part.publish(false, &|| false).unwrap();
    assert_eq!(std::fs::read(folder.path().join("f.bin")).unwrap(), b"new");
}

#[test]
fn other_content_is_never_replaced_without_force() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f.bin"), b"abd").unwrap();
    let error = filled(folder.path(), b"abc").publish(false, &|| false).unwrap_err();
    assert_eq!(error.exit_code(), 7);
    let text = error.to_string();
    assert!(text.contains("other content") && text.contains("f.bin.part") && text.ends_with("--force replaces it"));
    assert_eq!(std::fs::read(folder.path().join("f.bin")).unwrap(), b"abd");
    assert_eq!(filled(folder.path(), b"abc").publish(true, &|| false), Ok(Published::New));
    assert_eq!(std::fs::read(folder.path().join("f.bin")).unwrap(), b"abc");
    assert_eq!(names(folder.path()), ["f.bin"]);
}

#[test]
fn a_part_without_content_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let part = Part::open(place(folder.path())).unwrap();
    part.reserve(1 << 20).unwrap();
    assert_eq!(part.keep(), None);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn reserved_room_does_not_count_as_content() {
    let folder = tempfile::tempdir().unwrap();
    let part = filled(folder.path(), b"abc");
    part.reserve(1 << 20).unwrap();
    assert_eq!(part.file().metadata().unwrap().len(), 3);
    assert!(part.keep().is_some_and(|path| path.as_str().ends_with("f.bin.part")));
}

#[test]
fn a_link_or_a_folder_in_the_parts_place_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("precious"), b"keep me").unwrap();
    std::os::unix::fs::symlink("precious", folder.path().join("f.bin.part")).unwrap();
    assert_eq!(Part::open(place(folder.path())).unwrap_err().exit_code(), 7);
    assert_eq!(std::fs::read(folder.path().join("precious")).unwrap(), b"keep me");
    std::fs::remove_file(folder.path().join("f.bin.part")).unwrap();
    std::fs::create_dir(folder.path().join("f.bin.part")).unwrap();
    assert_eq!(Part::open(place(folder.path())).unwrap_err().exit_code(), 7);
}

#[test]
fn comparing_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f.bin"), b"abc").unwrap();
    let error = filled(folder.path(), b"abc").publish(false, &|| true).unwrap_err();
    assert_eq!(error.exit_code(), 130);
}

#[test]
fn a_long_name_is_shortened_between_characters() {
    let long = "é".repeat(127);
    let name = part_name(OsStr::new(&long), 999);
    assert!(name.len() <= LONGEST_NAME && name.to_str().is_some_and(|name| name.ends_with("é.999.part")));
}
