//! HTTP over real chains on loopback: routes, ranges, digests, errors, keep-alive.

mod conditional;
mod control;
mod faults;
mod folders;
mod forms;
mod idle;
mod keys;
mod listing;
mod names;
pub(crate) mod scene;
mod slow;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chainview::faults::Faults;
use chainview::limits::{HEADS_PER_SOURCE, Limits};
use chainview::net::node::drain::Drain;
use chainview::net::node::{Node, NodeConfig};
use chainview::net::server;
use chainview::snapshot::ConnState;
use scene::{Chain, config, exchange, pattern, read_reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn files_of_every_size_arrive_over_any_number_of_relays() {
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
    let head = chain.send_request("HEAD", "f", &chain.route()).await;
    assert_eq!((head.status, head.field("content-length")), (200, Some("1000")));
    let etag = head.field("etag").unwrap().to_owned();
    let part = chain.get("f", &format!("Range: bytes=10-19\r\nIf-Range: {etag}\r\n")).await;
    assert_eq!((part.status, part.field("content-range")), (206, Some("bytes 10-19/1000")));
    assert_eq!(part.body, &pattern(1000)[10..20]);
    let whole = chain.get("f", "Range: bytes=10-19\r\nIf-Range: \"other\"\r\n").await;
    assert_eq!((whole.status, whole.body.len()), (200, 1000));
    let outside = chain.get("f", "Range: bytes=1000-\r\n").await;
    assert_eq!((outside.status, outside.field("content-range")), (416, Some("bytes */1000")));
    assert_eq!(chain.get("f", "If-Match: \"other\"\r\n").await.status, 412);
}

#[tokio::test]
async fn the_digest_is_verified_on_the_same_connection() {
    let chain = Chain::start(3).await;
    chain.write("f", &pattern(500_000));
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let lines = format!("{}Want-Repr-Digest: blake3=10\r\n", chain.route());
    let got = exchange(&mut stream, "GET", "/files/f", &lines).await;
    let lines = format!("{lines}If-Match: {}\r\n", got.field("etag").unwrap());
    let digest_reply = exchange(&mut stream, "HEAD", "/files/f", &lines).await;
    let expected = chainview::wire::Digest {
        algorithm: chainview::wire::Algorithm::Blake3,
        value: *blake3::hash(&got.body).as_bytes(),
    };
    let mut head = Vec::new();
    let reply = chainview::wire::Reply { status: 200, digests: vec![expected], ..chainview::wire::Reply::default() };
    chainview::wire::http::encode_reply(&reply, &mut head);
    let head = String::from_utf8(head).unwrap();
    let expected = head.lines().find(|line| line.starts_with("Repr-Digest")).unwrap();
    assert!(digest_reply.head.contains(expected), "{}", digest_reply.head);
    // Every node still has the one connection, kept for the next request.
    for node in &chain.nodes {
        assert_eq!(node.registry.totals().accepted, 1);
    }
}

#[tokio::test]
async fn the_failed_hop_is_named_at_every_position() {
    let chain = Chain::start(3).await;
    chain.write("f", b"x");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let through = |hops: &[String]| format!("Chain-Route: {}\r\n", hops.join(", "));
    let unreachable_third = through(&[chain.address(1), free.to_string(), chain.address(2)]);
    let reply = chain.send_request("GET", "f", &unreachable_third).await;
    let problem = reply.problem();
    assert_eq!((reply.status, problem.hop, problem.reporter), (502, 2, 1));
    assert_eq!(problem.address.as_str(), free.to_string());
    let head = chain.send_request("HEAD", "f", &unreachable_third).await;
    assert!(head.field("chain-problem").is_some_and(|line| line.contains("\"hop\":2")), "{}", head.head);
    let missing = chain.get("nothing", "").await;
    assert_eq!((missing.status, missing.problem().hop), (404, 2));
    let unknown = chain.send_request("GET", "f", "Chain-Route: no-such-host.invalid:1\r\n").await;
    assert_eq!((unknown.status, unknown.problem().hop), (502, 1));
    let comes_back = chain.send_request("GET", "f", &through(&[chain.address(1), chain.address(0)])).await;
    assert_eq!((comes_back.status, comes_back.problem().hop), (508, 0));
    let by_name = format!("localhost:{}", chain.nodes[0].address.port());
    let comes_back = chain.send_request("GET", "f", &through(&[chain.address(1), by_name])).await;
    assert_eq!((comes_back.status, comes_back.problem().hop), (508, 2));
}

#[tokio::test]
async fn a_loop_through_a_host_name_is_detected() {
    let chain = Chain::start(1).await;
    chain.write("f", b"x");
    let route = format!("Chain-Route: localhost:{}\r\n", chain.nodes[0].address.port());
    let reply = chain.send_request("GET", "f", &route).await;
    assert_eq!((reply.status, reply.problem().reason), (508, chainview::wire::Reason::Loop));
}

#[tokio::test]
async fn an_unknown_host_name_is_rejected_with_a_hint() {
    let chain = Chain::start(1).await;
    chain.write("f", b"x");
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    stream.write_all(b"GET /files/f HTTP/1.1\r\nHost: evil.example\r\n\r\n").await.unwrap();
    let reply = read_reply(&mut stream, "GET").await;
    assert_eq!(reply.status, 403);
    assert!(reply.problem().detail.as_str().contains("--host-name"), "{}", reply.problem().detail);
}

#[tokio::test]
async fn an_http_1_0_body_ends_with_the_connection() {
    let chain = Chain::start(2).await;
    chain.write("f", b"content");
    for route in [String::new(), chain.route()] {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let head = format!("GET /files/f HTTP/1.0\r\n{route}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut all));
        read.await.expect("the node closes").unwrap();
        assert!(all.ends_with(b"\r\n\r\ncontent"));
    }
}

#[tokio::test]
async fn a_silent_hop_is_named_within_the_client_timeout() {
    let chain = Chain::start(2).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = format!("Chain-Route: {}, {}\r\n", chain.address(1), silent.local_addr().unwrap());
    let began = Instant::now();
    let reply = chain.send_request("GET", "f", &format!("{route}Chain-Timeout: 1500\r\n")).await;
    let problem = reply.problem();
    assert_eq!((reply.status, problem.hop, problem.reporter), (504, 2, 1));
    assert!(began.elapsed() < Duration::from_millis(1700), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_node_without_time_left_names_itself() {
    let chain = Chain::start(2).await;
    for ms in [0, 250] {
        let reply = chain.get("f", &format!("Chain-Timeout: {ms}\r\n")).await;
        let problem = reply.problem();
        assert_eq!((reply.status, problem.hop, problem.reporter), (504, 0, 0), "{ms} ms");
    }
    assert_eq!(chain.nodes[1].registry.totals().accepted, 0);
}

#[tokio::test]
async fn a_rejected_host_name_gets_its_reason() {
    let chain = Chain::start(1).await;
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    stream.write_all(b"GET /files/f HTTP/1.1\r\nHost: evil.example:80\r\n\r\n").await.unwrap();
    let reply = read_reply(&mut stream, "GET").await;
    let problem = reply.problem();
    assert_eq!((reply.status, problem.address.as_str()), (403, "evil.example:80"));
    assert!(problem.detail.as_str().contains("--host-name"), "{problem}");
}

#[tokio::test]
async fn a_server_that_ignores_the_route_is_rejected() {
    let chain = Chain::start(2).await;
    chain.write("f", b"the wrong file");
    // The second node is requested as the last hop, yet one more was named: it replies itself.
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
    let reply = chain.send_request("GET", "f", &route).await;
    assert_eq!((reply.status, reply.problem().reason), (502, chainview::wire::Reason::RouteIgnored));
}

#[tokio::test]
async fn bytes_after_a_reply_are_not_the_next_reply() {
    let chain = Chain::start(1).await;
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = format!("Chain-Route: {}\r\n", plain.local_addr().unwrap());
    tokio::spawn(async move {
        for body in ["one", "two"] {
            let (mut stream, _) = plain.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
            stream.write_all(format!("{head}{body}{head}bad").as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 1]).await;
        }
    });
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    assert_eq!(exchange(&mut stream, "GET", "/files/f", &route).await.body, b"one");
    assert_eq!(exchange(&mut stream, "GET", "/files/f", &route).await.body, b"two");
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
async fn unsolicited_bytes_are_never_the_next_reply() {
    let chain = Chain::start(1).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = format!("Chain-Route: {};protocol=http\r\n", server.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut head = [0; 4096];
        for unasked in ["HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", ""] {
            let (mut stream, _) = server.accept().await.unwrap();
            let _ = stream.read(&mut head).await;
            let message = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright{unasked}");
            stream.write_all(message.as_bytes()).await.unwrap();
            if unasked.is_empty() {
                let _ = stream.read(&mut head).await;
            }
        }
    });
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    for turn in 1..=2 {
        let reply = exchange(&mut stream, "GET", "/files/f", &route).await;
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"right"[..]), "turn {turn}");
    }
    drop(stream);
    serving.await.unwrap();
}

#[tokio::test]
async fn malformed_heads_are_rejected_and_slow_ones_time_out() {
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
async fn a_full_node_closes_idle_connections_and_serves_endpoints() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = NodeConfig { max_connections: 1, ..config(folder.path(), address, Limits::default()) };
    let node = Node::new(config, address);
    let running = tokio::spawn(server::run(Arc::clone(&node), listener, Drain::new()));
    let connect = || async { TcpStream::connect(node.address).await.unwrap() };
    let mut first = connect().await;
    assert_eq!(exchange(&mut first, "GET", "/files/x", "").await.status, 404);
    // An idle one makes room for another.
    let mut second = connect().await;
    assert_eq!(exchange(&mut second, "GET", "/files/x", "").await.status, 404);
    assert!(matches!(first.read(&mut [0]).await, Ok(0) | Err(_)));
    assert_eq!(node.registry.evicted(), 1);
    // One with a request in progress does not.
    second.write_all(b"GET /files/x HTTP/1.1\r\n").await.unwrap();
    while node.registry.states().get(&ConnState::Head) != Some(&1) {
        tokio::task::yield_now().await;
    }
    let full = exchange(&mut connect().await, "GET", "/files/x", "").await;
    assert_eq!((full.status, full.field("retry-after"), full.problem().hop), (503, Some("1"), 0));
    let mut silent = connect().await;
    let full = read_reply(&mut silent, "GET").await;
    assert_eq!((full.status, full.field("retry-after")), (503, Some("1")));
    let mut legacy = connect().await;
    legacy.write_all(b"x\n127.0.0.1 9").await.unwrap();
    let mut answer = String::new();
    legacy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("too many connections"), "{answer:?}");
    // Endpoints still respond, and control by its own rules.
    assert_eq!(exchange(&mut connect().await, "GET", "/healthz", "").await.status, 200);
    assert_eq!(exchange(&mut connect().await, "GET", "/metrics", "").await.status, 200);
    assert_eq!(exchange(&mut connect().await, "POST", "/v1/drain", "Content-Length: 0\r\n").await.status, 403);
    running.abort();
}

#[tokio::test]
async fn too_many_pending_heads_get_503_on_idle_connections_too() {
    let chain = Chain::start(1).await;
    let mut kept = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    assert_eq!(exchange(&mut kept, "GET", "/files/x", "").await.status, 404);
    let mut silent = Vec::new();
    while silent.len() < HEADS_PER_SOURCE {
        silent.push(TcpStream::connect(chain.nodes[0].address).await.unwrap());
    }
    let mut last = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    assert_eq!(read_reply(&mut last, "GET").await.status, 503);
    let reply = exchange(&mut kept, "GET", "/files/x", "").await;
    assert_eq!((reply.status, reply.field("connection")), (503, Some("close")));
}

#[tokio::test]
async fn draining_finishes_transfers_and_closes_idle_connections() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), pattern(400_000)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = NodeConfig {
        faults: Faults { limit: Some(1_000_000), ..Faults::default() },
        ..config(folder.path(), address, Limits::default())
    };
    let drain = Drain::new();
    let node = Node::new(config, address);
    let running = tokio::spawn(server::run(Arc::clone(&node), listener, drain.clone()));
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
async fn a_body_ended_by_the_node_is_not_blamed_on_the_reader() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), pattern(400_000)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = NodeConfig {
        faults: Faults { limit: Some(50_000), ..Faults::default() },
        ..config(folder.path(), address, Limits::default())
    };
    let drain = Drain::new();
    let node = Node::new(config, address);
    let running = tokio::spawn(server::run(Arc::clone(&node), listener, drain.clone()));
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
