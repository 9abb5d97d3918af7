//! The control API: who may change a node, and the effects.

use std::sync::Arc;
use std::time::Duration;

use chainview::faults::{FaultChange, Faults};
use chainview::limits::Limits;
use chainview::net::admin_client::{self, ControlAccess};
use chainview::net::node::drain::Drain;
use chainview::net::node::{Node, NodeConfig};
use chainview::net::server;
use chainview::route::{Hop, HostPort};
use chainview::secret::Secret;
use chainview::snapshot::ConnState;
use chainview::wire::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::scene::{Reply, config, exchange, pattern, read_reply};

/// Far longer than any step here takes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// One node with both tokens; dropping it stops the node.
pub(crate) struct Site {
    pub(crate) node: Arc<Node>,
    running: JoinHandle<()>,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) async fn site(change: impl FnOnce(&mut NodeConfig)) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = config(folder.path(), address, Limits::default());
    config.access.chain = Some(Secret::new("read").unwrap());
    config.access.control = Some(Secret::new("control").unwrap());
    change(&mut config);
    let node = Node::new(config, address);
    let running = tokio::spawn(server::run(Arc::clone(&node), listener, Drain::new()));
    Site { node, running, folder }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Site {
    pub(crate) fn address(&self) -> HostPort {
        self.node.address.into()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.node.address).await.unwrap()
    }

    /// Reads the first bytes of a large file, so that its body is known to be under way.
    pub(crate) async fn begin(&self, first: &mut [u8]) -> TcpStream {
        std::fs::write(self.folder.path().join("large"), pattern(64 << 20)).unwrap();
        let mut stream = self.connect().await;
        stream.write_all(b"GET /files/large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
        stream.read_exact(first).await.unwrap();
        stream
    }

    /// Waits until the node's only connection is in this state; returns its number.
    pub(crate) async fn connection(&self, state: ConnState) -> u64 {
        let known = async {
            loop {
                let snapshot = self.node.snapshot();
                if let [conn] = &snapshot.connections[..]
                    && conn.state == state
                {
                    return conn.id;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(TIMEOUT, known).await.expect("the connection reaches the state")
    }

    async fn control(&self, method: &str, path: &str, lines: &str, body: &str) -> Reply {
        let lines = format!("{lines}Content-Length: {}\r\n\r\n{body}", body.len());
        // The blank line after the body belongs to no request.
        exchange(&mut self.connect().await, method, path, &lines).await
    }
}

fn control_token() -> Secret {
    Secret::new("control").unwrap()
}

const RIGHT: &str = "Authorization: Bearer control\r\n";
const VERBS: [&str; 4] = ["/v1/faults", "/v1/connections/1/close", "/v1/drain", "/v1/stop"];

#[tokio::test]
async fn control_needs_the_token_and_is_never_relayed() {
    let site = site(|_| {}).await;
    let other = super::control::site(|_| {}).await;
    let route = format!("{RIGHT}Chain-Route: {}\r\n", other.node.address);
    for verb in VERBS {
        for (lines, status, reason) in [
            ("", 401, Reason::Unauthorized),
            ("Authorization: Bearer wrong\r\n", 401, Reason::Unauthorized),
            ("Authorization: Bearer read\r\n", 401, Reason::Unauthorized),
            ("Authorization: Bearer control2\r\n", 401, Reason::Unauthorized),
            ("Authorization: Basic control\r\n", 401, Reason::Unauthorized),
            ("Authorization: Bearer control\r\nAuthorization: Bearer control\r\n", 401, Reason::Unauthorized),
            (&format!("{RIGHT}Via: 1.1 x\r\n"), 403, Reason::Policy),
            (&format!("{RIGHT}Forwarded: for=1.2.3.4\r\n"), 403, Reason::Policy),
            (&format!("{RIGHT}X-Forwarded-For: 1.2.3.4\r\n"), 403, Reason::Policy),
            (&route, 403, Reason::Policy),
        ] {
            let reply = site.control("POST", verb, lines, "").await;
            assert_eq!((reply.status, reply.problem().reason), (status, reason), "{verb} {lines}");
            assert_eq!(reply.field("connection"), Some("close"), "{verb} {lines}");
            assert_eq!(reply.field("www-authenticate").is_some(), status == 401, "{verb} {lines}");
        }
        for method in ["GET", "PUT", "DELETE"] {
            let reply = exchange(&mut site.connect().await, method, verb, RIGHT).await;
            assert_eq!((reply.status, reply.field("allow")), (405, Some("POST")), "{method} {verb}");
        }
        let mut stream = site.connect().await;
        let foreign = format!("POST {verb} HTTP/1.1\r\nHost: evil.example\r\n{RIGHT}Content-Length: 0\r\n\r\n");
        stream.write_all(foreign.as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream, "POST").await.status, 403, "{verb}");
    }
    for node in [&site.node, &other.node] {
        assert!(!node.draining() && !node.faults.any());
    }
    assert_eq!(other.node.registry.totals().accepted, 0, "nothing was passed on");
    let closed = super::control::site(|config| config.access.control = None).await;
    let reply = closed.control("POST", "/v1/drain", RIGHT, "").await;
    assert_eq!(reply.status, 403);
    assert!(reply.problem().detail.as_str().contains("--control-token-file"), "{}", reply.problem());
}

#[tokio::test]
async fn invalid_control_bodies_change_nothing() {
    let site = site(|config| config.access.allow_faults = true).await;
    let huge = format!("{{\"limit\":1{}}}", " ".repeat(64 * 1024));
    for body in
        ["", "x", "[]", "{\"limit\":", "{\"speed\":1}", "{\"limit\":0}", "{\"stall\":true,\"truncate\":\"1\"}", &huge]
    {
        let reply = site.control("POST", "/v1/faults", RIGHT, body).await;
        assert_eq!((reply.status, reply.problem().reason), (400, Reason::Malformed), "{body:.20}");
    }
    for verb in &VERBS[1..] {
        let reply = site.control("POST", verb, RIGHT, "{\"x\":1}").await;
        assert_eq!(reply.status, 400, "{verb}");
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    let reply = exchange(&mut site.connect().await, "POST", "/v1/drain", &format!("{RIGHT}{chunked}")).await;
    assert_eq!(reply.status, 400);
    for path in ["/v1/connections/99999/close", "/v1/connections/x/close", "/v1/connections//close", "/v1/nothing"] {
        assert_eq!(site.control("POST", path, RIGHT, "").await.status, 404, "{path}");
    }
    assert!(!site.node.draining() && !site.node.faults.any());
}

#[tokio::test]
async fn limits_and_faults_are_set_and_reported() {
    let site = site(|_| {}).await;
    let reply = site.control("POST", "/v1/faults", RIGHT, r#"{"limit":5000,"delay_ms":7}"#).await;
    let expected = Faults { limit: Some(5000), delay_ms: 7, ..Faults::default() };
    assert_eq!((reply.status, serde_json::from_slice(&reply.body).unwrap()), (200, expected));
    assert_eq!((site.node.faults.now(), site.node.snapshot().faults), (expected, expected));
    // All settings or none.
    let reply = site.control("POST", "/v1/faults", RIGHT, r#"{"limit":null,"stall":true}"#).await;
    assert_eq!((reply.status, site.node.faults.now()), (403, expected));
    assert!(reply.problem().detail.as_str().contains("--allow-faults"), "{}", reply.problem());
    let metrics = exchange(&mut site.connect().await, "GET", "/metrics", "").await.body;
    let metrics = String::from_utf8(metrics).unwrap();
    let has = |line: &str| metrics.lines().any(|each| each.strip_prefix("chainview_") == Some(line));
    for line in
        ["rate_limit_bytes_per_second 5000.0", "injected_delay_seconds 0.007", "fault_active{fault=\"stall\"} 0"]
    {
        assert!(has(line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("chainview_truncate_bytes"));
}

#[tokio::test]
async fn the_control_client_reports_each_outcome() {
    let site = site(|_| {}).await;
    let (address, token) = (Hop::new(site.address()), ControlAccess::Token(control_token()));
    let faults = admin_client::set_fault(&address, &token, FaultChange::Limit(Some(9_000_000))).await.unwrap();
    assert_eq!((faults.limit, site.node.faults.now()), (Some(9_000_000), faults));
    let refused = admin_client::set_fault(&address, &token, FaultChange::Reject(true)).await.unwrap_err();
    assert_eq!((refused.reason, refused.hop, refused.reporter), (Reason::Policy, 1, 1));
    let read = Secret::new("read").unwrap();
    assert_eq!(
        admin_client::drain(&address, &ControlAccess::Token(read)).await.unwrap_err().reason,
        Reason::Unauthorized
    );
    assert_eq!(admin_client::close(&address, &token, 999).await.unwrap_err().reason, Reason::NotFound);
    let stream = site.connect().await;
    let id = site.connection(ConnState::Head).await;
    admin_client::close(&address, &token, id).await.unwrap();
    drop(stream);
    let closed_address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = admin_client::drain(&Hop::new(closed_address.into()), &token).await.unwrap_err();
    assert_eq!((refused.reason, refused.hop), (Reason::Refused, 1));
}

#[tokio::test]
async fn a_connection_is_closed_in_any_state() {
    let site = site(|_| {}).await;
    // Before any request.
    let mut silent = site.connect().await;
    let id = site.connection(ConnState::Head).await;
    admin_client::close(&Hop::new(site.address()), &ControlAccess::Token(control_token()), id).await.unwrap();
    assert_eq!(timeout(TIMEOUT, silent.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    // With a body to a reader that reads nothing.
    let mut body = site.begin(&mut [0; 100]).await;
    let id = site.connection(ConnState::Streaming).await;
    admin_client::close(&Hop::new(site.address()), &ControlAccess::Token(control_token()), id).await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(TIMEOUT, body.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() < 64 << 20, "it is complete: {ended:?}");
    while site.node.registry.open_count() > 0 {
        tokio::task::yield_now().await;
    }
    let reply = exchange(&mut site.connect().await, "GET", "/files/none", "").await;
    assert_eq!(reply.status, 404, "the node keeps running");
}

#[tokio::test]
async fn a_legacy_protocol_body_that_is_closed_ends_in_a_reset() {
    let site = site(|_| {}).await;
    std::fs::write(site.folder.path().join("large"), pattern(64 << 20)).unwrap();
    let mut stream = site.connect().await;
    let (ip, port) = (site.node.address.ip(), site.node.address.port());
    stream.write_all(format!("large\n{ip} {port}").as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 8]).await.unwrap();
    stream.write_all(b"ack_").await.unwrap();
    let id = site.connection(ConnState::Streaming).await;
    admin_client::close(&Hop::new(site.address()), &ControlAccess::Token(control_token()), id).await.unwrap();
    // The legacy client spins forever on a clean end.
    let ended = timeout(TIMEOUT, stream.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_drained_node_finishes_transfers_and_exits() {
    let mut site = site(|config| config.limits.drain = Duration::from_millis(1)).await;
    let mut body = site.begin(&mut [0; 1]).await;
    let idle = {
        let mut idle = site.connect().await;
        assert_eq!(exchange(&mut idle, "GET", "/files/none", "").await.status, 404);
        idle
    };
    admin_client::drain(&Hop::new(site.address()), &ControlAccess::Token(control_token())).await.unwrap();
    assert!(site.node.draining());
    assert_eq!({ idle }.read(&mut [0; 1]).await.unwrap(), 0, "idle connections are closed");
    while TcpStream::connect(site.node.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!site.running.is_finished(), "a body is on its way, and has all the time it needs");
    let mut rest = Vec::new();
    body.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&pattern(64 << 20)[(64 << 20) - 1000..]));
    drop(body);
    timeout(TIMEOUT, &mut site.running).await.expect("it ends by itself").unwrap();
}

#[tokio::test]
async fn event_streams_last_until_the_end_of_a_drain() {
    let mut site = site(|config| config.limits.drain = Duration::from_millis(1)).await;
    let mut body = site.begin(&mut [0; 1]).await;
    let mut events = site.connect().await;
    let send_request = b"GET /v1/events?interval=50ms HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    events.write_all(send_request).await.unwrap();
    let mut events_text = String::new();
    // A connection that is idle at first must not delay the shutdown once it becomes an event stream.
    let mut late = site.connect().await;
    late.write_all(&send_request[..10]).await.unwrap();
    site.node.drain().stop_accepting();
    let mut read = async |wanted: &str| {
        while !events_text.contains(wanted) {
            let mut more = [0; 4096];
            let length = timeout(TIMEOUT, events.read(&mut more)).await.unwrap().unwrap();
            assert!(length > 0, "it ended before {wanted}: {events_text}");
            events_text += &String::from_utf8_lossy(&more[..length]);
        }
        events_text.clear();
    };
    read("\"draining\":true").await;
    // Several lines follow that one.
    for _ in 0..3 {
        read("\"state\":\"streaming\"").await;
    }
    late.write_all(&send_request[10..]).await.unwrap();
    let mut rest = Vec::new();
    body.read_to_end(&mut rest).await.unwrap();
    drop(body);
    let mut end = String::new();
    timeout(TIMEOUT, events.read_to_string(&mut end)).await.expect("the events end").unwrap();
    assert!(end.ends_with("\r\n0\r\n\r\n"), "they end in order: {end}");
    drop(events);
    timeout(TIMEOUT, late.read_to_string(&mut end)).await.expect("these end too").unwrap();
    drop(late);
    timeout(TIMEOUT, &mut site.running).await.expect("it ends by itself").unwrap();
}

#[tokio::test]
async fn a_stopped_node_exits_within_its_drain_timeout() {
    for drain_first in [false, true] {
        let mut site = site(|config| config.limits.drain = Duration::from_millis(300)).await;
        let mut body = site.begin(&mut [0; 1]).await;
        if drain_first {
            // From here on only its own process can reach it.
            site.node.drain().stop_accepting();
            site.node.drain().begin();
        } else {
            assert_eq!(site.control("POST", "/v1/stop", RIGHT, "").await.status, 200);
        }
        timeout(TIMEOUT, &mut site.running).await.expect("it is disconnected").unwrap();
        let mut rest = Vec::new();
        let _ = body.read_to_end(&mut rest).await;
        assert!(rest.len() < 64 << 20);
    }
}
