//! The endpoints over real connections: contents, permissions, and the same through a chain.

mod forms_tests;
mod half_close_tests;
mod metrics_tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::limits::{Limits, MAX_EVENT_STREAMS_PER_SOURCE};
use crate::net::http_client::{PendingReply, send_request};
use crate::net::node::NodeConfig;
use crate::net::node::root::Root;
use crate::net::os::socket::Socket;
use crate::route::{FileName, Protocol};
use crate::secret::Secret;
use crate::snapshot::{NodeSnapshot, TransferRecord};
use crate::wire::{Problem, TransferId, problem};

/// A node that serves only endpoints; it ends with the test.
pub(super) struct Site {
    pub(super) node: Arc<Node>,
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

pub(super) async fn site(change: impl FnOnce(&mut NodeConfig)) -> Site {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = NodeConfig {
        limits: Limits { linger: Duration::from_millis(50), ..Limits::default() },
        ..NodeConfig::of_test(address, Root::open(std::path::Path::new(".")).unwrap())
    };
    config.access.chain = Some(Secret::new("sesame").unwrap());
    change(&mut config);
    let node = Node::new(config, address);
    let mut accepting = JoinSet::new();
    let shared = Arc::clone(&node);
    accepting.spawn(async move {
        let mut sessions = JoinSet::new();
        while let Ok((mut stream, peer)) = listener.accept().await {
            let node = Arc::clone(&shared);
            sessions.spawn(async move {
                let _guard = node.registry.open(peer);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
                let (address, caller) = (peer, Ok(Caller::default()));
                let reader =
                    Requester { address, denied: None, caller, encrypted: false, relayed: false, proxied: false };
                serve(&node, stream, head, reader).await;
            });
        }
    });
    Site { node, address, _accepting: accepting }
}

async fn send(to: SocketAddr, method: &str, path: &str, lines: &[(&str, String)]) -> PendingReply {
    let stream = TcpStream::connect(to).await.unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if !lines.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", to.to_string());
    }
    for (name, value) in lines {
        request = request.header(*name, value);
    }
    let request = request.body(Empty::new()).unwrap();
    send_request(Socket::new(stream), &to.into(), request, Duration::from_secs(5)).await.unwrap()
}

async fn text(pending: PendingReply) -> (u16, String) {
    let status = pending.reply.status().as_u16();
    let body = pending.reply.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(to: SocketAddr, path: &str, lines: &[(&str, String)]) -> (u16, String) {
    text(send(to, "GET", path, lines).await).await
}

/// Reads the next whole line of a stream of events.
async fn line(body: &mut Incoming, rest: &mut Vec<u8>) -> Option<NodeSnapshot> {
    loop {
        if let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            return Some(serde_json::from_slice(&line).unwrap());
        }
        let frame: Bytes = body.frame().await?.ok()?.into_data().unwrap();
        rest.extend_from_slice(&frame);
    }
}

fn bearer() -> (&'static str, String) {
    ("authorization", "Bearer sesame".to_owned())
}

fn route(hops: &[SocketAddr]) -> (&'static str, String) {
    ("chain-route", hops.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn every_endpoint_has_its_contents() {
    let site = site(|_| {}).await;
    let (status, body) = get(site.address, "/v1/node", &[]).await;
    let snapshot: NodeSnapshot = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, snapshot.node.as_str().is_empty(), snapshot.connections.len(), snapshot.omitted),
        (200, false, 0, 1)
    );
    assert_eq!(snapshot.policy.as_str(), "relays to loopback");
    let (status, body) = get(site.address, "/v1/connections", &[]).await;
    assert_eq!(status, 200);
    assert!(body.starts_with("{\"connections\":[{") && body.ends_with("\"omitted\":0}"), "{body}");
    assert_eq!(get(site.address, "/healthz", &[]).await, (200, "ok\n".to_owned()));
    site.node.drain().begin();
    assert_eq!(get(site.address, "/healthz", &[]).await, (503, "draining\n".to_owned()));
    assert!(get(site.address, "/v1/node", &[]).await.1.contains("\"draining\":true"));
}

#[tokio::test]
async fn unknown_endpoints_and_methods_are_refused() {
    let site = site(|_| {}).await;
    let status = |method: &'static str, path: &'static str| async move {
        let pending = send(site.address, method, path, &[]).await;
        assert_eq!(pending.reply.headers()["connection"], "close");
        if method != "HEAD" {
            assert_eq!(pending.reply.headers()["content-type"], problem::MEDIA_TYPE, "{method} {path}");
        }
        pending.reply.status().as_u16()
    };
    assert_eq!(status("GET", "/v1/none").await, 404);
    assert_eq!(status("GET", "/files").await, 404);
    assert_eq!(status("POST", "/").await, 405);
    assert_eq!(status("GET", "/v1/transfers/12").await, 404);
    assert_eq!(status("GET", "/v1/transfers/00000000000000000000000000000012").await, 404);
    assert_eq!(status("POST", "/v1/drain").await, 403);
    assert_eq!(status("GET", "/v1/drain").await, 405);
    assert_eq!(status("POST", "/v1/node").await, 405);
    assert_eq!(status("DELETE", "/metrics").await, 405);
    assert_eq!(status("GET", "/v1/events?interval=soon").await, 400);
    let (code, body) = get(site.address, "/v1/none", &[]).await;
    assert_eq!((code, Problem::from_json(body.as_bytes()).unwrap().reason), (404, Reason::NotFound));
}

#[tokio::test]
async fn head_gets_the_head_of_every_endpoint() {
    let site = site(|_| {}).await;
    for path in ["/", "/files/", "/v1/node", "/v1/connections", "/v1/events", "/metrics", "/healthz", "/v1/none"] {
        let pending = send(site.address, "HEAD", path, &[]).await;
        let length = pending.reply.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
        assert!(path == "/v1/events" || length.is_some_and(|length| length != "0"), "{path}");
        assert_eq!(text(pending).await.1, "", "{path}");
    }
    let through = send(site.address, "HEAD", "/healthz", &[]).await;
    assert_eq!(through.reply.headers()["content-length"], "3");
}

#[tokio::test]
async fn reading_needs_a_token_beyond_loopback() {
    let site = site(|_| {}).await;
    let via = || ("via", "1.1 x".to_owned());
    for path in ["/v1/node", "/v1/events", "/v1/connections", "/metrics"] {
        let pending = send(site.address, "GET", path, &[via()]).await;
        assert_eq!(pending.reply.headers()["www-authenticate"], "Bearer", "{path}");
        let (status, body) = text(pending).await;
        assert_eq!((status, Problem::from_json(body.as_bytes()).unwrap().reason), (401, Reason::Unauthorized));
        let pending = send(site.address, "GET", path, &[via(), bearer()]).await;
        assert_eq!(pending.reply.status(), 200, "{path}");
    }
    assert_eq!(get(site.address, "/healthz", &[via()]).await.0, 200);
    assert_eq!(get(site.address, "/v1/node", &[("host", "evil.example".to_owned())]).await.0, 403);
    assert_eq!(get(site.address, "/v1/node", &[("host", "localhost:1".to_owned())]).await.0, 200);
}

#[tokio::test]
async fn a_transfer_record_needs_only_its_id() {
    let site = site(|_| {}).await;
    let id = TransferId(0x1234 << 100);
    let conn = site.node.registry.open(site.address);
    let job = conn.begin_job(id, crate::wire::Method::Get, &FileName::new(b"a.txt").unwrap(), Protocol::Http);
    job.job().meter.record_write(7);
    let path = format!("/v1/transfers/{id}");
    let (status, body) = get(site.address, &path, &[("via", "1.1 x".to_owned())]).await;
    let account: TransferRecord = serde_json::from_str(&body).unwrap();
    assert_eq!((status, account.name.as_str(), account.flow.bytes_out), (200, "a.txt", 7));
    let (_, list) = get(site.address, "/v1/connections", &[]).await;
    assert!(list.contains(&id.short()) && !list.contains(&id.to_string()), "{list}");
}

#[tokio::test]
async fn events_flow_until_a_draining_node_ends() {
    let site = site(|_| {}).await;
    let pending = send(site.address, "GET", "/v1/events?interval=50ms", &[]).await;
    assert_eq!(pending.reply.headers()["content-type"], "application/x-ndjson");
    let (mut body, mut rest) = (pending.reply.into_body(), Vec::new());
    let first = line(&mut body, &mut rest).await.unwrap();
    let second = line(&mut body, &mut rest).await.unwrap();
    assert!(second.uptime_us >= first.uptime_us + 50_000 && !second.draining);
    site.node.drain().begin();
    // Two more lines: the stream continues after the one that reports draining.
    for _ in 0..2 {
        while !line(&mut body, &mut rest).await.unwrap().draining {}
    }
    site.node.drain().force();
    while let Some(next) = line(&mut body, &mut rest).await {
        assert!(next.draining);
    }
}

#[tokio::test]
async fn a_reader_that_disconnects_ends_its_stream() {
    let site = site(|_| {}).await;
    let pending = send(site.address, "GET", "/v1/events?interval=60s", &[]).await;
    assert_eq!(site.node.registry.open_count(), 1);
    drop(pending);
    while site.node.registry.open_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn endpoints_are_relayed_with_the_token_of_the_last_hop() {
    let (first, second, third) = (site(|_| {}).await, site(|_| {}).await, site(|_| {}).await);
    let way = route(&[second.address, third.address]);
    let (status, body) = get(first.address, "/v1/node", std::slice::from_ref(&way)).await;
    let problem = Problem::from_json(body.as_bytes()).unwrap();
    assert_eq!((status, problem.reason, problem.hop, problem.reporter), (401, Reason::Unauthorized, 2, 2));
    let pending = send(first.address, "GET", "/v1/node", &[way.clone(), bearer()]).await;
    assert_eq!(pending.reply.headers()["chain-hops"], "2");
    assert_eq!(pending.reply.headers()["content-type"], "application/json");
    let snapshot: NodeSnapshot = serde_json::from_str(&text(pending).await.1).unwrap();
    assert_eq!(snapshot.address.as_str(), third.address.to_string());

    let pending = send(first.address, "GET", "/v1/events?interval=50ms", &[way.clone(), bearer()]).await;
    let (mut body, mut rest) = (pending.reply.into_body(), Vec::new());
    assert!(line(&mut body, &mut rest).await.is_some() && line(&mut body, &mut rest).await.is_some());
    third.node.drain().begin();
    third.node.drain().force();
    while line(&mut body, &mut rest).await.is_some() {}
    assert_eq!(get(first.address, "/healthz", std::slice::from_ref(&way)).await.0, 503);
    let pending = send(first.address, "HEAD", "/metrics", &[way, bearer()]).await;
    assert!(pending.reply.headers()["content-length"].to_str().unwrap().parse::<u64>().unwrap() > 100);
}

#[tokio::test]
async fn a_chain_refuses_control_loops_files_and_what_policy_forbids() {
    let (first, second) = (site(|_| {}).await, site(|_| {}).await);
    let status = |method: &'static str, path: &'static str, way: String| async move {
        let (status, body) = text(send(first.address, method, path, &[("chain-route", way), bearer()]).await).await;
        (status, Problem::from_json(body.as_bytes()))
    };
    let next = second.address.to_string();
    assert_eq!(status("POST", "/v1/drain", next.clone()).await.0, 403);
    assert_eq!(status("GET", "/elsewhere", next.clone()).await.0, 404);
    assert_eq!(status("GET", "/v1/node", "a:1,".repeat(32) + "a:1").await.0, 508);
    assert_eq!(status("GET", "/v1/node", "a:1;evil=1".to_owned()).await.0, 400);
    assert_eq!(status("GET", "/v1/node", format!("{next}, {}", first.address)).await.0, 508);
    let (code, problem) = status("GET", "/v1/node", format!("{next}, 10.0.0.7:80")).await;
    let problem = problem.unwrap();
    assert_eq!((code, problem.reason, problem.hop, problem.reporter), (403, Reason::Policy, 2, 1));
    assert_eq!(problem.address.as_str(), "10.0.0.7:80");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (code, problem) = status("GET", "/v1/node", closed.to_string()).await;
    assert_eq!((code, problem.unwrap().reason), (502, Reason::Refused));
}

#[tokio::test]
async fn a_hop_that_ignores_the_route_or_is_silent_is_named() {
    let first = site(|_| {}).await;
    let foreign = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = foreign.local_addr().unwrap();
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        let (mut stream, _) = foreign.accept().await.unwrap();
        let _ = stream.read_buf(&mut Vec::new()).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        let (silent, _) = foreign.accept().await.unwrap();
        std::future::pending::<()>().await;
        drop(silent);
    });
    let way = ("chain-route", format!("{address}, 127.0.0.1:1"));
    let (status, body) = get(first.address, "/v1/node", &[way]).await;
    assert_eq!((status, Problem::from_json(body.as_bytes()).unwrap().reason), (502, Reason::RouteIgnored));
    let limit = ("chain-timeout", "400".to_owned());
    let (status, body) = get(first.address, "/v1/node", &[route(&[address]), limit]).await;
    let problem = Problem::from_json(body.as_bytes()).unwrap();
    assert_eq!((status, problem.reason, problem.hop), (504, Reason::TimedOut, 1));
    assert!(problem.ms >= 300.0 && problem.ms < 2000.0, "{}", problem.ms);
}

#[tokio::test]
async fn a_looping_request_is_refused_under_any_address() {
    let (one, other) = (site(|_| {}).await, site(|_| {}).await);
    let own = |name: &str| format!("{name}:{}", one.address.port());
    let (next, last) = (other.address.to_string(), "127.0.0.1:9".to_owned());
    for hops in [
        vec![own("localhost"), own("LOCALHOST"), own("lOcalhost"), last.clone()],
        vec![own("LOCALHOST")],
        vec![next.clone(), own("Localhost")],
        vec![next, own("localhost"), last],
    ] {
        for host in [own("127.0.0.1"), own("LocalHost")] {
            let lines = [("host", host), ("chain-route", hops.join(", "))];
            let (status, body) = get(one.address, "/healthz", &lines).await;
            assert_eq!(status, 508, "{hops:?}: {body}");
        }
    }
}

#[tokio::test]
async fn excess_event_streams_are_refused_directly_and_at_a_relay() {
    let (one, other) = (site(|_| {}).await, site(|_| {}).await);
    let peer = one.address.ip();
    for behind in [vec![], vec![other.address]] {
        let _readers: Vec<_> = std::iter::from_fn(|| one.node.registry.begin_reader(peer)).collect();
        let mut lines = vec![bearer()];
        if !behind.is_empty() {
            lines.push(route(&behind));
        }
        let (status, body) = get(one.address, "/v1/events", &lines).await;
        assert!(status == 503 && body.contains("too many readers of events"), "{status} {body}");
    }
    let pending = send(one.address, "GET", "/v1/events", &[bearer(), route(&[other.address])]).await;
    let begun = || std::iter::from_fn(|| one.node.registry.begin_reader(peer)).collect::<Vec<_>>().len();
    assert_eq!((pending.reply.status(), begun()), (StatusCode::OK, MAX_EVENT_STREAMS_PER_SOURCE - 1));
    drop(pending);
    while begun() < MAX_EVENT_STREAMS_PER_SOURCE {
        tokio::task::yield_now().await;
    }
}
