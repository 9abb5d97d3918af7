//! Memory across runs, in the state folder of the user: preferences of the screen, and recent input files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use etcetera::base_strategy::{BaseStrategy, Xdg};
use rustix::fs::OFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{plain, shown};
use crate::ui::Preferences;

/// Largest file read, in bytes; twenty long paths need less.
const MAX_FILE: u64 = 256 * 1024;
/// Most input files remembered.
const MAX_RECENT: usize = 20;
const SCREEN: &str = "screen.json";
const CHAINS: &str = "chains.json";

/// The state folder; without one nothing is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    folder: Option<PathBuf>,
}

/// Input file that was opened before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecentChain {
    /// Its absolute path.
    pub path: PathBuf,
    /// When it was opened last, in seconds since 1970.
    pub used: u64,
}

impl Memory {
    /// Returns the memory of this user.
    pub(crate) fn of_user() -> Self {
        Self { folder: Xdg::new().ok().and_then(|xdg| xdg.state_dir()).map(|folder| folder.join("chainview")) }
    }

    /// Reads the preferences. Broken content is ignored, with a note for the log.
    pub(crate) fn preferences(&self) -> (Preferences, Option<String>) {
        self.read(SCREEN)
    }

    /// Writes the preferences.
    pub(crate) fn keep(&self, preferences: &Preferences) -> Result<(), String> {
        self.write(SCREEN, preferences)
    }

    /// Reads the recent input files, the newest first.
    pub(crate) fn recent(&self) -> (Vec<RecentChain>, Option<String>) {
        self.read(CHAINS)
    }

    /// Remembers an input file as the newest.
    pub(crate) fn opened(&self, path: &Path) -> Result<(), String> {
        let used = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (mut chains, _) = self.recent();
        // Such a path has no form in JSON.
        if path.to_str().is_none() {
            return Ok(());
        }
        chains.retain(|chain| chain.path != path);
        chains.insert(0, RecentChain { path: path.to_owned(), used });
        chains.truncate(MAX_RECENT);
        self.write(CHAINS, &chains)
    }

    fn read<T: DeserializeOwned + Default>(&self, name: &str) -> (T, Option<String>) {
        let Some(folder) = &self.folder else { return (T::default(), None) };
        let path = folder.join(name);
        let ignored = |why: String| (T::default(), Some(format!("{}: ignored: {why}", shown(&path))));
        match read_file(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_or_else(|error| ignored(error.to_string()), |all| (all, None))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                (T::default(), None)
            }
            Err(error) => ignored(plain(&error)),
        }
    }

    /// Replaces a file as a whole: another run reads the old or the new content.
    fn write<T: Serialize>(&self, name: &str, content: &T) -> Result<(), String> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let replace = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // Only its owner may read a file of this library.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec_pretty(content)?)?;
            file.persist(folder.join(name)).map_err(|error| error.error).map(drop)
        };
        replace().map_err(|error| format!("{}: not written: {}", shown(&folder.join(name)), plain(&error)))
    }
}

/// Reads a file without waiting for the writer of a pipe.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn memory() -> (tempfile::TempDir, Memory) {
        let home = tempfile::tempdir().unwrap();
        let memory = Memory { folder: Some(home.path().join("state/chainview")) };
        (home, memory)
    }

    #[test]
    fn preferences_are_private_and_come_back() {
        let (home, memory) = memory();
        assert_eq!(memory.preferences(), (Preferences::default(), None), "nothing is there at first");
        let wanted = Preferences { theme: Some("light".into()), ..Preferences::default() };
        memory.keep(&wanted).unwrap();
        assert_eq!(memory.preferences(), (wanted, None));
        let file = home.path().join("state/chainview/screen.json");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no temporary file remains");
    }

    #[test]
    fn broken_content_is_ignored_with_a_note() {
        let (home, memory) = memory();
        memory.keep(&Preferences::default()).unwrap();
        let file = home.path().join("state/chainview/screen.json");
        for broken in ["", "{", "[]x", "{\"mouse\":5}", "\u{0}"] {
            std::fs::write(&file, broken).unwrap();
            let (read, note) = memory.preferences();
            assert_eq!(read, Preferences::default());
            assert!(note.is_some_and(|note| note.contains("screen.json: ignored: ")), "{broken}");
        }
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(memory.preferences().1.is_some_and(|note| note.contains("not a regular file")));
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(memory.keep(&Preferences::default()).is_err_and(|why| why.contains("not written")));
    }

    #[test]
    fn the_newest_chains_are_kept_once_each() {
        let (_home, memory) = memory();
        for number in 0..25 {
            memory.opened(Path::new(&format!("/chains/{number}.txt"))).unwrap();
        }
        memory.opened(Path::new("/chains/10.txt")).unwrap();
        let (chains, note) = memory.recent();
        let paths: Vec<_> = chains.iter().map(|chain| chain.path.to_str().unwrap().to_owned()).collect();
        assert_eq!((paths.len(), note), (MAX_RECENT, None));
        assert_eq!(paths[..3], ["/chains/10.txt", "/chains/24.txt", "/chains/23.txt"]);
        assert_eq!(paths.iter().filter(|path| *path == "/chains/10.txt").count(), 1);
        assert!(chains.iter().all(|chain| chain.used > 1_700_000_000));
    }

    #[test]
    fn without_a_folder_nothing_is_remembered() {
        let memory = Memory { folder: None };
        assert_eq!((memory.opened(Path::new("/x")), memory.recent()), (Ok(()), (Vec::new(), None)));
    }
}
