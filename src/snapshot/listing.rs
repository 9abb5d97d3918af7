//! Listing of a folder of an origin.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bounded::bounded;
use crate::route::{FileName, is_local, walk_order};
use crate::text::SafeText;
use crate::wire::http::{decode_name, encode_name};

/// Most entries of one listing; further ones are counted as omitted.
pub const MAX_ENTRIES: usize = 4096;

/// One folder of an origin: the body of `GET /files/dir/`, or, with `?after=`, a part of its walk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    /// The requested folder; empty for the root.
    pub folder: SafeText,
    /// Its entries, sorted by name; of a walk, all below it, in that order.
    #[serde(deserialize_with = "bounded::<MAX_ENTRIES, _, _>")]
    pub entries: Vec<ListingEntry>,
    /// Number of names after this page; some may not be served. Of a walk, the links, special files and unreadable
    /// files that are left out of this page.
    pub omitted: u64,
    /// The value of `?next=` for the next page, or of `?after=` in a walk; percent-encoded in JSON, as in a URL.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "escape_next",
        deserialize_with = "unescape_next"
    )]
    pub next: Option<FileName>,
    /// Why there is no list.
    pub error: Option<SafeText>,
}

/// One file or folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingEntry {
    /// Its own name, for display.
    pub name: SafeText,
    /// The whole name to request; percent-encoded in JSON, as in a URL after `/files/`.
    #[serde(serialize_with = "escape", deserialize_with = "unescape")]
    pub path: FileName,
    /// Bytes; 0 for a folder.
    pub size: u64,
    /// It is a folder.
    pub is_folder: bool,
    /// Last change of a file's content, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub modified: Option<i64>,
    /// A file that its owner may execute.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub executable: bool,
    /// A file's digest, as `ALGO:HEX`, where the origin knows it already.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
}

impl Listing {
    /// Filters a listing from the network to valid entries of `folder` (`None` is the root).
    ///
    /// A peer must not choose a local name: the displayed name has to be the last component of the name to request, in
    /// the requested folder, and a valid local name. All other entries count as omitted.
    #[must_use]
    pub fn checked(mut self, folder: Option<&FileName>) -> Self {
        let folder = folder.map_or(&b""[..], FileName::as_bytes);
        let folder = &folder[..folder.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1)];
        let listed = self.entries.len();
        self.entries.retain(|entry| entry.is_in(folder));
        self.omitted = self.omitted.saturating_add((listed - self.entries.len()) as u64);
        self.folder = SafeText::from_bytes(folder);
        self
    }

    /// Filters a page of a walk from the network to valid entries below `folder` (`None` is the root) in the order of
    /// the walk, each once and after `after`, which is relative to the folder.
    ///
    /// All other entries count as omitted. A next page that is not behind this one is dropped: a walk ends.
    #[must_use]
    pub fn checked_walk(mut self, folder: Option<&FileName>, after: Option<&FileName>) -> Self {
        let folder = folder.and_then(FileName::as_folder);
        let folder = folder.as_ref().map_or(&b""[..], FileName::as_bytes);
        let mut last = after.map(|after| after.as_bytes().to_vec());
        let listed = self.entries.len();
        self.entries.retain(|entry| {
            let path =
                entry.path_below(folder).filter(|path| last.as_ref().is_none_or(|last| walk_order(last, path).is_lt()));
            let path = path.filter(|path| path.split(|byte| *byte == b'/').all(is_local));
            let path = path.filter(|_| entry.is_named_by_its_path());
            last = path.map(<[u8]>::to_vec).or_else(|| last.take());
            path.is_some()
        });
        self.omitted = self.omitted.saturating_add((listed - self.entries.len()) as u64);
        self.folder = SafeText::from_bytes(folder);
        self.next = self.next.filter(|next| {
            let begin = last.as_deref().or(after.map(FileName::as_bytes));
            begin.is_none_or(|begin| walk_order(begin, next.as_bytes()).is_le())
                && after.is_none_or(|after| walk_order(after.as_bytes(), next.as_bytes()).is_lt())
        });
        self
    }
}

impl ListingEntry {
    /// Creates an entry of which nothing else is known.
    pub fn new(name: SafeText, path: FileName, size: u64, is_folder: bool) -> Self {
        Self { name, path, size, is_folder, modified: None, executable: false, digest: None }
    }

    /// Returns true if it is a visible file or folder directly in this one.
    fn is_in(&self, folder: &[u8]) -> bool {
        self.path_below(folder).is_some_and(|name| self.path.local() == Some(name)) && self.is_named_by_its_path()
    }

    /// Returns its path relative to a folder, if it is below that.
    fn path_below(&self, folder: &[u8]) -> Option<&[u8]> {
        let path = self.path.as_bytes();
        match folder {
            b"" => Some(path),
            _ => path.strip_prefix(folder)?.strip_prefix(b"/"),
        }
    }

    /// Returns true if the displayed name is that of its local file.
    fn is_named_by_its_path(&self) -> bool {
        self.path.local().is_some_and(|local| self.name == SafeText::from_bytes(local))
    }
}

fn escape<S: Serializer>(path: &FileName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&encode_name(path))
}

fn unescape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FileName, D::Error> {
    let text = String::deserialize(deserializer)?;
    decode_name(&text).map_err(D::Error::custom)
}

#[expect(clippy::ref_option, reason = "signature required by serde")]
fn escape_next<S: Serializer>(name: &Option<FileName>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(|name| encode_name(name).to_string()).serialize(serializer)
}

fn unescape_next<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FileName>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| decode_name(&text).map_err(D::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str, path: &[u8]) -> ListingEntry {
        ListingEntry::new(name.into(), FileName::new(path).unwrap(), 1, false)
    }

    #[test]
    fn entries_match_the_requested_and_the_local_name() {
        for (folder, name, path, taken) in [
            (None, "report.pdf", &b"report.pdf"[..], true),
            (Some(&b"docs"[..]), "report.pdf", b"docs/report.pdf", true),
            (Some(b"docs/"), "report.pdf", b"docs/report.pdf", true),
            (Some(b"a/b"), "c", b"a/b/c", true),
            (None, "\\xff", b"\xff", true),
            (None, "report.pdf", b".bash_profile", false),
            (None, ".bash_profile", b".bash_profile", false),
            (None, "report.pdf", b"docs/report.pdf", false),
            (None, "docs/report.pdf", b"docs/report.pdf", false),
            (Some(b"docs"), "report.pdf", b"report.pdf", false),
            (Some(b"docs"), "report.pdf", b"docsreport.pdf", false),
            (Some(b"docs"), "report.pdf", b"docs//report.pdf", false),
            (Some(b"docs"), "report.pdf", b"other/report.pdf", false),
            (Some(b"docs"), "report.pdf", b"docs/../report.pdf", false),
            (Some(b"docs"), "..", b"docs/..", false),
            (Some(b"docs"), ".", b"docs/.", false),
            (Some(b"docs"), "", b"docs/", false),
            (Some(b"docs"), "docs", b"docs", false),
            (None, "a\\u{1b}", b"a\x1b", false),
            (None, "report.pdf ", b"report.pdf", false),
        ] {
            let listing =
                Listing { folder: "/elsewhere".into(), entries: vec![entry(name, path)], ..Listing::default() };
            let folder = folder.map(|folder| FileName::new(folder).unwrap());
            let checked = listing.checked(folder.as_ref());
            assert_eq!((checked.entries.len(), checked.omitted), (taken.into(), (!taken).into()), "{name} {path:?}");
            assert_ne!(checked.folder.as_str(), "/elsewhere");
        }
    }

    proptest! {
    /// The displayed name of any remaining entry is the name of its local file.
            #[test]
            fn listings_cannot_choose_a_local_name(
                folder in proptest::option::of("[a-b./]{1,4}"),
                rows in vec(("[a-b./\u{1b}\u{202e}~ ]{0,5}", "[a-b./\u{1b}\u{202e}~ ]{1,9}", any::<bool>()), 0..20),
            ) {
                let entries: Vec<ListingEntry> = rows
                    .into_iter()
                    .map(|(name, path, is_folder)| ListingEntry { is_folder, ..entry(&name, path.as_bytes()) })
                    .collect();
                let folder = folder.map(|folder| FileName::new(folder.as_bytes()).unwrap());
                let count = entries.len() as u64;
                let checked = Listing { entries, ..Listing::default() }.checked(folder.as_ref());
                prop_assert_eq!(checked.entries.len() as u64 + checked.omitted, count);
                for entry in &checked.entries {
                    let local = entry.path.local().unwrap();
                    prop_assert!(!local.starts_with(b".") && !local.contains(&b'/') && !local.contains(&0x1b));
                    prop_assert_eq!(&entry.name, &SafeText::from_bytes(local));
                    let utf8 = |folder: &FileName| String::from_utf8(folder.as_bytes().to_vec()).unwrap();
                    let requested = folder.as_ref().map_or_else(String::new, utf8);
                    let requested = requested.trim_end_matches('/');
                    let parent = if requested.is_empty() { String::new() } else { format!("{requested}/") };
                    let whole = [parent.as_bytes(), local].concat();
                    prop_assert_eq!(entry.path.as_bytes(), whole);
                }
            }
        }

    #[test]
    fn pages_of_a_walk_are_below_the_folder_in_order_and_lead_on() {
        let name = |path: &[u8]| FileName::new(path).unwrap();
        let listed = |paths: &[&[u8]], next: Option<&[u8]>| {
            let entry = |path: &&[u8]| {
                let path = name(path);
                let last = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                ListingEntry::new(SafeText::from_bytes(last), path.clone(), 1, false)
            };
            Listing { entries: paths.iter().map(entry).collect(), next: next.map(name), ..Listing::default() }
        };
        let kept = |listing: &Listing| -> Vec<Vec<u8>> {
            listing.entries.iter().map(|entry| entry.path.as_bytes().to_vec()).collect()
        };
        let (folder, after) = (name(b"d/"), name(b"b"));
        let paths: [&[u8]; 15] = [
            b"d/a",
            b"d/b",
            b"d/b/c",
            b"d/b-",
            b"d/b-",
            b"d/b/x",
            b"d/c/.hidden",
            b"d/.c/x",
            b"d/c/../x",
            b"d//y",
            b"e/y",
            b"/d/y",
            b"d/y\x1b",
            b"d/y/",
            b"d/z",
        ];
        let page = listed(&paths, Some(b"z")).checked_walk(Some(&folder), Some(&after));
        assert_eq!(kept(&page), [&b"d/b/c"[..], b"d/b-", b"d/z"]);
        assert_eq!((page.omitted, page.folder.as_str(), page.next), (12, "d", Some(name(b"z"))));
        // A path that comes early in its bytes and late in the walk.
        let page = listed(&[b"a.txt", b"a/b"], None).checked_walk(None, None);
        assert_eq!(kept(&page), [b"a.txt"]);
        let page = listed(&[b"a/b", b"a.txt"], None).checked_walk(None, None);
        assert_eq!(kept(&page), [&b"a/b"[..], b"a.txt"]);
        for (next, taken) in [(&b"a"[..], false), (b"b", false), (b"b/c", false), (b"c", true), (b"d", true)] {
            let page = listed(&[b"d/c"], Some(next)).checked_walk(Some(&folder), Some(&after));
            assert_eq!(page.next.is_some(), taken, "{next:?}");
            let page = listed(&[], Some(next)).checked_walk(Some(&folder), Some(&after));
            assert_eq!(page.next.is_some(), taken || next == b"b/c", "{next:?}");
        }
        let mut other = listed(&[b"report.pdf"], None);
        other.entries[0].name = "shown.pdf".into();
        assert_eq!(other.checked_walk(None, None).entries, []);
    }

    #[test]
    fn names_of_any_bytes_round_trip() {
        let path = FileName::new(b"dir/100% \xff?\x1b").unwrap();
        let entry = ListingEntry::new(SafeText::from_bytes(b"100% \xff?\x1b"), path, 7, false);
        let json = serde_json::to_string(&entry).unwrap();
        assert!(json.contains(r#""path":"dir/100%25%20%FF%3F%1B""#), "{json}");
        assert_eq!(serde_json::from_str::<ListingEntry>(&json).unwrap(), entry);
        assert!(serde_json::from_str::<ListingEntry>(&json.replace("%FF", "%0A")).is_err());
        let page = Listing { next: Some(entry.path), ..Listing::default() };
        let json = serde_json::to_string(&page).unwrap();
        assert!(json.contains(r#""next":"dir/100%25%20%FF%3F%1B""#), "{json}");
        assert_eq!(serde_json::from_str::<Listing>(&json).unwrap(), page);
        assert_eq!(serde_json::from_str::<Listing>("{}").unwrap(), Listing::default());
    }
}
