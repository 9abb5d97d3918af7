//! Request heads: what a node accepts, and what it sends on.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::time::Duration;

use super::write::{line, put_all};
use super::{HeadError, MAX_FIELDS, MAX_REQUEST_BODY, fields, head_end};
use crate::route::{DEFAULT_BASE, FileName, Host, HostPort};
use crate::wire::{Method, Reason, Request, TransferId, add_to_list};

/// What a head asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A file, by the file path of the program.
    File(Box<Request>),
    /// One of the node's own pages: the HTTP library reads the head again and answers it.
    Page,
}

/// The header lines of one request, each known one at most once.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a str>,
    route: Option<Cow<'a, str>>,
    transfer: Option<&'a str>,
    timeout: Option<&'a str>,
    ack: Option<&'a str>,
    range: Option<&'a str>,
    if_range: Option<&'a str>,
    if_match: Option<Cow<'a, str>>,
    if_none_match: Option<Cow<'a, str>>,
    if_modified_since: Option<&'a str>,
    if_unmodified_since: Option<&'a str>,
    want_digest: Option<Cow<'a, str>>,
    via: Option<String>,
    length: Option<&'a str>,
    connection: Option<Cow<'a, str>>,
}

/// Methods that are known, and not for files: those of HTTP itself and of `WebDAV`, which many file managers try.
const OTHER_METHODS: [&str; 16] = [
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
];

/// True if a first line belongs to HTTP, of whichever version; anything else belongs to the legacy protocol.
pub fn is_http(first_line: &[u8]) -> bool {
    let line = first_line.strip_suffix(b"\r").unwrap_or(first_line);
    let version = line.len().checked_sub(9).filter(|at| *at > 0).map(|at| &line[at..]);
    matches!(version, Some([b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']))
}

/// Reads a request head; `None` while its end is missing, else what it asks for and its length.
///
/// # Errors
/// [`HeadError`] if the head is too long or malformed, or the method, the path or a field is not supported; it has the
/// status to answer with.
pub fn parse_request(bytes: &[u8]) -> Result<Option<(RequestKind, usize)>, HeadError> {
    let Some(end) = head_end(bytes)? else { return Ok(None) };
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    match head.parse_with_uninit_headers(&bytes[..end], &mut lines) {
        Ok(httparse::Status::Complete(length)) if length == end => {}
        Ok(_) => return Err(HeadError::malformed("the head ends in the middle of a line")),
        Err(error) => return Err(error.into()),
    }
    let method = head.method.unwrap_or_default();
    let (authority, path) = split_target(head.path.unwrap_or_default());
    check_method(method, path)?;
    let http11 = head.version == Some(1);
    let mut fields = Fields::collect(&fields::TimingValues::of(&bytes[..end]), head.headers)?;
    if !path.starts_with('/') {
        // The HTTP library finds a path in other forms too, and would take for a page what is none here.
        return Err(HeadError::malformed("what is asked for is no path"));
    }
    check_body(method, path, &fields)?;
    if http11 && fields.host.is_none() {
        return Err(HeadError::malformed("the Host line is missing"));
    }
    // A proxy's client names the host twice; the one in the target counts (RFC 9112, 3.2.2).
    fields.host = authority.or(fields.host);
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let Some(escaped) = path.strip_prefix(DEFAULT_BASE).filter(|escaped| !names_folder(escaped)) else {
        return Ok(Some((RequestKind::Page, end)));
    };
    let method = if method == "HEAD" { Method::Head } else { Method::Get };
    if escaped.contains('#') || query.is_some_and(|query| query.contains('#')) {
        return Err(HeadError::malformed("a path that is asked for has no fragment: write # as %23"));
    }
    let (name, written) = fields::read_name(escaped)?;
    let query = query.map(fields::as_written);
    let request = fields.request(method, name, http11)?;
    Ok(Some((RequestKind::File(Box::new(Request { written, query, ..request })), end)))
}

/// The parts of what is asked for: the host, where a client takes this node for a proxy, and the path with its query.
fn split_target(whole: &str) -> (Option<&str>, &str) {
    const SCHEME: &str = "http://";
    if whole.starts_with('/') || !whole.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME)) {
        return (None, whole);
    }
    let rest = &whole[SCHEME.len()..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let path = if end == rest.len() { "/" } else { &rest[end..] };
    (Some(&rest[..end]), path)
}

/// Files and folders are read, and nothing else is done with them; of pages, the HTTP library knows better.
fn check_method(method: &str, path: &str) -> Result<(), HeadError> {
    if matches!(method, "GET" | "HEAD") {
        return Ok(());
    }
    let refused = |reason, detail: String| Err(HeadError { reason, detail });
    if !OTHER_METHODS.contains(&method) {
        return refused(Reason::Unsupported, format!("{method} is no method that is known here"));
    }
    if method == "CONNECT" {
        return refused(Reason::Unsupported, "this node opens no tunnels".to_owned());
    }
    if path.starts_with(DEFAULT_BASE) || path == "*" {
        return refused(Reason::Method, "files and folders are read with GET or HEAD".to_owned());
    }
    Ok(())
}

/// What stands behind the base is a folder to be listed: a page, and none of the files.
fn names_folder(escaped: &str) -> bool {
    escaped.is_empty() || escaped.ends_with('/')
}

/// Nobody but a control request may have a body, and a body must say how long it is, once.
fn check_body(method: &str, path: &str, fields: &Fields<'_>) -> Result<(), HeadError> {
    let Some(length) = fields.length else { return Ok(()) };
    let length = fields::number(length).ok_or_else(|| HeadError::malformed("Content-Length is not a number"))?;
    let control = method == "POST" && path.starts_with("/v1/");
    match length {
        0 => Ok(()),
        _ if !control => Err(HeadError::malformed("this request may not have a body")),
        _ if length > MAX_REQUEST_BODY => {
            Err(HeadError::malformed(format!("the body is larger than {MAX_REQUEST_BODY} bytes")))
        }
        _ => Ok(()),
    }
}

impl<'a> Fields<'a> {
    fn collect(values: &fields::TimingValues<'a>, headers: &[httparse::Header<'a>]) -> Result<Self, HeadError> {
        let mut fields = Self::default();
        let mut name = [0; 32];
        for header in headers {
            let name = fields::lower(header.name, &mut name);
            let value = || {
                values
                    .text(header.value)
                    .ok_or_else(|| HeadError::malformed(format!("{} holds something else than ASCII", header.name)))
            };
            let once = match name {
                b"host" => &mut fields.host,
                b"chain-transfer" => &mut fields.transfer,
                b"chain-timeout" => &mut fields.timeout,
                b"chain-ack" => &mut fields.ack,
                b"range" => &mut fields.range,
                b"if-range" => &mut fields.if_range,
                b"if-modified-since" => &mut fields.if_modified_since,
                b"if-unmodified-since" => &mut fields.if_unmodified_since,
                b"content-length" => &mut fields.length,
                b"chain-route" => {
                    join(&mut fields.route, value()?);
                    continue;
                }
                b"if-match" => {
                    join(&mut fields.if_match, value()?);
                    continue;
                }
                b"if-none-match" => {
                    join(&mut fields.if_none_match, value()?);
                    continue;
                }
                b"want-repr-digest" => {
                    join(&mut fields.want_digest, value()?);
                    continue;
                }
                b"via" => {
                    // An empty line names nobody.
                    match value()? {
                        "" => {}
                        value => add_to_list(&mut fields.via, value),
                    }
                    continue;
                }
                b"connection" => {
                    join(&mut fields.connection, value()?);
                    continue;
                }
                b"transfer-encoding" => {
                    return Err(HeadError::malformed("Transfer-Encoding is not taken from clients"));
                }
                _ => continue,
            };
            if once.replace(value()?).is_some() {
                return Err(HeadError::malformed(format!("{} is there twice", header.name)));
            }
        }
        Ok(fields)
    }

    fn request(self, method: Method, name: FileName, http11: bool) -> Result<Request, HeadError> {
        let wrong = |field: &str, error: String| HeadError::malformed(format!("{field}: {error}"));
        let timeout = self
            .timeout
            .map(|ms| fields::number(ms).ok_or_else(|| wrong("Chain-Timeout", "not a number of ms".to_owned())))
            .transpose()?;
        let says = |word: &str| {
            let said = self.connection.as_deref();
            said.is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
        };
        let keep_alive = !says("close") && (http11 || says("keep-alive"));
        // A range is for GET alone (RFC 9110, 14.2).
        let range = self.range.filter(|_| method == Method::Get).and_then(fields::range);
        Ok(Request {
            host: self.host.map(host).transpose().map_err(|error| wrong("Host", error))?,
            route: self.route.as_deref().map_or(Ok(Vec::new()), fields::route)?,
            transfer: self
                .transfer
                .map(str::parse::<TransferId>)
                .transpose()
                .map_err(|e| wrong("Chain-Transfer", e))?,
            timeout: timeout.map(Duration::from_millis),
            range,
            if_range: self.if_range.filter(|_| range.is_some()).map(str::to_owned),
            if_match: self.if_match.map(Cow::into_owned),
            if_none_match: self.if_none_match.map(Cow::into_owned),
            if_modified_since: self.if_modified_since.map(str::to_owned),
            if_unmodified_since: self.if_unmodified_since.map(str::to_owned),
            want_digest: self.want_digest.as_deref().and_then(fields::want_digest),
            ack: self.ack == Some("1"),
            via: self.via,
            interim: http11,
            keep_alive,
            ..Request::new(method, name)
        })
    }
}

/// Adds what another line says to a list, which is copied only where it stands in more than one.
fn join<'a>(list: &mut Option<Cow<'a, str>>, entry: &'a str) {
    match list {
        None => *list = Some(Cow::Borrowed(entry)),
        Some(list) => {
            let list = list.to_mut();
            list.push_str(", ");
            list.push_str(entry);
        }
    }
}

/// Reads a `Host` value; without a port it means port 80.
pub(crate) fn host(value: &str) -> Result<HostPort, String> {
    value.parse::<HostPort>().or_else(|error| {
        let portless = value.parse::<Host>().map_err(|_| error)?;
        Ok(HostPort { host: portless, port: 80 })
    })
}

/// The path that is asked for; without its query, for people.
pub fn target(request: &Request, base: Option<&str>) -> String {
    let mut path = Vec::new();
    put_path(request, base, &mut path);
    String::from_utf8(path).unwrap_or_default()
}

fn put_path(request: &Request, base: Option<&str>, out: &mut Vec<u8>) {
    put_all(out, &[base.unwrap_or(DEFAULT_BASE)]);
    match &request.written {
        Some(written) => put_all(out, &[written]),
        None => fields::encode_name(&request.name).for_each(|part| put_all(out, &[part])),
    }
    if base.is_none_or(|base| base == DEFAULT_BASE) && out.ends_with(b"/") {
        // A file may be asked for by such a name; as it stands, it is the path of a folder, and so of a page.
        out.pop();
        out.extend_from_slice(b"%2F");
    }
}

/// Writes a request for the hop that will read it; on the way to the last hop, `base` is the path its names are put
/// behind.
pub fn encode_request(request: &Request, base: Option<&str>, out: &mut Vec<u8>) {
    let method = match request.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
    };
    put_all(out, &[method, " "]);
    put_path(request, base, out);
    if let Some(query) = &request.query {
        put_all(out, &["?", query]);
    }
    put_all(out, &[" HTTP/1.1\r\n"]);
    line(out, "Host: ", request.host.as_ref());
    line(out, "Chain-Route: ", (!request.route.is_empty()).then_some(&request.route[..]));
    line(out, "Chain-Transfer: ", request.transfer);
    line(out, "Chain-Timeout: ", request.timeout.map(|left| left.as_millis() as u64));
    line(out, "Chain-Ack: ", request.ack.then_some("1"));
    line(out, "Range: ", request.range);
    line(out, "If-Range: ", request.if_range.as_deref());
    line(out, "If-Match: ", request.if_match.as_deref());
    line(out, "If-None-Match: ", request.if_none_match.as_deref());
    line(out, "If-Modified-Since: ", request.if_modified_since.as_deref());
    line(out, "If-Unmodified-Since: ", request.if_unmodified_since.as_deref());
    line(out, "Want-Repr-Digest: ", request.want_digest.map(|algorithm| format!("{}=10", algorithm.as_str())));
    line(out, "Via: ", request.via.as_deref());
    // What is measured and proven is the file itself, not a compressed form of it.
    line(out, "Accept-Encoding: ", Some("identity"));
    line(out, "Connection: ", (!request.keep_alive).then_some("close"));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Algorithm, ByteRange};

    fn parse(head: &str) -> Result<RequestKind, HeadError> {
        parse_request(head.as_bytes()).map(|asked| asked.expect("the head is complete").0)
    }

    fn file(lines: &str) -> Result<Request, HeadError> {
        match parse(&format!("GET /files/a%20b HTTP/1.1\r\nHost: h:1\r\n{lines}\r\n"))? {
            RequestKind::File(request) => Ok(*request),
            RequestKind::Page => panic!("a file was asked for"),
        }
    }

    #[test]
    fn a_request_survives_the_wire() {
        let request = Request {
            host: Some("[::1]:9".parse().unwrap()),
            route: vec![crate::route::Hop::parse_element("h:2;protocol=legacy").unwrap()],
            transfer: Some(TransferId(7)),
            timeout: Some(Duration::from_millis(1500)),
            range: Some(ByteRange::From(5)),
            if_range: Some("\"x\"".to_owned()),
            if_match: Some("\"y\"".to_owned()),
            if_none_match: Some("W/\"z\", \"\"".to_owned()),
            if_modified_since: Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
            if_unmodified_since: Some("x".to_owned()),
            query: Some("v=1&w=%2F?".into()),
            want_digest: Some(Algorithm::Blake3),
            ack: true,
            via: Some("1.1 a, 1.1 b".to_owned()),
            interim: true,
            keep_alive: false,
            ..Request::new(Method::Get, FileName::new(b"dir/a b%.txt").unwrap())
        };
        let mut head = Vec::new();
        encode_request(&request, None, &mut head);
        // As it goes on, a name is written as it came.
        let request = Request { written: Some("dir/a%20b%25.txt".into()), ..request };
        let length = head.len();
        head.extend_from_slice(b"GET /next");
        assert_eq!(parse_request(&head), Ok(Some((RequestKind::File(Box::new(request.clone())), length))));
        let folder = Request { name: FileName::new(b"dir/").unwrap(), written: None, ..request.clone() };
        for base in [None, Some(DEFAULT_BASE)] {
            let mut head = Vec::new();
            encode_request(&folder, base, &mut head);
            let folder = Request { written: Some("dir%2F".into()), ..folder.clone() };
            let read = parse_request(&head).unwrap().map(|(asked, _)| asked);
            assert_eq!(read, Some(RequestKind::File(Box::new(folder.clone()))));
        }
        let mut head = Vec::new();
        encode_request(&request, Some("/pub/"), &mut head);
        assert!(head.starts_with(b"GET /pub/dir/a%20b%25.txt?v=1&w=%2F? HTTP/1.1\r\n"));
    }

    #[test]
    fn a_curl_request_is_enough() {
        let request = file("User-Agent: curl/8\r\nAccept: */*\r\nChain-Route: a:1, b:2;base=/\r\n").unwrap();
        assert_eq!((request.name.as_bytes(), request.route.len(), request.keep_alive), (&b"a b"[..], 2, true));
        assert_eq!(file("Via: 1.1 a\r\nVia:\r\nVia: 1.1 b\r\n").unwrap().via.as_deref(), Some("1.1 a, 1.1 b"));
        assert_eq!(file("Via: \r\n").unwrap().via, None);
        assert_eq!(parse("GET /v1/node HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Page));
        let old = parse("GET /files/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        let RequestKind::File(old) = old else { panic!("a file was asked for") };
        assert!(old.keep_alive && !old.interim);
        for closes in ["", "Connection: keep-alive, close\r\n", "Connection: x\r\n"] {
            match parse(&format!("GET /files/x HTTP/1.0\r\n{closes}\r\n")) {
                Ok(RequestKind::File(old)) => assert!(!old.keep_alive, "{closes:?}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn strict_heads_are_refused_with_a_reason() {
        for (lines, says) in [
            ("Transfer-Encoding: chunked\r\n", "Transfer-Encoding"),
            ("Content-Length: 5\r\n", "may not have a body"),
            ("Content-Length: 0\r\nContent-Length: 0\r\n", "twice"),
            ("Host: other\r\n", "twice"),
            ("Content-Length: -1\r\n", "not a number"),
            ("Chain-Route: a:1,,b:2\r\n", "Chain-Route"),
            ("Chain-Route: a:1;evil=2\r\n", "Chain-Route"),
            ("Chain-Timeout: soon\r\n", "Chain-Timeout"),
            ("Chain-Transfer: 12\r\n", "Chain-Transfer"),
            ("Range : bytes=1-\r\n", "header"),
            ("X: a\n", "CR LF"),
            ("X: a\rb\r\n", "CR LF"),
            ("Range: bytes=\x01-\r\n", "header"),
            ("Range: bytes=\x7f-\r\n", "header"),
            ("Range: bytes=\u{85}-\r\n", "ASCII"),
        ] {
            let error = file(lines).unwrap_err();
            assert_eq!(error.reason, Reason::Malformed, "{lines:?}");
            assert!(error.detail.contains(says), "{lines:?}: {}", error.detail);
        }
        assert_eq!(parse("GET /files/ HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Page));
        assert_eq!(parse("HEAD /files/a%20b/ HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Page));
        assert_eq!(parse("GET /files/x/?y HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Page));
        for fragment in ["x#y", "x?y#z"] {
            assert!(parse(&format!("GET /files/{fragment} HTTP/1.1\r\nHost: h\r\n\r\n")).is_err(), "{fragment}");
        }
        assert!(parse("GET /files/x HTTP/1.1\r\n\r\n").unwrap_err().detail.contains("Host"));
        let long = format!("Chain-Route: {}a:1\r\n", "a:1, ".repeat(32));
        assert_eq!(file(&long).unwrap_err().reason, Reason::Loop);
    }

    #[test]
    fn methods_versions_and_forms_that_are_not_served_have_their_status() {
        for (line, status) in [
            ("PUT /files/x HTTP/1.1", 405),
            ("PROPFIND /files/dir/ HTTP/1.1", 405),
            ("OPTIONS * HTTP/1.1", 405),
            ("DELETE http://h/files/x HTTP/1.1", 405),
            ("BREW /files/x HTTP/1.1", 501),
            ("get /files/x HTTP/1.1", 501),
            ("BREW /v1/node HTTP/1.1", 501),
            ("CONNECT h:1 HTTP/1.1", 501),
            ("GET /files/x HTTP/2.0", 505),
            ("GET /files/x HTTP/1.2", 505),
            ("GET files/x HTTP/1.1", 400),
            ("GET https://h/files/x HTTP/1.1", 400),
            ("GET http://u@h/files/x HTTP/1.1", 400),
            ("GET http:///files/x HTTP/1.1", 400),
            ("GET * HTTP/1.1", 400),
        ] {
            // Whatever else the head says: a body, or that one follows.
            for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
                let error = parse(&format!("{line}\r\nHost: h\r\n{lines}\r\n")).unwrap_err();
                assert_eq!(error.reason.status(), status, "{line} {lines:?}: {error}");
            }
        }
        assert_eq!(parse("POST /v1/drain HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Page));
    }

    #[test]
    fn a_proxys_request_and_an_empty_line_before_it_are_taken() {
        for (line, host) in [
            ("GET http://a:5/files/x HTTP/1.1", "a:5"),
            ("GET HTTP://a/files/x?q HTTP/1.1", "a:80"),
            ("\r\nGET /files/x HTTP/1.1", "h:80"),
        ] {
            match parse(&format!("{line}\r\nHost: h\r\n\r\n")) {
                Ok(RequestKind::File(request)) => assert_eq!(request.host, host.parse().ok(), "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        for page in ["http://a", "http://a/v1/node", "http://a/files/"] {
            assert_eq!(parse(&format!("GET {page} HTTP/1.1\r\nHost: h\r\n\r\n")), Ok(RequestKind::Page), "{page}");
        }
    }

    #[test]
    fn a_head_asks_for_no_range() {
        let head = "HEAD /files/x HTTP/1.1\r\nHost: h\r\nRange: bytes=1-\r\nIf-Range: \"x\"\r\n\r\n";
        match parse(head) {
            Ok(RequestKind::File(request)) => assert_eq!((request.range, request.if_range), (None, None)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_control_request_has_a_body_and_only_up_to_the_cap() {
        let asked =
            |what: &str, length: u64| parse(&format!("{what} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"));
        for length in [0, 1, MAX_REQUEST_BODY] {
            assert_eq!(asked("POST /v1/drain", length), Ok(RequestKind::Page), "{length}");
        }
        let error = asked("POST /v1/drain", MAX_REQUEST_BODY + 1).unwrap_err();
        assert_eq!((error.reason, error.detail.contains("larger than 65536")), (Reason::Malformed, true));
        for what in ["GET /v1/drain", "POST /drain", "GET /files/x"] {
            assert!(asked(what, 1).unwrap_err().detail.contains("may not have a body"), "{what}");
        }
        assert!(asked("GET /v1/node", 0).is_ok() && asked("GET /files/x", 0).is_ok());
    }

    #[test]
    fn a_head_larger_than_the_cap_is_refused_before_it_ends() {
        let head = format!("GET /files/x HTTP/1.1\r\nX: {}", "y".repeat(crate::wire::http::MAX_HEAD));
        assert_eq!(parse_request(head.as_bytes()).unwrap_err().reason, Reason::HeadTooLarge);
        let head = |lines: usize| format!("GET /files/x HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(lines - 1));
        assert!(parse_request(head(MAX_FIELDS).as_bytes()).unwrap().is_some());
        assert_eq!(parse_request(head(MAX_FIELDS + 1).as_bytes()).unwrap_err().reason, Reason::HeadTooLarge);
    }

    #[test]
    fn the_first_line_tells_the_wire() {
        assert!(is_http(b"GET /files/x HTTP/1.1\r") && is_http(b"GET / HTTP/1.0"));
        assert!(is_http(b"PRI * HTTP/2.0\r") && !is_http(b"GET / HTTP/2") && !is_http(b"GET / HTTP/1.x"));
        assert!(!is_http(b"test.txt") && !is_http(b" HTTP/1.1") && !is_http(b"\x16\x03\x01"));
    }

    proptest! {
        #[test]
        fn a_name_and_its_query_go_on_as_they_were_written(
            name in "[a-z./%+;&=:@!$'()*,~_é-]{1,20}", query in proptest::option::of("[a-z?/&=+%é]{0,12}"),
        ) {
            let target = query.map_or(name.clone(), |query| format!("{name}?{query}"));
            let read = |target: &str| parse(&format!("GET /files/{target} HTTP/1.1\r\nHost: h:1\r\n\r\n"));
            if let Ok(RequestKind::File(request)) = read(&target) {
                let mut head = Vec::new();
                encode_request(&request, Some("/b/"), &mut head);
                let line = format!("GET /b/{} HTTP/1.1\r\n", target.replace('é', "%C3%A9"));
                prop_assert!(head.starts_with(line.as_bytes()), "{:?}", String::from_utf8_lossy(&head));
                let again = read(&target.replace('é', "%C3%A9"));
                prop_assert_eq!(again, Ok(RequestKind::File(request)));
            }
        }

        #[test]
        fn a_name_of_ours_is_read_as_the_same(name in proptest::collection::vec(1u8.., 1..40)) {
            let Ok(name) = FileName::new(&name) else { return Ok(()) };
            let mut head = Vec::new();
            let host = Some("h:1".parse().unwrap());
            encode_request(&Request { host, ..Request::new(Method::Get, name.clone()) }, None, &mut head);
            match parse_request(&head) {
                Ok(Some((RequestKind::File(read), _))) => prop_assert_eq!(read.name, name),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn no_bytes_panic_and_every_prefix_of_a_head_is_incomplete(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0usize..40,
        ) {
            let _ = parse_request(&bytes);
            let head = b"GET /files/x HTTP/1.1\r\nHost: h:1\r\n\r\n";
            if cut < head.len() {
                prop_assert_eq!(parse_request(&head[..cut]), Ok(None));
            }
        }
    }
}
