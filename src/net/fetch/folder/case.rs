//! Names that differ in case only, where a file system takes them for the same name.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Dir, Stat, fstat, statat};

use crate::error::{Error, shown};
use crate::net::fetch::target::FileId;

/// Tells whether what was found under a name has another one: it is another file of the origin's, or of the user's, and
/// is neither the same nor may it be replaced.
#[derive(Debug, Default)]
pub(super) struct NameCheck {
    folder: Option<FileId>,
    /// Names in that folder when it was read.
    names: HashSet<Vec<u8>>,
}

impl NameCheck {
    /// Returns true if a file that was found in a folder has another name there.
    pub(super) fn is_another(&mut self, folder: BorrowedFd<'_>, name: &[u8], found: &Stat) -> bool {
        let id_of = |name: &[u8]| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|found| FileId::of(&found));
        self.differs(folder, name, FileId::of(found), &id_of)
    }

    fn differs(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        found: FileId,
        id_of: &dyn Fn(&[u8]) -> Option<FileId>,
    ) -> bool {
        // Nearly every file system distinguishes case, and nothing needs to be read.
        let ignores_case = swapped(name).is_some_and(|swapped| id_of(&swapped) == Some(found));
        ignores_case && !self.is_listed(folder, name)
    }

    /// Returns true if the folder lists exactly this name. What is known of it is read again before a name is missed.
    fn is_listed(&mut self, folder: BorrowedFd<'_>, name: &[u8]) -> bool {
        let id = fstat(folder).ok().map(|found| FileId::of(&found));
        if id.is_some() && id == self.folder && self.names.contains(name) {
            return true;
        }
        let entries = Dir::read_from(folder).into_iter().flatten().flatten();
        self.names = entries.map(|entry| entry.file_name().to_bytes().to_vec()).collect();
        self.folder = id;
        self.names.contains(name)
    }
}

/// Returns the error of a file in whose place is another one.
pub(super) fn clash(path: &std::path::Path) -> Error {
    let reason = "a file whose name differs in upper and lower case only is in its place: this file system does not \
                  distinguish them";
    Error::Disk { action: "write it", path: shown(path), reason: reason.to_owned() }
}

/// Returns a name in which the case of each letter is another; `None` for one without letters.
fn swapped(name: &[u8]) -> Option<Vec<u8>> {
    let mut swapped = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for letter in chunk.valid().chars() {
            let mut bytes = [0; 4];
            let mut push = |letter: char| swapped.extend_from_slice(letter.encode_utf8(&mut bytes).as_bytes());
            if letter.is_lowercase() {
                letter.to_uppercase().for_each(&mut push);
            } else {
                letter.to_lowercase().for_each(&mut push);
            }
        }
        swapped.extend_from_slice(chunk.invalid());
    }
    (swapped != name).then_some(swapped)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, hard_link, write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_the_listed_name_of_a_file_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path().join("Name"), "1").unwrap();
        write(folder.path().join("7"), "2").unwrap();
        let handle = File::open(folder.path()).unwrap();
        let found = |name: &str| statat(&handle, name, AtFlags::empty()).unwrap();
        let mut check = NameCheck::default();
        // As where case is not distinguished: every spelling finds the file.
        let id = FileId::of(&found("Name"));
        let mut differs = |name: &str| check.differs(handle.as_fd(), name.as_bytes(), id, &|_| Some(id));
        assert_eq!(["Name", "name", "NAME", "Name"].map(&mut differs), [false, true, true, false]);
        hard_link(folder.path().join("Name"), folder.path().join("name")).unwrap();
        assert_eq!(["name", "NAME"].map(differs), [false, true]);
        // Where it is distinguished, nothing is found under the other spelling, or it is another link.
        for name in ["Name", "name", "7"] {
            assert!(!check.is_another(handle.as_fd(), name.as_bytes(), &found(name)), "{name}");
        }
    }

    #[test]
    fn the_case_of_all_letters_is_swapped() {
        assert_eq!(swapped("aB-ß é\u{3b1}".as_bytes()).unwrap(), "Ab-SS É\u{391}".as_bytes());
        assert_eq!(swapped(b"x\xff").unwrap(), b"X\xff");
        assert_eq!(swapped("12.34-文".as_bytes()), None);
    }
}
