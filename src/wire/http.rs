//! Strict parsing and encoding of HTTP heads; pure functions on slices.

mod accept;
mod fields;
mod reply;
mod request;
mod signed;
mod write;

pub(crate) use accept::{Preference, preference};
pub(crate) use fields::{
    bearer as parse_bearer, decode_name, encode_name, host as parse_host, number as parse_number, route as parse_route,
    text as plain_text,
};
pub use reply::{ReplyHead, encode_reply, encode_working, parse_reply};
pub use request::{RequestKind, encode_request, encode_tunnel, is_http, parse_request, target};
pub use signed::{SignedHead, sign_for_hops, sign_request, sign_tunnel, signed_head};
pub(crate) use write::encode_route;

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::Reason;

/// Largest head, in either direction, in bytes; a larger one is rejected, never buffered.
pub const MAX_HEAD: usize = 8 * 1024;
/// Largest head of a signed request: each hop of the longest route has a signature of about 400 bytes.
pub const MAX_SIGNED_HEAD: usize = 24 * 1024;
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
fn head_end(bytes: &[u8], max: usize) -> Result<Option<usize>, HeadError> {
    static BLANK_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
    let seen = &bytes[..bytes.len().min(max)];
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
    if end.is_some() || bytes.len() < max {
        return Ok(end);
    }
    Err(HeadError { reason: Reason::HeadTooLarge, detail: format!("the head is larger than {max} bytes") })
}

/// Returns the largest size of this request's head: a larger one, if its first part has the field that says what is
/// signed.
fn max_request_head(bytes: &[u8]) -> usize {
    // The two spellings that programs write.
    const FIELD: [&[u8]; 2] = [b"\r\nSignature-Input:", b"\r\nsignature-input:"];
    let signed = |first: &[u8]| FIELD.iter().any(|name| memmem::find(first, name).is_some());
    if bytes.get(..MAX_HEAD).is_some_and(signed) { MAX_SIGNED_HEAD } else { MAX_HEAD }
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
        head_end(&vec![b'x'; bytes.len()], MAX_HEAD)
    }

    proptest! {
        #[test]
        fn head_end_matches_the_reference(bytes in "[a\r\n]{0,40}", long in 0usize..3) {
            let bytes = [vec![b'x'; long * (MAX_HEAD / 2 - 10)], bytes.into_bytes()].concat();
            prop_assert_eq!(head_end(&bytes, MAX_HEAD), end_by_the_rule(&bytes));
        }

        #[test]
        fn line_ends_match_the_reference(lines in prop::collection::vec("(|a|bc)(\r\n|\r\n|\r\n|\r|\n)", 0..20)) {
            let bytes = lines.concat().into_bytes();
            prop_assert_eq!(head_end(&bytes, MAX_HEAD), end_by_the_rule(&bytes));
        }
    }

    #[test]
    fn head_size_is_limited() {
        let head = |size: usize| [&vec![b'x'; size - 4][..], b"\r\n\r\n"].concat();
        for max in [MAX_HEAD, MAX_SIGNED_HEAD] {
            assert_eq!(head_end(&head(max), max), Ok(Some(max)));
            assert_eq!(head_end(&head(max)[..max - 1], max), Ok(None));
            for none in [head(max + 1), vec![b'x'; max]] {
                assert_eq!(head_end(&none, max).unwrap_err().reason, Reason::HeadTooLarge);
            }
        }
    }

    #[test]
    fn the_head_of_a_signed_request_may_be_larger() {
        let head = |line: &str, size: usize| {
            let head = format!("GET /files/x HTTP/1.1\r\nHost: h\r\n{line}\r\n");
            let rest = size - head.len() - "X: \r\n\r\n".len();
            format!("{head}X: {}\r\n\r\n", "y".repeat(rest))
        };
        let parsed = |line, size| parse_request(head(line, size).as_bytes()).map(|parsed| parsed.map(|(_, end)| end));
        for line in ["Signature-Input: h0=()", "signature-input:"] {
            assert_eq!(parsed(line, MAX_SIGNED_HEAD), Ok(Some(MAX_SIGNED_HEAD)), "{line}");
            assert_eq!(parsed(line, MAX_SIGNED_HEAD + 1).unwrap_err().reason, Reason::HeadTooLarge);
        }
        for line in ["Signature: h0=::", "X-Signature-Input: a", "X: Signature-Input: a"] {
            assert_eq!(parsed(line, MAX_HEAD + 1).unwrap_err().reason, Reason::HeadTooLarge, "{line}");
        }
    }
}
