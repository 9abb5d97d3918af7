//! Connections to the next hop that are opened ahead of the next chain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chainview::net::node::Node;
use chainview::snapshot::ConnState;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::scene::{Chain, pattern};

/// Far longer than any step here takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sequential fetches.
const ROUNDS: usize = 20;

async fn becomes(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < end, "{what}: not reached");
        sleep(Duration::from_millis(1)).await;
    }
}

fn accepted(node: &Arc<Node>) -> u64 {
    node.registry.totals().accepted
}

#[tokio::test]
async fn a_repeated_chain_finds_connections_open() {
    let chain = Chain::start(3).await;
    chain.write("f", &pattern(1000));
    let mut found_open = 0;
    for turn in 1..=ROUNDS {
        let reply = chain.get("f", "").await;
        assert_eq!((reply.status, &reply.body), (200, &pattern(1000)));
        // With a connection opened ahead, no request waits for a connect.
        let preconnected = reply.field("server-timing").unwrap().matches("connect;dur=0.000").count();
        assert!(turn > 1 || preconnected == 0, "nothing went this way before: {}", reply.head);
        found_open += usize::from(preconnected == 2);
        becomes("the next connections", || chain.nodes[1..].iter().all(|node| node.registry.open_count() == 1)).await;
    }
    // On a busy machine it may be too late for one request, but not for most of them.
    assert!(found_open >= ROUNDS / 2, "{found_open} of {ROUNDS}");
    becomes("rest", || chain.nodes.iter().all(|node| node.registry.open_count() == 0)).await;
}

#[tokio::test]
async fn a_stopped_hop_is_named_despite_a_preconnect() {
    let mut chain = Chain::start(3).await;
    chain.write("f", &pattern(1000));
    assert_eq!(chain.get("f", "").await.status, 200);
    becomes("the next connection", || accepted(&chain.nodes[2]) == 2).await;
    chain.stop(2).await;
    let reply = chain.get("f", "").await;
    assert_eq!((reply.status, reply.problem().hop), (502, 2), "{}", reply.problem());
}

#[tokio::test]
async fn a_busy_node_does_not_preconnect() {
    let chain = Chain::start(2).await;
    chain.write("f", &pattern(1000));
    chain.write("large", &pattern(30_000_000));
    let mut slow = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let own = chain.nodes[0].address;
    let head = format!("GET /files/large HTTP/1.1\r\nHost: {own}\r\n{}\r\n", chain.route());
    slow.write_all(head.as_bytes()).await.unwrap();
    becomes("the other's body", || chain.nodes[0].registry.states().contains_key(&ConnState::Streaming)).await;
    assert_eq!(chain.get("f", "").await.status, 200);
    becomes("the end of the fetch", || chain.nodes[0].registry.open_count() == 1).await;
    assert_eq!(accepted(&chain.nodes[1]), 2);
    drop(slow);
}
