//! Origins with false replies: size, range, validator and digest, malformed heads of every kind, floods and silence.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use chainview::options::VerifyMode;
use chainview::wire::http::encode_reply;
use chainview::wire::{Digest, Reply};

use crate::peers::{Peer, Say};
use crate::scene::{Chain, pattern};
use crate::{Before, REST, all, digest, fetch_over, short};

const SIZE: usize = 20_000;

/// Replies to GET and to HEAD; the client knows the digest from elsewhere, or not.
struct Case {
    name: &'static str,
    get: Vec<Say>,
    head: Vec<Say>,
    expects: bool,
    /// Whether the file does arrive.
    arrives: bool,
}

/// Encodes a correct head of a file of this length.
fn head(length: usize, told: Option<Digest>) -> Vec<u8> {
    let reply = Reply {
        status: 200,
        length: Some(length as u64),
        etag: Some("\"e\"".to_owned()),
        digests: told.into_iter().collect(),
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

fn says(parts: &[&[u8]]) -> Vec<Say> {
    vec![Say::Bytes(parts.concat())]
}

fn then(parts: &[&[u8]], end: Say) -> Vec<Say> {
    vec![Say::Bytes(parts.concat()), end]
}

/// Every false reply; `truth` is the digest of the file.
fn cases(content: &[u8], truth: Digest) -> Vec<Case> {
    let (half, rest) = content.split_at(SIZE / 2);
    let honest = head(SIZE, Some(truth));
    let mut cases = Vec::new();
    let mut case = |name, get: Vec<Say>, expects, arrives| {
        cases.push(Case { name, get, head: says(&[&head(SIZE, Some(truth))]), expects, arrives });
    };
    case("nothing wrong", says(&[&honest, content]), false, true);
    case("nothing wrong, digest asked for", says(&[&head(SIZE, None), content]), false, true);
    // Sizes, with a correct digest.
    case("larger, then closed", then(&[&head(SIZE + 10, Some(truth)), content], Say::Bytes(Vec::new())), false, false);
    case("larger, then silent", then(&[&head(SIZE + 10, Some(truth)), content], Say::Hang), false, false);
    case("larger, and filled up", says(&[&head(SIZE + 10, Some(truth)), content, &[0; 10]]), false, false);
    case("smaller", says(&[&head(SIZE - 10, Some(truth)), content]), false, false);
    case("a size without bytes", then(&[&honest], Say::Hang), false, false);
    case("a size, then a reset", then(&[&honest, half], Say::Reset), false, false);
    case("half of it", then(&[&honest, half], Say::Bytes(Vec::new())), false, false);
    case("no bytes at all", says(&[&head(0, Some(truth))]), false, false);
    case("more than there is room for", then(&[&head(usize::MAX / 4, Some(truth)), content], Say::Hang), false, false);
    // Body bytes.
    case("bytes behind it", says(&[&honest, content, b"more"]), false, true);
    case("endless bytes behind it", then(&[&honest, content], Say::Flood(b"more")), false, true);
    case("bytes before it", says(&[&honest, b"\0", &content[..SIZE - 1]]), false, false);
    case("bytes within it", says(&[&honest, half, b"....", &rest[4..]]), false, false);
    case("a piece replayed", says(&[&honest, half, half]), false, false);
    case("pieces in another order", says(&[&honest, rest, half]), false, false);
    case("a second reply for a body", says(&[&honest, &honest, &content[honest.len()..]]), false, false);
    // With an expected digest the origin may send any digest.
    let other = pattern(SIZE + 1);
    case("another file", says(&[&head(SIZE + 1, Some(digest(&other))), &other]), true, false);
    case("another of the same size", says(&[&head(SIZE, Some(digest(&other[1..]))), &other[1..]]), true, false);
    case("another, and no digest", says(&[&head(SIZE, None), &other[1..]]), true, false);
    case("another digest", says(&[&head(SIZE, Some(digest(&other))), content]), false, false);
    case("another digest, for one who knows", says(&[&head(SIZE, Some(digest(&other))), content]), true, true);
    // Ranges and validators.
    let length = format!("Content-Length: {SIZE}");
    let ranged = |text: &str| lines(&format!("{text}\r\nETag: \"e\""));
    case(
        "a part for a whole",
        says(&[&ranged(&format!("206 x\r\n{length}\r\nContent-Range: bytes 0-19999/20001")), content]),
        false,
        false,
    );
    case("a part of nothing", says(&[&ranged(&format!("206 x\r\n{length}")), content]), false, false);
    case(
        "a range on a whole",
        says(&[&ranged(&format!("200 x\r\n{length}\r\nContent-Range: bytes 0-9999/10000")), content]),
        false,
        true,
    );
    case("a weak validator", says(&[&lines(&format!("200 x\r\n{length}\r\nETag: W/\"e\"")), content]), false, true);
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
        ("a status that is none", "999 x\r\nContent-Length: 20000"),
        ("hops that are not there", "200 x\r\nChain-Hops: 3\r\nContent-Length: 20000"),
    ] {
        case(name, says(&[&lines(text), content]), false, false);
    }
    // No head at all.
    case("garbage", says(&[&pattern(4000)]), false, false);
    case("a TLS alert", says(&[b"\x15\x03\x01\x00\x02\x02\x28"]), false, false);
    case("an SSH banner", then(&[b"SSH-2.0-OpenSSH_9.6\r\n"], Say::Hang), false, false);
    case("the file alone", says(&[content]), false, false);
    case("half a head", then(&[&honest[..40]], Say::Hang), false, false);
    case("half a head, closed", then(&[&honest[..40]], Say::Bytes(Vec::new())), false, false);
    case("silence", vec![Say::Hang], false, false);
    case("a reset", vec![Say::Reset], false, false);
    // Floods.
    case(
        "an endless head",
        then(&[b"HTTP/1.1 200 OK\r\n"], Say::Flood(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")),
        false,
        false,
    );
    case("endless work", vec![Say::Flood(b"HTTP/1.1 102 Processing\r\n\r\n")], false, false);
    case(
        "work, then the file",
        says(&[&b"HTTP/1.1 102 Processing\r\n\r\n".repeat(100), &honest, content]),
        false,
        true,
    );
    // Digests.
    let mut proof = |name, head: Vec<Say>, arrives| {
        let get = says(&[&self::head(SIZE, None), content]);
        cases.push(Case { name, get, head, expects: false, arrives });
    };
    proof("proof of another file", says(&[&head(SIZE, Some(digest(&other)))]), false);
    proof("proof is refused", says(&[&lines("412 x\r\nContent-Length: 0")]), false);
    proof("proof is a reset", vec![Say::Reset], false);
    proof("proof is silence", vec![Say::Hang], false);
    // Without a digest only the length is checked, and the client reports that.
    proof("proof is garbage", says(&[b"\0\x01\x02\x03\r\n\r\n"]), true);
    proof("proof is no digest", says(&[&head(SIZE, None)]), true);
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
            let proof = if expects { VerifyMode::Expect(truth) } else { VerifyMode::Origin };
            let began = Instant::now();
            let fetched = fetch_over(&hops, "http", &output, short(), proof).await;
            let what = format!("{name}, relayed {relayed}: {fetched:?}");
            assert!(began.elapsed() < REST, "{what} after {:?}", began.elapsed());
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
