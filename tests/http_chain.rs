//! The HTTP wire over real chains on loopback: routes, ranges, proofs, problems, keep-alive.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chainview::net::access::Access;
use chainview::net::drain::Drain;
use chainview::net::limits::Limits;
use chainview::net::node::{Node, NodeConfig};
use chainview::net::policy::{AllowList, Policy};
use chainview::net::root::Root;
use chainview::wire::Problem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Nodes that share a folder; dropping them stops them.
struct Chain {
    nodes: Vec<Arc<Node>>,
    tasks: Vec<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

fn config(folder: &Path, address: SocketAddr, limits: Limits) -> NodeConfig {
    NodeConfig {
        root: Root::open(folder).unwrap(),
        policy: Policy::new(address, AllowList::default()),
        access: Access::new(address),
        limits,
        limit: None,
        delay: Duration::ZERO,
        max_connections: 4096,
        wire: None,
    }
}

impl Chain {
    async fn start(nodes: usize) -> Self {
        Self::with_limits(nodes, Limits::default()).await
    }

    async fn with_limits(count: usize, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut nodes, mut tasks) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let node = Node::new(config(folder.path(), address, limits), address);
            tasks.push(tokio::spawn(Arc::clone(&node).run(listener, Drain::new())));
            nodes.push(node);
        }
        Self { nodes, tasks, folder }
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        // A file that has settled has a digest that is remembered.
        let old = std::time::SystemTime::now() - Duration::from_hours(1);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }

    fn address(&self, node: usize) -> String {
        self.nodes[node].address.to_string()
    }

    /// `Chain-Route` over every node but the first.
    fn route(&self) -> String {
        let rest: Vec<String> = (1..self.nodes.len()).map(|node| self.address(node)).collect();
        format!("Chain-Route: {}\r\n", rest.join(", "))
    }

    async fn get(&self, name: &str, lines: &str) -> Reply {
        self.ask("GET", name, &format!("{}{lines}", self.route())).await
    }

    async fn ask(&self, method: &str, name: &str, lines: &str) -> Reply {
        let mut stream = TcpStream::connect(self.nodes[0].address).await.unwrap();
        exchange(&mut stream, method, &format!("/files/{name}"), &format!("{lines}Connection: close\r\n")).await
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")))?;
        line.split_once(": ").map(|(_, value)| value)
    }

    fn problem(&self) -> Problem {
        Problem::from_json(&self.body).expect("a problem body")
    }
}

/// Sends one request and reads one reply of announced length.
async fn exchange(stream: &mut TcpStream, method: &str, path: &str, lines: &str) -> Reply {
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n").as_bytes()).await.unwrap();
    read_reply(stream, method).await
}

async fn read_reply(stream: &mut TcpStream, method: &str) -> Reply {
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.expect("a reply head");
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new() };
        let length = reply.field("content-length").map_or(0, |length| length.parse().unwrap());
        if method == "GET" {
            reply.body.resize(length, 0);
            stream.read_exact(&mut reply.body).await.expect("the whole body");
        }
        reply
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("a reply in time")
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 % 253) as u8).collect()
}

#[tokio::test]
async fn files_of_every_size_arrive_over_every_number_of_relays() {
    for nodes in 1..=4 {
        let chain = Chain::start(nodes).await;
        for size in [0, 1, 1023, 1025, 65_536, 3_000_001] {
            let content = pattern(size);
            chain.write("f", &content);
            let reply = chain.get("f", "").await;
            assert_eq!((reply.status, reply.body == content), (200, true), "{nodes} nodes, {size} bytes");
            assert_eq!(reply.field("chain-hops"), Some((nodes - 1).to_string().as_str()));
            let legs = reply.field("server-timing").map_or(0, |timing| timing.matches("wait").count());
            assert_eq!(legs, nodes - 1);
        }
    }
}

#[tokio::test]
async fn head_ranges_and_validators_work_through_a_chain() {
    let chain = Chain::start(3).await;
    chain.write("f", &pattern(1000));
    let head = chain.ask("HEAD", "f", &chain.route()).await;
    assert_eq!((head.status, head.field("content-length")), (200, Some("1000")));
    let etag = head.field("etag").unwrap().to_owned();
    let part = chain.get("f", &format!("Range: bytes=10-19\r\nIf-Range: {etag}\r\n")).await;
    assert_eq!((part.status, part.field("content-range")), (206, Some("bytes 10-19/1000")));
    assert_eq!(part.body, &pattern(1000)[10..20]);
    let whole = chain.get("f", "Range: bytes=10-19\r\nIf-Range: \"other\"\r\n").await;
    assert_eq!((whole.status, whole.body.len()), (200, 1000));
    assert_eq!(chain.get("f", "Range: bytes=1000-\r\n").await.status, 416);
    assert_eq!(chain.get("f", "If-Match: \"other\"\r\n").await.status, 412);
}

#[tokio::test]
async fn the_digest_is_proven_on_the_same_connection_after_the_body() {
    let chain = Chain::start(3).await;
    chain.write("f", &pattern(500_000));
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let lines = format!("{}Want-Repr-Digest: blake3=10\r\n", chain.route());
    let got = exchange(&mut stream, "GET", "/files/f", &lines).await;
    let lines = format!("{lines}If-Match: {}\r\n", got.field("etag").unwrap());
    let proof = exchange(&mut stream, "HEAD", "/files/f", &lines).await;
    let expected = chainview::wire::Digest {
        algorithm: chainview::wire::Algorithm::Blake3,
        value: *blake3::hash(&got.body).as_bytes(),
    };
    let mut head = Vec::new();
    let reply = chainview::wire::Reply { status: 200, digests: vec![expected], ..chainview::wire::Reply::default() };
    chainview::wire::http::encode_reply(&reply, &mut head);
    let head = String::from_utf8(head).unwrap();
    let expected = head.lines().find(|line| line.starts_with("Repr-Digest")).unwrap();
    assert!(proof.head.contains(expected), "{}", proof.head);
    // Every node still has the one connection, kept for the next request.
    for node in &chain.nodes {
        assert_eq!(node.registry.totals().accepted, 1);
    }
}

#[tokio::test]
async fn the_hop_that_failed_is_named_wherever_it_stands() {
    let chain = Chain::start(3).await;
    chain.write("f", b"x");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let through = |hops: &[String]| format!("Chain-Route: {}\r\n", hops.join(", "));
    let dead_third = through(&[chain.address(1), free.to_string(), chain.address(2)]);
    let reply = chain.ask("GET", "f", &dead_third).await;
    let problem = reply.problem();
    assert_eq!((reply.status, problem.hop, problem.reporter), (502, 2, 1));
    assert_eq!(problem.address.as_str(), free.to_string());
    let head = chain.ask("HEAD", "f", &dead_third).await;
    assert!(head.field("chain-problem").is_some_and(|line| line.contains("\"hop\":2")), "{}", head.head);
    let missing = chain.get("nothing", "").await;
    assert_eq!((missing.status, missing.problem().hop), (404, 2));
    let unknown = chain.ask("GET", "f", "Chain-Route: no-such-host.invalid:1\r\n").await;
    assert_eq!((unknown.status, unknown.problem().hop), (502, 1));
    let comes_back = chain.ask("GET", "f", &through(&[chain.address(1), chain.address(0)])).await;
    assert_eq!((comes_back.status, comes_back.problem().hop), (508, 0));
}

#[tokio::test]
async fn a_node_that_is_named_by_a_name_is_a_loop_too() {
    let chain = Chain::start(1).await;
    chain.write("f", b"x");
    let route = format!("Chain-Route: localhost:{}\r\n", chain.nodes[0].address.port());
    let reply = chain.ask("GET", "f", &route).await;
    assert_eq!((reply.status, reply.problem().reason), (508, chainview::wire::Reason::Loop));
}

#[tokio::test]
async fn a_name_that_a_loopback_node_does_not_go_by_is_refused_with_a_way_out() {
    let chain = Chain::start(1).await;
    chain.write("f", b"x");
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    stream.write_all(b"GET /files/f HTTP/1.1\r\nHost: evil.example\r\n\r\n").await.unwrap();
    let reply = read_reply(&mut stream, "GET").await;
    assert_eq!(reply.status, 403);
    assert!(reply.problem().detail.as_str().contains("--host-name"), "{}", reply.problem().detail);
}

#[tokio::test]
async fn an_http_1_0_client_finds_the_end_of_its_file_by_the_end_of_the_stream() {
    let chain = Chain::start(2).await;
    chain.write("f", b"content");
    for route in [String::new(), chain.route()] {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let head = format!("GET /files/f HTTP/1.0\r\nConnection: keep-alive\r\n{route}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut all));
        read.await.expect("the node closes").unwrap();
        assert!(all.ends_with(b"\r\n\r\ncontent"));
    }
}

#[tokio::test]
async fn a_silent_hop_is_named_by_its_neighbour_within_the_time_the_client_gave() {
    let chain = Chain::start(2).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = format!("Chain-Route: {}, {}\r\n", chain.address(1), silent.local_addr().unwrap());
    let began = Instant::now();
    let reply = chain.ask("GET", "f", &format!("{route}Chain-Timeout: 1500\r\n")).await;
    let problem = reply.problem();
    assert_eq!((reply.status, problem.hop, problem.reporter), (504, 2, 1));
    assert!(began.elapsed() < Duration::from_millis(1700), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_ignores_the_route_is_not_believed() {
    let chain = Chain::start(2).await;
    chain.write("f", b"the wrong file");
    // The second node is asked as the last hop, yet one more was named: it answers for itself.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong").await.unwrap();
        let _ = stream.read(&mut head).await;
    });
    let route = format!("Chain-Route: {address}, {}\r\n", chain.address(1));
    let reply = chain.ask("GET", "f", &route).await;
    assert_eq!((reply.status, reply.problem().reason), (502, chainview::wire::Reason::RouteIgnored));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let chain = Chain::start(2).await;
    chain.write("a", &pattern(100_000));
    chain.write("b", b"second");
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let request = |name: &str| format!("GET /files/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n", chain.route());
    stream.write_all(format!("{}{}", request("a"), request("b")).as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream, "GET").await.body, pattern(100_000));
    assert_eq!(read_reply(&mut stream, "GET").await.body, b"second");
}

#[tokio::test]
async fn strict_heads_are_refused_and_slow_ones_have_a_deadline() {
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let chain = Chain::with_limits(1, limits).await;
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let reply = exchange(&mut stream, "GET", "/files/f", "Transfer-Encoding: chunked\r\n").await;
    assert_eq!((reply.status, reply.field("connection")), (400, Some("close")));
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let long = format!("X: {}\r\n", "y".repeat(9000));
    assert_eq!(exchange(&mut stream, "GET", "/files/f", &long).await.status, 431);
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    stream.write_all(b"GET /files/f HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    assert_eq!(read_reply(&mut stream, "GET").await.status, 408);
}

#[tokio::test]
async fn a_full_node_says_so_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = NodeConfig { max_connections: 1, ..config(folder.path(), address, Limits::default()) };
    let node = Node::new(config, address);
    let running = tokio::spawn(Arc::clone(&node).run(listener, Drain::new()));
    let mut first = TcpStream::connect(node.address).await.unwrap();
    assert_eq!(exchange(&mut first, "GET", "/files/x", "").await.status, 404);
    let mut second = TcpStream::connect(node.address).await.unwrap();
    assert_eq!(read_reply(&mut second, "GET").await.status, 503);
    running.abort();
}

#[tokio::test]
async fn draining_finishes_what_runs_and_lets_go_of_what_is_idle() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), pattern(400_000)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = NodeConfig { limit: Some(1_000_000), ..config(folder.path(), address, Limits::default()) };
    let drain = Drain::new();
    let node = Node::new(config, address);
    let running = tokio::spawn(Arc::clone(&node).run(listener, drain.clone()));
    let mut idle = TcpStream::connect(address).await.unwrap();
    assert_eq!(exchange(&mut idle, "GET", "/files/none", "").await.status, 404);
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    busy.read_exact(&mut first).await.unwrap();
    drain.begin();
    assert_eq!(idle.read(&mut first).await.unwrap(), 0);
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&pattern(400_000)));
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("the node ends").unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_body_that_the_node_itself_cuts_off_is_not_blamed_on_the_reader() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), pattern(400_000)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = NodeConfig { limit: Some(50_000), ..config(folder.path(), address, Limits::default()) };
    let drain = Drain::new();
    let node = Node::new(config, address);
    let running = tokio::spawn(Arc::clone(&node).run(listener, drain.clone()));
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    busy.read_u8().await.unwrap();
    drain.force();
    let mut rest = Vec::new();
    let _ = busy.read_to_end(&mut rest).await;
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("the node ends").unwrap();
    let failures: Vec<_> = node.registry.failures().into_keys().collect();
    assert_eq!(failures, [chainview::wire::Reason::Draining]);
}
