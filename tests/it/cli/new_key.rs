//! `--new-key`: a key in a file of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use chainview::keys::{Fingerprint, KeyPair};

use super::{chainview, code, err, out, run};

#[test]
fn a_new_key_is_private_and_its_fingerprint_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let made = run(dir.path(), "--new-key key");
    assert_eq!((code(&made), err(&made).as_str()), (0, ""));
    let file = dir.path().join("key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let fingerprint: Fingerprint = out(&made).trim_end().parse().unwrap();
    assert_eq!(KeyPair::parse(&text).unwrap().public().fingerprint(), fingerprint);
    assert!(text.lines().next().unwrap().ends_with(out(&made).trim_end()));

    let again = run(dir.path(), "--new-key key");
    assert_eq!((code(&again), out(&again).as_str()), (7, ""));
    assert!(err(&again).contains("never overwritten"), "{}", err(&again));
    std::os::unix::fs::symlink("elsewhere", dir.path().join("link")).unwrap();
    assert_eq!(code(&run(dir.path(), "--new-key link")), 7);
    assert!(!dir.path().join("elsewhere").exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(code(&run(dir.path(), "--new-key missing/key")), 7);
}

#[test]
fn a_fingerprint_that_cannot_be_printed_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let made = chainview(dir.path()).args(["--new-key", "key"]).stdout(full).output().unwrap();
    assert_eq!(code(&made), 7, "{}", err(&made));
}

#[test]
fn a_new_key_is_a_mode_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    for line in ["--new-key key --fetch", "--new-key key input.txt", "--new-key key --demo", "--new-key key --root ."] {
        let made = run(dir.path(), line);
        assert_eq!(code(&made), 2, "{line}: {}", err(&made));
    }
    assert!(!dir.path().join("key").exists());
}
