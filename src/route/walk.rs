//! The order in which the files of a folder and of its subfolders are sent and listed, and ranges of that order.

use std::cmp::Ordering;

use super::FileName;

/// Compares two paths in the order of a walk: segment by segment, each by its bytes.
///
/// A folder comes immediately before its content, so the order differs from that of the whole paths where a name
/// contains a byte below `/`.
///
/// ```
/// use std::cmp::Ordering::Less;
/// use chainview::route::walk_order;
///
/// assert_eq!(walk_order(b"a", b"a/x"), Less);
/// assert_eq!(walk_order(b"a/x", b"a.txt"), Less);
/// ```
pub fn walk_order(left: &[u8], right: &[u8]) -> Ordering {
    left.split(|byte| *byte == b'/').cmp(right.split(|byte| *byte == b'/'))
}

/// A part of a walk; the default is the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkRange {
    /// The path after which it begins, relative to the folder.
    pub after: Option<FileName>,
    /// The last path that belongs to it, relative to the folder.
    pub until: Option<FileName>,
}

impl WalkRange {
    /// Returns true if a path relative to the folder is in this range.
    pub fn contains(&self, path: &[u8]) -> bool {
        self.after.as_ref().is_none_or(|after| walk_order(after.as_bytes(), path).is_lt())
            && self.until.as_ref().is_none_or(|until| walk_order(path, until.as_bytes()).is_le())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_exclude_their_start_and_include_their_end() {
        let name = |text: &str| FileName::new(text.as_bytes()).ok();
        let range = WalkRange { after: name("a/b"), until: name("c") };
        for (path, contained) in
            [("a", false), ("a/b", false), ("a/b/c", true), ("a/c", true), ("b", true), ("c", true), ("c/d", false)]
        {
            assert_eq!(range.contains(path.as_bytes()), contained, "{path}");
        }
        assert!(WalkRange::default().contains(b"anything"));
    }

    proptest! {
        /// A folder and its content are contiguous.
        #[test]
        fn no_other_path_comes_between_a_folder_and_its_content(
            folder in "[a./-]{1,3}", inner in "[a./-]{1,3}", other in "[a./-]{1,5}",
        ) {
            let content = format!("{folder}/{inner}");
            let (folder, content, other) = (folder.as_bytes(), content.as_bytes(), other.as_bytes());
            prop_assert_eq!(walk_order(folder, content), Ordering::Less);
            if walk_order(folder, other).is_lt() && walk_order(other, content).is_lt() {
                prop_assert!(other.starts_with(folder) && other.get(folder.len()) == Some(&b'/'));
            }
        }
    }
}
