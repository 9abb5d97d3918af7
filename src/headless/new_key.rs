//! `--new-key`: a key in a file of its own.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::console;
use crate::error::{Error, plain, shown};
use crate::keys::{KeyError, KeyPair};

/// Creates a file with a new key, which only its owner can read, and prints the key's fingerprint.
///
/// # Errors
/// `Error::Disk` if the file exists or cannot be written, or the fingerprint cannot be printed; `Error::Other` if the
/// system has no random numbers.
pub fn new_key(file: &Path) -> Result<(), Error> {
    let other = |error: KeyError| Error::Other(error.to_string());
    let text = KeyPair::generate().map_err(other)?;
    let fingerprint = KeyPair::parse(&text).map_err(other)?.public().fingerprint();
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let created = created.map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::AlreadyExists => {
                "there is a file already, and a key is never overwritten: name another file".to_owned()
            }
            ErrorKind::NotFound => format!("{}: create its folder first", plain(&error)),
            _ => plain(&error),
        };
        Error::Disk { action: "create", path: shown(file), reason }
    })?;
    written(created, &text).map_err(|error| {
        // A part of a key is of no use; the file was created by this run.
        let _ = remove_file(file);
        Error::disk("write", file, &error)
    })?;
    console::out(&fingerprint.to_string())
}

fn written(mut file: File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
