//! HTTP heads, read strictly and written in one piece; pure functions on slices.

mod fields;
mod reply;
mod request;
mod write;

pub(crate) use fields::{decode_name, encode_name, number as parse_number, route as parse_route, text as plain_text};
pub use reply::{ReplyHead, encode_reply, encode_working, parse_reply};
pub(crate) use request::host as parse_host;
pub use request::{RequestKind, encode_request, is_http, parse_request, target};

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Reason;

/// Largest head, in either direction; what does not fit is refused, never buffered.
pub const MAX_HEAD: usize = 8 * 1024;
/// Most header lines in a head; an honest client sends about ten.
const MAX_FIELDS: usize = 64;
/// Largest request body, and only control requests may have one.
pub const MAX_REQUEST_BODY: u64 = 64 * 1024;

/// Why a head is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct HeadError {
    /// The kind of failure, which fixes the status.
    pub reason: Reason,
    /// What is wrong, in words.
    pub detail: String,
}

impl HeadError {
    fn malformed(detail: impl Into<String>) -> Self {
        Self { reason: Reason::Malformed, detail: detail.into() }
    }
}

impl From<httparse::Error> for HeadError {
    /// More lines than there is room for are too much, like more bytes; everything else is malformed.
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => {
                Self { reason: Reason::HeadTooLarge, detail: format!("the head has more than {MAX_FIELDS} lines") }
            }
            httparse::Error::Version => {
                Self { reason: Reason::Version, detail: "HTTP/1.1 and HTTP/1.0 are spoken here".to_owned() }
            }
            error => Self::malformed(error.to_string()),
        }
    }
}

/// The end of the head, if it is there: the offset behind the blank line.
///
/// A head whose lines end in a bare LF, or which holds a bare CR, is refused: two parsers that disagree on line ends
/// can be made to disagree on where a request ends.
fn head_end(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    static BLANK_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
    let seen = &bytes[..bytes.len().min(MAX_HEAD)];
    let end = BLANK_LINE.find(seen).map(|at| at + 4);
    // While more is to come, a CR may be that of the next line's end; a bare LF is one already.
    let broken = if let Some(end) = end {
        any_pair(&seen[..end], |cr, lf| cr != lf)
    } else {
        any_pair(seen, |cr, lf| lf && !cr)
    };
    if broken || seen.first() == Some(&b'\n') {
        return Err(HeadError::malformed("a line of the head does not end in CR LF"));
    }
    if end.is_some() || bytes.len() < MAX_HEAD {
        return Ok(end);
    }
    Err(HeadError { reason: Reason::HeadTooLarge, detail: format!("the head is larger than {MAX_HEAD} bytes") })
}

/// True if this holds of any two bytes in a row, of which it is told whether they are a CR and an LF.
///
/// All of them are looked at, because a loop that never leaves early takes many bytes at a time.
fn any_pair(bytes: &[u8], holds: impl Fn(bool, bool) -> bool) -> bool {
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs.fold(false, |any, (first, second)| any | holds(*first == b'\r', *second == b'\n'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule byte by byte.
    fn end_by_the_rule(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
        let seen = &bytes[..bytes.len().min(MAX_HEAD)];
        let broken = Err(HeadError::malformed("a line of the head does not end in CR LF"));
        for at in 0..seen.len() {
            if seen[at] == b'\n' && !seen[..at].ends_with(b"\r") {
                return broken;
            }
            if seen[..=at].ends_with(b"\r\n\r\n") {
                let bare = (0..at).any(|at| seen[at] == b'\r' && seen[at + 1] != b'\n');
                return if bare { broken } else { Ok(Some(at + 1)) };
            }
        }
        head_end(&vec![b'x'; bytes.len()])
    }

    proptest! {
        #[test]
        fn a_head_ends_where_the_rule_says(bytes in "[a\r\n]{0,40}", long in 0usize..3) {
            let bytes = [vec![b'x'; long * (MAX_HEAD / 2 - 10)], bytes.into_bytes()].concat();
            prop_assert_eq!(head_end(&bytes), end_by_the_rule(&bytes));
        }

        #[test]
        fn lines_end_where_the_rule_says(lines in prop::collection::vec("(|a|bc)(\r\n|\r\n|\r\n|\r|\n)", 0..20)) {
            let bytes = lines.concat().into_bytes();
            prop_assert_eq!(head_end(&bytes), end_by_the_rule(&bytes));
        }
    }

    #[test]
    fn a_head_may_fill_its_cap_and_not_pass_it() {
        let head = |size: usize| [&vec![b'x'; size - 4][..], b"\r\n\r\n"].concat();
        assert_eq!(head_end(&head(MAX_HEAD)), Ok(Some(MAX_HEAD)));
        assert_eq!(head_end(&head(MAX_HEAD)[..MAX_HEAD - 1]), Ok(None));
        for none in [&head(MAX_HEAD + 1)[..], &[b'x'; MAX_HEAD]] {
            assert_eq!(head_end(none).unwrap_err().reason, Reason::HeadTooLarge);
        }
    }
}
