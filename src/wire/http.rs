//! HTTP heads, read strictly and written in one piece; pure functions on slices.

mod fields;
mod reply;
mod request;
mod write;

pub(crate) use fields::{decode_name, encode_name, number as parse_number, route as parse_route, text as plain_text};
pub use reply::{ReplyHead, encode_reply, parse_reply};
pub(crate) use request::host as parse_host;
pub use request::{Asked, encode_request, is_http, parse_request};

use memchr::memchr_iter;

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
            error => Self::malformed(error.to_string()),
        }
    }
}

/// The end of the head, if it is there: the offset behind the blank line.
///
/// A head whose lines end in a bare LF, or which holds a bare CR, is refused: two parsers that disagree on line ends can
/// be made to disagree on where a request ends.
fn head_end(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let seen = &bytes[..bytes.len().min(MAX_HEAD)];
    let broken = || HeadError::malformed("a line of the head does not end in CR LF");
    let mut lines = 0;
    for at in memchr_iter(b'\n', seen) {
        if !seen[..at].ends_with(b"\r") {
            return Err(broken());
        }
        lines += 1;
        if seen[..at].ends_with(b"\r\n\r") {
            // Each line has a CR at its end, so one more is a bare one.
            let bare = memchr_iter(b'\r', &seen[..at]).count() > lines;
            return if bare { Err(broken()) } else { Ok(Some(at + 1)) };
        }
    }
    if bytes.len() < MAX_HEAD {
        return Ok(None);
    }
    Err(HeadError { reason: Reason::HeadTooLarge, detail: format!("the head is larger than {MAX_HEAD} bytes") })
}

#[cfg(test)]
mod tests {
    use super::*;

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
