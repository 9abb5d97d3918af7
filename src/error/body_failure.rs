//! Cause at a hop of an incomplete body, and advice on it.

use std::fmt;

use serde::Serialize;

/// Cause at a hop of an incomplete body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyFailure {
    /// Nothing listens at its address any more: it was killed, or its machine is off.
    Gone,
    /// It does not know the transfer: it was restarted meanwhile.
    Restarted,
    /// It closed the connection too early.
    Closed,
    /// It reset the connection.
    Reset,
    /// What it had encrypted was altered, lost or repeated on the way to this client.
    Altered,
    /// It does not respond.
    Silent,
    /// A control request made it abort the transfer, or stop.
    Stopped,
    /// It could not read the file any further.
    Unreadable,
    /// The file changed there while it was sent.
    Changed,
    /// It timed out because the client stopped reading.
    Unheard,
    /// It aborted a slow body, because it was running out of connections.
    TooSlow,
    /// It ended the body, because the key of the client has moved as many bytes as it may in a day.
    DailyLimit,
}

impl BodyFailure {
    /// Returns advice for the user, after a colon.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Gone => ": is a node running there?",
            Self::Silent => ": is it stopped, or its machine down?",
            Self::Closed | Self::Reset | Self::Unreadable => ": see that hop's log",
            Self::Altered => ": any relay before it, or the network, may have done that",
            Self::Restarted | Self::Stopped | Self::Changed | Self::Unheard | Self::TooSlow => ": try again",
            Self::DailyLimit => "",
        }
    }
}

impl fmt::Display for BodyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "is down: nothing listens there any more",
            Self::Restarted => "was restarted meanwhile",
            Self::Closed => "closed the connection before the end",
            Self::Reset => "reset the connection",
            Self::Altered => "sent encrypted bytes that did not arrive as they were",
            Self::Silent => "does not respond",
            Self::Stopped => "was requested to abort the transfer",
            Self::Unreadable => "could not read the file any further",
            Self::Changed => "has another file by now",
            Self::Unheard => "timed out: its receiver stopped reading",
            Self::TooSlow => "aborted the slow transfer, as it was running out of connections",
            Self::DailyLimit => "ended the transfer: the daily limit was reached",
        })
    }
}
