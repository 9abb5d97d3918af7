//! Tunnels (CONNECT) through chains on loopback: to nodes and to other servers, with half-closes, faults and refusals.

mod ends;
mod half_closes;
mod keys;
mod refusals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chainview::allow_list::AllowList;
use chainview::faults::FaultChange;
use chainview::limits::Limits;
use chainview::net::node::drain::Drain;
use chainview::net::node::{Node, NodeConfig};
use chainview::net::server;
use chainview::net::upstream::policy::Policy;
use chainview::snapshot::{BodyError, ConnRole, ConnState, NodeSnapshot};
use chainview::wire::TransferId;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::http_chain::scene::{Reply, config, exchange, pattern, read_reply};

/// Longest wait of a test for one event.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Nodes in a row, and a server of another kind behind them.
struct Scene {
    nodes: Vec<Arc<Node>>,
    tasks: Vec<JoinHandle<()>>,
    drains: Vec<Drain>,
    target: TcpListener,
    folder: TempDir,
}

impl Scene {
    /// Starts nodes; tunnels may lead to the server behind them.
    async fn start(count: usize, limits: Limits) -> Self {
        Self::start_with(count, limits, |_| {}).await
    }

    async fn start_with(count: usize, limits: Limits, change: impl Fn(&mut NodeConfig)) -> Self {
        let (folder, target) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let mut scene = Self { nodes: Vec::new(), tasks: Vec::new(), drains: Vec::new(), target, folder };
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (address, targets) = (listener.local_addr().unwrap(), scene.target().to_string().parse().unwrap());
            let plain = config(scene.folder.path(), address, limits);
            let policy = Policy::new(address, AllowList::default()).with_targets(targets);
            let mut config = NodeConfig { policy, ..plain };
            change(&mut config);
            let (node, drain) = (Node::new(config, address), Drain::new());
            scene.tasks.push(tokio::spawn(server::run(Arc::clone(&node), listener, drain.clone())));
            scene.nodes.push(node);
            scene.drains.push(drain);
        }
        scene
    }

    fn target(&self) -> SocketAddr {
        self.target.local_addr().unwrap()
    }

    /// The head of a request for a tunnel to `target` through all nodes, of which the first reads it.
    fn head(&self, target: SocketAddr) -> String {
        let rest = self.nodes[1..].iter().map(|node| node.address).filter(|address| *address != target);
        let route: Vec<String> = rest.chain([target]).map(|address| address.to_string()).collect();
        let (host, route) = (self.nodes[0].address, route.join(", "));
        format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\nChain-Route: {route}\r\n")
    }

    /// Opens a tunnel to the server; returns its ends.
    async fn open(&self) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(self.nodes[0].address).await.unwrap();
        client.write_all(format!("{}\r\n", self.head(self.target())).as_bytes()).await.unwrap();
        let server = timeout(TIMEOUT, self.target.accept()).await.expect("the tunnel comes").unwrap().0;
        let reply = read_opened(&mut client).await;
        assert_eq!(reply.field("chain-hops"), Some(self.nodes.len().to_string().as_str()), "{}", reply.head);
        (client, server)
    }

    async fn send(&self, head: &str) -> Reply {
        let mut client = TcpStream::connect(self.nodes[0].address).await.unwrap();
        client.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        read_reply(&mut client, "CONNECT").await
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// Waits until a snapshot of a node is as expected.
    async fn until(&self, node: usize, expected: impl Fn(&NodeSnapshot) -> bool) -> NodeSnapshot {
        let waiting = async {
            loop {
                let snapshot = self.nodes[node].snapshot();
                if expected(&snapshot) {
                    return snapshot;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("{:?}", self.nodes[node].snapshot()))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Reads the reply that opens a tunnel, and nothing behind it.
async fn read_opened(client: &mut TcpStream) -> Reply {
    let reply = read_reply(client, "HEAD").await;
    assert_eq!(reply.status, 200, "{}", reply.head);
    assert_eq!((reply.field("content-length"), reply.field("connection")), (None, None), "{}", reply.head);
    reply
}

/// Reads to the end of the stream, or to its failure.
async fn read_all(stream: &mut TcpStream) -> (Vec<u8>, std::io::Result<usize>) {
    let mut all = Vec::new();
    let end = timeout(TIMEOUT, stream.read_to_end(&mut all)).await.expect("it ends in time");
    (all, end)
}

/// Passes bytes there and back.
async fn is_open(client: &mut TcpStream, server: &mut TcpStream) -> bool {
    let passed = async {
        let (mut there, mut back) = ([0; 4], [0; 5]);
        client.write_all(b"ping").await?;
        server.read_exact(&mut there).await?;
        server.write_all(b"pong!").await?;
        client.read_exact(&mut back).await?;
        std::io::Result::Ok((&there, &back) == (b"ping", b"pong!"))
    };
    timeout(TIMEOUT, passed).await.expect("in time").unwrap_or(false)
}

#[tokio::test]
async fn a_tunnel_is_reported_counted_and_recorded_at_each_relay() {
    let scene = Scene::start(3, Limits::default()).await;
    let mut client = TcpStream::connect(scene.nodes[0].address).await.unwrap();
    let id = TransferId(0x6f1c << 100);
    let head = format!("{}Chain-Transfer: {id}\r\n\r\n", scene.head(scene.target()));
    client.write_all(head.as_bytes()).await.unwrap();
    let mut server = scene.target.accept().await.unwrap().0;
    let reply = read_opened(&mut client).await;
    assert_eq!(reply.field("via"), Some("1.1 chainview, 1.1 chainview, 1.1 chainview"));
    assert!(is_open(&mut client, &mut server).await);
    for node in 0..3 {
        let moved = |snapshot: &NodeSnapshot| (snapshot.totals.flow.bytes_out, snapshot.totals.upstream_flow.bytes_out);
        let snapshot = scene.until(node, |snapshot| moved(snapshot) == (5, 4)).await;
        let conn = &snapshot.connections[0];
        assert_eq!((conn.role, conn.state, conn.state_label()), (ConnRole::Tunnel, ConnState::Streaming, "tunnel"));
        assert_eq!((conn.name.as_str(), conn.transfer.as_str()), (&*scene.target().to_string(), &*id.short()));
        assert_eq!((conn.flow.bytes_in, conn.upstream_flow.unwrap().bytes_in), (5, 4));
        assert_eq!((snapshot.totals.tunnels, snapshot.totals.served, snapshot.totals.failed), (1, 0, 0));
        let record = scene.nodes[node].record(id).unwrap();
        assert_eq!((record.role, record.status, record.ended), (ConnRole::Tunnel, 200, false));
        assert!(record.leg.is_some() && record.tcp.is_some() && record.upstream_flow.is_some());
    }
    client.shutdown().await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!((read_all(&mut client).await.1.unwrap(), read_all(&mut server).await.1.unwrap()), (0, 0));
    for node in 0..3 {
        let snapshot = scene.until(node, |snapshot| snapshot.connections.is_empty()).await;
        assert_eq!((snapshot.totals.flow.bytes_out, snapshot.totals.upstream_flow.bytes_out), (5, 4));
        // A connection that carried a tunnel carries nothing else.
        assert_eq!((snapshot.upstream.idle, snapshot.upstream.opened), (0, 1));
        let record = scene.nodes[node].record(id).unwrap();
        assert_eq!((record.ended, record.error, record.body_error), (true, None, None));
    }
}

#[tokio::test]
async fn first_bytes_may_follow_the_head_and_are_held_until_the_tunnel_is_open() {
    for relays in 1..=3 {
        let scene = Scene::start(relays, Limits::default()).await;
        // As much as fits into a head, and more than that, which waits in the kernel.
        for length in [1, 500, 8192, 300_000] {
            let early = pattern(length);
            let mut client = TcpStream::connect(scene.nodes[0].address).await.unwrap();
            let head = format!("{}\r\n", scene.head(scene.target()));
            let (mut reader, mut writer) = client.split();
            let bytes = [head.as_bytes(), &early].concat();
            let writing = async {
                writer.write_all(&bytes).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let serving = async {
                let mut server = scene.target.accept().await.unwrap().0;
                let (received, end) = read_all(&mut server).await;
                assert!(received == early && end.is_ok(), "{length} bytes over {relays} relays");
                server.write_all(b"thanks").await.unwrap();
            };
            let reading = async {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).await.unwrap();
                let all = String::from_utf8(all).unwrap();
                assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\nthanks"), "{all}");
            };
            timeout(TIMEOUT, async { tokio::join!(writing, serving, reading) }).await.expect("in time");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transfers_both_ways_at_once_arrive_unchanged() {
    for relays in 1..=3 {
        let scene = Scene::start(relays, Limits::default()).await;
        let (client, server) = scene.open().await;
        let (up, down) = (pattern(9_000_001), pattern(8_000_000));
        let swap = |stream: TcpStream, sent: Vec<u8>| async move {
            let (mut reader, mut writer) = stream.into_split();
            let writing = tokio::spawn(async move {
                writer.write_all(&sent).await.unwrap();
                writer.shutdown().await.unwrap();
            });
            let mut received = Vec::new();
            reader.read_to_end(&mut received).await.unwrap();
            writing.await.unwrap();
            received
        };
        let both = async { tokio::join!(swap(client, up.clone()), swap(server, down.clone())) };
        let (at_client, at_server) = timeout(3 * TIMEOUT, both).await.expect("in time");
        assert!(at_client == down && at_server == up, "{relays} relays");
    }
}

#[tokio::test]
async fn a_fault_at_any_relay_shows_at_both_ends_in_each_direction() {
    for (relay, of_client) in [(0, true), (1, true), (1, false), (2, false)] {
        let scene = Scene::start(3, Limits::default()).await;
        let (mut client, mut server) = scene.open().await;
        assert!(is_open(&mut client, &mut server).await);
        scene.nodes[relay].faults.apply(&[FaultChange::Truncate(Some(1000))]);
        let (sends, receives) = if of_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
        sends.write_all(&pattern(3000)).await.unwrap();
        let (received, end) = read_all(receives).await;
        let before = if of_client { 4 } else { 5 };
        assert_eq!(received.len(), 1000 - before, "the bytes before the fault arrive");
        // Never a plain end, which would pass for the end of the data.
        assert!(end.is_err() && read_all(sends).await.1.is_err());
        let snapshot = scene.until(relay, |snapshot| snapshot.connections.is_empty()).await;
        assert_eq!(snapshot.totals.failed, 1);
    }
}

#[tokio::test]
async fn a_silent_tunnel_is_closed_after_its_limit_and_a_half_closed_one_after_its_own() {
    let short = Duration::from_millis(400);
    for half_closed in [false, true] {
        let limits = if half_closed {
            Limits { tunnel_half_closed: short, ..Limits::default() }
        } else {
            Limits { tunnel_idle: short, ..Limits::default() }
        };
        let scene = Scene::start(1, limits).await;
        let (mut client, mut server) = scene.open().await;
        if half_closed {
            client.shutdown().await.unwrap();
            assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        }
        assert!(read_all(&mut client).await.1.is_err());
        let snapshot = scene.until(0, |snapshot| snapshot.connections.is_empty()).await;
        assert_eq!((snapshot.totals.failed, snapshot.totals.tunnels), (1, 1));
        assert!(scene.nodes[0].registry.failures().contains_key(&chainview::wire::Reason::TimedOut));
    }
}

#[tokio::test]
async fn a_draining_node_keeps_its_tunnels_until_the_limit_and_opens_none() {
    let limits = Limits { drain: Duration::from_secs(2), ..Limits::default() };
    let scene = Scene::start(2, limits).await;
    let (mut client, mut server) = scene.open().await;
    scene.drains[1].begin();
    scene.until(1, |snapshot| snapshot.draining).await;
    assert!(is_open(&mut client, &mut server).await, "an open tunnel continues");
    let reply = scene.send(&scene.head(scene.target())).await;
    assert!([502, 503].contains(&reply.status), "{}", reply.head);
    let (rest, end) = read_all(&mut client).await;
    assert!(rest.is_empty() && end.is_err(), "it was cut off, which is no plain end");
    assert!(read_all(&mut server).await.1.is_err());
}

#[tokio::test]
async fn a_control_request_closes_a_tunnel() {
    let scene = Scene::start(2, Limits::default()).await;
    let mut client = TcpStream::connect(scene.nodes[0].address).await.unwrap();
    let id = TransferId(7);
    let head = format!("{}Chain-Transfer: {id}\r\n\r\n", scene.head(scene.target()));
    client.write_all(head.as_bytes()).await.unwrap();
    let mut server = scene.target.accept().await.unwrap().0;
    read_opened(&mut client).await;
    let snapshot = scene.until(1, |snapshot| snapshot.connections.len() == 1).await;
    assert!(scene.nodes[1].registry.close(snapshot.connections[0].id));
    assert!(read_all(&mut client).await.1.is_err() && read_all(&mut server).await.1.is_err());
    let record = |node: usize| scene.nodes[node].record(id).unwrap();
    scene.until(0, |snapshot| snapshot.connections.is_empty()).await;
    let errors = (record(1).body_error, record(0).body_error);
    assert_eq!(errors, (Some(BodyError::Stopped), Some(BodyError::SourceFailed)));
}

/// Requests a file inside a tunnel.
async fn get(stream: &mut TcpStream, path: &str) -> Reply {
    timeout(TIMEOUT, exchange(stream, "GET", path, "")).await.expect("in time")
}
