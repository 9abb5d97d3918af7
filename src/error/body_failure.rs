//! What a hop did that broke a body off, and what to do about it.

use std::fmt;

use serde::Serialize;

/// What a hop did that broke a body off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// Nobody listens at its address any more: it was killed, or its machine is off.
    Gone,
    /// It knows nothing of the transfer: it was started anew meanwhile.
    Restarted,
    /// It closed the connection too early.
    Closed,
    /// It reset the connection.
    Reset,
    /// It does not answer.
    Silent,
    /// It was told to break off, or to stop.
    Stopped,
    /// It could not read the file any further.
    Unreadable,
    /// The file changed there while it was sent.
    Changed,
    /// It gave up, because nobody took its bytes.
    Unheard,
    /// It broke off a body that was too slow, because its connections were short.
    TooSlow,
}

impl Broken {
    /// What to do about it, behind a colon; nothing where there is nothing to say.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Gone => ": is a node running there?",
            Self::Silent => ": is it stopped, or its machine gone?",
            Self::Closed | Self::Reset | Self::Unreadable => ": that hop's log says more",
            Self::Restarted | Self::Stopped | Self::Changed | Self::Unheard | Self::TooSlow => ": try again",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "is gone, nobody listens there any more",
            Self::Restarted => "was started anew meanwhile",
            Self::Closed => "closed the connection before the end",
            Self::Reset => "reset the connection",
            Self::Silent => "does not answer",
            Self::Stopped => "was told to break off",
            Self::Unreadable => "could not read the file any further",
            Self::Changed => "has another file by now",
            Self::Unheard => "gave up, for nobody took its bytes",
            Self::TooSlow => "broke it off, for it was too slow while connections there were short",
        })
    }
}
