//! Reason that a node reports for an incomplete body.

use serde::{Deserialize, Serialize};

/// Reason of an incomplete body. The source is the next hop of a relay and the file of an origin; the reader is the
/// previous hop or the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyError {
    /// The source ended before its last byte.
    SourceEnded,
    /// The source failed: a connection that was reset, a file that could not be read.
    SourceFailed,
    /// The source sent nothing for the idle timeout.
    SourceSilent,
    /// The file changed while it was sent.
    SourceChanged,
    /// The reader disconnected.
    ReaderLeft,
    /// The reader read nothing for the stall timeout.
    ReaderStuck,
    /// It was too slow for a node that was running out of connections.
    TooSlow,
    /// Its key has moved as many bytes as it may in a day.
    DailyLimit,
    /// A control request aborted the transfer, or the shutdown timed out.
    Stopped,
    /// A reason of a newer node that is not known here.
    #[serde(other)]
    Other,
}

impl BodyError {
    /// Describes the reason.
    pub fn words(self) -> &'static str {
        match self {
            Self::SourceEnded => "its source ended",
            Self::SourceFailed => "its source failed",
            Self::SourceSilent => "its source timed out",
            Self::SourceChanged => "its file changed",
            Self::ReaderLeft => "its reader disconnected",
            Self::ReaderStuck => "its reader stopped reading",
            Self::TooSlow => "it was too slow while the node was running out of connections",
            Self::DailyLimit => "the daily limit of its key was reached",
            Self::Stopped => "it was stopped",
            Self::Other => "it was aborted",
        }
    }
}
