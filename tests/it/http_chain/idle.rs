//! Connections to the next hop that are kept for the next request, of any client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chainview::limits::Limits;
use chainview::net::node::Node;
use chainview::net::node::drain::Drain;
use chainview::net::server;
use chainview::snapshot::{ConnState, UpstreamTotals};
use chainview::wire::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::scene::{Chain, config, exchange, pattern, read_reply};
use crate::support::process;

/// Far longer than any step here takes.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which nodes have closed idle connections between them, including the interval of their check.
const IDLE_TIME: Duration = Duration::from_secs(12);

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

#[tokio::test]
async fn a_drained_next_hop_is_named_after_its_idle_connection_is_closed() {
    let (origin, drain, running) = node().await;
    let (relay, _, _relay) = node().await;
    let lines = format!("Chain-Route: {}\r\nConnection: close\r\n", origin.address);
    let get = async || {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        exchange(&mut stream, "GET", "/files/f", &lines).await
    };
    assert_eq!(get().await.status, 200);
    assert_eq!(upstream(&relay).idle, 1);
    drain.begin();
    running.await.unwrap();
    let reply = get().await;
    assert_eq!((reply.status, reply.problem().reason, reply.problem().hop), (502, Reason::Refused, 1));
    assert_eq!((upstream(&relay).idle, upstream(&relay).found_closed), (0, 1));
}

#[tokio::test]
async fn a_request_that_came_before_the_drain_is_served() {
    let (origin, drain, running) = node().await;
    let mut stream = TcpStream::connect(origin.address).await.unwrap();
    assert_eq!(exchange(&mut stream, "GET", "/files/f", "").await.status, 200);
    becomes("idle", || origin.registry.states().contains_key(&ConnState::Idle)).await;
    // In one step of this thread: the runtime learns of the drain before it learns of the request.
    let mut stream = stream.into_std().unwrap();
    std::io::Write::write_all(&mut stream, b"GET /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    drain.begin();
    let reply = read_reply(&mut TcpStream::from_std(stream).unwrap(), "GET").await;
    assert_eq!((reply.status, reply.field("connection")), (200, Some("close")));
    running.await.unwrap();
}

#[tokio::test]
async fn a_draining_relay_closes_its_idle_connections() {
    let (origin, _drain, _running) = node().await;
    let (relay, drain, running) = node().await;
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    let lines = format!("Chain-Route: {}\r\n", origin.address);
    assert_eq!(exchange(&mut stream, "GET", "/files/f", &lines).await.status, 200);
    assert_eq!(origin.registry.open_count(), 1);
    drain.begin();
    running.await.unwrap();
    becomes("closed at the origin", || origin.registry.open_count() == 0).await;
}

#[tokio::test]
async fn a_draining_node_waits_for_the_verification_of_received_files_only() {
    let (origin, drain, _running) = node_with(Limits { linger: 10 * TIMEOUT, ..Limits::default() }).await;
    let mut streams = Vec::new();
    for (path, status) in [("/files/none", 404), ("/files/f", 200)] {
        let mut stream = TcpStream::connect(origin.address).await.unwrap();
        let reply = exchange(&mut stream, "GET", path, "Want-Repr-Digest: sha-256=10\r\n").await;
        assert_eq!((reply.status, reply.field("repr-digest")), (status, None), "{path}");
        streams.push(stream);
    }
    becomes("idle", || origin.registry.states().get(&ConnState::Idle) == Some(&2)).await;
    drain.begin();
    let closed = timeout(TIMEOUT, streams[0].read(&mut [0])).await.expect("nothing is verified over this one");
    assert_eq!(closed.unwrap(), 0);
    let reply = exchange(&mut streams[1], "HEAD", "/files/f", "If-Match: *\r\n").await;
    assert_eq!(reply.status, 200);
}

/// Elsewhere the tests of what nodes release count idle connections as released.
#[tokio::test]
async fn an_idle_connection_that_no_request_uses_is_closed_at_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), pattern(1000)).unwrap();
    let [relay, origin] = [(); 2].map(|()| process::Node::chainview(folder.path(), &[]));
    let mut stream = TcpStream::connect(relay.address()).await.unwrap();
    let lines = format!("Chain-Route: {}\r\nConnection: close\r\n", origin.address());
    assert_eq!(exchange(&mut stream, "GET", "/files/f", &lines).await.status, 200);
    drop(stream);
    becomes("idle", || relay.idle_upstream() == 1).await;
    assert!(relay.becomes_idle(1, usize::MAX, TIMEOUT), "{:?}", relay.held());
    for node in [&relay, &origin] {
        assert!(node.becomes_idle(0, usize::MAX, IDLE_TIME), "{:?}", node.held());
    }
    assert_eq!(relay.snapshot().upstream, UpstreamTotals { opened: 1, expired: 1, ..UpstreamTotals::default() });
}

/// Starts a node that serves the file `f`, with its drain and its end.
async fn node() -> (Arc<Node>, Drain, JoinHandle<()>) {
    node_with(Limits::default()).await
}

async fn node_with(limits: Limits) -> (Arc<Node>, Drain, JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), pattern(1000)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (node, drain) = (Node::new(config(folder.path(), address, limits), address), Drain::new());
    let running = server::run(Arc::clone(&node), listener, drain.clone());
    let running = tokio::spawn(async move {
        running.await;
        drop(folder);
    });
    (node, drain, running)
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_no_loop() {
    let chain = Chain::start(1).await;
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lines = format!(
        "Chain-Route: {};protocol=http\r\nChain-Transfer: {:032x}\r\n",
        origin.local_addr().unwrap(),
        0x0051_7e11_u128
    );
    let serving = async {
        let mut requests = Vec::new();
        // As when the hop before has lost its connection, and this node has not noticed yet: both are in progress.
        for _ in 0..2 {
            let (mut stream, _) = origin.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            requests.push(stream);
        }
        for mut stream in requests {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        }
    };
    let request = || chain.send_request("GET", "f", &lines);
    let both = async { tokio::join!(request(), request(), serving) };
    let (first, second, ()) = timeout(TIMEOUT, both).await.expect("both requests reach the origin");
    assert_eq!((first.status, second.status), (200, 200), "{}", second.head);
}
