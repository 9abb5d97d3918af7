//! Parsing and encoding of request heads.

mod target;
mod tunnel;

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::time::Duration;

use super::accept::preference;
use super::write::{line, put_all};
use super::{HeadError, MAX_FIELDS, MAX_REQUEST_BODY, fields, head_end, max_request_head};
use crate::keys::Signatures;
use crate::route::{DEFAULT_BASE, FileName, Hop, HostPort};
use crate::secret::Secret;
use crate::wire::media::TAR;
use crate::wire::{Method, Request, TransferId, TunnelRequest, add_to_list};
pub(super) use target::split_target;
use target::{check_method, names_folder};
pub use tunnel::encode_tunnel;

/// Kind of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A file below the base path, or a folder there as a tar stream.
    File(Box<Request>),
    /// A tunnel; everything behind the head belongs to it.
    Tunnel(Box<TunnelRequest>),
    /// One of the node's own endpoints: the HTTP library parses the head again and replies.
    Endpoint,
}

/// The known header fields of one request.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) route: Option<Cow<'a, str>>,
    pub(super) transfer: Option<&'a str>,
    timeout: Option<&'a str>,
    ack: Option<&'a str>,
    range: Option<&'a str>,
    if_range: Option<&'a str>,
    if_match: Option<Cow<'a, str>>,
    if_none_match: Option<Cow<'a, str>>,
    if_modified_since: Option<&'a str>,
    if_unmodified_since: Option<&'a str>,
    want_digest: Option<Cow<'a, str>>,
    accept: Option<Cow<'a, str>>,
    pub(super) authorization: Option<&'a str>,
    pub(super) authorizations: usize,
    pub(super) content_digest: Option<Cow<'a, str>>,
    signature_input: Option<Cow<'a, str>>,
    signature: Option<Cow<'a, str>>,
    key: Option<&'a str>,
    proxied: bool,
    via: Option<String>,
    length: Option<&'a str>,
    connection: Option<Cow<'a, str>>,
}

/// Where the value of a known header line goes.
enum Place<'f, 'a> {
    /// The line may occur once.
    Once(&'f mut Option<&'a str>),
    /// The values of all such lines make one list.
    List(&'f mut Option<Cow<'a, str>>),
}

/// Returns true if a first line is HTTP, of any version; anything else is the legacy protocol.
pub fn is_http(first_line: &[u8]) -> bool {
    let line = first_line.strip_suffix(b"\r").unwrap_or(first_line);
    let version = line.len().checked_sub(9).filter(|at| *at > 0).map(|at| &line[at..]);
    matches!(version, Some([b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']))
}

/// Parses a request head; `None` while it is incomplete, else the request and the head's length.
///
/// # Errors
/// [`HeadError`], with the status to reply, if the head is too long or malformed, or the method, the path or a field is
/// not supported.
pub fn parse_request(bytes: &[u8]) -> Result<Option<(RequestKind, usize)>, HeadError> {
    let Some(end) = head_end(bytes, max_request_head(bytes))? else { return Ok(None) };
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    match head.parse_with_uninit_headers(&bytes[..end], &mut lines) {
        Ok(httparse::Status::Complete(length)) if length == end => {}
        Ok(_) => return Err(HeadError::malformed("the head ends in the middle of a line")),
        Err(error) => return Err(error.into()),
    }
    let (method, target) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
    let http11 = head.version == Some(1);
    let (authority, path) = split_target(target);
    if method != "CONNECT" {
        check_method(method, path)?;
    }
    let mut fields = Fields::collect(&fields::HeaderValues::of(&bytes[..end]), head.headers)?;
    if http11 && fields.host.is_none() {
        return Err(HeadError::malformed("the Host header is missing"));
    }
    if method == "CONNECT" {
        return Ok(Some((RequestKind::Tunnel(Box::new(fields.tunnel(target, http11)?)), end)));
    }
    if !path.starts_with('/') {
        // The HTTP library accepts other forms of targets too, and would treat them as an endpoint.
        return Err(HeadError::malformed("the request target is not a path"));
    }
    check_body(method, path, &fields)?;
    // A proxy's client sends the host twice; the one in the target takes precedence (RFC 9112, 3.2.2).
    fields.host = authority.or(fields.host);
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let tar = path.strip_prefix(DEFAULT_BASE).is_some_and(names_folder) && fields.accepts_tar();
    let Some(escaped) = path.strip_prefix(DEFAULT_BASE).filter(|escaped| tar || !names_folder(escaped)) else {
        return Ok(Some((RequestKind::Endpoint, end)));
    };
    // The served folder itself has no name of its own.
    let escaped = if escaped.is_empty() { "/" } else { escaped };
    let method = if method == "HEAD" { Method::Head } else { Method::Get };
    if escaped.contains('#') || query.is_some_and(|query| query.contains('#')) {
        return Err(HeadError::malformed("a request target has no fragment: write # as %23"));
    }
    let (name, written) = fields::read_name(escaped)?;
    let query = query.map(fields::as_written);
    let (authorization, proxied) = if tar { (fields.token(), fields.proxied) } else { (None, false) };
    let request = fields.request(method, name, http11)?;
    let request = Request { written, tar, query, authorization, proxied, ..request };
    Ok(Some((RequestKind::File(Box::new(request)), end)))
}

/// Allows a body for control requests only, with a limited Content-Length.
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
    pub(super) fn collect(
        values: &fields::HeaderValues<'a>,
        headers: &[httparse::Header<'a>],
    ) -> Result<Self, HeadError> {
        let mut fields = Self::default();
        let mut name = [0; 32];
        for header in headers {
            let name = fields::lower(header.name, &mut name);
            let value = || {
                values
                    .text(header.value)
                    .ok_or_else(|| HeadError::malformed(format!("{} contains bytes outside ASCII", header.name)))
            };
            let place = match name {
                b"host" => Place::Once(&mut fields.host),
                b"chain-transfer" => Place::Once(&mut fields.transfer),
                b"chain-timeout" => Place::Once(&mut fields.timeout),
                b"chain-ack" => Place::Once(&mut fields.ack),
                b"range" => Place::Once(&mut fields.range),
                b"if-range" => Place::Once(&mut fields.if_range),
                b"if-modified-since" => Place::Once(&mut fields.if_modified_since),
                b"if-unmodified-since" => Place::Once(&mut fields.if_unmodified_since),
                b"content-length" => Place::Once(&mut fields.length),
                b"chain-key" => Place::Once(&mut fields.key),
                b"signature-input" => Place::List(&mut fields.signature_input),
                b"signature" => Place::List(&mut fields.signature),
                b"content-digest" => Place::List(&mut fields.content_digest),
                b"chain-route" => Place::List(&mut fields.route),
                b"if-match" => Place::List(&mut fields.if_match),
                b"if-none-match" => Place::List(&mut fields.if_none_match),
                b"want-repr-digest" => Place::List(&mut fields.want_digest),
                b"connection" => Place::List(&mut fields.connection),
                b"accept" => {
                    // Only its names matter here, and other programs may put anything beside them.
                    if let Ok(value) = value() {
                        fields::join(&mut fields.accept, value);
                    }
                    continue;
                }
                b"authorization" => {
                    fields.authorization = values.text(header.value);
                    fields.authorizations += 1;
                    continue;
                }
                b"forwarded" | b"x-forwarded-for" => {
                    fields.proxied = true;
                    continue;
                }
                b"via" => {
                    // An empty line names no relay.
                    match value()? {
                        "" => {}
                        value => add_to_list(&mut fields.via, value),
                    }
                    continue;
                }
                b"transfer-encoding" => {
                    return Err(HeadError::malformed("Transfer-Encoding is not accepted from clients"));
                }
                _ => continue,
            };
            match place {
                Place::List(list) => fields::join(list, value()?),
                Place::Once(once) => {
                    if once.replace(value()?).is_some() {
                        return Err(HeadError::malformed(format!("{} is repeated", header.name)));
                    }
                }
            }
        }
        Ok(fields)
    }

    /// Returns the bearer token, if there is exactly one.
    fn token(&self) -> Option<Secret> {
        let value = self.authorization.filter(|_| self.authorizations == 1)?;
        Secret::new(fields::bearer(value)?).ok()
    }

    /// Returns the signatures, with the key that verifies them.
    pub(super) fn signatures(&self) -> Option<Signatures> {
        let text = |field: &str| field.trim_ascii().to_owned();
        let (input, signature) = (self.signature_input.as_deref()?, self.signature.as_deref()?);
        Some(Signatures { input: text(input), signature: text(signature), key: text(self.key?) })
    }

    /// Returns true if the client names the type of a tar stream; a range such as `*/*` means a listing.
    fn accepts_tar(&self) -> bool {
        preference(self.accept.as_deref(), TAR).is_wanted()
    }

    fn host(&self) -> Result<Option<HostPort>, HeadError> {
        self.host.map(fields::host).transpose().map_err(|error| HeadError::malformed(format!("Host: {error}")))
    }

    fn route(&self) -> Result<Vec<Hop>, HeadError> {
        self.route.as_deref().map_or(Ok(Vec::new()), fields::route)
    }

    fn transfer(&self) -> Result<Option<TransferId>, HeadError> {
        let id = self.transfer.map(str::parse).transpose();
        id.map_err(|error: String| HeadError::malformed(format!("Chain-Transfer: {error}")))
    }

    fn timeout(&self) -> Result<Option<Duration>, HeadError> {
        let Some(ms) = self.timeout else { return Ok(None) };
        let ms = fields::number(ms).ok_or_else(|| HeadError::malformed("Chain-Timeout: not a number of ms"))?;
        Ok(Some(Duration::from_millis(ms)))
    }

    /// Returns true if the client waits for a 102.
    fn acks(&self) -> bool {
        self.ack == Some("1")
    }

    fn request(self, method: Method, name: FileName, http11: bool) -> Result<Request, HeadError> {
        let has_option = |option: &str| {
            let connection = self.connection.as_deref();
            connection.is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(option)))
        };
        let ack = self.acks();
        let keep_alive = !has_option("close") && (http11 || has_option("keep-alive"));
        // A range applies to GET only (RFC 9110, 14.2).
        let range = self.range.filter(|_| method == Method::Get).and_then(fields::range);
        Ok(Request {
            signatures: self.signatures().map(Box::new),
            host: self.host()?,
            route: self.route()?,
            transfer: self.transfer()?,
            timeout: self.timeout()?,
            range,
            if_range: self.if_range.filter(|_| range.is_some()).map(str::to_owned),
            if_match: self.if_match.map(Cow::into_owned),
            if_none_match: self.if_none_match.map(Cow::into_owned),
            if_modified_since: self.if_modified_since.map(str::to_owned),
            if_unmodified_since: self.if_unmodified_since.map(str::to_owned),
            want_digest: self.want_digest.as_deref().and_then(fields::want_digest),
            ack,
            via: self.via,
            interim: http11,
            keep_alive,
            ..Request::new(method, name)
        })
    }
}

/// Returns the request path without its query, for display.
pub fn target(request: &Request, base: Option<&str>) -> String {
    let mut path = Vec::new();
    put_path(request, base, &mut path);
    String::from_utf8(path).unwrap_or_default()
}

/// Appends the path and the query.
pub(super) fn put_target(request: &Request, base: Option<&str>, out: &mut Vec<u8>) {
    put_path(request, base, out);
    if let Some(query) = &request.query {
        put_all(out, &["?", query]);
    }
}

fn put_path(request: &Request, base: Option<&str>, out: &mut Vec<u8>) {
    put_all(out, &[base.unwrap_or(DEFAULT_BASE)]);
    match &request.written {
        None if request.tar && request.name.as_bytes() == b"/" => {}
        Some(written) => put_all(out, &[written]),
        None => fields::encode_name(&request.name).for_each(|part| put_all(out, &[part])),
    }
    if !request.tar && base.is_none_or(|base| base == DEFAULT_BASE) && out.ends_with(b"/") {
        // A file name may end in a slash; unescaped, the path would mean a folder, and so an endpoint.
        out.pop();
        out.extend_from_slice(b"%2F");
    }
}

/// Appends the signatures. They come first: they tell the reader that the head may be larger.
fn put_signatures(signatures: Option<&Signatures>, out: &mut Vec<u8>) {
    if let Some(signatures) = signatures {
        line(out, "Signature-Input: ", Some(signatures.input.as_str()));
        line(out, "Signature: ", Some(signatures.signature.as_str()));
        line(out, "Chain-Key: ", Some(signatures.key.as_str()));
    }
}

/// Encodes a request for the next hop; for the last hop, `base` is the path before the file name.
pub fn encode_request(request: &Request, base: Option<&str>, out: &mut Vec<u8>) {
    put_all(out, &[request.method.as_str(), " "]);
    put_target(request, base, out);
    put_all(out, &[" HTTP/1.1\r\n"]);
    line(out, "Host: ", request.host.as_ref());
    put_signatures(request.signatures.as_deref(), out);
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
    line(out, "Accept: ", request.tar.then_some(TAR));
    if let Some(token) = request.authorization.as_ref().filter(|_| request.tar) {
        put_all(out, &["Authorization: ", fields::BEARER, token.reveal(), "\r\n"]);
    }
    line(out, "Via: ", request.via.as_deref());
    // Sizes and digests are those of the file itself, not of a compressed form.
    line(out, "Accept-Encoding: ", Some("identity"));
    line(out, "Connection: ", (!request.keep_alive).then_some("close"));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Algorithm, ByteRange, Reason};

    fn parse(head: &str) -> Result<RequestKind, HeadError> {
        parse_request(head.as_bytes()).map(|parsed| parsed.expect("the head is complete").0)
    }

    fn file(lines: &str) -> Result<Request, HeadError> {
        match parse(&format!("GET /files/a%20b HTTP/1.1\r\nHost: h:1\r\n{lines}\r\n"))? {
            RequestKind::File(request) => Ok(*request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_round_trip() {
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
            signatures: Some(Box::new(Signatures {
                input: "h1=();created=1".to_owned(),
                signature: "h1=:AA==:".to_owned(),
                key: "AAAA".to_owned(),
            })),
            want_digest: Some(Algorithm::Blake3),
            ack: true,
            via: Some("1.1 a, 1.1 b".to_owned()),
            interim: true,
            keep_alive: false,
            ..Request::new(Method::Get, FileName::new(b"dir/a b%.txt").unwrap())
        };
        let mut head = Vec::new();
        encode_request(&request, None, &mut head);
        // A forwarded name keeps its written form.
        let request = Request { written: Some("dir/a%20b%25.txt".into()), ..request };
        let length = head.len();
        head.extend_from_slice(b"GET /next");
        assert_eq!(parse_request(&head), Ok(Some((RequestKind::File(Box::new(request.clone())), length))));
        let folder = Request { name: FileName::new(b"dir/").unwrap(), written: None, ..request.clone() };
        for base in [None, Some(DEFAULT_BASE)] {
            let mut head = Vec::new();
            encode_request(&folder, base, &mut head);
            let folder = Request { written: Some("dir%2F".into()), ..folder.clone() };
            let read = parse_request(&head).unwrap().map(|(kind, _)| kind);
            assert_eq!(read, Some(RequestKind::File(Box::new(folder.clone()))));
        }
        let mut head = Vec::new();
        encode_request(&request, Some("/pub/"), &mut head);
        assert!(head.starts_with(b"GET /pub/dir/a%20b%25.txt?v=1&w=%2F? HTTP/1.1\r\n"));
    }

    #[test]
    fn a_folder_is_a_tar_stream_only_where_its_type_is_named() {
        let requested = |path: &str, accept: &str| {
            parse(&format!("GET {path} HTTP/1.1\r\nHost: h:1\r\nAccept: {accept}\r\n\r\n")).unwrap()
        };
        for (path, name) in [("/files/", "/"), ("/files/a/b%20c/?after=x", "a/b c/")] {
            for accept in [
                "",
                "*/*",
                "application/*",
                "application/json",
                "application/x-tar;q=0.0",
                "application/x-tar; Q=0",
                "application/x-tar;q=none",
            ] {
                assert_eq!(requested(path, accept), RequestKind::Endpoint, "{path} {accept}");
            }
            for accept in ["application/x-tar", "text/html, Application/X-Tar; q=0.5, */*"] {
                let RequestKind::File(request) = requested(path, accept) else { panic!("{path} {accept}") };
                assert!(request.tar && request.name.as_bytes() == name.as_bytes(), "{request:?}");
                let mut head = Vec::new();
                encode_request(&request, None, &mut head);
                let path = format!("GET {path} HTTP/1.1\r\n");
                assert!(head.starts_with(path.as_bytes()), "{}", String::from_utf8_lossy(&head));
                let read = parse_request(&head).unwrap().map(|(kind, _)| kind);
                let again = Request { interim: true, ..*request };
                assert_eq!(read, Some(RequestKind::File(Box::new(again))));
            }
        }
        let RequestKind::File(file) = requested("/files/a", TAR) else { panic!("a file") };
        assert!(!file.tar);
    }

    #[test]
    fn the_token_of_a_listing_is_read_and_sent_for_folders_only() {
        let requested = |path: &str, lines: &str| {
            let lines = format!("Host: h:1\r\nAccept: {TAR}\r\nX-Forwarded-For: 1.2.3.4\r\n{lines}");
            match parse(&format!("GET {path} HTTP/1.1\r\n{lines}\r\n")).unwrap() {
                RequestKind::File(request) => *request,
                other => panic!("{path}: {other:?}"),
            }
        };
        let (bearer, secret) = ("Authorization: bearer open-sesame\r\n", Secret::new("open-sesame").ok());
        for (path, lines, token) in [
            ("/files/a/", bearer, &secret),
            ("/files/a/", "Authorization: Basic open-sesame\r\n", &None),
            ("/files/a/", &bearer.repeat(2), &None),
            ("/files/a", bearer, &None),
        ] {
            let request = requested(path, lines);
            assert_eq!((&request.authorization, request.proxied), (token, request.tar), "{path} {lines}");
            let mut head = Vec::new();
            encode_request(&request, None, &mut head);
            let head = String::from_utf8(head).unwrap();
            assert_eq!(head.contains("Authorization: Bearer open-sesame\r\n"), token.is_some(), "{head}");
            assert!(!head.contains("Forwarded"), "{head}");
        }
    }

    #[test]
    fn a_plain_curl_request_is_accepted() {
        let request = file("User-Agent: curl/8\r\nAccept: */*\r\nChain-Route: a:1, b:2;base=/\r\n").unwrap();
        assert_eq!((request.name.as_bytes(), request.route.len(), request.keep_alive), (&b"a b"[..], 2, true));
        assert_eq!(file("Via: 1.1 a\r\nVia:\r\nVia: 1.1 b\r\n").unwrap().via.as_deref(), Some("1.1 a, 1.1 b"));
        assert_eq!(file("Via: \r\n").unwrap().via, None);
        assert_eq!(parse("GET /v1/node HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Endpoint));
        let old = parse("GET /files/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        let RequestKind::File(old) = old else { panic!("not a file request") };
        assert!(old.keep_alive && !old.interim);
        for closes in ["", "Connection: keep-alive, close\r\n", "Connection: x\r\n"] {
            match parse(&format!("GET /files/x HTTP/1.0\r\n{closes}\r\n")) {
                Ok(RequestKind::File(old)) => assert!(!old.keep_alive, "{closes:?}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn invalid_heads_are_rejected_with_a_reason() {
        for (lines, expected) in [
            ("Transfer-Encoding: chunked\r\n", "Transfer-Encoding"),
            ("Content-Length: 5\r\n", "may not have a body"),
            ("Content-Length: 0\r\nContent-Length: 0\r\n", "repeated"),
            ("Host: other\r\n", "repeated"),
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
            assert!(error.detail.contains(expected), "{lines:?}: {}", error.detail);
        }
        assert_eq!(parse("GET /files/ HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Endpoint));
        assert_eq!(parse("HEAD /files/a%20b/ HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Endpoint));
        assert_eq!(parse("GET /files/x/?y HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Endpoint));
        for fragment in ["x#y", "x?y#z"] {
            assert!(parse(&format!("GET /files/{fragment} HTTP/1.1\r\nHost: h\r\n\r\n")).is_err(), "{fragment}");
        }
        assert!(parse("GET /files/x HTTP/1.1\r\n\r\n").unwrap_err().detail.contains("Host"));
        let long = format!("Chain-Route: {}a:1\r\n", "a:1, ".repeat(32));
        assert_eq!(file(&long).unwrap_err().reason, Reason::Loop);
    }

    #[test]
    fn unsupported_methods_versions_and_targets_have_their_status() {
        for (line, status) in [
            ("PUT /files/x HTTP/1.1", 405),
            ("PROPFIND /files/dir/ HTTP/1.1", 405),
            ("OPTIONS * HTTP/1.1", 405),
            ("DELETE http://h/files/x HTTP/1.1", 405),
            ("BREW /files/x HTTP/1.1", 501),
            ("get /files/x HTTP/1.1", 501),
            ("BREW /v1/node HTTP/1.1", 501),
            ("CONNECT /files/x HTTP/1.1", 400),
            ("connect h:1 HTTP/1.1", 501),
            ("GET /files/x HTTP/2.0", 505),
            ("GET /files/x HTTP/1.2", 505),
            ("GET files/x HTTP/1.1", 400),
            ("GET https://h/files/x HTTP/1.1", 400),
            ("GET http://u@h/files/x HTTP/1.1", 400),
            ("GET http:///files/x HTTP/1.1", 400),
            ("GET * HTTP/1.1", 400),
        ] {
            // Independent of other header fields.
            for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
                let error = parse(&format!("{line}\r\nHost: h\r\n{lines}\r\n")).unwrap_err();
                assert_eq!(error.reason.status(), status, "{line} {lines:?}: {error}");
            }
        }
        assert_eq!(parse("POST /v1/drain HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(RequestKind::Endpoint));
    }

    #[test]
    fn absolute_targets_and_a_leading_empty_line_are_accepted() {
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
        for endpoint in ["http://a", "http://a/v1/node", "http://a/files/"] {
            let head = format!("GET {endpoint} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(parse(&head), Ok(RequestKind::Endpoint), "{endpoint}");
        }
    }

    #[test]
    fn head_requests_ignore_ranges() {
        let head = "HEAD /files/x HTTP/1.1\r\nHost: h\r\nRange: bytes=1-\r\nIf-Range: \"x\"\r\n\r\n";
        match parse(head) {
            Ok(RequestKind::File(request)) => assert_eq!((request.range, request.if_range), (None, None)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_control_requests_have_a_body_of_limited_size() {
        let parsed =
            |what: &str, length: u64| parse(&format!("{what} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"));
        for length in [0, 1, MAX_REQUEST_BODY] {
            assert_eq!(parsed("POST /v1/drain", length), Ok(RequestKind::Endpoint), "{length}");
        }
        let error = parsed("POST /v1/drain", MAX_REQUEST_BODY + 1).unwrap_err();
        assert_eq!((error.reason, error.detail.contains("larger than 65536")), (Reason::Malformed, true));
        for what in ["GET /v1/drain", "POST /drain", "GET /files/x"] {
            assert!(parsed(what, 1).unwrap_err().detail.contains("may not have a body"), "{what}");
        }
        assert!(parsed("GET /v1/node", 0).is_ok() && parsed("GET /files/x", 0).is_ok());
    }

    #[test]
    fn oversized_heads_are_rejected_before_they_end() {
        let head = format!("GET /files/x HTTP/1.1\r\nX: {}", "y".repeat(crate::wire::http::MAX_HEAD));
        assert_eq!(parse_request(head.as_bytes()).unwrap_err().reason, Reason::HeadTooLarge);
        let head = |lines: usize| format!("GET /files/x HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(lines - 1));
        assert!(parse_request(head(MAX_FIELDS).as_bytes()).unwrap().is_some());
        assert_eq!(parse_request(head(MAX_FIELDS + 1).as_bytes()).unwrap_err().reason, Reason::HeadTooLarge);
    }

    #[test]
    fn the_first_line_selects_the_protocol() {
        assert!(is_http(b"GET /files/x HTTP/1.1\r") && is_http(b"GET / HTTP/1.0"));
        assert!(is_http(b"PRI * HTTP/2.0\r") && !is_http(b"GET / HTTP/2") && !is_http(b"GET / HTTP/1.x"));
        assert!(!is_http(b"test.txt") && !is_http(b" HTTP/1.1") && !is_http(b"\x16\x03\x01"));
    }

    proptest! {
        #[test]
        fn names_and_queries_are_forwarded_as_written(
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
        fn encoded_names_round_trip(name in proptest::collection::vec(1u8.., 1..40)) {
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
