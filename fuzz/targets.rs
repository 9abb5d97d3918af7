//! Fuzz targets and the properties that they check. The fuzzer and `tests/it/fuzzed.rs` run the same functions.

use chainview::keys::{AuthorizedKeys, Covered, KeyPair, MAX_AGE, SignatureError, Signatures};
use chainview::net::fetch::{Decoder, Event};
use chainview::route::{FileName, Hop, Host, HostPort, MAX_HOPS, MAX_INPUT, MAX_NAME, Route, WalkRange, walk_order};
use chainview::snapshot::{Listing, MAX_CONNECTIONS, NodeSnapshot};
use chainview::text::SafeText;
use chainview::wire::http::{
    MAX_HEAD, MAX_SIGNED_HEAD, ReplyHead, RequestKind, encode_reply, encode_request, encode_tunnel, parse_reply,
    parse_request,
};
use chainview::wire::{Method, Problem, Reason, Reply, Request, TunnelRequest, legacy};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Checks any input, and panics if a property does not hold.
pub(crate) type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
#[allow(dead_code, reason = "the fuzzer uses them one by one")]
pub(crate) const ALL: &[(&str, Target)] = &[
    ("request_head", request_head),
    ("reply_head", reply_head),
    ("legacy_request", legacy_request),
    ("legacy_reply", legacy_reply),
    ("input_file", input_file),
    ("snapshot", snapshot),
    ("name", name),
    ("tar_stream", tar_stream),
    ("signature", signature),
    ("key_files", key_files),
];

/// A request head: parsed the same with more bytes after it, incomplete with fewer, and unchanged by a round trip.
pub(crate) fn request_head(bytes: &[u8]) {
    let (kind, length) = match parse_request(bytes) {
        Ok(Some(read)) => read,
        Ok(None) => return assert!(bytes.len() < MAX_SIGNED_HEAD, "an incomplete head is not rejected"),
        Err(error) => {
            let known = [
                Reason::Malformed,
                Reason::HeadTooLarge,
                Reason::Loop,
                Reason::Method,
                Reason::Unsupported,
                Reason::Version,
            ];
            return assert!(known.contains(&error.reason), "{error:?}");
        }
    };
    assert!(length <= bytes.len().min(MAX_SIGNED_HEAD));
    assert_eq!(parse_request(&bytes[..length]).as_ref(), Ok(&Some((kind.clone(), length))));
    for cut in [1, length / 3, length / 2, length - 1] {
        assert_eq!(parse_request(&bytes[..cut]), Ok(None), "the first {cut} of {length} bytes");
    }
    if let RequestKind::Tunnel(request) = kind {
        return tunnel(*request);
    }
    let RequestKind::File(mut request) = kind else { return };
    assert!(request.route.len() <= MAX_HOPS);
    // A forwarded request has a host, as HTTP/1.1 requires.
    request.host.get_or_insert_with(|| HostPort { host: Host::Name("h".to_owned()), port: 1 });
    let mut again = Vec::new();
    encode_request(&request, None, &mut again);
    // A forwarded request is always HTTP/1.1.
    let expected = Request { interim: true, ..*request };
    match parse_request(&again) {
        Ok(Some((RequestKind::File(read), length))) => assert_eq!((*read, length), (expected, again.len())),
        Err(error) => assert!(error.reason == Reason::HeadTooLarge && again.len() > MAX_HEAD, "{error:?}"),
        other => panic!("{other:?}"),
    }
}

/// A parsed request for a tunnel is sent on unchanged.
fn tunnel(request: TunnelRequest) {
    assert!(request.route.as_ref().is_none_or(|route| route.len() <= MAX_HOPS));
    let mut again = Vec::new();
    let host = request.host.clone().unwrap_or_else(|| request.target.clone());
    let expected = TunnelRequest { host: Some(host), interim: true, ..request };
    encode_tunnel(&expected, &mut again);
    match parse_request(&again) {
        Ok(Some((RequestKind::Tunnel(read), length))) => assert_eq!((*read, length), (expected, again.len())),
        Err(error) => assert!(error.reason == Reason::HeadTooLarge && again.len() > MAX_HEAD, "{error:?}"),
        other => panic!("{other:?}"),
    }
}

/// A reply head: the same, for replies to both methods; the first byte selects the method.
pub(crate) fn reply_head(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let method = if *first == b'H' { Method::Head } else { Method::Get };
    let (head, length) = match parse_reply(bytes, method) {
        Ok(Some(read)) => read,
        Ok(None) => return assert!(bytes.len() < MAX_HEAD),
        Err(error) => {
            let known = [Reason::Malformed, Reason::HeadTooLarge, Reason::Version];
            assert!(known.contains(&error.reason), "{error:?}");
            return;
        }
    };
    assert!(length <= bytes.len().min(MAX_HEAD));
    for cut in [0, length / 2, length - 1] {
        assert_eq!(parse_reply(&bytes[..cut], method), Ok(None), "the first {cut} of {length} bytes");
    }
    let reply = match head {
        ReplyHead::Interim(status, _) => return assert!((100..200).contains(&status) && status != 101),
        ReplyHead::Final(reply) => *reply,
    };
    assert!((200..600).contains(&reply.status));
    if let Some((first, last, size)) = reply.content_range {
        assert!(reply.status == 206 && first <= last && last < size);
        assert!(method == Method::Head || reply.length.is_none_or(|length| length == last - first + 1));
    }
    let written = encoded(&reply);
    let read = match parse_reply(&written, method) {
        Ok(Some((ReplyHead::Final(read), length))) if length == written.len() => *read,
        Err(error) if written.len() > MAX_HEAD => return assert_eq!(error.reason, Reason::HeadTooLarge),
        other => panic!("{other:?}"),
    };
    // The fields that determine how the body is read and verified.
    let framing = |reply: &Reply| (reply.status, reply.length, reply.content_range, reply.hops, reply.keep_alive);
    assert_eq!(framing(&read), framing(&reply));
    assert_eq!((&read.digests, &read.etag, &read.via), (&reply.digests, &reply.etag, &reply.via));
    assert_eq!((&read.vary, &read.lines), (&reply.vary, &reply.lines));
    assert!(!reply.lines.contains("\n\r") && !reply.lines.contains("\r\n\r\n") && reply.lines.len() <= MAX_HEAD);
    assert!(reply.legs().len() <= MAX_HOPS);
    assert_eq!(encoded(&read), written);
}

fn encoded(reply: &Reply) -> Vec<u8> {
    let mut head = Vec::new();
    encode_reply(reply, &mut head);
    head
}

/// A request in the legacy protocol: an invalid one stays invalid, and a valid one is forwarded unchanged.
pub(crate) fn legacy_request(bytes: &[u8]) {
    let invalid = |bytes: &[u8]| matches!(legacy::parse_request(bytes), legacy::ParsedRequest::Invalid(_));
    for cut in [bytes.len() / 3, bytes.len() / 2] {
        assert!(invalid(bytes) || !invalid(&bytes[..cut]), "more bytes make an invalid request valid");
    }
    let legacy::ParsedRequest::Complete(read) = legacy::parse_request(bytes) else { return };
    assert!(bytes.len() <= legacy::MAX_READ_REQUEST && read.route.len() <= MAX_HOPS);
    let Some(next) = read.route.first().cloned() else { return };
    let mut request = legacy::to_request(read);
    request.route.remove(0);
    let Ok(written) = legacy::encode_request(&request, &next) else { return };
    assert!(written.len() <= legacy::MAX_SENT_REQUEST && !written.ends_with(b"\n"));
    let legacy::ParsedRequest::Complete(again) = legacy::parse_request(&written) else {
        panic!("{:?}", String::from_utf8_lossy(&written))
    };
    assert_eq!((&again.name, &again.own, &again.route), (&request.name, &next.address, &sent(&request.route)));
}

/// The fields of signatures, one a line: only well-formed ones are passed on, without that of the own hop, and a
/// signature holds for its time and its request alone.
pub(crate) fn signature(bytes: &[u8]) {
    const NOW: u64 = 1_800_000_000;
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut fields = text.splitn(3, '\n').map(str::to_owned);
    let mut next = || fields.next().unwrap_or_default();
    let signatures = Signatures { input: next(), signature: next(), key: next() };
    let transfer = "00000000000000000000000000000001";
    let covered = Covered { authority: "h:1".into(), ..Covered::new("GET", "/files/f", transfer) };
    if let Some(rest) = signatures.for_next(0) {
        assert_eq!(rest.for_next(0).as_ref(), Some(&rest));
        assert_eq!(rest.claim(0, &covered, NOW), Err(SignatureError::Missing));
    }
    if let Ok(claim) = signatures.claim(0, &covered, NOW) {
        assert!(claim.id.created.abs_diff(NOW) <= MAX_AGE && claim.id.key == claim.key);
        let other = Covered { target: "/files/g".into(), ..covered.clone() };
        assert!(claim.verify(&covered).is_err() || claim.verify(&other).is_err());
        assert!(signatures.claim(0, &covered, NOW + 2 * MAX_AGE + 1).is_err());
        assert!(signatures.claim(0, &Covered { route: Some("h:2".into()), ..covered }, NOW).is_err());
    }
}

/// Key files: an error names a place that exists, in printable text; a key has the fingerprint that it is known by.
pub(crate) fn key_files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<AuthorizedKeys>() {
        Ok(keys) => assert!(keys.len() <= text.lines().count()),
        Err(error) => {
            let line = text.lines().nth(error.line - 1).expect("the line exists");
            assert!((1..=line.chars().count() + 1).contains(&error.column), "{error}");
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
        }
    }
    if let Ok(pair) = KeyPair::parse(text) {
        let fingerprint = pair.public().fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
}

/// Hops as they are sent: without the client's own options.
fn sent(route: &[Hop]) -> Vec<Hop> {
    route.iter().map(|hop| Hop { name: None, token_file: None, ..hop.clone() }).collect()
}

/// A reply in the legacy protocol: a size has digits only, a text is sanitized and names the failed hop.
pub(crate) fn legacy_reply(bytes: &[u8]) {
    match legacy::parse_status(bytes) {
        legacy::LegacyStatus::Size(size) => {
            let digits = bytes.iter().skip_while(|byte| **byte == b'0').copied().collect::<Vec<u8>>();
            assert_eq!(digits, if size == 0 { Vec::new() } else { size.to_string().into_bytes() });
        }
        legacy::LegacyStatus::NotFound => assert_eq!(bytes, legacy::NOT_FOUND),
        legacy::LegacyStatus::Text(text) => {
            safe(&text);
            let rest = [Hop::parse_line("a 1"), Hop::parse_line("::1 9")].map(Result::unwrap);
            let problem = legacy::problem_of_text(&text, &rest[0].address, &rest[1..], 1.0);
            assert!((1..=2).contains(&problem.hop) && problem.reporter <= 1);
            assert!((400..600).contains(&problem.status()));
            safe(&problem.detail);
            assert!(legacy::encode_problem(&problem).len() <= legacy::MAX_REPLY);
        }
    }
}

/// An input file: a valid one round-trips; the error of an invalid one names an existing line.
pub(crate) fn input_file(bytes: &[u8]) {
    match Route::parse(bytes) {
        Ok(route) => {
            assert!((1..=MAX_HOPS).contains(&route.hops().len()) && bytes.len() <= MAX_INPUT);
            assert_eq!(Route::parse(&route.print()).as_ref(), Ok(&route));
            for hop in route.hops() {
                safe(&hop.label());
                let element = Hop::parse_element(&hop.element()).expect("an encoded element is valid");
                assert_eq!(
                    (&element.address, element.protocol, &element.base),
                    (&hop.address, hop.protocol, &hop.base)
                );
            }
        }
        Err(error) => {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!((1..=lines + 1).contains(&error.line), "line {} of {lines}", error.line);
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}

/// Reports of other nodes: bounded, sanitized, and unchanged when forwarded.
pub(crate) fn snapshot(bytes: &[u8]) {
    if let Some(node) = forwarded::<NodeSnapshot>(bytes) {
        assert!(node.connections.len() <= MAX_CONNECTIONS && node.protocols.len() <= 16);
    }
    forwarded::<Listing>(bytes);
    if let Some(problem) = Problem::from_json(bytes) {
        let same = |read: Option<Problem>| assert_eq!(read.map(timeless), Some(timeless(problem.clone())));
        same(Problem::from_json(&problem.to_json()));
        let header = problem.to_header();
        assert!(header.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{header}");
        same(Problem::from_json(header.as_bytes()));
        assert!((400..600).contains(&problem.status()) && problem.ms.is_finite() && problem.ms >= 0.0);
        safe(&problem.to_string().into());
    }
}

/// Removes the time: a decimal may be parsed as a neighboring float.
fn timeless(problem: Problem) -> Problem {
    Problem { ms: 0.0, ..problem }
}

fn forwarded<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_string(&read).expect("a parsed value can be encoded");
    let shown = text.chars().find(|c| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'));
    assert_eq!(shown, None, "{text}");
    let again: T = serde_json::from_str(&text).expect("an encoded value can be parsed");
    assert_eq!(serde_json::to_string(&again).ok().as_ref(), Some(&text));
    Some(read)
}

fn safe(text: &SafeText) {
    assert_eq!(&SafeText::new(text.as_str()), text, "sanitizing is idempotent");
    assert!(!text.as_str().chars().any(char::is_control));
}

/// A name in a URL: unescaped exactly once, as by a second implementation of the same rules.
pub(crate) fn name(bytes: &[u8]) {
    if let Ok(name) = FileName::new(bytes) {
        let head = "GET /files/x HTTP/1.1\r\nHost: h:1\r\n\r\n";
        let Ok(Some((RequestKind::File(mut request), _))) = parse_request(head.as_bytes()) else { panic!("{head}") };
        request.name = name;
        let mut written = Vec::new();
        encode_request(&request, None, &mut written);
        let Ok(Some((RequestKind::File(read), length))) = parse_request(&written) else { panic!("{:?}", request.name) };
        let expected = Request { written: read.written.clone(), ..*request };
        assert_eq!((*read, length), (expected, written.len()));
        assert!(written.iter().all(|byte| byte.is_ascii_graphic() || b" \r\n".contains(byte)));
    }
    let head = [b"GET /files/", bytes, b" HTTP/1.1\r\nHost: h:1\r\n\r\n"].concat();
    let Ok(Some((RequestKind::File(request), length))) = parse_request(&head) else { return };
    if length != head.len() {
        // It contained the end of a head.
        return;
    }
    let read = request.name.as_bytes();
    assert!((1..=MAX_NAME).contains(&read.len()) && !read.iter().any(|byte| b"\0\r\n".contains(byte)));
    // The target ends at the first space, the path in it at the first question mark.
    let target = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    assert_eq!(Some(read), unescaped(path).as_deref());
    assert!(!target.contains(&b'#') && request.query.is_some() == (path != target));
}

fn unescaped(mut escaped: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some((first, rest)) = escaped.split_first() {
        escaped = rest;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(escaped.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        escaped = &escaped[2..];
    }
    Some(bytes)
}

/// A tar stream of the folder `d`: the same events in any pieces, of paths beneath it in order, as many digests as
/// files, and an end at the announced length only.
pub(crate) fn tar_stream(bytes: &[u8]) {
    const BLOCK: usize = 512;
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK).max(2 * BLOCK), 0);
    for header in bytes.chunks_exact_mut(BLOCK).filter(|block| &block[257..263] == b"ustar\0") {
        // Otherwise almost every change would only be found by the checksum.
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let whole = decoded(&bytes, bytes.len());
    assert_eq!(decoded(&bytes, 1), whole);
    assert_eq!(decoded(&bytes, 700), whole);
}

/// Files of an archive with their content, the number of digests, and how decoding ended.
type Decoded = (Vec<(FileName, Vec<u8>)>, usize, Result<bool, String>);

/// Decodes in pieces.
fn decoded(bytes: &[u8], piece: usize) -> Decoded {
    let folder = FileName::new(b"x/d/").expect("a valid name");
    let mut decoder = Decoder::new(&folder, WalkRange::default(), bytes.len() as u64).expect("a valid length");
    let (mut files, mut last, mut digests, mut left, mut ended) = (Vec::new(), None::<FileName>, 0, 0, false);
    let mut follows = |path: &FileName| {
        let visible =
            path.as_bytes().split(|byte| *byte == b'/').all(|segment| !segment.is_empty() && segment[0] != b'.');
        assert!(
            visible
                && last
                    .replace(path.clone())
                    .is_none_or(|last| { walk_order(last.as_bytes(), path.as_bytes()).is_lt() })
        );
    };
    for mut input in bytes.chunks(piece) {
        loop {
            match decoder.next(&mut input) {
                Err(error) => return (files, digests, Err(error.to_string())),
                Ok(None) => break,
                Ok(Some(Event::Folder(path))) => follows(&path),
                Ok(Some(Event::File(entry))) => {
                    follows(&entry.path);
                    left = entry.size;
                    files.push((entry.path, Vec::new()));
                }
                Ok(Some(Event::Data(data))) => {
                    left -= data.len() as u64;
                    files.last_mut().expect("a file").1.extend_from_slice(data);
                }
                Ok(Some(Event::FileEnd)) => assert_eq!(left, 0),
                Ok(Some(Event::Digests(more))) => {
                    digests += more.len();
                    assert_eq!(digests, files.len());
                }
                Ok(Some(Event::End)) => {
                    assert_eq!(digests, files.len());
                    ended = true;
                }
            }
        }
        assert!(input.is_empty());
    }
    assert!(ended, "an archive of the announced length ends");
    (files, digests, Ok(ended))
}
