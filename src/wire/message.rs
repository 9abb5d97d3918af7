//! What is asked of a node and what it answers, in either dialect.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::digest::{Algorithm, Digest};
use super::problem::Problem;
use super::transfer::TransferId;
use crate::route::{FileName, Hop, HostPort};

/// GET moves the file; HEAD asks for its size and proof alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The file.
    Get,
    /// Everything but the file.
    Head,
}

/// The one byte range a request may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From an offset to the end: `bytes=5-`.
    From(u64),
    /// Both ends named, the last included: `bytes=5-9`.
    Between(u64, u64),
    /// The last so many bytes: `bytes=-5`.
    Last(u64),
}

/// What is asked of a node, in either dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET or HEAD.
    pub method: Method,
    /// The file.
    pub name: FileName,
    /// The name as it stood in the URL, where that differs from how we would write it: servers may tell `+` from `%2B`.
    pub written: Option<Box<str>>,
    /// What followed `?` in the URL; means nothing to our origin, and is for no log.
    pub query: Option<Box<str>>,
    /// The address by which the asker calls this node.
    pub host: Option<HostPort>,
    /// The hops still to come; none makes this node the origin.
    pub route: Vec<Hop>,
    /// The transfer's id; the first hop makes one where it is missing.
    pub transfer: Option<TransferId>,
    /// How much longer the asker waits for the reply head.
    pub timeout: Option<Duration>,
    /// The part of the file that is wanted.
    pub range: Option<ByteRange>,
    /// The validator under which `range` counts.
    pub if_range: Option<String>,
    /// The validators without which nothing is wanted.
    pub if_match: Option<String>,
    /// The validators with which nothing is wanted.
    pub if_none_match: Option<String>,
    /// Nothing is wanted of a file that has not changed since.
    pub if_modified_since: Option<String>,
    /// Nothing is wanted of a file that has changed since.
    pub if_unmodified_since: Option<String>,
    /// The digest that is wanted with the reply.
    pub want_digest: Option<Algorithm>,
    /// The asker does not know our wire yet: answer 102 at once.
    pub ack: bool,
    /// The relays behind us, as they wrote themselves down.
    pub via: Option<String>,
    /// The asker can take 1xx replies (HTTP/1.1).
    pub interim: bool,
    /// The connection stays open for another request.
    pub keep_alive: bool,
}

/// What one relay spent on setting up its leg, by its own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Resolving the next hop's name, in ms.
    pub resolve_ms: f64,
    /// Connecting to it, in ms.
    pub connect_ms: f64,
    /// From the request sent to the reply head read, in ms; holds all that lies further upstream.
    pub wait_ms: f64,
}

/// The head of a reply, in either dialect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Bytes of the body that follows (for HEAD: that would follow).
    pub length: Option<u64>,
    /// On 206: first byte, last byte, whole size.
    pub content_range: Option<(u64, u64, u64)>,
    /// On 416: the whole size, which the range that was asked for lies outside.
    pub range_outside: Option<u64>,
    /// The validator, quotes included.
    pub etag: Option<String>,
    /// The date the file was last changed, in HTTP's form.
    pub last_modified: Option<String>,
    /// When the reply was made, in HTTP's form.
    pub date: Option<String>,
    /// Ranges can be asked for, or cannot; `None` where the origin says nothing of it.
    pub accept_ranges: Option<bool>,
    /// The body's media type.
    pub content_type: Option<Cow<'static, str>>,
    /// What else but the route the reply depends on, as the origin says.
    pub vary: Option<String>,
    /// Further header lines, ready to be sent: of those that came, only the ones a relay passes on.
    pub lines: Cow<'static, str>,
    /// Where a redirect leads; never sent on.
    pub location: Option<String>,
    /// How to log in (401).
    pub challenge: Option<String>,
    /// How many relays stand between the answering node and the origin.
    pub hops: Option<u32>,
    /// The relays that passed this reply on.
    pub via: Option<String>,
    /// What each relay spent on set-up, in the words of `Server-Timing`; a relay adds its own and reads no other.
    pub timing: Option<String>,
    /// Digests of the whole file.
    pub digests: Vec<Digest>,
    /// The file has grown to so many bytes since it was as the rest of this says.
    pub grown: Option<u64>,
    /// Seconds after which to ask again (503).
    pub retry_after: Option<u64>,
    /// What went wrong, where that cannot be said in a body (a reply to HEAD).
    pub problem: Option<Problem>,
    /// The connection stays open for another request.
    pub keep_alive: bool,
    /// The asker speaks HTTP/1.0, and has to be told that the connection stays open.
    pub echo_keep_alive: bool,
}

impl Request {
    /// A request for a file and nothing else, by somebody who knows nothing of chains.
    pub fn new(method: Method, name: FileName) -> Self {
        Self {
            method,
            name,
            written: None,
            query: None,
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

impl Reply {
    /// The size of the whole file, whichever part of it follows.
    pub fn size(&self) -> Option<u64> {
        self.content_range.map_or(self.length, |(_, _, size)| Some(size))
    }

    /// The digest of one kind, if the reply carries it.
    pub fn digest(&self, algorithm: Algorithm) -> Option<Digest> {
        self.digests.iter().copied().find(|digest| digest.algorithm == algorithm)
    }
}

/// Adds to a list in the form that headers have, where entries are parted by commas.
pub fn add_to_list(list: &mut Option<String>, entry: &str) {
    match list {
        None => {
            // A relay adds to what it reads.
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
    /// The bytes meant in a file of this size: first and last; `None` where there are none (416).
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
    fn a_range_means_bytes_that_there_are_or_none() {
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
    fn a_reply_gives_the_digest_of_the_kind_that_is_wanted() {
        let digests = [(Algorithm::Sha256, 1), (Algorithm::Blake3, 2)]
            .map(|(algorithm, byte)| Digest { algorithm, value: [byte; 32] });
        let reply = Reply { digests: digests.to_vec(), ..Reply::default() };
        assert_eq!(reply.digest(Algorithm::Blake3), Some(digests[1]));
        assert_eq!(Reply::default().digest(Algorithm::Blake3), None);
    }
}
