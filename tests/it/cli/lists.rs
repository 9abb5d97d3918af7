//! Lists of files and patterns on the command line.

use super::{code, err, run};

#[test]
fn a_wrong_list_is_an_input_error_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("input.txt"), "f\n127.0.0.1 1\n").unwrap();
    std::fs::write(folder.path().join("list"), "a\n\n../b\n").unwrap();
    let list = run(folder.path(), "--fetch --list-from list");
    assert_eq!(code(&list), 3);
    assert!(err(&list).starts_with("chainview: list:3: the file name contains a `..` segment"), "{}", err(&list));
    let none = run(folder.path(), "--fetch --list-from none");
    assert!(code(&none) == 3 && err(&none).starts_with("chainview: none: no such file"), "{}", err(&none));
}

#[test]
fn options_that_a_folder_does_not_have_are_usage_errors() {
    let folder = tempfile::tempdir().unwrap();
    let digest = format!("blake3:{}", "0".repeat(64));
    for (name, options, expected) in [
        ("d/", "--route other.txt", "--route is for a single file"),
        ("f", "-o - --route other.txt", "over one connection: remove --route"),
        ("d/", "-n 2", "-n is for a single file"),
        ("d/", &*format!("--expect {digest}"), "--expect is for a single file"),
        ("d/", "-o - --exclude x", "one tar stream"),
        ("d/", "-o - --dry-run", "one tar stream"),
        ("f", "--dry-run", "--dry-run is for folders and lists"),
    ] {
        std::fs::write(folder.path().join("input.txt"), format!("{name}\n127.0.0.1 1\n")).unwrap();
        let output = run(folder.path(), &format!("--fetch {options}"));
        assert!(code(&output) == 2 && err(&output).contains(expected), "{options}: {}", err(&output));
    }
}
