//! Reading of key files: the user's own key, and the keys that a node serves.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::config::open_file;
use crate::error::{Error, plain, shown};
use crate::keys::{AuthorizedKeys, KeyPair, MAX_AUTHORIZED, MAX_KEY_FILE};

/// Largest file of a certificate and those of its authority, in bytes: some hundred of them.
const MAX_CERTIFICATE: usize = 256 * 1024;

/// Reads the key of `--identity`.
///
/// # Errors
/// `Error::Input` if the file cannot be read, other users can read it, or it contains no such key.
pub(super) fn identity(file: &Path) -> Result<KeyPair, Error> {
    let input = |reason: String| Error::Input { path: shown(file), reason };
    let text = read(File::open(file), MAX_KEY_FILE, 0o077).map_err(|error| match error {
        ReadError::Open => {
            input(": other users can read this key: chmod 600 it, or make another with --new-key".to_owned())
        }
        error => input(format!(": {error}")),
    })?;
    KeyPair::parse(&text).map_err(|error| input(format!(": {error}")))
}

/// Reads the files of `--tls-cert` and `--tls-key`.
///
/// # Errors
/// `Error::Input` if a file cannot be read, or other users can read the key.
pub(crate) fn certificate((chain, key): &(PathBuf, PathBuf)) -> Result<(String, String), Error> {
    let input = |file: &Path, reason: String| Error::Input { path: shown(file), reason };
    let read = |file: &Path, others| {
        read(open_file(file), MAX_CERTIFICATE, others).map_err(|error| match error {
            ReadError::Open => input(file, ": other users can read this key: chmod 600 it".to_owned()),
            error => input(file, format!(": {error}")),
        })
    };
    Ok((read(chain, 0)?, read(key, 0o077)?))
}

/// Reads the file of `--authorized-keys`.
///
/// # Errors
/// `Error::Input` if the file cannot be read, other users can change it, or a line is wrong; then it is named.
pub(crate) fn authorized_keys(file: &Path) -> Result<AuthorizedKeys, Error> {
    let input = |reason: String| Error::Input { path: shown(file), reason };
    // A node reads it again while it serves, so nothing may block.
    let text = read(open_file(file), MAX_AUTHORIZED, 0o022).map_err(|error| match error {
        ReadError::Open => input(": other users can change who is authorized: chmod go-w it".to_owned()),
        error => input(format!(": {error}")),
    })?;
    text.parse().map_err(|error| input(format!(":{error}")))
}

/// Error of reading a file of limited size.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{}", plain(.0))]
    System(io::Error),
    #[error("other users have access to it")]
    Open,
    #[error("it has more than {0} bytes: is this a key file?")]
    TooLong(usize),
    #[error("the file is not UTF-8")]
    Encoding,
}

/// Reads a file to which others have none of these permissions.
fn read(file: io::Result<File>, max: usize, others: u32) -> Result<String, ReadError> {
    let file = file.map_err(ReadError::System)?;
    // Of the handle, not of the path, so that the checked file is the one that is read.
    if file.metadata().map_err(ReadError::System)?.mode() & others != 0 {
        return Err(ReadError::Open);
    }
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(ReadError::System)?;
    if bytes.len() > max {
        return Err(ReadError::TooLong(max));
    }
    String::from_utf8(bytes).map_err(|_| ReadError::Encoding)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        write(&file, KeyPair::generate().unwrap()).unwrap();
        for (mode, accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            match identity(&file) {
                Ok(_) => assert!(accepted, "{mode:o}"),
                Err(error) => assert!(!accepted && error.to_string().contains("chmod 600"), "{mode:o}: {error}"),
            }
        }
    }

    #[test]
    fn keys_that_others_can_change_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        write(&file, "anonymous fetch=/\n").unwrap();
        for (mode, accepted) in [(0o644, true), (0o664, false), (0o646, false)] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(authorized_keys(&file).is_ok(), accepted, "{mode:o}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        let error = |text: &[u8]| {
            write(&file, text).unwrap();
            set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            (authorized_keys(&file).unwrap_err().to_string(), identity(&file).unwrap_err())
        };
        let (keys, key) = error(b"anonymous fly\n");
        assert!(keys.contains("keys:1:11: \"fly\" is not a right"), "{keys}");
        assert!(key.to_string().contains("--new-key") && key.exit_code() == 3, "{key}");
        assert!(error(b"\xff").0.contains("UTF-8"));
        assert!(error(&vec![b' '; MAX_AUTHORIZED + 1]).0.contains("is this a key file?"));
        let pipe = folder.path().join("pipe");
        mkfifoat(CWD, &pipe, Mode::RUSR).unwrap();
        assert!(authorized_keys(&pipe).unwrap_err().to_string().contains("it is a pipe, not a file"));
        assert!(authorized_keys(&folder.path().join("none")).unwrap_err().to_string().contains("no such file"));
    }
}
