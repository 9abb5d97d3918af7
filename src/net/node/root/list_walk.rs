//! Pages of the walk of a folder, as listings: the files and folders that its tar stream contains.

use super::list::{MAX_PAGE, json_length};
use super::{OpenError, Root, WalkEntry, WalkError, is_executable};
use crate::net::os::version::Version;
use crate::route::{FileName, WalkRange};
use crate::snapshot::{Listing, ListingEntry, MAX_ENTRIES};
use crate::text::SafeText;
use crate::wire::Digest;

/// Maximum length of an entry in JSON without its names.
const ENTRY_OVERHEAD: usize = 300;

impl Root {
    /// Lists a page of the walk of a folder, `None` for the root; `digest` returns a file's digest if it is known.
    ///
    /// Blocks on the disk, for as long as the names of all folders take that have entries on the page.
    ///
    /// # Errors
    /// `NotFound` if there is no visible folder of this name, `Failed` if it or a folder below it cannot be read.
    pub fn list_walk(
        &self,
        folder: Option<&FileName>,
        range: WalkRange,
        digest: impl Fn(Version) -> Option<Digest>,
    ) -> Result<Listing, OpenError> {
        let mut walk = self.walk(folder, range)?;
        let mut listing = Listing { folder: folder.map(FileName::shown).unwrap_or_default(), ..Listing::default() };
        let (mut length, mut last) = (0, None);
        while let Some(entry) = walk.advance().map_err(to_open_error)? {
            let (stat, version) = match entry {
                WalkEntry::Folder(stat) => (stat, None),
                WalkEntry::File => match walk.read().map_err(to_open_error)? {
                    Some(stat) => (stat, Some(Version::of(&stat))),
                    None => continue,
                },
            };
            let size = version.map_or(0, |version| version.size);
            if listing.entries.len() == MAX_ENTRIES || length > MAX_PAGE {
                // There is at least one more.
                listing.next = last;
                break;
            }
            let Ok(path) = FileName::new(&walk.name()) else { continue };
            let name = SafeText::from_bytes(walk.path().rsplit(|byte| *byte == b'/').next().unwrap_or_default());
            let mut entry = ListingEntry::new(name, path, size, version.is_none());
            entry.modified = Some(stat.st_mtime);
            entry.executable = version.is_some() && is_executable(&stat);
            entry.digest = version.and_then(&digest).map(|digest| digest.to_string());
            length += json_length(&entry) + ENTRY_OVERHEAD;
            listing.entries.push(entry);
            listing.omitted = walk.omitted();
            last = FileName::new(walk.path()).ok();
        }
        if listing.next.is_none() {
            listing.omitted = walk.omitted();
        }
        Ok(listing)
    }
}

fn to_open_error(error: WalkError) -> OpenError {
    match error {
        WalkError::Failed { error, .. } => OpenError::Failed(error),
        error @ WalkError::Changed(_) => OpenError::Failed(std::io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::wire::Algorithm;

    #[test]
    fn a_walk_is_listed_page_by_page_with_what_a_client_compares() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MAX_ENTRIES {
            let folder = dir.path().join(format!("d/{:02}", number % 17));
            fs::create_dir_all(&folder).unwrap();
            let path = folder.join(format!("{number}"));
            fs::write(&path, vec![0; number % 5]).unwrap();
            if number % 5 == 4 {
                fs::set_permissions(path, fs::Permissions::from_mode(0o744)).unwrap();
            }
        }
        std::os::unix::fs::symlink("00", dir.path().join("d/99")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let folder = FileName::new(b"d").unwrap();
        let known = Digest { algorithm: Algorithm::Blake3, value: [1; 32] };
        let digest = |version: Version| (version.size == 3).then_some(known);
        let (mut pages, mut entries, mut after, mut omitted) = (0, Vec::new(), None, 0);
        loop {
            let range = WalkRange { after: after.clone(), until: None };
            let page = root.list_walk(Some(&folder), range, digest).unwrap();
            assert_eq!(page.clone().checked_walk(Some(&folder), after.as_ref()), page);
            pages += 1;
            omitted += page.omitted;
            entries.extend(page.entries);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((pages, entries.len(), omitted), (2, MAX_ENTRIES + 17, 1));
        let files: HashMap<&[u8], &ListingEntry> =
            entries.iter().filter(|entry| !entry.is_folder).map(|entry| (entry.path.as_bytes(), entry)).collect();
        assert_eq!(files.len(), MAX_ENTRIES);
        for (path, entry) in files {
            let served = root.serve(&FileName::new(path).unwrap()).unwrap();
            assert_eq!((entry.size, entry.executable), (served.version.size, entry.size == 4));
            assert_eq!(entry.modified, Some(served.version.modified.0));
            assert_eq!(entry.digest.is_some(), entry.size == 3);
        }
    }
}
