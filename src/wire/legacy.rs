//! The legacy protocol: the original program's text dialogue, read and written on slices.

use super::{FailedAction, Method, Problem, Reason, Refusal, Request, TransferId};
use crate::route::{FileName, Hop, HostPort, MAX_HOPS, MAX_NAME};
use crate::text::SafeText;

/// The original reads a request once, at most this many bytes.
pub const MAX_SENT: usize = 1024;
/// Largest request accepted; ours may come in any number of pieces.
pub const MAX_READ: usize = 64 * 1024;
/// The go-ahead every reader expects: it takes these many bytes in one read.
pub const GO_AHEAD: &[u8; 4] = b"ack_";
/// The answer for a file that is not there.
pub const NOT_HERE: &[u8; 2] = b"NA";
/// A file name nobody has: asking for it tells an original node from one of ours.
pub const PROBE_NAME: &[u8] = b"chainview?";
/// What a node of ours answers to it.
pub const PROBE_ANSWER: &[u8] = b"chainview/1";
/// Longest answer before a body: a size, `NA`, or a sentence about an address.
pub const MAX_ANSWER: usize = 1024;
/// How the original's code, and our nodes, begin a sentence about a hop that cannot be reached.
const UNREACHABLE: &str = "Address not found";
/// What our nodes say behind the address, and read again. These are words of the protocol: what people are shown may
/// change, these may not. A refusal that no list can lift begins with the words for any, which is all older nodes know.
const SPOKEN: [(Reason, Option<Refusal>, &str); 26] = [
    (Reason::Refused, None, "connection refused"),
    (Reason::Unreachable, None, "address unreachable"),
    (Reason::Unresolved, None, "name not found"),
    (Reason::Policy, Some(Refusal::Never), "refused by policy whatever is allowed"),
    (Reason::Policy, Some(Refusal::Other), "refused by policy to whoever asks"),
    (Reason::Policy, None, "refused by policy"),
    (Reason::TimedOut, None, "did not answer in time"),
    (Reason::Loop, None, "route comes back to a node it has passed"),
    (Reason::Busy, None, "too many connections"),
    (Reason::Draining, None, "about to stop"),
    (Reason::Closed, None, "closed before it answered"),
    (Reason::Malformed, None, "request not understood"),
    (Reason::Unauthorized, None, "token missing or wrong"),
    (Reason::Method, None, "method not allowed"),
    (Reason::HeadTimeout, None, "request head too slow"),
    (Reason::Changed, None, "file changed meanwhile"),
    (Reason::Range, None, "range outside the file"),
    (Reason::HeadTooLarge, None, "request head too large"),
    (Reason::RouteIgnored, None, "ignored the route and answered with its own file"),
    (Reason::Nonsense, None, "answer makes no sense"),
    (Reason::Short, None, "body ended early"),
    (Reason::TooSlow, None, "body too slow"),
    (Reason::Fault, None, "refused on purpose"),
    (Reason::Internal, None, "failed inside"),
    (Reason::Version, None, "another version of HTTP"),
    (Reason::Unsupported, None, "not supported"),
];

/// A request as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyRequest {
    /// The file.
    pub name: FileName,
    /// Line 2: the address by which the asker calls this node.
    pub own: HostPort,
    /// The hops still to come.
    pub route: Vec<Hop>,
    /// The transfer's id, where a program of ours is behind us.
    pub transfer: Option<TransferId>,
}

/// What the bytes so far amount to; the wire has no end mark, so `Whole` may still grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedRequest {
    /// More must come.
    Partial,
    /// A request, if nothing more comes.
    Whole(LegacyRequest),
    /// Nothing that could come would make it a request.
    Never(String),
}

/// The answer before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegacyAnswer {
    /// The file has this many bytes.
    Size(u64),
    /// It is not there.
    NotHere,
    /// Something else, most often about an address.
    Text(SafeText),
}

/// Reads what has come of a request so far.
pub fn parse_request(bytes: &[u8]) -> ParsedRequest {
    if bytes.len() > MAX_READ {
        return ParsedRequest::Never(format!("the request is larger than {MAX_READ} bytes"));
    }
    let mut lines = bytes.split(|b| *b == b'\n');
    let first = lines.next().unwrap_or_default();
    let first = first.strip_suffix(b"\r").unwrap_or(first);
    if first.len() > MAX_NAME {
        return ParsedRequest::Never("the first line is too long for a file name".to_owned());
    }
    let lines: Vec<&[u8]> = lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return ParsedRequest::Partial;
    }
    let name = match FileName::new(first) {
        Ok(name) => name,
        Err(error) => return ParsedRequest::Never(error.to_string()),
    };
    if lines.len() > MAX_HOPS + 1 {
        return ParsedRequest::Never(format!("the route has more than {MAX_HOPS} hops"));
    }
    let mut hops = Vec::with_capacity(lines.len());
    let last = lines.len() - 1;
    for (number, line) in lines.into_iter().enumerate() {
        let hop = std::str::from_utf8(line).map_err(|_| "it is not text".to_owned()).and_then(Hop::parse_line);
        match hop {
            Ok(hop) => hops.push(hop),
            // The last line may only be cut short; an earlier one will not get better.
            Err(_) if number == last => return ParsedRequest::Partial,
            Err(reason) => return ParsedRequest::Never(format!("line {}: {reason}", number + 2)),
        }
    }
    let transfer = hops.last_mut().and_then(take_id);
    let mut hops = hops.into_iter();
    match hops.next() {
        Some(own) => ParsedRequest::Whole(LegacyRequest { name, own: own.address, route: hops.collect(), transfer }),
        None => ParsedRequest::Partial,
    }
}

/// Takes the `id=` words off a hop's line: one that stayed would go before the one that is sent on.
fn take_id(hop: &mut Hop) -> Option<TransferId> {
    let ids: Vec<String> = hop.other.extract_if(.., |word| word.starts_with("id=")).collect();
    ids.iter().find_map(|word| word["id=".len()..].parse().ok())
}

/// Writes a request for `next`, which then sends it on to the route's hops; one write, no final newline.
///
/// # Errors
/// `Reason::Unsupported` if the request has a query, which the legacy protocol cannot express; `Reason::HeadTooLarge`
/// if it is longer than that protocol takes.
pub fn encode_request(request: &Request, next: &Hop) -> Result<Vec<u8>, Problem> {
    if request.query.is_some() {
        let detail = "a query has no form in the legacy protocol, which this hop speaks";
        return Err(Problem::next(Reason::Unsupported, FailedAction::Request, &next.address, detail, 0.0));
    }
    let mut text = request.name.as_bytes().to_vec();
    for hop in std::iter::once(next).chain(&request.route) {
        text.push(b'\n');
        text.extend_from_slice(hop.legacy_line().as_bytes());
    }
    // The id helps only nodes of ours; it must not be what makes a request too long for the others.
    let id = request.transfer.map(|id| format!(" id={id}")).unwrap_or_default();
    if text.len() + id.len() <= MAX_SENT {
        text.extend_from_slice(id.as_bytes());
    }
    if text.len() > MAX_SENT {
        let detail = format!("the request has {} bytes, and the legacy protocol takes {MAX_SENT}", text.len());
        return Err(Problem::next(Reason::HeadTooLarge, FailedAction::Request, &next.address, detail, 0.0));
    }
    Ok(text)
}

/// The request as every hop of either dialect understands it.
pub fn to_request(request: LegacyRequest) -> Request {
    Request {
        host: Some(request.own),
        route: request.route,
        transfer: request.transfer,
        ..Request::new(Method::Get, request.name)
    }
}

/// Reads an answer that is whole.
pub fn parse_answer(bytes: &[u8]) -> LegacyAnswer {
    if bytes == NOT_HERE {
        return LegacyAnswer::NotHere;
    }
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    match std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()) {
        Some(size) if digits => LegacyAnswer::Size(size),
        _ => LegacyAnswer::Text(SafeText::from_bytes(bytes)),
    }
}

/// What a sentence before the body says went wrong, told by `next`, which was asked to go on to `rest`.
///
/// The wire names an address and no number; the route that was sent tells how far away it is. An address that is not in
/// it is that of `next`, which calls itself by another one than we do.
pub fn problem_of_text(text: &SafeText, next: &HostPort, rest: &[Hop], ms: f64) -> Problem {
    let said = text.as_str().strip_prefix(UNREACHABLE).map(|rest| rest.trim_start_matches([':', ' ']));
    if let Some(status) = text.as_str().strip_prefix("HTTP/1.").and_then(|line| line.get(2..5)?.parse().ok()) {
        // A full node says so before it reads the first line, and so before it knows the wire.
        return Problem::next(Reason::of_status(status), FailedAction::Reply, next, format!("status {status}"), ms);
    }
    let Some(said) = said else {
        return Problem::next(Reason::Nonsense, FailedAction::Reply, next, format!("it answered {text:?}"), ms);
    };
    // `HOST:PORT: reason`; an IPv6 host has colons of its own, the blank ends the address.
    let (address, why) = said.split_once(": ").unwrap_or((said, ""));
    let address = if address.is_empty() { next.to_string() } else { address.to_owned() };
    let spoken =
        SPOKEN.into_iter().find_map(|(reason, refusal, words)| Some((reason, refusal, why.strip_prefix(words)?)));
    let (reason, refusal, detail) = spoken.unwrap_or((Reason::Unreachable, None, why));
    let detail = detail.trim();
    // A sentence that was too long has lost its last bracket.
    let detail = detail.strip_prefix('(').map_or(detail, |inside| inside.strip_suffix(')').unwrap_or(inside));
    let hop = (2..).zip(rest).find(|(_, hop)| hop.address.to_string() == address).map_or(1, |(hop, _)| hop);
    Problem { hop, reporter: 1, refusal, ..Problem::next(reason, action_of(reason), address, detail, ms) }
}

/// What a hop was doing that gives this reason, as far as the reason tells.
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
        | Reason::Closed => FailedAction::Connect,
        Reason::NotFound => FailedAction::Open,
        Reason::Short | Reason::TooSlow => FailedAction::Body,
        Reason::Malformed
        | Reason::Unauthorized
        | Reason::Method
        | Reason::HeadTimeout
        | Reason::Changed
        | Reason::Range
        | Reason::HeadTooLarge
        | Reason::RouteIgnored
        | Reason::Nonsense
        | Reason::Fault
        | Reason::Internal
        | Reason::Version
        | Reason::Unsupported => FailedAction::Reply,
    }
}

/// Writes an answer for a file that cannot be sent.
pub fn encode_problem(problem: &Problem) -> Vec<u8> {
    if problem.reason == Reason::NotFound {
        return NOT_HERE.to_vec();
    }
    // A refusal of the request itself, which no list of addresses is about: the reader cannot tell by what was done.
    let of_asker = problem.reason == Reason::Policy && problem.action != FailedAction::Connect;
    let why = problem.refusal.or(of_asker.then_some(Refusal::Other));
    let spoken =
        SPOKEN.iter().find(|(reason, refusal, _)| *reason == problem.reason && (refusal.is_none() || *refusal == why));
    let words = spoken.map_or(problem.reason.words(), |(.., words)| words);
    // The reason alone would not say that it was no node that refused.
    let detail = if problem.server.is_some() { problem.to_string() } else { problem.detail.to_string() };
    let mut text = format!("{UNREACHABLE}: {}: {words}", problem.address);
    if !detail.is_empty() {
        text = format!("{text} ({detail})");
    }
    text.truncate(text.floor_char_boundary(MAX_ANSWER));
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> LegacyRequest {
        match parse_request(bytes) {
            ParsedRequest::Whole(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_the_originals_request_with_and_without_a_final_newline() {
        let request = whole(b"a b.txt\n127.0.0.1 9001\n127.0.0.1 9002 x=y id=00000000000000000000000000000007");
        assert_eq!(request.own.to_string(), "127.0.0.1:9001");
        assert_eq!((request.route.len(), request.transfer), (1, Some(TransferId(7))));
        assert_eq!(request.route[0].other, ["x=y"]);
        assert_eq!(whole(b"f\nh 1"), whole(b"f\r\nh 1\r\n\n"));
        let twice = whole(b"f\nh 1\nh 2 id=7 id=00000000000000000000000000000007 id=00000000000000000000000000000008");
        assert_eq!((twice.transfer, twice.route[0].other.len()), (Some(TransferId(7)), 0));
    }

    #[test]
    fn tells_a_cut_request_from_one_that_is_none() {
        for cut in ["", "f", "f\n", "f\nhost", "f\nhost ", "f\nh 1\nhost"] {
            assert_eq!(parse_request(cut.as_bytes()), ParsedRequest::Partial, "{cut:?}");
        }
        let long = [b'x'; MAX_NAME + 1];
        for never in [&b"\nh 1"[..], b"f\nno port here\nh 1", b"f\0\nh 1", &long] {
            assert!(matches!(parse_request(never), ParsedRequest::Never(_)), "{never:?}");
        }
        assert!(matches!(parse_request(format!("f{}", "\nh 1".repeat(34)).as_bytes()), ParsedRequest::Never(_)));
    }

    #[test]
    fn a_request_may_be_as_large_as_its_caps() {
        assert_eq!(parse_request(&[b'x'; MAX_NAME]), ParsedRequest::Partial);
        assert_eq!(whole(format!("f{}", "\nh 1".repeat(MAX_HOPS + 1)).as_bytes()).route.len(), MAX_HOPS);
        // Words that nobody knows, up to the cap and one past it.
        let padded = |size: usize| format!("f\nh 1 {}", "x".repeat(size - "f\nh 1 ".len())).into_bytes();
        assert!(!matches!(parse_request(&padded(64 * 1024)), ParsedRequest::Never(_)));
        assert!(matches!(parse_request(&padded(64 * 1024 + 1)), ParsedRequest::Never(_)));
    }

    #[test]
    fn writes_what_the_original_reads() {
        let hops: Vec<Hop> = ["a 1 name=x", "b 2 protocol=legacy"].map(|line| Hop::parse_line(line).unwrap()).to_vec();
        let mut request = to_request(whole(b"f\nme 9"));
        request.route = hops[1..].to_vec();
        request.transfer = Some(TransferId(1));
        let sent = encode_request(&request, &hops[0]).unwrap();
        assert_eq!(sent, b"f\na 1\nb 2 protocol=legacy id=00000000000000000000000000000001");
        request.name = FileName::new(&[b'n'; 1010]).unwrap();
        assert!(!encode_request(&request, &hops[0]).is_ok_and(|sent| sent.len() > MAX_SENT));
        request.query = Some("x=1".into());
        assert_eq!(encode_request(&request, &hops[0]).unwrap_err().status(), 501);
        request.query = None;
        // The hops' lines take 24 bytes.
        request.name = FileName::new(&[b'n'; MAX_SENT - 24]).unwrap();
        assert_eq!(encode_request(&request, &hops[0]).unwrap().len(), MAX_SENT);
        request.name = FileName::new(&[b'n'; MAX_SENT - 23]).unwrap();
        assert_eq!(encode_request(&request, &hops[0]).unwrap_err().reason, Reason::HeadTooLarge);
    }

    #[test]
    fn answers_are_sizes_not_here_or_text() {
        assert_eq!(parse_answer(b"1024"), LegacyAnswer::Size(1024));
        assert_eq!(parse_answer(b"NA"), LegacyAnswer::NotHere);
        for text in [&b"99999999999999999999999"[..], b"+5", b"-1", b"", b"Address not found"] {
            assert!(matches!(parse_answer(text), LegacyAnswer::Text(_)), "{text:?}");
        }
    }

    #[test]
    fn a_problem_survives_the_legacy_protocol() {
        let next: HostPort = "127.0.0.1:9001".parse().unwrap();
        let problem = Problem::next(Reason::Refused, FailedAction::Connect, "[::1]:9", "", 1.0);
        let text = SafeText::from_bytes(&encode_problem(&problem));
        assert_eq!(text.as_str(), "Address not found: [::1]:9: connection refused");
        let rest: Vec<Hop> = ["a 1", "::1 9", "b 2"].map(|line| Hop::parse_line(line).unwrap()).to_vec();
        let read = problem_of_text(&text, &next, &rest, 2.0);
        assert_eq!((read.reason, read.hop, read.reporter), (Reason::Refused, 3, 1));
        assert_eq!(read.address.as_str(), "[::1]:9");
        let itself = SafeText::new("Address not found: 0.0.0.0:9001: about to stop");
        assert_eq!(problem_of_text(&itself, &next, &rest, 2.0).hop, 1);
        let bare = problem_of_text(&SafeText::new("Address not found"), &next, &rest, 2.0);
        assert_eq!((bare.reason, bare.hop), (Reason::Unreachable, 1));
        assert_eq!(problem_of_text(&SafeText::new("hello"), &next, &rest, 2.0).reason, Reason::Nonsense);
        let full = SafeText::new("HTTP/1.1 503 Service Unavailable\r\n");
        assert_eq!(problem_of_text(&full, &next, &rest, 2.0).reason, Reason::Busy);
        let missing = Problem::here(Reason::NotFound, FailedAction::Open, "x", "");
        assert_eq!(encode_problem(&missing), NOT_HERE);
    }

    #[test]
    fn what_nodes_say_to_each_other_is_not_what_people_are_shown() {
        let next: HostPort = "127.0.0.1:9001".parse().unwrap();
        let again =
            |problem: &Problem| problem_of_text(&SafeText::from_bytes(&encode_problem(problem)), &next, &[], 2.0);
        for (reason, refusal, words) in SPOKEN {
            let problem = Problem::next(reason, FailedAction::Connect, "h:1", "in (some) words", 1.0);
            let problem = Problem { refusal, ..problem };
            let said = format!("Address not found: h:1: {words} (in (some) words)");
            assert_eq!(String::from_utf8(encode_problem(&problem)).unwrap(), said);
            let read = again(&problem);
            assert_eq!((read.reason, read.refusal, read.detail.as_str()), (reason, refusal, "in (some) words"));
            assert_eq!(read.advice(), problem.advice());
            assert_eq!(again(&read), read, "passing it on changes nothing");
        }
        // What an older node says, and what one understands of what is said here.
        let older =
            SafeText::new("Address not found: h:1: refused by policy (h:1 is link-local, which is never connected to)");
        assert_eq!(problem_of_text(&older, &next, &[], 2.0).reason, Reason::Policy);
        assert!(
            SPOKEN.iter().all(|(reason, _, words)| *reason != Reason::Policy || words.starts_with("refused by policy"))
        );
        // What a server that is no node said is not lost behind the reason.
        let server = Some(Box::new(super::super::problem::ForeignServer { status: 302, ..Default::default() }));
        let redirect =
            Problem { server, ..Problem::next(Reason::Nonsense, FailedAction::Reply, "h:1", "status 302", 1.0) };
        let read = again(&redirect);
        assert_eq!((read.reason, read.detail.as_str()), (Reason::Nonsense, "redirects elsewhere (status 302)"));
        // What another program says stays a sentence about an address.
        let other = problem_of_text(&SafeText::new("Address not found: h:1: no way to it"), &next, &[], 2.0);
        assert_eq!((other.reason, other.detail.as_str()), (Reason::Unreachable, "no way to it"));
    }

    #[test]
    fn a_refusal_of_whoever_asks_is_not_about_lists_of_addresses() {
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
            let _ = parse_answer(&bytes);
        }

        /// Whatever a node of ours says of a hop over this protocol: the next node, or the client, knows why it failed.
        #[test]
        fn every_reason_survives_the_legacy_protocol(
            reason in proptest::sample::select(&Reason::ALL[..]),
            action in proptest::sample::select(&[FailedAction::Request, FailedAction::Connect, FailedAction::Reply, FailedAction::Body][..]),
            status in proptest::option::of(proptest::sample::select(&[302, 401, 403, 407, 429, 503][..])),
            detail in "[ -~]{0,40}|[a-z(]{2000}",
        ) {
            let rest: Vec<Hop> = ["a 1", "b 2"].map(|line| Hop::parse_line(line).unwrap()).to_vec();
            let reason = status.map_or(reason, Reason::of_status);
            let server = status.map(|status| Box::new(super::super::problem::ForeignServer { status, ..Default::default() }));
            let problem = Problem { server, ..Problem::next(reason, action, "b:2", detail.as_str(), 1.0) };
            let read = match parse_answer(&encode_problem(&problem)) {
                LegacyAnswer::NotHere => {
                    prop_assert_eq!(reason, Reason::NotFound);
                    return Ok(());
                }
                LegacyAnswer::Text(text) => problem_of_text(&text, &"n:9".parse().unwrap(), &rest, 2.0),
                LegacyAnswer::Size(_) => return Err(TestCaseError::fail("it reads as a size")),
            };
            prop_assert_eq!((read.reason, read.hop, read.address.as_str()), (reason, 3, "b:2"));
            // And once more, as a relay of ours passes it on.
            let again = problem_of_text(&SafeText::from_bytes(&encode_problem(&read)), &"n:9".parse().unwrap(), &rest, 2.0);
            prop_assert_eq!(again.reason, reason);
            if detail.len() < 100 && status.is_none() {
                prop_assert_eq!(read.detail.as_str().trim(), detail.trim());
            }
        }

        #[test]
        fn what_is_written_is_read_back(name in "[^\\x00\r\n]{1,40}", ports in proptest::collection::vec(1u16.., 1..6)) {
            let hops: Vec<Hop> = ports.iter().map(|port| Hop::parse_line(&format!("h{port} {port}")).unwrap()).collect();
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
