//! Requests and replies, independent of the protocol.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::digest::{Algorithm, Digest};
use super::problem::Problem;
use super::transfer::TransferId;
use crate::keys::Signatures;
use crate::route::{FileName, Hop, HostPort};
use crate::secret::Secret;

/// Request method: GET transfers the file, HEAD only its size and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The file.
    Get,
    /// The reply head without the file.
    Head,
}

impl Method {
    /// Returns the method as a request has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// The single byte range of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From an offset to the end: `bytes=5-`.
    From(u64),
    /// Both ends named, the last included: `bytes=5-9`.
    Between(u64, u64),
    /// The last N bytes: `bytes=-5`.
    Last(u64),
}

/// A file request, in either protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a part of a head by itself")]
pub struct Request {
    /// GET or HEAD.
    pub method: Method,
    /// The file.
    pub name: FileName,
    /// The name as it was written in the URL, if this program would write it differently: servers may distinguish `+`
    /// from `%2B`.
    pub written: Option<Box<str>>,
    /// A folder's content is requested as a tar stream; its name ends in a slash.
    pub tar: bool,
    /// The query of the URL; our origin reads it for folders only, and it is never logged.
    pub query: Option<Box<str>>,
    /// The token that listing the origin's folders may need; read and sent for folders only.
    pub authorization: Option<Secret>,
    /// The request came through a proxy that is no chainview node; read for folders only.
    pub proxied: bool,
    /// Signatures for the hops that have not checked theirs yet.
    pub signatures: Option<Box<Signatures>>,
    /// The address under which the client addresses this node.
    pub host: Option<HostPort>,
    /// The remaining hops; empty if this node is the origin.
    pub route: Vec<Hop>,
    /// The transfer's id; the first hop generates a missing one.
    pub transfer: Option<TransferId>,
    /// Remaining time that the client waits for the reply head.
    pub timeout: Option<Duration>,
    /// The requested range.
    pub range: Option<ByteRange>,
    /// The validator on which `range` depends (`If-Range`).
    pub if_range: Option<String>,
    /// The `If-Match` list.
    pub if_match: Option<String>,
    /// The `If-None-Match` list.
    pub if_none_match: Option<String>,
    /// The `If-Modified-Since` date.
    pub if_modified_since: Option<String>,
    /// The `If-Unmodified-Since` date.
    pub if_unmodified_since: Option<String>,
    /// The digest algorithm requested for the reply.
    pub want_digest: Option<Algorithm>,
    /// The client is still detecting our protocol: reply 102 immediately.
    pub ack: bool,
    /// The relays that the request has passed (`Via`).
    pub via: Option<String>,
    /// The client accepts 1xx replies (HTTP/1.1).
    pub interim: bool,
    /// The connection stays open for another request.
    pub keep_alive: bool,
}

/// Set-up times of one relay's leg, by its own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Resolving the next hop's name, in ms.
    pub resolve_ms: f64,
    /// Connecting to it, in ms.
    pub connect_ms: f64,
    /// From the request sent to the reply head read, in ms; includes everything further upstream.
    pub wait_ms: f64,
}

/// A reply head, in either protocol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Length of the body that follows (for HEAD: that would follow), in bytes.
    pub length: Option<u64>,
    /// On 206: first byte, last byte, whole size.
    pub content_range: Option<(u64, u64, u64)>,
    /// On 416: the whole size of the file.
    pub range_outside: Option<u64>,
    /// The validator, quotes included.
    pub etag: Option<String>,
    /// The `Last-Modified` date.
    pub last_modified: Option<String>,
    /// The reply's `Date`.
    pub date: Option<String>,
    /// Whether ranges are supported; `None` if the origin does not state it.
    pub accept_ranges: Option<bool>,
    /// The body's media type.
    pub content_type: Option<Cow<'static, str>>,
    /// The origin's `Vary` members other than the route.
    pub vary: Option<String>,
    /// Further header lines, ready to be sent: those of the received lines that a relay forwards.
    pub lines: Cow<'static, str>,
    /// The target of a redirect; never forwarded.
    pub location: Option<String>,
    /// The authentication challenge (401).
    pub challenge: Option<String>,
    /// Number of relays between the replying node and the origin.
    pub hops: Option<u32>,
    /// The relays that the reply has passed (`Via`).
    pub via: Option<String>,
    /// Set-up times of each relay, as `Server-Timing`; a relay appends its own without parsing the others.
    pub timing: Option<String>,
    /// Digests of the whole file.
    pub digests: Vec<Digest>,
    /// The file has grown to this size since the version that this head describes.
    pub grown: Option<u64>,
    /// Links, special files and unreadable files that a tar stream leaves out.
    pub omitted: Option<u64>,
    /// Seconds after which to retry (503).
    pub retry_after: Option<u64>,
    /// The failure, if it cannot be sent in a body (a reply to HEAD).
    pub problem: Option<Problem>,
    /// The connection stays open for another request.
    pub keep_alive: bool,
    /// Time for which the server keeps an idle connection open, if it announced that.
    pub keep_alive_timeout: Option<Duration>,
    /// The client speaks HTTP/1.0 and needs `Connection: keep-alive`.
    pub echo_keep_alive: bool,
}

impl Request {
    /// Creates a plain request for a file, without chain fields.
    pub fn new(method: Method, name: FileName) -> Self {
        Self {
            method,
            name,
            written: None,
            tar: false,
            query: None,
            authorization: None,
            proxied: false,
            signatures: None,
            host: None,
            route: Vec::new(),
            transfer: None,
            timeout: None,
            range: None,
            if_range: None,
            if_match: None,
            if_none_match: None,
            if_modified_since: None,
            if_unmodified_since: None,
            want_digest: None,
            ack: false,
            via: None,
            interim: false,
            keep_alive: false,
        }
    }
}

impl Request {
    /// Returns whether a request that verifies the file follows, unless the reply has its digest: that of a larger file
    /// is available only after its body.
    pub fn awaits_verification(&self) -> bool {
        self.method == Method::Get && self.want_digest.is_some()
    }
}

impl Reply {
    /// Returns the size of the whole file.
    pub fn size(&self) -> Option<u64> {
        self.content_range.map_or(self.length, |(_, _, size)| Some(size))
    }

    /// Returns the digest of this algorithm, if the reply carries it.
    pub fn digest(&self, algorithm: Algorithm) -> Option<Digest> {
        self.digests.iter().copied().find(|digest| digest.algorithm == algorithm)
    }
}

/// Appends an entry to a comma-separated header list.
pub fn add_to_list(list: &mut Option<String>, entry: &str) {
    match list {
        None => {
            // Room for the entry that a relay appends.
            let mut first = String::with_capacity(entry.len() + 80);
            first.push_str(entry);
            *list = Some(first);
        }
        Some(list) => {
            list.push_str(", ");
            list.push_str(entry);
        }
    }
}

impl ByteRange {
    /// Returns the first and last byte in a file of this size; `None` if the range is not satisfiable (416).
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        let end = size.checked_sub(1)?;
        match self {
            Self::From(first) => (first <= end).then_some((first, end)),
            Self::Between(first, last) => (first <= end).then_some((first, last.min(end))),
            Self::Last(count) => (count > 0).then_some((size.saturating_sub(count), end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_within_the_file() {
        use ByteRange::{Between, From, Last};
        for (range, size, meant) in [
            (From(0), 10, Some((0, 9))),
            (From(9), 10, Some((9, 9))),
            (From(10), 10, None),
            (Between(2, 5), 10, Some((2, 5))),
            (Between(2, 99), 10, Some((2, 9))),
            (Between(9, 9), 10, Some((9, 9))),
            (Between(10, 11), 10, None),
            (Last(3), 10, Some((7, 9))),
            (Last(99), 10, Some((0, 9))),
            (Last(0), 10, None),
            (From(0), 0, None),
            (Last(1), 0, None),
        ] {
            assert_eq!(range.within(size), meant, "{range:?} of {size}");
        }
    }

    #[test]
    fn digest_is_selected_by_algorithm() {
        let digests = [(Algorithm::Sha256, 1), (Algorithm::Blake3, 2)]
            .map(|(algorithm, byte)| Digest { algorithm, value: [byte; 32] });
        let reply = Reply { digests: digests.to_vec(), ..Reply::default() };
        assert_eq!(reply.digest(Algorithm::Blake3), Some(digests[1]));
        assert_eq!(Reply::default().digest(Algorithm::Blake3), None);
    }
}
