//! Limits of keys over real chains: bytes per second, transfers at once and bytes a day.

use std::time::Instant;

use chainview::error::{BodyFailure, Error};
use chainview::snapshot::verdict::Limit;
use chainview::snapshot::{BodyError, Flow};
use chainview::verdict::{Stage, evaluate};
use chainview::wire::http::sign_request;

use super::*;

/// The file of a key's limits, in bytes.
const BIG: usize = 600_000;

/// A site with a large file, and the lines of alice and bob.
async fn site(count: usize, of_alice: &str) -> (Site, [Arc<KeyPair>; 2]) {
    let keys = [key(), key()];
    let site = Site::start(count, &lines(&keys, of_alice), now()).await;
    std::fs::write(site.folder.path().join("pub/big"), pattern(BIG)).unwrap();
    (site, keys)
}

fn lines([alice, bob]: &[Arc<KeyPair>; 2], of_alice: &str) -> String {
    let [alice, bob] = [alice, bob].map(|key| key.public().fingerprint());
    format!("{alice} alice fetch=/ relay=127.0.0.0/8 {of_alice}\n{bob} bob fetch=/ relay=127.0.0.0/8\n")
}

/// Begins to fetch the large file, reads the head of the reply, and leaves the body.
async fn begin(site: &Site, pair: &KeyPair, nonce: u128) -> (TcpStream, String) {
    let mut request = site.signed(pair, now(), nonce);
    (request.name, request.signatures) = (FileName::new(b"pub/big").unwrap(), None);
    let first = site.hops().remove(0);
    request.signatures = sign_request(pair, &first, &request, now(), nonce).unwrap().map(Box::new);
    let mut head = Vec::new();
    encode_request(&request, None, &mut head);
    let mut stream = TcpStream::connect(site.address(0)).await.unwrap();
    stream.write_all(&head).await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        reply.push(timeout(TIMEOUT, stream.read_u8()).await.expect("a head in time").unwrap());
    }
    (stream, String::from_utf8(reply).unwrap())
}

#[tokio::test]
async fn two_transfers_of_a_key_share_its_rate_and_another_key_is_not_affected() {
    let (site, [alice, bob]) = site(2, "rate=400KB/s").await;
    let began = Instant::now();
    let of_bob = async { (site.fetch("pub/big", Some(&bob)).await.unwrap(), began.elapsed()) };
    let fetch = || site.fetch("pub/big", Some(&alice));
    let (first, second, (of_bob, at)) = tokio::join!(fetch(), fetch(), of_bob);
    let both = began.elapsed().as_secs_f64();
    assert!([first.unwrap(), second.unwrap(), of_bob].iter().all(|got| *got == pattern(BIG)));
    // Twice 600 KB at 400 KB/s, less what may be caught up at once.
    assert!((2.5..5.0).contains(&both), "{both} s");
    assert!(at.as_secs_f64() < 1.5, "{at:?}");
}

#[tokio::test]
async fn the_verdict_names_the_rate_of_the_key() {
    let (site, [alice, _]) = site(2, "rate=400KB/s").await;
    let (mut stream, head) = begin(&site, &alice, 7).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut body = vec![0; BIG];
    timeout(TIMEOUT, stream.read_exact(&mut body)).await.unwrap().unwrap();
    let records: Vec<_> = site.nodes.iter().map(|node| node.record(TransferId(7))).collect();
    assert_eq!(records[0].as_ref().unwrap().key_rate, Some(400_000));
    let (bytes_in, active_us, starved_us) = (BIG as u64, 1_500_000, 1_400_000);
    let client = Flow { bytes_in, active_us, starved_us, ..Flow::default() };
    let verdict = evaluate(&client, &Stage::of(&records));
    assert!(matches!(verdict.limit, Limit::KeyRate { rate: 400_000, .. }), "{verdict}");
    assert!(verdict.to_string().contains("limited by the key's rate of 400.0 KB/s"), "{verdict}");
}

#[tokio::test]
async fn a_transfer_beyond_those_of_a_key_is_refused_and_one_of_another_key_is_not() {
    let (site, [alice, bob]) = site(2, "transfers=2 rate=100KB/s").await;
    let (first, head) = begin(&site, &alice, 1).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (_second, head) = begin(&site, &alice, 2).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let refused = send(site.address(0), &site.signed(&alice, now(), 3)).await;
    let detail = format!("{} (alice) may have 2 at once", alice.public().fingerprint());
    assert_refused(&refused, 429, Reason::TooManyTransfers, &detail);
    assert_eq!(refused.field("retry-after"), Some("1"));
    let (hop, problem) = problem_of(site.fetch("pub/f", Some(&alice)).await.unwrap_err());
    assert_eq!((hop, problem.reason), (Some(1), Reason::TooManyTransfers));
    assert_eq!(site.fetch("pub/big", Some(&bob)).await.unwrap(), pattern(BIG));
    drop(first);
    let mut nonce = 10;
    let served = async {
        while send(site.address(0), &site.signed(&alice, now(), nonce)).await.status == 429 {
            nonce += 1;
        }
    };
    timeout(TIMEOUT, served).await.expect("the place of a transfer that has ended is free");
}

#[tokio::test]
async fn the_bytes_of_a_day_end_a_body_with_the_hop_named_and_a_reload_keeps_the_count() {
    let (site, pair) = site(2, "").await;
    let [alice, bob] = &pair;
    let reload = |limits: &str| site.tables[1].replace(lines(&pair, limits).parse().unwrap());
    assert_eq!(site.fetch("pub/f", Some(alice)).await.unwrap(), pattern(100_000), "counted without a limit, too");
    reload("per-day=250KB");
    assert_eq!(site.fetch("pub/f", Some(alice)).await.unwrap(), pattern(100_000));
    let (mut stream, head) = begin(&site, alice, 1).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut body = Vec::new();
    let ended = timeout(TIMEOUT, stream.read_to_end(&mut body)).await.expect("an end in time");
    assert_eq!((ended.unwrap_or(body.len()), body == pattern(BIG)[..50_000]), (50_000, true), "{}", body.len());
    let record = site.nodes[1].record(TransferId(1)).unwrap();
    assert_eq!(record.body_error, Some(BodyError::DailyLimit), "{:?}", record.error);
    let (hop, problem) = problem_of(site.fetch("pub/f", Some(alice)).await.unwrap_err());
    assert_eq!((hop, problem.reason), (Some(2), Reason::DailyLimit));
    let detail = format!("{} (alice) may have 250.0 KB a day, and again from 00:00", alice.public().fingerprint());
    assert!(problem.detail.as_str().starts_with(&detail), "{}", problem.detail);
    let refused = send(site.address(0), &site.signed(alice, now(), 2)).await;
    assert_refused(&refused, 429, Reason::DailyLimit, &detail);
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait} s");
    assert_eq!(site.fetch("pub/big", Some(bob)).await.unwrap(), pattern(BIG));
    reload("per-day=300KB");
    let error = site.fetch("pub/big", Some(alice)).await.unwrap_err();
    assert!(matches!(error, Error::Short { hop: 2, how: BodyFailure::DailyLimit, .. }), "50 KB more: {error}");
    reload("");
    assert_eq!(site.fetch("pub/big", Some(alice)).await.unwrap(), pattern(BIG));
}

#[tokio::test]
async fn an_interrupted_fetch_names_the_hop_whose_daily_limit_ended_it() {
    let (site, pair) = site(2, "").await;
    site.tables[1].replace(lines(&pair, "per-day=250KB").parse().unwrap());
    let output = tempfile::tempdir().unwrap();
    let mut job = FetchJob::new(1, site.route("pub/big"), output.path().to_owned(), Limits::default());
    job.retries = 0;
    job.identity = Some(Arc::clone(&pair[0]));
    let mut upstream = client(Arc::default(), job.limits, None).signed_by(job.identity.clone());
    let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
    let error = timeout(TIMEOUT, fetch(&mut upstream, &mut job, &progress, &stop)).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Short { hop: 2, how: BodyFailure::DailyLimit, .. }), "{error}");
}

#[tokio::test]
async fn requests_without_a_key_have_the_limits_of_their_line_in_both_protocols() {
    let site = Site::start(1, "anonymous fetch=/ transfers=1 rate=100KB/s\n", now()).await;
    std::fs::write(site.folder.path().join("pub/big"), pattern(BIG)).unwrap();
    let (mut stream, head) = begin(&site, &key(), 1).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let to = site.address(0);
    let mut legacy = TcpStream::connect(to).await.unwrap();
    legacy.write_all(format!("pub/f\n127.0.0.1 {}", to.port()).as_bytes()).await.unwrap();
    let mut reply = String::new();
    timeout(TIMEOUT, legacy.read_to_string(&mut reply)).await.unwrap().unwrap();
    let words = ": too many transfers of this client (unsigned requests may have 1 at once)";
    assert!(reply.starts_with("Address not found: ") && reply.contains(words), "{reply}");
    // A request for a head moves nothing.
    let head = b"HEAD /files/pub/f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    assert_eq!(send_head(to, head).await.status, 200);
    stream.read_exact(&mut [0; 1000]).await.unwrap();
}
