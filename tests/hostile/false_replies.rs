//! Origins with false replies: size, range, validator and digest, malformed heads of every kind, floods and silence.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use chainview::options::VerifyMode;
use chainview::wire::http::encode_reply;
use chainview::wire::{Digest, Reply};

use crate::peers::{Peer, Step};
use crate::scene::{Chain, pattern};
use crate::{Before, RELEASE, all, digest, fetch_over, short};

const SIZE: usize = 20_000;

/// Replies to GET and to HEAD; the client has the digest from elsewhere, or not.
struct Case {
    name: &'static str,
    get: Vec<Step>,
    head: Vec<Step>,
    expects: bool,
    /// Whether the file does arrive.
    arrives: bool,
}

/// Encodes a correct head of a file of this length.
fn head(length: usize, announced: Option<Digest>) -> Vec<u8> {
    let reply = Reply {
        status: 200,
        length: Some(length as u64),
        etag: Some("\"e\"".to_owned()),
        digests: announced.into_iter().collect(),
        keep_alive: true,
        ..Reply::default()
    };
    let mut head = Vec::new();
    encode_reply(&reply, &mut head);
    head
}

/// Encodes a head of these lines.
fn lines(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 {lines}\r\n\r\n").into_bytes()
}

fn steps(parts: &[&[u8]]) -> Vec<Step> {
    vec![Step::Bytes(parts.concat())]
}

fn then(parts: &[&[u8]], end: Step) -> Vec<Step> {
    vec![Step::Bytes(parts.concat()), end]
}

/// Every false reply; `truth` is the digest of the file.
fn cases(content: &[u8], truth: Digest) -> Vec<Case> {
    let (half, rest) = content.split_at(SIZE / 2);
    let correct = head(SIZE, Some(truth));
    let mut cases = Vec::new();
    let mut case = |name, get: Vec<Step>, expects, arrives| {
        cases.push(Case { name, get, head: steps(&[&head(SIZE, Some(truth))]), expects, arrives });
    };
    case("nothing wrong", steps(&[&correct, content]), false, true);
    case("nothing wrong, digest requested", steps(&[&head(SIZE, None), content]), false, true);
    // Sizes, with a correct digest.
    case("larger, then closed", then(&[&head(SIZE + 10, Some(truth)), content], Step::Bytes(Vec::new())), false, false);
    case("larger, then silent", then(&[&head(SIZE + 10, Some(truth)), content], Step::Hang), false, false);
    case("larger, and filled up", steps(&[&head(SIZE + 10, Some(truth)), content, &[0; 10]]), false, false);
    case("smaller", steps(&[&head(SIZE - 10, Some(truth)), content]), false, false);
    case("a size without bytes", then(&[&correct], Step::Hang), false, false);
    case("a size, then a reset", then(&[&correct, half], Step::Reset), false, false);
    case("half of it", then(&[&correct, half], Step::Bytes(Vec::new())), false, false);
    case("no bytes at all", steps(&[&head(0, Some(truth))]), false, false);
    case("more than there is room for", then(&[&head(usize::MAX / 4, Some(truth)), content], Step::Hang), false, false);
    // Body bytes.
    case("bytes behind it", steps(&[&correct, content, b"more"]), false, true);
    case("endless bytes behind it", then(&[&correct, content], Step::Flood(b"more")), false, true);
    case("bytes before it", steps(&[&correct, b"\0", &content[..SIZE - 1]]), false, false);
    case("bytes within it", steps(&[&correct, half, b"....", &rest[4..]]), false, false);
    case("a chunk replayed", steps(&[&correct, half, half]), false, false);
    case("chunks in another order", steps(&[&correct, rest, half]), false, false);
    case("a second reply for a body", steps(&[&correct, &correct, &content[correct.len()..]]), false, false);
    // With an expected digest the origin may send any digest.
    let other = pattern(SIZE + 1);
    case("another file", steps(&[&head(SIZE + 1, Some(digest(&other))), &other]), true, false);
    case("another of the same size", steps(&[&head(SIZE, Some(digest(&other[1..]))), &other[1..]]), true, false);
    case("another, and no digest", steps(&[&head(SIZE, None), &other[1..]]), true, false);
    case("another digest", steps(&[&head(SIZE, Some(digest(&other))), content]), false, false);
    case("another digest than expected", steps(&[&head(SIZE, Some(digest(&other))), content]), true, true);
    // Ranges and validators.
    let length = format!("Content-Length: {SIZE}");
    let ranged = |text: &str| lines(&format!("{text}\r\nETag: \"e\""));
    case(
        "a range for a complete file",
        steps(&[&ranged(&format!("206 x\r\n{length}\r\nContent-Range: bytes 0-19999/20001")), content]),
        false,
        false,
    );
    case("a part of nothing", steps(&[&ranged(&format!("206 x\r\n{length}")), content]), false, false);
    case(
        "a range on a complete file",
        steps(&[&ranged(&format!("200 x\r\n{length}\r\nContent-Range: bytes 0-9999/10000")), content]),
        false,
        true,
    );
    case("a weak validator", steps(&[&lines(&format!("200 x\r\n{length}\r\nETag: W/\"e\"")), content]), false, true);
    // Malformed heads.
    for (name, text) in [
        ("two lengths", "200 x\r\nContent-Length: 20000\r\nContent-Length: 20000"),
        ("two lengths in one", "200 x\r\nContent-Length: 20000, 20000"),
        ("two framings", "200 x\r\nContent-Length: 20000\r\nTransfer-Encoding: chunked"),
        ("chunked", "200 x\r\nTransfer-Encoding: chunked"),
        ("a signed length", "200 x\r\nContent-Length: +20000"),
        ("a negative length", "200 x\r\nContent-Length: -1"),
        ("a length past all numbers", "200 x\r\nContent-Length: 18446744073709551616"),
        ("no length", "200 x\r\nX: y"),
        ("compressed", "200 x\r\nContent-Length: 20000\r\nContent-Encoding: gzip"),
        ("a folded line", "200 x\r\nX: a\r\n b\r\nContent-Length: 20000"),
        ("a line of its own kind", "200 x\r\nX: a\nContent-Length: 20000"),
        ("a name with a blank", "200 x\r\nContent-Length : 20000"),
        ("another protocol", "101 x\r\nUpgrade: h2c\r\nContent-Length: 20000"),
        ("no content", "204 x\r\nContent-Length: 20000"),
        ("not modified", "304 x\r\nContent-Length: 20000"),
        ("elsewhere", "302 x\r\nLocation: /\r\nContent-Length: 20000"),
        ("an invalid status", "999 x\r\nContent-Length: 20000"),
        ("hops that are not there", "200 x\r\nChain-Hops: 3\r\nContent-Length: 20000"),
    ] {
        case(name, steps(&[&lines(text), content]), false, false);
    }
    // No head at all.
    case("garbage", steps(&[&pattern(4000)]), false, false);
    case("a TLS alert", steps(&[b"\x15\x03\x01\x00\x02\x02\x28"]), false, false);
    case("an SSH banner", then(&[b"SSH-2.0-OpenSSH_9.6\r\n"], Step::Hang), false, false);
    case("the file alone", steps(&[content]), false, false);
    case("half a head", then(&[&correct[..40]], Step::Hang), false, false);
    case("half a head, closed", then(&[&correct[..40]], Step::Bytes(Vec::new())), false, false);
    case("silence", vec![Step::Hang], false, false);
    case("a reset", vec![Step::Reset], false, false);
    // Floods.
    case(
        "an endless head",
        then(&[b"HTTP/1.1 200 OK\r\n"], Step::Flood(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")),
        false,
        false,
    );
    case("endless work", vec![Step::Flood(b"HTTP/1.1 102 Processing\r\n\r\n")], false, false);
    case(
        "work, then the file",
        steps(&[&b"HTTP/1.1 102 Processing\r\n\r\n".repeat(100), &correct, content]),
        false,
        true,
    );
    // Digests.
    let mut digest_case = |name, head: Vec<Step>, arrives| {
        let get = steps(&[&self::head(SIZE, None), content]);
        cases.push(Case { name, get, head, expects: false, arrives });
    };
    digest_case("digest of another file", steps(&[&head(SIZE, Some(digest(&other)))]), false);
    digest_case("digest is refused", steps(&[&lines("412 x\r\nContent-Length: 0")]), false);
    digest_case("digest is a reset", vec![Step::Reset], false);
    digest_case("digest is silence", vec![Step::Hang], false);
    // Without a digest only the length is checked, and the client reports that.
    digest_case("digest is garbage", steps(&[b"\0\x01\x02\x03\r\n\r\n"]), true);
    digest_case("reply without a digest", steps(&[&head(SIZE, None)]), true);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_false_origin_reply_is_a_success() {
    let before = Before::now().await;
    let chain = Arc::new(Chain::with_limits(1, short()).await);
    let content = Arc::new(pattern(SIZE));
    let truth = digest(&content);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let runs = [false, true]
        .into_iter()
        .flat_map(|relayed| cases(&content, truth).into_iter().map(move |case| (relayed, case)));
    all(runs.enumerate().map(|(number, (relayed, case))| {
        let (chain, folder, content) = (Arc::clone(&chain), Arc::clone(&folder), Arc::clone(&content));
        let wrong = Arc::clone(&wrong);
        async move {
            let Case { name, get, head, expects, arrives } = case;
            let script = move |method: &str| if method == "HEAD" { head.clone() } else { get.clone() };
            let origin = Peer::origin(Arc::new(script)).await;
            let relay = chain.nodes[0].address;
            let hops = if relayed { vec![relay, origin.address] } else { vec![origin.address] };
            let output = folder.path().join(number.to_string());
            let digest_case = if expects { VerifyMode::Expect(truth) } else { VerifyMode::Origin };
            let began = Instant::now();
            let fetched = fetch_over(&hops, "http", &output, short(), digest_case).await;
            let what = format!("{name}, relayed {relayed}: {fetched:?}");
            assert!(began.elapsed() < RELEASE, "{what} after {:?}", began.elapsed());
            if (fetched.is_ok(), output.exists()) != (arrives, arrives) {
                wrong.lock().unwrap().push(what.clone());
            }
            assert!(fetched.is_err() || fs::read(&output).unwrap() == *content, "a wrong success: {what}");
        }
    }))
    .await;
    assert!(wrong.lock().unwrap().is_empty(), "{:#?}", wrong.lock().unwrap());
    before.is_back(Arc::into_inner(chain).unwrap()).await;
}
