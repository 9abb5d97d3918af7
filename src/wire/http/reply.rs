//! Encoding and parsing of reply heads.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use super::write::{HeadValue as _, leg_entries, line, put_all};
use super::{HeadError, MAX_FIELDS, MAX_HEAD, fields, head_end};
use crate::wire::{DigestProgress, Leg, Method, Problem, Reply, add_to_list};

/// Header of a `102` with the progress of a digest.
const PROGRESS: &str = "Chain-Progress: ";
/// Prefix of every valid reply.
const VERSION: &[u8] = b"HTTP/1.";
/// Record types (alert, handshake) of a TLS server's reply to plain HTTP.
const TLS: [u8; 2] = [0x15, 0x16];
/// Most bytes of header lines that a relay forwards unchanged: a fraction of the largest head.
const MAX_PASSED_LINES: usize = 2048;

/// Member of every reply's `Vary`: the same path names another file over another route.
const ROUTE: &str = "Chain-Route";

/// A head received from the next hop.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyHead {
    /// A 1xx status before the final head, with the progress if it was sent.
    Interim(u16, Option<DigestProgress>),
    /// The final head.
    Final(Box<Reply>),
}

/// Parses a reply head; `None` while it is incomplete, else the head and its length.
///
/// `method` is that of the request: a reply to HEAD has a length but no body.
///
/// # Errors
/// [`HeadError`] if the bytes are not HTTP, the head is too long, or a field that matters here is malformed, repeated
/// or contradicts another.
pub fn parse_reply(bytes: &[u8], method: Method) -> Result<Option<(ReplyHead, usize)>, HeadError> {
    // A server that sends a greeting first, such as SSH or SMTP, is detected by its first bytes, without a timeout.
    let known = bytes.len().min(VERSION.len());
    if bytes[..known] != VERSION[..known] {
        if TLS.contains(&bytes[0]) {
            return Err(HeadError::malformed("the server uses TLS, and a chain carries plain HTTP"));
        }
        return Err(HeadError::malformed("the server does not speak HTTP"));
    }
    let Some(end) = head_end(bytes, MAX_HEAD)? else { return Ok(None) };
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut head, &bytes[..end], &mut lines) {
        Ok(httparse::Status::Complete(length)) if length == end => {}
        Ok(_) => return Err(HeadError::malformed("the head ends in the middle of a line")),
        Err(error) => return Err(error.into()),
    }
    let status = head.code.unwrap_or_default();
    match status {
        101 => return Err(HeadError::malformed("the next hop asks to switch protocols (101)")),
        100..=199 => {
            let line = head.headers.iter().find(|line| line.name.eq_ignore_ascii_case(PROGRESS.trim_end_matches(": ")));
            let progress = line.and_then(|line| std::str::from_utf8(line.value).ok()?.parse().ok());
            return Ok(Some((ReplyHead::Interim(status, progress), end)));
        }
        200..=599 => {}
        _ => return Err(HeadError::malformed(format!("status {status} is not valid"))),
    }
    // Filled in its box: it is half a kilobyte.
    let mut reply = Box::<Reply>::default();
    (reply.status, reply.keep_alive) = (status, head.version == Some(1));
    let mut framing = Framing::default();
    let mut name = [0; 32];
    let values = fields::HeaderValues::of(&bytes[..end]);
    for header in head.headers {
        let name = fields::lower(header.name, &mut name);
        // A value outside ASCII is dropped, not forwarded: no chainview node sends one.
        if let Some(value) = values.text(header.value) {
            read_field(&mut reply, &mut framing, name, value)?;
        }
    }
    framing.apply(&mut reply, method)?;
    if reply.status == 206 {
        // Some servers omit the header on a 206, which implies it.
        reply.accept_ranges = Some(true);
    }
    if !framing.caching && matches!(reply.status, 200 | 206 | 304) {
        // A cache would otherwise use a heuristic lifetime.
        add_line(&mut reply, "Cache-Control: ", "no-cache");
    }
    Ok(Some((ReplyHead::Final(reply), end)))
}

impl Reply {
    /// Returns the set-up times of each relay, nearest to the origin first; at most as many as a route has hops.
    pub fn legs(&self) -> Vec<Leg> {
        self.timing.as_deref().map(fields::legs).unwrap_or_default()
    }

    /// Appends this relay's set-up times.
    pub fn add_leg(&mut self, leg: &Leg) {
        add_to_list(&mut self.timing, &leg_entries(leg));
    }
}

/// Header fields that determine the length of the body.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    transfer_encoding: bool,
    content_encoding: bool,
    /// The reply states a cache lifetime.
    caching: bool,
}

fn read_field(reply: &mut Reply, framing: &mut Framing, name: &[u8], value: &str) -> Result<(), HeadError> {
    let text = || Some(value.to_owned());
    match name {
        b"content-length" => {
            let length = fields::number(value).ok_or_else(|| HeadError::malformed("Content-Length is not a number"))?;
            if framing.length.replace(length).is_some() {
                return Err(HeadError::malformed("Content-Length is repeated"));
            }
        }
        b"transfer-encoding" => framing.transfer_encoding = true,
        b"content-encoding" => framing.content_encoding |= !value.eq_ignore_ascii_case("identity"),
        b"content-range" => match value.strip_prefix("bytes */") {
            Some(size) => reply.range_outside = fields::number(size),
            None => reply.content_range = fields::content_range(value),
        },
        b"etag" => reply.etag = text(),
        b"last-modified" => reply.last_modified = text(),
        b"date" => reply.date = text(),
        b"accept-ranges" => reply.accept_ranges = Some(value.eq_ignore_ascii_case("bytes")),
        b"content-type" => reply.content_type = text().map(Cow::Owned),
        b"vary" if value != ROUTE => {
            for member in value.split(',').map(str::trim_ascii) {
                let length = reply.vary.as_ref().map_or(0, String::len) + member.len();
                if !member.is_empty() && !member.eq_ignore_ascii_case(ROUTE) && length < MAX_PASSED_LINES {
                    add_to_list(&mut reply.vary, member);
                }
            }
        }
        b"cache-control" => {
            framing.caching = true;
            add_line(reply, "Cache-Control: ", value);
        }
        b"expires" => {
            framing.caching = true;
            add_line(reply, "Expires: ", value);
        }
        b"age" => add_line(reply, "Age: ", value),
        b"content-disposition" => add_line(reply, "Content-Disposition: ", value),
        b"content-language" => add_line(reply, "Content-Language: ", value),
        b"content-security-policy" => add_line(reply, "Content-Security-Policy: ", value),
        b"cross-origin-resource-policy" => add_line(reply, "Cross-Origin-Resource-Policy: ", value),
        b"x-content-type-options" => add_line(reply, "X-Content-Type-Options: ", value),
        b"location" => reply.location = text(),
        b"www-authenticate" if reply.challenge.is_none() => reply.challenge = text(),
        b"chain-hops" => reply.hops = fields::number(value).and_then(|hops| u32::try_from(hops).ok()),
        b"via" if !value.is_empty() => {
            add_to_list(&mut reply.via, value);
        }
        b"server-timing" if !value.is_empty() => add_to_list(&mut reply.timing, value),
        b"repr-digest" => reply.digests = fields::digests(value),
        b"chain-problem" => reply.problem = Problem::from_json(value.as_bytes()),
        b"chain-omitted" => reply.omitted = fields::number(value),
        b"chain-grown" => reply.grown = fields::number(value),
        b"retry-after" => reply.retry_after = fields::number(value),
        b"connection" => {
            let close = value.split(',').any(|part| part.trim().eq_ignore_ascii_case("close"));
            reply.keep_alive &= !close;
        }
        b"keep-alive" => reply.keep_alive_timeout = fields::keep_alive_timeout(value),
        _ => {}
    }
    Ok(())
}

/// Appends a line that is forwarded unchanged, if it fits.
fn add_line(reply: &mut Reply, name: &str, value: &str) {
    if !value.is_empty() && reply.lines.len() + name.len() + value.len() + 2 <= MAX_PASSED_LINES {
        let lines = reply.lines.to_mut();
        // Enough for the lines of a chainview node.
        lines.reserve(if lines.is_empty() { 192 } else { 0 });
        lines.extend([name, value, "\r\n"]);
    }
}

impl Framing {
    /// Determines the length of the body, and rejects a reply with ambiguous framing.
    fn apply(&self, reply: &mut Reply, method: Method) -> Result<(), HeadError> {
        let length = self.length;
        if self.transfer_encoding && length.is_some() {
            return Err(HeadError::malformed("both Content-Length and Transfer-Encoding are present"));
        }
        let success = (200..300).contains(&reply.status);
        if success && self.transfer_encoding {
            return Err(HeadError::malformed("the reply has no Content-Length (chunked)"));
        }
        if success && self.content_encoding {
            return Err(HeadError::malformed("the reply is compressed, and a chain relays only the plain file"));
        }
        if reply.status == 206 && method == Method::Get {
            let span = reply.content_range.map(|(first, last, _)| last - first + 1);
            if span.is_none() || length.is_some_and(|length| Some(length) != span) {
                return Err(HeadError::malformed("Content-Range and Content-Length do not agree"));
            }
        }
        // On any other status the header has no meaning; honoring it would treat a whole file as a range.
        reply.content_range = reply.content_range.filter(|_| reply.status == 206);
        let bodyless = matches!(reply.status, 204 | 304);
        reply.length = if bodyless { Some(0) } else { length };
        // Without a length the body ends with the connection, so it carries no further reply.
        reply.keep_alive &= reply.length.is_some() || method == Method::Head;
        Ok(())
    }
}

/// Encodes a `102`: the request is in progress. It also lets a client that probes detect HTTP.
pub fn encode_working(progress: Option<DigestProgress>) -> Vec<u8> {
    let mut out = b"HTTP/1.1 102 Processing\r\n".to_vec();
    line(&mut out, PROGRESS, progress.map(|progress| progress.to_string()));
    out.extend_from_slice(b"\r\n");
    out
}

/// Encodes a reply head.
pub fn encode_reply(reply: &Reply, out: &mut Vec<u8>) {
    "HTTP/1.1 ".put(out);
    u64::from(reply.status).put(out);
    put_all(out, &[" ", phrase(reply.status), "\r\n"]);
    line(out, "Date: ", reply.date.as_deref());
    line(out, "Content-Type: ", reply.content_type.as_deref());
    // The length of a 304 would be that of the file.
    line(out, "Content-Length: ", reply.length.filter(|_| reply.status != 304));
    let range = reply.content_range.map(|(first, last, size)| format!("bytes {first}-{last}/{size}"));
    let range = range.or_else(|| reply.range_outside.map(|size| format!("bytes */{size}")));
    line(out, "Content-Range: ", range);
    line(out, "ETag: ", reply.etag.as_deref());
    line(out, "Last-Modified: ", reply.last_modified.as_deref());
    let ranges = reply.accept_ranges.map(|ranges| if ranges { "bytes" } else { "none" });
    line(out, "Accept-Ranges: ", ranges.filter(|_| matches!(reply.status, 200 | 206)));
    // Every reply of this node is for this route only.
    match &reply.vary {
        None => put_all(out, &["Vary: ", ROUTE, "\r\n"]),
        Some(others) => put_all(out, &["Vary: ", ROUTE, ", ", others, "\r\n"]),
    }
    put_all(out, &[&reply.lines]);
    line(out, "WWW-Authenticate: ", reply.challenge.as_deref());
    line(out, "Chain-Hops: ", reply.hops.map(u64::from));
    line(out, "Via: ", reply.via.as_deref());
    line(out, "Server-Timing: ", reply.timing.as_deref());
    line(out, "Repr-Digest: ", (!reply.digests.is_empty()).then_some(&reply.digests[..]));
    line(out, "Chain-Problem: ", reply.problem.as_ref().map(Problem::to_header));
    line(out, "Chain-Omitted: ", reply.omitted);
    line(out, "Chain-Grown: ", reply.grown);
    line(out, "Retry-After: ", reply.retry_after);
    let connection = if reply.keep_alive { reply.echo_keep_alive.then_some("keep-alive") } else { Some("close") };
    line(out, "Connection: ", connection);
    out.extend_from_slice(b"\r\n");
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        410 => "Gone",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Algorithm, Digest, FailedAction, Leg, Reason};

    fn parse(head: &str) -> Result<Reply, HeadError> {
        match parse_reply(head.as_bytes(), Method::Get)?.expect("the head is complete").0 {
            ReplyHead::Final(reply) => Ok(*reply),
            ReplyHead::Interim(status, _) => panic!("{status} is interim"),
        }
    }

    #[test]
    fn interim_replies_carry_progress() {
        let progress = DigestProgress { done: 1, size: 2, ahead: 3 };
        for progress in [None, Some(progress)] {
            let head = encode_working(progress);
            let parsed = parse_reply(&head, Method::Head).unwrap();
            assert_eq!(parsed, Some((ReplyHead::Interim(102, progress), head.len())));
        }
    }

    #[test]
    fn relays_are_listed_in_order_and_empty_lines_are_skipped() {
        let reply = parse("HTTP/1.1 404 x\r\nVia: 1.1 a\r\nVia:\r\nVia: 1.1 b\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(reply.via.as_deref(), Some("1.1 a, 1.1 b"));
        let reply = parse("HTTP/1.1 404 x\r\nServer-Timing:\r\nServer-Timing: a\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(reply.timing.as_deref(), Some("a"));
    }

    #[test]
    fn legs_are_limited_to_the_hops_of_a_route() {
        let line =
            format!("Server-Timing: {}\r\n", ["resolve;dur=0.500, connect;dur=1.000, wait;dur=2.250"; 9].join(", "));
        let reply = parse(&format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", line.repeat(4))).unwrap();
        assert_eq!(reply.legs().len(), crate::route::MAX_HOPS);
    }

    #[test]
    fn accept_ranges_and_connection_are_parsed() {
        let parsed = |lines: &str| {
            let reply = parse(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{lines}\r\n")).unwrap();
            (reply.accept_ranges, reply.keep_alive)
        };
        assert_eq!(parsed(""), (None, true));
        assert_eq!(parsed("Accept-Ranges: bytes\r\nConnection: keep-alive\r\n"), (Some(true), true));
        assert_eq!(parsed("Accept-Ranges: none\r\nConnection: x, Close\r\n"), (Some(false), false));
        assert_eq!(parsed("Connection: close\r\nConnection: x\r\n"), (None, false));
    }

    #[test]
    fn representation_headers_are_forwarded_and_every_reply_varies_by_route() {
        let sent = |status: u16, lines: &str| {
            let reply = parse(&format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n{lines}\r\n")).unwrap();
            let mut head = Vec::new();
            encode_reply(&reply, &mut head);
            String::from_utf8(head).unwrap()
        };
        for (lines, expected) in [
            ("", "Vary: Chain-Route\r\nCache-Control: no-cache\r\n"),
            ("Cache-Control: max-age=5\r\n", "\r\nCache-Control: max-age=5\r\n"),
            ("Expires: 0\r\nAge: 7\r\n", "\r\nExpires: 0\r\nAge: 7\r\n"),
            ("Vary: Accept-Encoding, chain-route\r\n", "Vary: Chain-Route, Accept-Encoding\r\n"),
            ("Vary: *\r\n", "Vary: Chain-Route, *\r\n"),
            ("Content-Disposition: attachment\r\n", "\r\nContent-Disposition: attachment\r\n"),
            ("Content-Language: de\r\n", "\r\nContent-Language: de\r\n"),
            ("X-Content-Type-Options: nosniff\r\n", "\r\nX-Content-Type-Options: nosniff\r\n"),
        ] {
            let head = sent(200, lines);
            assert!(head.contains(expected), "{lines:?}: {head}");
            assert_eq!(head.matches("Cache-Control").count(), usize::from(!lines.contains("Expires")), "{head}");
        }
        for dropped in
            ["Set-Cookie: a\r\n", "Location: /x\r\n", "Content-Language: \r\n", "Content-Language: \u{e9}\r\n"]
        {
            assert_eq!(sent(200, dropped), sent(200, ""), "{dropped}");
        }
        let long = format!("Content-Language: {}\r\n", "x".repeat(MAX_PASSED_LINES));
        assert_eq!(sent(200, &long), sent(200, ""), "too long a line is dropped");
        assert!(!sent(200, "").contains("Accept-Ranges") && !sent(404, "").contains("Cache-Control"));
        let unchanged = sent(304, "ETag: \"x\"\r\n");
        assert!(unchanged.contains("ETag: \"x\"\r\n") && !unchanged.contains("Content-Length"), "{unchanged}");
    }

    #[test]
    fn every_status_of_a_node_has_a_phrase() {
        let first_line = |status| {
            let mut head = Vec::new();
            encode_reply(&Reply { status, ..Reply::default() }, &mut head);
            String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
        };
        for (status, line) in [
            (200, "200 OK"),
            (204, "204 No Content"),
            (206, "206 Partial Content"),
            (304, "304 Not Modified"),
            (Reason::Malformed.status(), "400 Bad Request"),
            (Reason::Unauthorized.status(), "401 Unauthorized"),
            (Reason::Policy.status(), "403 Forbidden"),
            (Reason::NotFound.status(), "404 Not Found"),
            (Reason::Method.status(), "405 Method Not Allowed"),
            (Reason::Version.status(), "505 HTTP Version Not Supported"),
            (410, "410 Gone"),
            (429, "429 Too Many Requests"),
            (Reason::HeadTimeout.status(), "408 Request Timeout"),
            (Reason::Changed.status(), "412 Precondition Failed"),
            (Reason::Range.status(), "416 Range Not Satisfiable"),
            (Reason::HeadTooLarge.status(), "431 Request Header Fields Too Large"),
            (Reason::Unsupported.status(), "501 Not Implemented"),
            (Reason::Internal.status(), "500 Internal Server Error"),
            (Reason::Refused.status(), "502 Bad Gateway"),
            (Reason::Busy.status(), "503 Service Unavailable"),
            (Reason::TimedOut.status(), "504 Gateway Timeout"),
            (Reason::Loop.status(), "508 Loop Detected"),
        ] {
            assert_eq!(first_line(status), format!("HTTP/1.1 {line}"));
        }
    }

    #[test]
    fn content_range_is_ignored_unless_206() {
        let reply = parse("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Range: bytes 0-4/5\r\n\r\n").unwrap();
        assert_eq!((reply.size(), reply.content_range), (Some(10), None));
    }

    #[test]
    fn replies_round_trip() {
        let reply = Reply {
            status: 206,
            length: Some(5),
            content_range: Some((5, 9, 10)),
            range_outside: None,
            etag: Some("\"e\"".to_owned()),
            last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
            date: Some("Sun, 06 Nov 1994 08:49:38 GMT".to_owned()),
            accept_ranges: Some(true),
            content_type: Some("application/octet-stream".into()),
            vary: Some("Accept".to_owned()),
            lines: "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n".into(),
            location: None,
            challenge: Some("Basic realm=x".to_owned()),
            hops: Some(2),
            via: Some("1.1 a".to_owned()),
            timing: Some("cdn-cache;desc=HIT".to_owned()),
            digests: vec![Digest { algorithm: Algorithm::Blake3, value: [3; 32] }],
            omitted: Some(3),
            grown: Some(11),
            retry_after: Some(1),
            problem: Some(Problem::next(Reason::Refused, FailedAction::Connect, "é:1", "", 0.5)),
            keep_alive: true,
            keep_alive_timeout: None,
            echo_keep_alive: false,
        };
        let leg = Leg { resolve_ms: 0.5, connect_ms: 1.0, wait_ms: 2.25 };
        let mut reply = reply;
        reply.add_leg(&leg);
        reply.add_leg(&leg);
        assert_eq!(reply.legs(), [leg, leg]);
        let mut head = Vec::new();
        encode_reply(&reply, &mut head);
        let length = head.len();
        head.extend_from_slice(b"body");
        assert_eq!(parse_reply(&head, Method::Get), Ok(Some((ReplyHead::Final(Box::new(reply)), length))));
    }

    #[test]
    fn interim_replies_are_recognized() {
        assert_eq!(
            parse_reply(b"HTTP/1.1 102 Processing\r\n\r\nHTTP", Method::Get),
            Ok(Some((ReplyHead::Interim(102, None), 27)))
        );
        assert!(parse_reply(b"HTTP/1.1 101 Switching\r\n\r\n", Method::Get).is_err());
    }

    #[test]
    fn other_protocols_are_rejected_by_their_first_bytes() {
        assert_eq!(parse_reply(b"", Method::Get), Ok(None));
        assert_eq!(parse_reply(b"HTTP", Method::Get), Ok(None));
        for greeting in [&b"SSH-2.0-OpenSSH_9\r\n"[..], b"220 mail", b"\x15\x03", b"HTTP/2.0 200"] {
            assert!(parse_reply(greeting, Method::Get).unwrap_err().detail.contains("HTTP"));
        }
    }

    #[test]
    fn a_206_implies_accept_ranges() {
        let head = "HTTP/1.1 206 Partial\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/9\r\n\r\n";
        let mut out = Vec::new();
        encode_reply(&parse(head).unwrap(), &mut out);
        assert!(String::from_utf8(out).unwrap().contains("Accept-Ranges: bytes\r\n"));
    }

    #[test]
    fn a_416_carries_the_size() {
        let head = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nContent-Range: bytes */9\r\n\r\n";
        let reply = parse(head).unwrap();
        assert_eq!((reply.range_outside, reply.content_range), (Some(9), None));
        let mut out = Vec::new();
        encode_reply(&reply, &mut out);
        assert!(String::from_utf8(out).unwrap().contains("Content-Range: bytes */9\r\n"));
    }

    #[test]
    fn ambiguous_lengths_are_rejected() {
        for lines in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 0x10\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 9\r\nContent-Encoding: gzip\r\n",
        ] {
            assert!(parse(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).is_err(), "{lines:?}");
        }
        assert!(parse("HTTP/1.1 206 Partial\r\nContent-Length: 4\r\nContent-Range: bytes 0-4/9\r\n\r\n").is_err());
        let foreign_error = parse("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert_eq!((foreign_error.status, foreign_error.length, foreign_error.keep_alive), (404, None, false));
    }

    #[test]
    fn a_plain_web_servers_reply_is_accepted() {
        let reply =
            parse("HTTP/1.0 200 OK\r\nServer: SimpleHTTP\r\nContent-Length: 10\r\nLast-Modified: x\r\n\r\n").unwrap();
        assert_eq!((reply.length, reply.hops, reply.keep_alive, reply.etag), (Some(10), None, false, None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_reply(&bytes, Method::Get);
            let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
            head.extend_from_slice(&bytes);
            let _ = parse_reply(&head, Method::Get);
        }
    }
}
