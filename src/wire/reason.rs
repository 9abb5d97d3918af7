//! How a hop failed: each reason has its status and its words.

use serde::{Deserialize, Serialize};

/// How it failed; each has one status and one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The request is not one we understand.
    Malformed,
    /// The right to read or to control is missing.
    Unauthorized,
    /// The node's policy forbids it.
    Policy,
    /// The origin has no such file.
    NotFound,
    /// The method is not one for files.
    Method,
    /// The request head took too long to arrive.
    HeadTimeout,
    /// The file is not the one the request was about.
    Changed,
    /// The range lies outside the file.
    Range,
    /// The request head is too large.
    HeadTooLarge,
    /// Nobody listens at the address.
    Refused,
    /// There is no way to the address.
    Unreachable,
    /// The name has no address.
    Unresolved,
    /// The peer closed before it answered.
    Closed,
    /// Someone in between ignored the route and answered with its own file.
    RouteIgnored,
    /// The peer answered with something that is no answer.
    Nonsense,
    /// The node takes no more connections now.
    Busy,
    /// The node is about to stop.
    Draining,
    /// The peer did not answer in time.
    TimedOut,
    /// The route comes back to a node it has passed.
    Loop,
    /// The body ended early.
    Short,
    /// The body was too slow for a node whose connections were short.
    TooSlow,
    /// A person turned a fault on at the node.
    Fault,
    /// The node itself failed.
    Internal,
    /// The version of HTTP is not one that is spoken here.
    Version,
    /// What is asked for cannot be done, or not in the next hop's protocol.
    Unsupported,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; Self::Unsupported as usize + 1] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::Policy,
        Self::NotFound,
        Self::Method,
        Self::HeadTimeout,
        Self::Changed,
        Self::Range,
        Self::HeadTooLarge,
        Self::Refused,
        Self::Unreachable,
        Self::Unresolved,
        Self::Closed,
        Self::RouteIgnored,
        Self::Nonsense,
        Self::Busy,
        Self::Draining,
        Self::TimedOut,
        Self::Loop,
        Self::Short,
        Self::TooSlow,
        Self::Fault,
        Self::Internal,
        Self::Version,
        Self::Unsupported,
    ];

    /// The HTTP status that carries it.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthorized => 401,
            Self::Policy => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::HeadTimeout => 408,
            Self::Changed => 412,
            Self::Range => 416,
            Self::HeadTooLarge => 431,
            Self::Internal => 500,
            Self::Unsupported => 501,
            Self::Refused
            | Self::Unreachable
            | Self::Unresolved
            | Self::Closed
            | Self::RouteIgnored
            | Self::Nonsense
            | Self::Short => 502,
            Self::Busy | Self::Draining | Self::Fault | Self::TooSlow => 503,
            Self::TimedOut => 504,
            Self::Version => 505,
            Self::Loop => 508,
        }
    }

    /// What a status means when a foreign server sends it without a problem body.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 | 407 => Self::Unauthorized,
            403 => Self::Policy,
            404 | 410 => Self::NotFound,
            408 => Self::HeadTimeout,
            412 => Self::Changed,
            416 => Self::Range,
            414 | 431 => Self::HeadTooLarge,
            429 | 503 => Self::Busy,
            504 => Self::TimedOut,
            508 => Self::Loop,
            400..=499 => Self::Malformed,
            500..=599 => Self::Internal,
            _ => Self::Nonsense,
        }
    }

    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Malformed => "request not understood",
            Self::Unauthorized => "token missing or wrong",
            Self::Policy => "refused by policy",
            Self::NotFound => "no such file",
            Self::Method => "method not allowed",
            Self::HeadTimeout => "request head too slow",
            Self::Changed => "file changed meanwhile",
            Self::Range => "range outside the file",
            Self::HeadTooLarge => "request head too large",
            Self::Refused => "connection refused",
            Self::Unreachable => "address unreachable",
            Self::Unresolved => "name not found",
            Self::Closed => "closed before it answered",
            Self::RouteIgnored => "ignored the route and answered with its own file",
            Self::Nonsense => "answer makes no sense",
            Self::Busy => "too many connections",
            Self::Draining => "about to stop",
            Self::TimedOut => "did not answer in time",
            Self::Loop => "route comes back to a node it has passed",
            Self::Short => "body ended early",
            Self::TooSlow => "body too slow",
            Self::Fault => "refused on purpose",
            Self::Internal => "failed inside",
            Self::Version => "another version of HTTP",
            Self::Unsupported => "not supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_listed_in_order() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?}");
        }
    }

    #[test]
    fn a_status_of_a_foreign_server_has_a_reason() {
        for (status, reason) in [
            (302, Reason::Nonsense),
            (401, Reason::Unauthorized),
            (403, Reason::Policy),
            (404, Reason::NotFound),
            (408, Reason::HeadTimeout),
            (412, Reason::Changed),
            (416, Reason::Range),
            (418, Reason::Malformed),
            (429, Reason::Busy),
            (431, Reason::HeadTooLarge),
            (500, Reason::Internal),
            (503, Reason::Busy),
            (504, Reason::TimedOut),
            (508, Reason::Loop),
        ] {
            assert_eq!(Reason::of_status(status), reason, "{status}");
        }
    }
}
