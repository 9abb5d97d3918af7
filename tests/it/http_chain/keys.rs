//! Authorized keys over real chains: signed requests, and every way in which one is refused.

mod limits;
mod site;

use std::net::SocketAddr;
use std::sync::Arc;

use chainview::faults::FaultChange;
use chainview::keys::{Covered, KeyPair, MAX_AGE, Signatures, content_digest};
use chainview::limits::Limits;
use chainview::net::admin_client::{self, Credentials};
use chainview::net::fetch::{FetchJob, client, fetch};
use chainview::net::tls::ServerTls;
use chainview::net::watch::{Tokens, Watcher};
use chainview::route::{FileName, Hop, Route};
use chainview::snapshot::{HopLink, TransferSnapshot};
use chainview::wire::http::{encode_request, sign_request};
use chainview::wire::{Denial, Lack, Method, Problem, Reason, Refusal, Request, TransferId};
use site::{Site, TIMEOUT, assert_refused, fetch_over, key, now, problem_of, send, send_head};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::scene::{Chain, pattern};

#[tokio::test]
async fn a_signed_fetch_passes_every_hop_and_others_are_refused_with_their_key() {
    let (alice, bob, eve) = (key(), key(), key());
    let name = |key: &KeyPair| key.public().fingerprint();
    let keys = format!("{} alice fetch=pub/ relay=127.0.0.0/8\n{} bob relay=127.0.0.0/8\n", name(&alice), name(&bob));
    let site = Site::start(3, &keys, now()).await;
    for _ in 0..3 {
        // The second and third over idle connections that the first has left.
        assert_eq!(site.fetch("pub/f", Some(&alice)).await.unwrap(), pattern(100_000));
    }
    let (hop, problem) = problem_of(site.fetch("private", Some(&alice)).await.unwrap_err());
    assert_eq!((hop, problem.reason, problem.refusal), (Some(3), Reason::Policy, Some(Refusal::NoRight)));
    let expected = format!("{} (alice) has no right fetch for this name", name(&alice));
    assert_eq!(problem.detail.as_str(), expected);
    let (hop, problem) = problem_of(site.fetch("pub/f", Some(&bob)).await.unwrap_err());
    assert_eq!((hop, problem.detail.as_str().contains("(bob) has no right fetch")), (Some(3), true), "{problem}");
    let (hop, problem) = problem_of(site.fetch("pub/f", Some(&eve)).await.unwrap_err());
    assert_eq!((hop, problem.reason), (Some(1), Reason::Policy));
    assert_eq!(problem.detail.as_str(), format!("{} (not authorized) has no right relay", name(&eve)));
    let (hop, problem) = problem_of(site.fetch("pub/f", None).await.unwrap_err());
    assert_eq!((hop, problem.reason, problem.status()), (Some(1), Reason::KeyRequired, 401));
    assert_eq!(problem.denial, Some(Box::new(Denial { lack: Lack::Relay, key: None })));
}

#[tokio::test]
async fn a_relay_connects_only_where_the_key_may_be_relayed_to() {
    let alice = key();
    let keys = format!("{} alice fetch=/ relay=127.0.0.0/8:1\n", alice.public().fingerprint());
    let site = Site::start(2, &keys, now()).await;
    let (hop, problem) = problem_of(site.fetch("pub/f", Some(&alice)).await.unwrap_err());
    assert_eq!((hop, problem.reason, problem.refusal), (Some(2), Reason::Policy, Some(Refusal::NoRight)));
    assert!(problem.detail.as_str().contains(&format!("relay for {}", site.address(1))), "{}", problem.detail);
    let key = Some(alice.public().fingerprint());
    assert_eq!(problem.denial, Some(Box::new(Denial { lack: Lack::Relay, key })));
}

#[tokio::test]
async fn relays_without_keys_pass_signatures_on() {
    let alice = key();
    let site = Site::start(1, &format!("{} alice fetch=/\n", alice.public().fingerprint()), now()).await;
    let relays = Chain::start(2).await;
    let addresses = relays.nodes.iter().map(|node| node.address).chain([site.address(0)]);
    let hops = addresses.map(|address| Hop::new(address.into())).collect();
    let route = Route::new(FileName::new(b"private").unwrap(), hops).unwrap();
    assert_eq!(fetch_over(route.clone(), Some(&alice)).await.unwrap(), pattern(100_000));
    let (hop, problem) = problem_of(fetch_over(route, None).await.unwrap_err());
    assert_eq!((hop, problem.reason), (Some(3), Reason::KeyRequired));
}

#[tokio::test]
async fn an_anonymous_line_serves_unsigned_requests_of_both_protocols() {
    let alice = key();
    let keys = format!("anonymous fetch=pub/\n{} alice fetch=private\n", alice.public().fingerprint());
    let site = Site::start(1, &keys, now()).await;
    for identity in [None, Some(&alice), Some(&key())] {
        assert_eq!(site.fetch("pub/f", identity).await.unwrap(), pattern(100_000));
    }
    assert_eq!(site.fetch("private", Some(&alice)).await.unwrap(), pattern(100_000));
    let unsigned = b"GET /files/private HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    assert_refused(&send_head(site.address(0), unsigned).await, 401, Reason::KeyRequired, "right fetch");
    let legacy = |name: &'static str| {
        let to = site.address(0);
        async move {
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.write_all(format!("{name}\n127.0.0.1 {}", to.port()).as_bytes()).await.unwrap();
            let mut reply = vec![0; 1024];
            let read = timeout(TIMEOUT, stream.read(&mut reply)).await.unwrap().unwrap();
            String::from_utf8_lossy(&reply[..read]).into_owned()
        }
    };
    assert_eq!(legacy("pub/f").await, "100000");
    let refused = legacy("private").await;
    assert!(refused.starts_with("Address not found: ") && refused.contains(": key required"), "{refused}");
}

#[tokio::test]
async fn a_signature_for_the_key_of_a_node_is_refused_by_a_node_with_another() {
    let (alice, own, other) = (key(), key(), key());
    let keys = format!("{} alice fetch=/\n", alice.public().fingerprint());
    let identity = |pair: &KeyPair| Some(Arc::new(ServerTls::new(pair).unwrap()));
    let with = Site::start_with(1, &keys, now(), |config| config.tls = identity(&own)).await;
    let without = Site::start(1, &keys, now()).await;
    let signed = |site: &Site, node: Option<&KeyPair>, nonce: u128| {
        let mut hop = site.hops().remove(0);
        hop.key = node.map(|node| node.public().fingerprint());
        let mut request = site.signed(&alice, now(), nonce);
        request.signatures = None;
        request.signatures = sign_request(&alice, &hop, &request, now(), nonce).unwrap().map(Box::new);
        request
    };
    for node in [None, Some(&*own)] {
        let nonce = 1 + u128::from(node.is_some());
        assert_eq!(send(with.address(0), &signed(&with, node, nonce)).await.body, pattern(100_000));
    }
    let wrong = format!("the key {}, and this node has {}", other.public().fingerprint(), own.public().fingerprint());
    assert_refused(&send(with.address(0), &signed(&with, Some(&other), 3)).await, 401, Reason::BadSignature, &wrong);
    let refused = send(without.address(0), &signed(&without, Some(&own), 4)).await;
    assert_refused(&refused, 401, Reason::BadSignature, "and this node has none");
}

#[tokio::test]
async fn old_future_altered_and_repeated_requests_are_refused() {
    let alice = key();
    let keys = format!("{} alice fetch=/ relay=127.0.0.0/8\n", alice.public().fingerprint());
    let site = Site::start(2, &keys, now() - 2 * MAX_AGE).await;
    let to = site.address(0);
    let good = site.signed(&alice, now(), 1);
    assert_eq!(send(to, &good).await.body, pattern(100_000));
    let repeated = send(to, &good).await;
    assert_refused(&repeated, 401, Reason::BadSignature, "served already");
    let lack_of = |body: &[u8]| Problem::from_json(body).unwrap().denial.unwrap().lack;
    assert_eq!(lack_of(&repeated.body), Lack::NewId);
    for (created, words) in
        [(now() - MAX_AGE - 5, "ago by this node's clock"), (now() + 600, "10 min"), (now() - 600, "clocks right?")]
    {
        let refused = send(to, &site.signed(&alice, created, 2)).await;
        assert_refused(&refused, 401, Reason::BadSignature, words);
        assert_eq!(lack_of(&refused.body), Lack::Time);
    }
    let other = |change: fn(&mut Request)| {
        let mut request = site.signed(&alice, now(), 3);
        change(&mut request);
        request
    };
    let wrong = "not that of this request";
    for request in [
        other(|request| request.name = FileName::new(b"private").unwrap()),
        other(|request| request.method = Method::Head),
        other(|request| request.query = Some("x".into())),
        other(|request| request.transfer = Some(TransferId(4))),
        other(|request| request.route[0].base = Some("/x/".to_owned())),
        other(|request| {
            request.signatures.as_mut().unwrap().input = {
                let input = &request.signatures.as_ref().unwrap().input;
                input.replace(&format!("{:032x}", 3), &format!("{:032x}", 4))
            }
        }),
    ] {
        let reply = send(to, &request).await;
        if request.method == Method::Head {
            // Its problem is in the head.
            assert_eq!((reply.status, reply.head.contains(wrong)), (401, true), "{}", reply.head);
        } else {
            assert_refused(&reply, 401, Reason::BadSignature, wrong);
        }
    }
    // A key that claims to be another.
    let mut forged = site.signed(&key(), now(), 5);
    let (own, claimed) = (forged.signatures.take().unwrap(), site.signed(&alice, now(), 5).signatures.unwrap());
    forged.signatures = Some(Box::new(Signatures { signature: own.signature, ..*claimed }));
    assert_refused(&send(to, &forged).await, 401, Reason::BadSignature, wrong);
    // The same after a restart, which has forgotten what was served.
    let restarted = Site::start(1, &keys, now() + 60).await;
    let before = restarted.signed(&alice, now(), 6);
    assert_refused(
        &send(restarted.address(0), &before).await,
        401,
        Reason::BadSignature,
        "before this node was started",
    );
}

#[tokio::test]
async fn a_request_without_a_reply_may_come_once_more() {
    let alice = key();
    let site = Site::start(1, &format!("{} alice fetch=/\n", alice.public().fingerprint()), now()).await;
    site.nodes[0].faults.apply(&[FaultChange::Delay(300)]);
    let request = site.signed(&alice, now(), 1);
    let mut head = Vec::new();
    encode_request(&request, None, &mut head);
    // As over an idle connection that breaks before the first byte of the reply.
    let mut first = TcpStream::connect(site.address(0)).await.unwrap();
    first.write_all(&head).await.unwrap();
    let begun = async {
        while site.nodes[0].record(TransferId(1)).is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, begun).await.expect("the request arrives");
    drop(first);
    assert_eq!(send(site.address(0), &request).await.body, pattern(100_000));
    assert_refused(&send(site.address(0), &request).await, 401, Reason::BadSignature, "served already");
}

#[tokio::test]
async fn a_relay_that_strips_or_adds_hops_or_sends_elsewhere_is_refused() {
    let alice = key();
    let keys = format!("{} alice fetch=/ relay=127.0.0.0/8\n", alice.public().fingerprint());
    let site = Site::start(3, &keys, now()).await;
    // What a dishonest first hop has: the signatures for hops 2 and 3.
    let received = |nonce| {
        let mut request = site.signed(&alice, now(), nonce);
        request.signatures = request.signatures.and_then(|all| all.for_next(2)).map(Box::new);
        request.host = Some(site.address(1).into());
        request.route.remove(0);
        request
    };
    assert_eq!(send(site.address(1), &received(1)).await.body, pattern(100_000), "an honest relay is served");
    let hop = |address: SocketAddr| Hop::new(address.into());
    // It adds a hop: no signature is for a route of that length.
    let mut added = received(2);
    added.route.insert(0, hop(site.address(0)));
    assert_refused(&send(site.address(1), &added).await, 401, Reason::KeyRequired, "right relay");
    // It replaces the next hop by another.
    let mut replaced = received(3);
    replaced.route[0] = hop(site.address(0));
    assert_refused(&send(site.address(1), &replaced).await, 401, Reason::BadSignature, "not that of this request");
    // It strips the last hop, so that hop 2 would be the origin.
    let mut stripped = received(4);
    stripped.route.clear();
    assert_refused(&send(site.address(1), &stripped).await, 401, Reason::BadSignature, "signed for");
    // It sends hop 3's signature to hop 2, under hop 3's name.
    stripped.host = Some(site.address(2).into());
    assert_refused(&send(site.address(1), &stripped).await, 401, Reason::BadSignature, "--host-name");
    // It passes the request to another node than the one that is addressed.
    let mut elsewhere = received(5);
    assert_refused(&send(site.address(0), &elsewhere).await, 401, Reason::BadSignature, "--host-name");
    elsewhere.host = Some(site.address(0).into());
    assert_refused(&send(site.address(0), &elsewhere).await, 401, Reason::BadSignature, "not that of this request");
}

#[tokio::test]
async fn keys_that_are_replaced_apply_to_the_next_request() {
    let alice = key();
    let keys = format!("{} alice fetch=/\n", alice.public().fingerprint());
    let site = Site::start(1, &keys, now()).await;
    assert!(site.fetch("pub/f", Some(&alice)).await.is_ok());
    site.tables[0].replace("".parse().unwrap());
    let (_, problem) = problem_of(site.fetch("pub/f", Some(&alice)).await.unwrap_err());
    assert!(problem.detail.as_str().contains("(not authorized)"), "{problem}");
}

#[tokio::test]
async fn folders_and_endpoints_are_read_with_a_key_through_a_chain() {
    let (alice, bob) = (key(), key());
    let keys = format!(
        "{} alice fetch=pub/ relay=127.0.0.0/8 read\n{} bob relay=127.0.0.0/8\n",
        alice.public().fingerprint(),
        bob.public().fingerprint()
    );
    let site = Site::start(3, &keys, now()).await;
    let route = site.route("pub/f");
    let folder = FileName::new(b"pub").unwrap();
    let by = |key: &Arc<KeyPair>| {
        let (route, folder, key) = (route.clone(), folder.clone(), Arc::clone(key));
        async move {
            let credentials = Credentials { token: None, identity: Some(&key) };
            admin_client::list(&route, Some(&folder), None, credentials).await
        }
    };
    assert_eq!(by(&alice).await.unwrap().entries.len(), 1);
    let refused = by(&bob).await.unwrap_err();
    assert_eq!((refused.reason, refused.hop, refused.refusal), (Reason::Policy, 3, Some(Refusal::NoRight)));
    let unsigned = admin_client::list(&route, Some(&folder), None, Credentials::default()).await.unwrap_err();
    assert_eq!((unsigned.reason, unsigned.hop), (Reason::KeyRequired, 1));

    let output = tempfile::tempdir().unwrap();
    let mut job = FetchJob::new(1, site.route("pub/"), output.path().to_owned(), Limits::default());
    job.identity = Some(Arc::clone(&alice));
    let mut upstream = client(Arc::default(), job.limits, None).signed_by(job.identity.clone());
    let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
    let fetching = fetch(&mut upstream, &mut job, &progress, &stop);
    timeout(TIMEOUT, fetching).await.unwrap().unwrap();
    assert_eq!(std::fs::read(output.path().join("pub/f")).unwrap(), pattern(100_000));

    let tokens = Tokens { identity: Some(Arc::clone(&alice)), ..Tokens::default() };
    let mut watcher = Watcher::start(&route, &tokens, None);
    let attached = async {
        while !watcher.hops().iter().all(|hop| hop.link == HopLink::Attached) {
            watcher.changed().await;
        }
    };
    timeout(TIMEOUT, attached).await.expect("every hop is watched");
    assert!(site.folder.path().exists());
}

#[tokio::test]
async fn the_health_check_needs_no_key_and_control_needs_the_right() {
    let (alice, bob) = (key(), key());
    let keys = format!("{} alice control\n{} bob read\n", alice.public().fingerprint(), bob.public().fingerprint());
    let site = Site::start(1, &keys, now()).await;
    let to = site.address(0);
    let healthy = send_head(to, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(healthy.status, 200);
    let post = |pair: &KeyPair, nonce: u128, body: &str, sent: &str| {
        let digest = content_digest(body.as_bytes());
        let transfer = TransferId(nonce).to_string();
        let covered = Covered {
            authority: to.to_string().into(),
            content_digest: Some(digest.as_str().into()),
            ..Covered::new("POST", "/v1/faults", transfer.as_str())
        };
        let mut signatures = Signatures::new(pair);
        signatures.sign(pair, 0, &covered, now(), nonce).unwrap();
        format!(
            "POST /v1/faults HTTP/1.1\r\nHost: {to}\r\nSignature-Input: {}\r\nSignature: {}\r\nChain-Key: {}\r\n\
             Chain-Transfer: {transfer}\r\nContent-Digest: {digest}\r\nContent-Length: {}\r\n\r\n{sent}",
            signatures.input,
            signatures.signature,
            signatures.key,
            sent.len()
        )
    };
    let limit = String::from_utf8(FaultChange::Limit(Some(1_000_000)).to_json()).unwrap();
    let done = send_head(to, post(&alice, 1, &limit, &limit).as_bytes()).await;
    assert_eq!((done.status, site.nodes[0].faults.now().limit), (200, Some(1_000_000)));
    let repeated = send_head(to, post(&alice, 1, &limit, &limit).as_bytes()).await;
    assert_refused(&repeated, 401, Reason::BadSignature, "served already");
    let other = limit.replace('1', "2");
    let altered = send_head(to, post(&alice, 2, &limit, &other).as_bytes()).await;
    assert_refused(&altered, 401, Reason::BadSignature, "Content-Digest");
    let refused = send_head(to, post(&bob, 3, &limit, &limit).as_bytes()).await;
    assert_refused(&refused, 401, Reason::Unauthorized, "right control");
    assert_eq!(site.nodes[0].faults.now().limit, Some(1_000_000));
}
