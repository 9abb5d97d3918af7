//! What an origin offers: the entries of one served folder.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::at_most::at_most;
use crate::route::FileName;
use crate::text::SafeText;
use crate::wire::http::{decode_name, encode_name};

/// Most entries one listing has; a folder with more says how many it left out.
pub const MAX_ENTRIES: usize = 4096;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its own name, to show.
    pub name: SafeText,
    /// The whole name to ask for; in JSON percent-encoded, as in a URL behind `/files/`.
    #[serde(serialize_with = "escape", deserialize_with = "unescape")]
    pub path: FileName,
    /// Bytes; 0 for a folder.
    pub size: u64,
    /// It is a folder.
    pub is_folder: bool,
}

fn escape<S: Serializer>(path: &FileName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&encode_name(path))
}

fn unescape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FileName, D::Error> {
    let text = String::deserialize(deserializer)?;
    decode_name(&text).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_bytes_survives_json() {
        let path = FileName::new(b"dir/100% \xff?\x1b").unwrap();
        let entry = Entry { name: SafeText::from_bytes(b"100% \xff?\x1b"), path, size: 7, is_folder: false };
        let json = serde_json::to_string(&entry).unwrap();
        assert!(json.contains(r#""path":"dir/100%25%20%FF%3F%1B""#), "{json}");
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
        assert!(serde_json::from_str::<Entry>(&json.replace("%FF", "%0A")).is_err());
    }
}
