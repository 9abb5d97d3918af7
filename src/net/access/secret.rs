//! A token: read from a file or made at random, never shown, compared in constant time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::process::geteuid;
use subtle::ConstantTimeEq;

use crate::error::{plain, shown};
use crate::net::os::random;
use crate::text::SafeText;

/// Longest token, in bytes; it travels in a head that has 8 KiB for everything.
const LONGEST: usize = 1024;

/// A token, which nothing shows; whoever sends it must ask for it by name.
#[derive(Clone)]
pub struct Secret(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("token file {path}: {source}")]
    Read {
        /// The file.
        path: SafeText,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read the file, so what it holds is no secret.
    #[error("token file {path} can be read by others: chmod 600 it")]
    Open {
        /// The file.
        path: SafeText,
    },
    /// An input file names a token that cannot be read where its tokens live.
    #[error("token file {name}: {reason}: the tokens of an input file live in {folder}")]
    Beneath {
        /// The file, as the input file has it.
        name: SafeText,
        /// What is wrong with it.
        reason: String,
        /// The configuration folder.
        folder: SafeText,
    },
    /// The text cannot be sent as a token.
    #[error("{place} holds no token: write 1 to {LONGEST} letters, digits and signs, without blanks")]
    Unfit {
        /// Where it came from.
        place: String,
    },
}

impl Secret {
    /// Takes a token from text; blanks around it, such as the newline of a file, are not part of it.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        Self::fit(text, "the text")
    }

    /// Reads a token from a file that nobody but its owner may read.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let failed = |source| SecretError::Read { path: shown(path), source };
        Self::from_open(File::open(path).map_err(failed)?, &shown(path))
    }

    /// Reads a token that an input file names: from beneath `folder`, the configuration folder, and nowhere else.
    ///
    /// Input files come from other people, and what such a file names is sent to an address in the same file. So it
    /// must be one that was put there as a token: a regular file of this user's own, closed to others, and no path
    /// leads out.
    pub fn beneath(folder: &Path, name: &str) -> Result<Self, SecretError> {
        let failed = |reason: String| SecretError::Beneath { name: name.into(), reason, folder: shown(folder) };
        let system = |error: io::Error| failed(plain(&error));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, folder, flags, Mode::empty()).map_err(|error| system(error.into()))?;
        // Without NONBLOCK, opening a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let confined = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file: File = match openat2(&root, name, flags, Mode::empty(), confined) {
            Ok(file) => file.into(),
            Err(Errno::XDEV) => return Err(failed("it leads out of the configuration folder".to_owned())),
            Err(error) => return Err(system(error.into())),
        };
        let found = file.metadata().map_err(system)?;
        if !found.is_file() {
            return Err(failed("it is no regular file".to_owned()));
        }
        if found.uid() != geteuid().as_raw() {
            return Err(failed("it belongs to another user".to_owned()));
        }
        Self::from_open(file, &shown(&folder.join(name)))
    }

    /// Makes a token of 128 random bits.
    pub fn random() -> Self {
        Self(random::word())
    }

    /// The token itself, for the one who sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares without telling by the time it takes how much of it was right.
    pub fn matches(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(offered).into()
    }

    fn from_open(file: File, path: &SafeText) -> Result<Self, SecretError> {
        let failed = |source| SecretError::Read { path: path.clone(), source };
        // The handle is asked, not the path, so that what was checked is what is read.
        let mode = file.metadata().map_err(failed)?.mode();
        if mode & 0o077 != 0 {
            return Err(SecretError::Open { path: path.clone() });
        }
        let mut text = String::new();
        file.take(2 * LONGEST as u64).read_to_string(&mut text).map_err(failed)?;
        Self::fit(&text, &format!("token file {path}"))
    }

    fn fit(text: &str, place: &str) -> Result<Self, SecretError> {
        let text = text.trim_ascii();
        let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or_else(|| SecretError::Unfit { place: place.to_owned() })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_read_from_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "s3cret\r\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(Secret::from_file(&path).unwrap().matches(b"s3cret"));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(Secret::from_file(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for unfit in ["", "\n", "two words", "caf\u{e9}", &"x".repeat(LONGEST + 1)] {
            fs::write(&path, unfit).unwrap();
            assert!(Secret::from_file(&path).unwrap_err().to_string().contains("no token"), "{unfit:?}");
        }
        let missing = Secret::from_file(&folder.path().join("none\x1b[2J")).unwrap_err().to_string();
        assert!(missing.contains("none\\u{1b}[2J") && !missing.contains('\x1b'), "{missing}");
    }

    #[test]
    fn what_an_input_file_names_is_read_beneath_the_configuration_folder_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("chainview");
        fs::create_dir_all(folder.join("site")).unwrap();
        let write = |path: &Path| {
            fs::write(path, "s3cret\n").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        };
        write(&folder.join("relay"));
        write(&folder.join("site/origin"));
        for name in ["relay", "site/origin", "site/../relay"] {
            assert!(Secret::beneath(&folder, name).unwrap().matches(b"s3cret"), "{name}");
        }
        // Each of these is a secret of the same user that no input file may have sent.
        let outside = home.path().join(".vault-token");
        write(&outside);
        std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
        std::os::unix::fs::symlink("../../chainview/relay", folder.join("site/round")).unwrap();
        write(&folder.join("open"));
        fs::set_permissions(folder.join("open"), Permissions::from_mode(0o640)).unwrap();
        rustix::fs::mknodat(CWD, folder.join("pipe"), rustix::fs::FileType::Fifo, Mode::from(0o600), 0).unwrap();
        for (name, says) in [
            ("../.vault-token", "leads out"),
            (outside.to_str().unwrap(), "leads out"),
            ("/proc/self/environ", "leads out"),
            ("link", "leads out"),
            ("site/round", "leads out"),
            ("open", "can be read by others"),
            ("pipe", "no regular file"),
            ("site", "no regular file"),
            ("none", "the tokens of an input file live in"),
        ] {
            let why = Secret::beneath(&folder, name).expect_err(name).to_string();
            assert!(why.contains(says) && !why.contains("s3cret"), "{name}: {why}");
        }
        if geteuid().is_root() {
            std::os::unix::fs::chown(folder.join("relay"), Some(65_534), None).unwrap();
            let why = Secret::beneath(&folder, "relay").unwrap_err().to_string();
            assert!(why.contains("belongs to another user"), "{why}");
        } else {
            println!("SKIPPED: a file of another user, which only root can make");
        }
    }

    #[test]
    fn a_token_shows_nowhere() {
        let secret = Secret::random();
        assert_eq!(secret.reveal().len(), 32);
        assert!(!format!("{secret:?}").contains(secret.reveal()));
        assert!(secret.matches(secret.reveal().as_bytes()) && !secret.matches(b""));
        assert_ne!(secret.reveal(), Secret::random().reveal());
    }
}
