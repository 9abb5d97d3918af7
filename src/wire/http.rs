//! Strict parsing and encoding of HTTP heads; pure functions on slices.

mod accept;
mod fields;
mod reply;
mod request;
mod write;

pub(crate) use accept::{Preference, preference};
pub(crate) use fields::{
    bearer as parse_bearer, decode_name, encode_name, number as parse_number, route as parse_route, text as plain_text,
};
pub use reply::{ReplyHead, encode_reply, encode_working, parse_reply};
pub(crate) use request::host as parse_host;
pub use request::{RequestKind, encode_request, is_http, parse_request, target};

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Reason;

/// Largest head, in either direction, in bytes; a larger one is rejected, never buffered.
pub const MAX_HEAD: usize = 8 * 1024;
/// Most header lines in a head; a normal client sends about ten.
const MAX_FIELDS: usize = 64;
/// Largest request body, in bytes; only control requests may have one.
pub const MAX_REQUEST_BODY: u64 = 64 * 1024;

/// Error of a rejected head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct HeadError {
    /// The reason, which determines the status.
    pub reason: Reason,
    /// Description for display.
    pub detail: String,
}

impl HeadError {
    pub(in crate::wire) fn malformed(detail: impl Into<String>) -> Self {
        Self { reason: Reason::Malformed, detail: detail.into() }
    }
}

impl From<httparse::Error> for HeadError {
    /// Maps too many lines to the same reason as too many bytes; everything else is malformed.
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => {
                Self { reason: Reason::HeadTooLarge, detail: format!("the head has more than {MAX_FIELDS} lines") }
            }
            httparse::Error::Version => {
                Self { reason: Reason::Version, detail: "HTTP/1.1 and HTTP/1.0 are supported".to_owned() }
            }
            error => Self::malformed(error.to_string()),
        }
    }
}

/// Returns the offset after the blank line that ends the head, if it has arrived.
///
/// A head with a bare LF or CR is rejected: two parsers that disagree on line ends
/// can be made to disagree on where a request ends (request smuggling).
fn head_end(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    static BLANK_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
    let seen = &bytes[..bytes.len().min(MAX_HEAD)];
    let end = BLANK_LINE.find(seen).map(|at| at + 4);
    // In an incomplete head, a last CR may still be followed by its LF; a bare LF is already an error.
    let malformed = if let Some(end) = end {
        any_pair(&seen[..end], |cr, lf| cr != lf)
    } else {
        any_pair(seen, |cr, lf| lf && !cr)
    };
    if malformed || seen.first() == Some(&b'\n') {
        return Err(HeadError::malformed("a line of the head does not end in CR LF"));
    }
    if end.is_some() || bytes.len() < MAX_HEAD {
        return Ok(end);
    }
    Err(HeadError { reason: Reason::HeadTooLarge, detail: format!("the head is larger than {MAX_HEAD} bytes") })
}

/// Returns true if `holds` is true for any two consecutive bytes; it gets whether the first is a CR and the second an
/// LF.
///
/// It never returns early, so that the loop is vectorized.
fn any_pair(bytes: &[u8], holds: impl Fn(bool, bool) -> bool) -> bool {
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs.fold(false, |any, (first, second)| any | holds(*first == b'\r', *second == b'\n'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte-by-byte reference implementation.
    fn end_by_the_rule(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
        let seen = &bytes[..bytes.len().min(MAX_HEAD)];
        let malformed = Err(HeadError::malformed("a line of the head does not end in CR LF"));
        for at in 0..seen.len() {
            if seen[at] == b'\n' && !seen[..at].ends_with(b"\r") {
                return malformed;
            }
            if seen[..=at].ends_with(b"\r\n\r\n") {
                let bare = (0..at).any(|at| seen[at] == b'\r' && seen[at + 1] != b'\n');
                return if bare { malformed } else { Ok(Some(at + 1)) };
            }
        }
        head_end(&vec![b'x'; bytes.len()])
    }

    proptest! {
        #[test]
        fn head_end_matches_the_reference(bytes in "[a\r\n]{0,40}", long in 0usize..3) {
            let bytes = [vec![b'x'; long * (MAX_HEAD / 2 - 10)], bytes.into_bytes()].concat();
            prop_assert_eq!(head_end(&bytes), end_by_the_rule(&bytes));
        }

        #[test]
        fn line_ends_match_the_reference(lines in prop::collection::vec("(|a|bc)(\r\n|\r\n|\r\n|\r|\n)", 0..20)) {
            let bytes = lines.concat().into_bytes();
            prop_assert_eq!(head_end(&bytes), end_by_the_rule(&bytes));
        }
    }

    #[test]
    fn head_size_is_limited() {
        let head = |size: usize| [&vec![b'x'; size - 4][..], b"\r\n\r\n"].concat();
        assert_eq!(head_end(&head(MAX_HEAD)), Ok(Some(MAX_HEAD)));
        assert_eq!(head_end(&head(MAX_HEAD)[..MAX_HEAD - 1]), Ok(None));
        for none in [&head(MAX_HEAD + 1)[..], &[b'x'; MAX_HEAD]] {
            assert_eq!(head_end(none).unwrap_err().reason, Reason::HeadTooLarge);
        }
    }
}
