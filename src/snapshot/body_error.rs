//! How a node's part in a transfer ended before it was whole, as its account says it.

use serde::{Deserialize, Serialize};

/// What broke. The source is the next hop for a relay and the file for an origin, the reader is whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broke {
    /// The source ended before its last byte.
    SourceEnded,
    /// The source failed: a connection that was reset, a file that could not be read.
    SourceFailed,
    /// The source gave nothing for the idle limit.
    SourceSilent,
    /// The file changed while it was sent.
    SourceChanged,
    /// The reader left.
    ReaderLeft,
    /// The reader took nothing for the stall limit.
    ReaderStuck,
    /// It was too slow for a node whose connections were short.
    TooSlow,
    /// The node was told to break it off, or to stop, and could wait no longer.
    Stopped,
    /// What a newer node calls by a name that is not known here.
    #[serde(other)]
    Other,
}

impl Broke {
    /// What broke, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::SourceEnded => "its source ended",
            Self::SourceFailed => "its source failed",
            Self::SourceSilent => "its source fell silent",
            Self::SourceChanged => "its file changed",
            Self::ReaderLeft => "its reader left",
            Self::ReaderStuck => "its reader took nothing",
            Self::TooSlow => "it was too slow while its connections were short",
            Self::Stopped => "it was told to stop",
            Self::Other => "it broke off",
        }
    }
}
