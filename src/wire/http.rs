//! HTTP heads, read strictly and written in one piece; pure functions on slices.

mod fields;
mod reply;
mod request;

pub(crate) use fields::{number as parse_number, route as parse_route, text as plain_text};
pub use reply::{ReplyHead, encode_reply, parse_reply};
pub(crate) use request::host as parse_host;
pub use request::{Asked, encode_request, is_http, parse_request};

use super::problem::Reason;

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

/// The end of the head, if it is there: the offset behind the blank line.
///
/// A head whose lines end in a bare LF, or which holds a bare CR, is refused: two parsers that disagree on line ends can
/// be made to disagree on where a request ends.
fn head_end(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    let head = &bytes[..end.unwrap_or(bytes.len()).min(MAX_HEAD)];
    for (at, byte) in head.iter().enumerate() {
        let broken = match byte {
            b'\n' => at == 0 || head[at - 1] != b'\r',
            b'\r' => head.get(at + 1).is_some_and(|next| *next != b'\n'),
            _ => false,
        };
        if broken {
            return Err(HeadError::malformed("a line of the head does not end in CR LF"));
        }
    }
    match end {
        Some(end) if end <= MAX_HEAD => Ok(Some(end)),
        None if bytes.len() < MAX_HEAD => Ok(None),
        _ => {
            Err(HeadError { reason: Reason::HeadTooLarge, detail: format!("the head is larger than {MAX_HEAD} bytes") })
        }
    }
}
