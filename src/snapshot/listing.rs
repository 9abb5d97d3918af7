//! What an origin offers: the entries of one served folder.

use serde::{Deserialize, Serialize};

use super::at_most::at_most;
use crate::text::SafeText;

/// Most entries one listing has; a folder with more says how many it left out.
const MAX_ENTRIES: usize = 4096;

/// One folder of an origin: the body of `GET /files/dir/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    /// The folder, as asked for; empty for the root.
    pub folder: SafeText,
    /// What is in it, sorted by name.
    #[serde(deserialize_with = "at_most::<MAX_ENTRIES, _, _>")]
    pub entries: Vec<Entry>,
    /// Entries left out of the list.
    pub more: u64,
    /// Why there is no list.
    pub error: Option<SafeText>,
}

/// One file or folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Its own name, to show.
    pub name: SafeText,
    /// The whole name to ask for, percent-encoded as in a URL behind `/files/`.
    pub path: SafeText,
    /// Bytes; 0 for a folder.
    pub size: u64,
    /// It is a folder.
    pub is_folder: bool,
}
