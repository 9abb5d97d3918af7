//! The legacy protocol: the text protocol of the Python program `Server_Proxy_Client`, parsed and encoded on slices.

use super::{FailedAction, Method, Problem, Reason, Refusal, Request, TransferId};
use crate::route::{FileName, Hop, HostPort, MAX_HOPS, MAX_NAME};
use crate::text::SafeText;

/// Largest request sent, in bytes: the legacy program reads a request in one call of this size.
pub const MAX_SENT_REQUEST: usize = 1024;
/// Largest request accepted, in bytes; it may arrive in any number of pieces.
pub const MAX_READ_REQUEST: usize = 64 * 1024;
/// The go-ahead that the receiver sends before the body; the legacy program reads it in one call of this size.
pub const GO_AHEAD: &[u8; 4] = b"ack_";
/// Reply for a missing file.
pub const NOT_FOUND: &[u8; 2] = b"NA";
/// Name of the probe: a request for it distinguishes a legacy node from a chainview node.
pub const PROBE_NAME: &[u8] = b"chainview?";
/// Reply of a chainview node to the probe.
pub const PROBE_REPLY: &[u8] = b"chainview/1";
/// Longest reply before a body, in bytes: a size, `NA`, or a sentence about an address.
pub const MAX_REPLY: usize = 1024;
/// Prefix of a sentence about an unreachable hop, used by the legacy program and by chainview nodes.
const UNREACHABLE: &str = "Address not found";
/// Texts after the address, by which chainview nodes encode and parse a reason. They are part of the protocol and do
/// not follow changes of the displayed texts. The texts of all policy refusals begin with the general one, which is all
/// that older nodes know.
const SENTENCES: [(Reason, Option<Refusal>, &str); 32] = [
    (Reason::Refused, None, "connection refused"),
    (Reason::Unreachable, None, "address unreachable"),
    (Reason::Unresolved, None, "name not found"),
    (Reason::Policy, Some(Refusal::Never), "refused by policy regardless of allow lists"),
    (Reason::Policy, Some(Refusal::Other), "refused by policy to this client"),
    (Reason::Policy, Some(Refusal::NoRight), "refused by policy to this key"),
    (Reason::Policy, None, "refused by policy"),
    (Reason::TimedOut, None, "did not reply in time"),
    (Reason::Loop, None, "route returns to a node that it has passed"),
    (Reason::TooManyTransfers, None, "too many transfers of this client"),
    (Reason::DailyLimit, None, "daily limit reached"),
    (Reason::Busy, None, "too many connections"),
    (Reason::Draining, None, "shutting down"),
    (Reason::Closed, None, "closed before it replied"),
    (Reason::Malformed, None, "request not understood"),
    (Reason::Unauthorized, None, "token missing or wrong"),
    (Reason::KeyRequired, None, "key required"),
    (Reason::WrongKey, None, "another key than expected"),
    (Reason::BadSignature, None, "signature not accepted"),
    (Reason::Method, None, "method not allowed"),
    (Reason::HeadTimeout, None, "request head too slow"),
    (Reason::Changed, None, "file changed meanwhile"),
    (Reason::Range, None, "range outside the file"),
    (Reason::HeadTooLarge, None, "request head too large"),
    (Reason::RouteIgnored, None, "ignored the route and sent its own file"),
    (Reason::BadResponse, None, "bad response"),
    (Reason::Short, None, "body ended early"),
    (Reason::TooSlow, None, "body too slow"),
    (Reason::Fault, None, "rejected by an injected fault"),
    (Reason::Internal, None, "internal error"),
    (Reason::Version, None, "HTTP version not supported"),
    (Reason::Unsupported, None, "not supported"),
];

/// A parsed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyRequest {
    /// The file.
    pub name: FileName,
    /// Line 2: the address under which the client addresses this node.
    pub own: HostPort,
    /// The remaining hops.
    pub route: Vec<Hop>,
    /// The transfer's id, if a chainview program sent it.
    pub transfer: Option<TransferId>,
}

/// State of the bytes received so far; the protocol has no end marker, so `Complete` may still grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedRequest {
    /// More bytes are needed.
    Incomplete,
    /// A request, if nothing more arrives.
    Complete(LegacyRequest),
    /// No further bytes can make it a request.
    Invalid(String),
}

/// The reply before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegacyStatus {
    /// The file has this many bytes.
    Size(u64),
    /// The file does not exist.
    NotFound,
    /// Something else, most often about an address.
    Text(SafeText),
}

/// Parses the bytes of a request received so far.
pub fn parse_request(bytes: &[u8]) -> ParsedRequest {
    if bytes.len() > MAX_READ_REQUEST {
        return ParsedRequest::Invalid(format!("the request is larger than {MAX_READ_REQUEST} bytes"));
    }
    let mut lines = bytes.split(|b| *b == b'\n');
    let first = lines.next().unwrap_or_default();
    let first = first.strip_suffix(b"\r").unwrap_or(first);
    if first.len() > MAX_NAME {
        return ParsedRequest::Invalid("the first line is too long for a file name".to_owned());
    }
    let lines: Vec<&[u8]> = lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return ParsedRequest::Incomplete;
    }
    let name = match FileName::new(first) {
        Ok(name) => name,
        Err(error) => return ParsedRequest::Invalid(error.to_string()),
    };
    if lines.len() > MAX_HOPS + 1 {
        return ParsedRequest::Invalid(format!("the route has more than {MAX_HOPS} hops"));
    }
    let mut hops = Vec::with_capacity(lines.len());
    let last = lines.len() - 1;
    for (number, line) in lines.into_iter().enumerate() {
        let hop = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned()).and_then(Hop::parse_legacy_line);
        match hop {
            Ok(hop) => hops.push(hop),
            // The last line may be incomplete; an earlier one cannot change.
            Err(_) if number == last => return ParsedRequest::Incomplete,
            Err(reason) => return ParsedRequest::Invalid(format!("line {}: {reason}", number + 2)),
        }
    }
    let transfer = hops.last_mut().and_then(take_id);
    let mut hops = hops.into_iter();
    match hops.next() {
        Some(own) => ParsedRequest::Complete(LegacyRequest { name, own: own.address, route: hops.collect(), transfer }),
        None => ParsedRequest::Incomplete,
    }
}

/// Removes the `id=` words from a hop's line: a remaining one would precede the one that is forwarded.
fn take_id(hop: &mut Hop) -> Option<TransferId> {
    let ids: Vec<String> = hop.other.extract_if(.., |word| word.starts_with("id=")).collect();
    ids.iter().find_map(|word| word["id=".len()..].parse().ok())
}

/// Encodes a request for `next`, which forwards it to the route's hops; one write, no final newline.
///
/// # Errors
/// `Reason::Unsupported` if the request is for a folder or has a query, which the legacy protocol cannot express;
/// `Reason::HeadTooLarge` if it is longer than that protocol allows.
pub fn encode_request(request: &Request, next: &Hop) -> Result<Vec<u8>, Problem> {
    let unsupported = [(request.tar, "a folder"), (request.query.is_some(), "a query")];
    if let Some((_, what)) = unsupported.iter().find(|(requested, _)| *requested) {
        let detail = format!("{what} has no form in the legacy protocol, which this hop speaks");
        return Err(Problem::next(Reason::Unsupported, FailedAction::Request, &next.address, detail, 0.0));
    }
    if let Some(hop) = request.route.iter().find(|hop| hop.key.is_some()) {
        let detail =
            format!("{} has a key, and the legacy protocol, which this hop speaks, has no encryption", hop.address);
        return Err(Problem::next(Reason::Unsupported, FailedAction::Request, &next.address, detail, 0.0));
    }
    let mut text = request.name.as_bytes().to_vec();
    for hop in std::iter::once(next).chain(&request.route) {
        text.push(b'\n');
        text.extend_from_slice(hop.legacy_line().as_bytes());
    }
    // Only chainview nodes use the id; it must not make a request too long for legacy nodes.
    let id = request.transfer.map(|id| format!(" id={id}")).unwrap_or_default();
    if text.len() + id.len() <= MAX_SENT_REQUEST {
        text.extend_from_slice(id.as_bytes());
    }
    if text.len() > MAX_SENT_REQUEST {
        let detail = format!("the request has {} bytes, and the legacy protocol allows {MAX_SENT_REQUEST}", text.len());
        return Err(Problem::next(Reason::HeadTooLarge, FailedAction::Request, &next.address, detail, 0.0));
    }
    Ok(text)
}

/// Converts to the protocol-independent request.
pub fn to_request(request: LegacyRequest) -> Request {
    Request {
        host: Some(request.own),
        route: request.route,
        transfer: request.transfer,
        ..Request::new(Method::Get, request.name)
    }
}

/// Parses a complete reply.
pub fn parse_status(bytes: &[u8]) -> LegacyStatus {
    if bytes == NOT_FOUND {
        return LegacyStatus::NotFound;
    }
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    match std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()) {
        Some(size) if digits => LegacyStatus::Size(size),
        _ => LegacyStatus::Text(SafeText::from_bytes(bytes)),
    }
}

/// Parses the error sentence that `next` sent in place of a size; `rest` are the hops after it.
///
/// The protocol names an address, not a hop number; the number is looked up in the route. An address that is not in the
/// route belongs to `next`, under another name.
pub fn problem_of_text(text: &SafeText, next: &HostPort, rest: &[Hop], ms: f64) -> Problem {
    let sentence = text.as_str().strip_prefix(UNREACHABLE).map(|rest| rest.trim_start_matches([':', ' ']));
    if let Some(status) = text.as_str().strip_prefix("HTTP/1.").and_then(|line| line.get(2..5)?.parse().ok()) {
        // A full node replies before it reads the first line, and so before it detects the protocol.
        return Problem::next(Reason::of_status(status), FailedAction::Reply, next, format!("status {status}"), ms);
    }
    let Some(sentence) = sentence else {
        return Problem::next(Reason::BadResponse, FailedAction::Reply, next, format!("it replied {text:?}"), ms);
    };
    // `HOST:PORT: reason`; an IPv6 host contains colons, the space ends the address.
    let (address, why) = sentence.split_once(": ").unwrap_or((sentence, ""));
    let address = if address.is_empty() { next.to_string() } else { address.to_owned() };
    let known =
        SENTENCES.into_iter().find_map(|(reason, refusal, words)| Some((reason, refusal, why.strip_prefix(words)?)));
    let (reason, refusal, detail) = known.unwrap_or((Reason::Unreachable, None, why));
    let detail = detail.trim();
    // A truncated sentence has lost its closing bracket.
    let detail = detail.strip_prefix('(').map_or(detail, |inside| inside.strip_suffix(')').unwrap_or(inside));
    let hop = (2..).zip(rest).find(|(_, hop)| hop.address.to_string() == address).map_or(1, |(hop, _)| hop);
    Problem { hop, reporter: 1, refusal, ..Problem::next(reason, action_of(reason), address, detail, ms) }
}

/// Returns the most likely action for a reason, which the protocol does not transmit.
fn action_of(reason: Reason) -> FailedAction {
    match reason {
        Reason::Refused
        | Reason::Unreachable
        | Reason::Unresolved
        | Reason::Policy
        | Reason::TimedOut
        | Reason::Loop
        | Reason::Busy
        | Reason::Draining
        | Reason::Closed
        | Reason::WrongKey => FailedAction::Connect,
        Reason::NotFound => FailedAction::Open,
        Reason::Short | Reason::TooSlow => FailedAction::Body,
        Reason::Malformed
        | Reason::Unauthorized
        | Reason::KeyRequired
        | Reason::BadSignature
        | Reason::TooManyTransfers
        | Reason::DailyLimit
        | Reason::Method
        | Reason::HeadTimeout
        | Reason::Changed
        | Reason::Range
        | Reason::HeadTooLarge
        | Reason::RouteIgnored
        | Reason::BadResponse
        | Reason::Fault
        | Reason::Internal
        | Reason::Version
        | Reason::Unsupported => FailedAction::Reply,
    }
}

/// Encodes the reply for a file that cannot be sent.
pub fn encode_problem(problem: &Problem) -> Vec<u8> {
    if problem.reason == Reason::NotFound {
        return NOT_FOUND.to_vec();
    }
    // A refusal of the client itself, unrelated to allow lists: the protocol does not transmit the action.
    let of_client = problem.reason == Reason::Policy && problem.action != FailedAction::Connect;
    let why = problem.refusal.or(of_client.then_some(Refusal::Other));
    let known = SENTENCES
        .iter()
        .find(|(reason, refusal, _)| *reason == problem.reason && (refusal.is_none() || *refusal == why));
    let words = known.map_or(problem.reason.as_str(), |(.., words)| words);
    // The reason alone would hide that a foreign server refused.
    let detail = if problem.server.is_some() { problem.to_string() } else { problem.detail.to_string() };
    let mut text = format!("{UNREACHABLE}: {}: {words}", problem.address);
    if !detail.is_empty() {
        text = format!("{text} ({detail})");
    }
    text.truncate(text.floor_char_boundary(MAX_REPLY));
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::wire::problem::ForeignServer;

    /// The actions that the legacy protocol carries.
    const ACTIONS: &[FailedAction] =
        &[FailedAction::Request, FailedAction::Connect, FailedAction::Reply, FailedAction::Body];

    fn whole(bytes: &[u8]) -> LegacyRequest {
        match parse_request(bytes) {
            ParsedRequest::Complete(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn legacy_requests_parse_with_and_without_a_final_newline() {
        let request = whole(b"a b.txt\n127.0.0.1 9001\n127.0.0.1 9002 x=y id=00000000000000000000000000000007");
        assert_eq!(request.own.to_string(), "127.0.0.1:9001");
        assert_eq!((request.route.len(), request.transfer), (1, Some(TransferId(7))));
        assert_eq!(request.route[0].other, ["x=y"]);
        assert_eq!(whole(b"f\nh 1"), whole(b"f\r\nh 1\r\n\n"));
        let twice = whole(b"f\nh 1\nh 2 id=7 id=00000000000000000000000000000007 id=00000000000000000000000000000008");
        assert_eq!((twice.transfer, twice.route[0].other.len()), (Some(TransferId(7)), 0));
    }

    #[test]
    fn incomplete_and_invalid_requests_are_distinguished() {
        for incomplete in ["", "f", "f\n", "f\nhost", "f\nhost ", "f\nh 1\nhost"] {
            assert_eq!(parse_request(incomplete.as_bytes()), ParsedRequest::Incomplete, "{incomplete:?}");
        }
        let long = [b'x'; MAX_NAME + 1];
        for invalid in [&b"\nh 1"[..], b"f\nno port here\nh 1", b"f\0\nh 1", &long] {
            assert!(matches!(parse_request(invalid), ParsedRequest::Invalid(_)), "{invalid:?}");
        }
        assert!(matches!(parse_request(format!("f{}", "\nh 1".repeat(34)).as_bytes()), ParsedRequest::Invalid(_)));
    }

    #[test]
    fn requests_are_limited_in_size() {
        assert_eq!(parse_request(&[b'x'; MAX_NAME]), ParsedRequest::Incomplete);
        assert_eq!(whole(format!("f{}", "\nh 1".repeat(MAX_HOPS + 1)).as_bytes()).route.len(), MAX_HOPS);
        // Unknown words, up to the limit and one byte past it.
        let padded = |size: usize| format!("f\nh 1 {}", "x".repeat(size - "f\nh 1 ".len())).into_bytes();
        assert!(!matches!(parse_request(&padded(64 * 1024)), ParsedRequest::Invalid(_)));
        assert!(matches!(parse_request(&padded(64 * 1024 + 1)), ParsedRequest::Invalid(_)));
    }

    #[test]
    fn encoded_requests_fit_the_legacy_program() {
        let hops: Vec<Hop> = ["a 1 name=x", "b 2 protocol=legacy"].map(|line| Hop::parse_line(line).unwrap()).to_vec();
        let mut request = to_request(whole(b"f\nme 9"));
        request.route = hops[1..].to_vec();
        request.transfer = Some(TransferId(1));
        let sent = encode_request(&request, &hops[0]).unwrap();
        assert_eq!(sent, b"f\na 1\nb 2 protocol=legacy id=00000000000000000000000000000001");
        request.name = FileName::new(&[b'n'; 1010]).unwrap();
        assert!(!encode_request(&request, &hops[0]).is_ok_and(|sent| sent.len() > MAX_SENT_REQUEST));
        request.query = Some("x=1".into());
        assert_eq!(encode_request(&request, &hops[0]).unwrap_err().status(), 501);
        // The hop would connect to it without encryption.
        let key = Some(Fingerprint::new([7; 32]));
        let keyed = Request { query: None, route: vec![Hop { key, ..hops[0].clone() }], ..request.clone() };
        assert_eq!(encode_request(&keyed, &hops[0]).unwrap_err().reason, Reason::Unsupported);
        request.query = None;
        // The hops' lines take 24 bytes.
        request.name = FileName::new(&[b'n'; MAX_SENT_REQUEST - 24]).unwrap();
        assert_eq!(encode_request(&request, &hops[0]).unwrap().len(), MAX_SENT_REQUEST);
        request.name = FileName::new(&[b'n'; MAX_SENT_REQUEST - 23]).unwrap();
        assert_eq!(encode_request(&request, &hops[0]).unwrap_err().reason, Reason::HeadTooLarge);
    }

    #[test]
    fn replies_are_sizes_missing_files_or_text() {
        assert_eq!(parse_status(b"1024"), LegacyStatus::Size(1024));
        assert_eq!(parse_status(b"NA"), LegacyStatus::NotFound);
        for text in [&b"99999999999999999999999"[..], b"+5", b"-1", b"", b"Address not found"] {
            assert!(matches!(parse_status(text), LegacyStatus::Text(_)), "{text:?}");
        }
    }

    #[test]
    fn problems_round_trip() {
        let next: HostPort = "127.0.0.1:9001".parse().unwrap();
        let problem = Problem::next(Reason::Refused, FailedAction::Connect, "[::1]:9", "", 1.0);
        let text = SafeText::from_bytes(&encode_problem(&problem));
        assert_eq!(text.as_str(), "Address not found: [::1]:9: connection refused");
        let rest: Vec<Hop> = ["a 1", "::1 9", "b 2"].map(|line| Hop::parse_line(line).unwrap()).to_vec();
        let read = problem_of_text(&text, &next, &rest, 2.0);
        assert_eq!((read.reason, read.hop, read.reporter), (Reason::Refused, 3, 1));
        assert_eq!(read.address.as_str(), "[::1]:9");
        let itself = SafeText::new("Address not found: 0.0.0.0:9001: shutting down");
        assert_eq!(problem_of_text(&itself, &next, &rest, 2.0).hop, 1);
        let bare = problem_of_text(&SafeText::new("Address not found"), &next, &rest, 2.0);
        assert_eq!((bare.reason, bare.hop), (Reason::Unreachable, 1));
        assert_eq!(problem_of_text(&SafeText::new("hello"), &next, &rest, 2.0).reason, Reason::BadResponse);
        let full = SafeText::new("HTTP/1.1 503 Service Unavailable\r\n");
        assert_eq!(problem_of_text(&full, &next, &rest, 2.0).reason, Reason::Busy);
        let missing = Problem::here(Reason::NotFound, FailedAction::Open, "x", "");
        assert_eq!(encode_problem(&missing), NOT_FOUND);
    }

    #[test]
    fn protocol_texts_are_independent_of_displayed_texts() {
        let next: HostPort = "127.0.0.1:9001".parse().unwrap();
        let again =
            |problem: &Problem| problem_of_text(&SafeText::from_bytes(&encode_problem(problem)), &next, &[], 2.0);
        for (reason, refusal, words) in SENTENCES {
            let problem = Problem::next(reason, FailedAction::Connect, "h:1", "in (some) words", 1.0);
            let problem = Problem { refusal, ..problem };
            let sent = format!("Address not found: h:1: {words} (in (some) words)");
            assert_eq!(String::from_utf8(encode_problem(&problem)).unwrap(), sent);
            let read = again(&problem);
            assert_eq!((read.reason, read.refusal, read.detail.as_str()), (reason, refusal, "in (some) words"));
            assert_eq!(read.advice(), problem.advice());
            assert_eq!(again(&read), read, "forwarding changes nothing");
        }
        // A sentence of an older node, and the part of ours that one understands.
        let older =
            SafeText::new("Address not found: h:1: refused by policy (h:1 is link-local, which is never connected to)");
        assert_eq!(problem_of_text(&older, &next, &[], 2.0).reason, Reason::Policy);
        assert!(
            SENTENCES
                .iter()
                .all(|(reason, _, words)| *reason != Reason::Policy || words.starts_with("refused by policy"))
        );
        // The text of a foreign server is kept in the detail.
        let server = Some(Box::new(super::super::problem::ForeignServer { status: 302, ..Default::default() }));
        let redirect =
            Problem { server, ..Problem::next(Reason::BadResponse, FailedAction::Reply, "h:1", "status 302", 1.0) };
        let read = again(&redirect);
        assert_eq!((read.reason, read.detail.as_str()), (Reason::BadResponse, "redirects elsewhere (status 302)"));
        // A sentence of another program remains one about an address.
        let other = problem_of_text(&SafeText::new("Address not found: h:1: no way to it"), &next, &[], 2.0);
        assert_eq!((other.reason, other.detail.as_str()), (Reason::Unreachable, "no way to it"));
    }

    #[test]
    fn a_refused_client_gets_no_advice_on_allow_lists() {
        let next: HostPort = "127.0.0.1:9001".parse().unwrap();
        let refused = Problem::here(Reason::Policy, FailedAction::Request, &next, "this node serves user 0 alone");
        let read = problem_of_text(&SafeText::from_bytes(&encode_problem(&refused)), &next, &[], 2.0);
        assert_eq!((read.reason, read.hop, read.advice()), (Reason::Policy, 1, ""));
        assert_eq!(read.detail, refused.detail);
    }

    proptest! {
            #[test]
            fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
                let _ = parse_request(&bytes);
                let _ = parse_status(&bytes);
            }

    /// The next node or the client gets the reason of any failure that a chainview node reports.
            #[test]
            fn every_reason_round_trips(
                reason in proptest::sample::select(&Reason::ALL[..]),
                action in proptest::sample::select(ACTIONS),
                status in proptest::option::of(proptest::sample::select(&[302, 401, 403, 407, 429, 503][..])),
                detail in "[ -~]{0,40}|[a-z(]{2000}",
            ) {
                let rest: Vec<Hop> = ["a 1", "b 2"].map(|line| Hop::parse_line(line).unwrap()).to_vec();
                let reason = status.map_or(reason, Reason::of_status);
                let server = status.map(|status| Box::new(ForeignServer { status, ..Default::default() }));
                let problem = Problem { server, ..Problem::next(reason, action, "b:2", detail.as_str(), 1.0) };
                let read = match parse_status(&encode_problem(&problem)) {
                    LegacyStatus::NotFound => {
                        prop_assert_eq!(reason, Reason::NotFound);
                        return Ok(());
                    }
                    LegacyStatus::Text(text) => problem_of_text(&text, &"n:9".parse().unwrap(), &rest, 2.0),
                    LegacyStatus::Size(_) => return Err(TestCaseError::fail("it reads as a size")),
                };
                prop_assert_eq!((read.reason, read.hop, read.address.as_str()), (reason, 3, "b:2"));
    // And again, as a relay forwards it.
                let text = SafeText::from_bytes(&encode_problem(&read));
                let again = problem_of_text(&text, &"n:9".parse().unwrap(), &rest, 2.0);
                prop_assert_eq!(again.reason, reason);
                if detail.len() < 100 && status.is_none() {
                    prop_assert_eq!(read.detail.as_str().trim(), detail.trim());
                }
            }

            #[test]
            fn requests_round_trip(name in "[^\\x00\r\n]{1,40}", ports in proptest::collection::vec(1u16.., 1..6)) {
                let hop = |port: &u16| Hop::parse_line(&format!("h{port} {port}")).unwrap();
                let hops: Vec<Hop> = ports.iter().map(hop).collect();
                let mut request = to_request(whole(b"f\nme 9"));
                request.name = FileName::new(name.as_bytes()).unwrap();
                request.route = hops[1..].to_vec();
                request.transfer = Some(TransferId(9));
                let read = whole(&encode_request(&request, &hops[0]).unwrap());
                prop_assert_eq!(read.name, request.name);
                prop_assert_eq!(read.route, request.route);
                prop_assert_eq!(read.transfer, Some(TransferId(9)));
            }
        }
}
