//! Connections to the next hop that are kept for the next request, of any client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chainview::net::node::Node;
use chainview::snapshot::UpstreamTotals;
use tokio::time::sleep;

use super::scene::{Chain, pattern};

/// Far longer than any step here takes.
const TIMEOUT: Duration = Duration::from_secs(10);

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

fn upstream(node: &Arc<Node>) -> UpstreamTotals {
    node.snapshot().upstream
}

#[tokio::test]
async fn clients_one_after_the_other_use_one_connection() {
    let chain = Chain::start(3).await;
    chain.write("f", &pattern(1000));
    for turn in 1..=20 {
        let reply = chain.get("f", "").await;
        assert_eq!((reply.status, &reply.body), (200, &pattern(1000)));
        becomes("the end of the session", || chain.nodes[0].registry.open_count() == 0).await;
        let connected = reply.field("server-timing").unwrap().matches("connect;dur=0.000").count();
        assert_eq!(connected == 2, turn > 1, "{}", reply.head);
    }
    assert_eq!(chain.nodes.iter().map(accepted).collect::<Vec<_>>(), [20, 1, 1]);
    let once = UpstreamTotals { idle: 1, opened: 1, reused: 19, ..UpstreamTotals::default() };
    assert_eq!((upstream(&chain.nodes[0]), upstream(&chain.nodes[1])), (once, once));
}

#[tokio::test]
async fn a_stopped_hop_is_named_despite_an_idle_connection() {
    let mut chain = Chain::start(3).await;
    chain.write("f", &pattern(1000));
    assert_eq!(chain.get("f", "").await.status, 200);
    assert_eq!(upstream(&chain.nodes[1]).idle, 1);
    chain.stop(2).await;
    let reply = chain.get("f", "").await;
    assert_eq!((reply.status, reply.problem().hop), (502, 2), "{}", reply.problem());
    assert_eq!((upstream(&chain.nodes[1]).idle, upstream(&chain.nodes[1]).found_closed), (0, 1));
}
