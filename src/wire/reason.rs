//! Failure reasons of a hop, each with its HTTP status and its text.

use serde::{Deserialize, Serialize};

/// Reason of a failure; each has one status and one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The request is malformed.
    Malformed,
    /// The token for read or control access is missing or wrong.
    Unauthorized,
    /// The node's policy forbids it.
    Policy,
    /// The node serves signed requests only.
    KeyRequired,
    /// The signature of the request does not hold at the node.
    BadSignature,
    /// The peer has another key than expected.
    WrongKey,
    /// The origin has no such file.
    NotFound,
    /// The method is not allowed for files.
    Method,
    /// The request head took too long to arrive.
    HeadTimeout,
    /// The file does not match the request's precondition.
    Changed,
    /// The range lies outside the file.
    Range,
    /// The request head is too large.
    HeadTooLarge,
    /// Nothing listens at the address.
    Refused,
    /// There is no route to the address.
    Unreachable,
    /// The name has no address.
    Unresolved,
    /// The peer closed the connection before it replied.
    Closed,
    /// A server in between ignored the route and sent its own file.
    RouteIgnored,
    /// The peer sent an invalid response.
    BadResponse,
    /// The key of the request has as many transfers at the node as it may have.
    TooManyTransfers,
    /// The key of the request has moved as many bytes at the node as it may in a day.
    DailyLimit,
    /// The node has no free connection.
    Busy,
    /// The node is shutting down.
    Draining,
    /// The peer did not reply in time.
    TimedOut,
    /// The route returns to a node that it has passed.
    Loop,
    /// The body ended early.
    Short,
    /// The body was too slow for a node that was running out of connections.
    TooSlow,
    /// A fault is injected at the node.
    Fault,
    /// Internal error of the node.
    Internal,
    /// The HTTP version is not supported.
    Version,
    /// The request is not supported, or has no form in the next hop's protocol.
    Unsupported,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; Self::Unsupported as usize + 1] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::Policy,
        Self::KeyRequired,
        Self::BadSignature,
        Self::WrongKey,
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
        Self::BadResponse,
        Self::TooManyTransfers,
        Self::DailyLimit,
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

    /// Returns the HTTP status that carries it.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthorized | Self::KeyRequired | Self::BadSignature => 401,
            Self::Policy => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::HeadTimeout => 408,
            Self::Changed => 412,
            Self::Range => 416,
            Self::TooManyTransfers | Self::DailyLimit => 429,
            Self::HeadTooLarge => 431,
            Self::Internal => 500,
            Self::Unsupported => 501,
            Self::Refused
            | Self::Unreachable
            | Self::Unresolved
            | Self::Closed
            | Self::RouteIgnored
            | Self::BadResponse
            | Self::WrongKey
            | Self::Short => 502,
            Self::Busy | Self::Draining | Self::Fault | Self::TooSlow => 503,
            Self::TimedOut => 504,
            Self::Version => 505,
            Self::Loop => 508,
        }
    }

    /// Returns the reason of a status that a foreign server sends without a problem body.
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
            _ => Self::BadResponse,
        }
    }

    /// Returns the text for display.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "request not understood",
            Self::Unauthorized => "token missing or wrong",
            Self::Policy => "refused by policy",
            Self::KeyRequired => "key required",
            Self::BadSignature => "signature not accepted",
            Self::WrongKey => "another key than expected",
            Self::NotFound => "no such file",
            Self::Method => "method not allowed",
            Self::HeadTimeout => "request head too slow",
            Self::Changed => "file changed meanwhile",
            Self::Range => "range outside the file",
            Self::HeadTooLarge => "request head too large",
            Self::Refused => "connection refused",
            Self::Unreachable => "address unreachable",
            Self::Unresolved => "name not found",
            Self::Closed => "closed before it replied",
            Self::RouteIgnored => "ignored the route and sent its own file",
            Self::BadResponse => "bad response",
            Self::TooManyTransfers => "too many transfers of this client",
            Self::DailyLimit => "daily limit reached",
            Self::Busy => "too many connections",
            Self::Draining => "shutting down",
            Self::TimedOut => "did not reply in time",
            Self::Loop => "route returns to a node that it has passed",
            Self::Short => "body ended early",
            Self::TooSlow => "body too slow",
            Self::Fault => "rejected by an injected fault",
            Self::Internal => "internal error",
            Self::Version => "HTTP version not supported",
            Self::Unsupported => "not supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_reason_in_order() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?}");
        }
    }

    #[test]
    fn foreign_statuses_map_to_reasons() {
        for (status, reason) in [
            (302, Reason::BadResponse),
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
