//! Requests over idle connections, to scripted servers.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::policy::NotPermitted;
use super::protocols::UpstreamShared;
use super::resolve::Resolver;
use super::{ConnectFilter, Upstream, UpstreamReply};
use crate::limits::Limits;
use crate::route::{FileName, Hop, Protocol};
use crate::snapshot::UpstreamTotals;
use crate::wire::{Method, Problem, Reason, Refusal, Request};

const TIMEOUT: Duration = Duration::from_secs(10);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nChain-Hops: 0\r\n\r\nok";

/// What a server does with one connection.
#[derive(Clone, Copy)]
enum Step {
    /// Reads a request.
    Read,
    /// Sends these bytes.
    Send(&'static str),
    /// Waits until the test has looked at the connection.
    Wait,
}
use Step::{Read, Send, Wait};

/// A server that follows one script for each connection, then closes it.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    /// Lets one `Wait` pass.
    passing: Arc<tokio::sync::Semaphore>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(scripts: Vec<Vec<Step>>) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), scripts).await
    }

    async fn at(address: SocketAddr, scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, heads) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default());
        let passing = Arc::new(tokio::sync::Semaphore::new(0));
        let (counted, recorded, waits) = (Arc::clone(&accepted), Arc::clone(&heads), Arc::clone(&passing));
        let task = tokio::spawn(async move {
            for script in scripts {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, SeqCst);
                tokio::spawn(follow(stream, script, Arc::clone(&recorded), Arc::clone(&waits)));
            }
        });
        Self { address, accepted, heads, passing, task }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    mut stream: TcpStream,
    script: Vec<Step>,
    heads: Arc<Mutex<Vec<String>>>,
    passing: Arc<tokio::sync::Semaphore>,
) {
    for step in script {
        match step {
            Read => {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                heads.lock().unwrap().push(String::from_utf8(head).unwrap());
            }
            Send(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
            Wait => passing.acquire().await.unwrap().forget(),
        }
    }
}

fn client(shared: &Arc<UpstreamShared>, limits: Limits) -> Upstream {
    Upstream::new(Arc::clone(shared), limits, Arc::new(|_, _| Ok(())), Some(Protocol::Http))
}

fn shared() -> Arc<UpstreamShared> {
    Arc::default()
}

async fn head(upstream: &mut Upstream, hop: &Hop, method: Method) -> Result<UpstreamReply, Problem> {
    let request = Request::new(method, FileName::new(b"f").unwrap());
    upstream.request(hop, Box::new(request), TIMEOUT, &|_| ()).await
}

/// Requests a file as a client of its own, and reads its body.
async fn get_as(shared: &Arc<UpstreamShared>, hop: &Hop, limits: Limits) -> Result<Vec<u8>, Problem> {
    let mut upstream = client(shared, limits);
    let reply = head(&mut upstream, hop, Method::Get).await?;
    let mut body = vec![0; usize::try_from(reply.reply.length.unwrap()).unwrap()];
    let mut read = 0;
    while read < body.len() {
        match upstream.read_body(&mut body[read..]).await {
            Ok(more) if more > 0 => read += more,
            end => panic!("{end:?} after {read} bytes"),
        }
    }
    upstream.finish();
    Ok(body)
}

async fn get(shared: &Arc<UpstreamShared>, server: &Server) -> Result<Vec<u8>, Problem> {
    get_as(shared, &Hop::new(server.address.into()), Limits::default()).await
}

/// Waits until the first idle connection has received something, or its end.
async fn until_not_silent(shared: &Arc<UpstreamShared>, server: &Server) {
    server.passing.add_permits(1);
    let noticed = async {
        loop {
            if !shared.idle.are_silent() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(TIMEOUT, noticed).await.expect("the server sends or closes");
}

#[tokio::test]
async fn clients_share_a_connection_with_different_bases() {
    let server = Server::start(vec![vec![Read, Send(OK), Read, Send(OK), Read, Send(OK), Wait]]).await;
    let shared = shared();
    assert_eq!(get(&shared, &server).await.unwrap(), b"ok");
    for base in ["/a/", "/b/"] {
        let hop = Hop { base: Some(base.into()), ..Hop::new(server.address.into()) };
        assert_eq!(get_as(&shared, &hop, Limits::default()).await.unwrap(), b"ok");
    }
    let targets: Vec<_> =
        server.heads.lock().unwrap().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!((targets, server.accepted()), (["/files/f", "/a/f", "/b/f"].map(str::to_owned).to_vec(), 1));
    assert_eq!(shared.totals(), UpstreamTotals { idle: 1, opened: 1, reused: 2, ..UpstreamTotals::default() });
}

#[tokio::test]
async fn the_policy_is_checked_for_every_request() {
    let server = Server::start(vec![vec![Read, Send(OK), Wait]]).await;
    let shared = shared();
    assert_eq!(get(&shared, &server).await.unwrap(), b"ok");
    let filter: ConnectFilter =
        Arc::new(|_, _| Err(NotPermitted { refusal: Refusal::NotAllowed, why: "not that".to_owned(), denial: None }));
    let mut upstream = Upstream::new(Arc::clone(&shared), Limits::default(), filter, Some(Protocol::Http));
    let problem = head(&mut upstream, &Hop::new(server.address.into()), Method::Get).await.unwrap_err();
    assert_eq!((problem.reason, shared.totals().reused, shared.totals().idle), (Reason::Policy, 0, 1));
}

#[tokio::test]
async fn one_that_closes_before_a_reply_is_replaced_once() {
    for late in ["", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"] {
        let server = Server::start(vec![vec![Read, Send(OK), Read, Send(late)], vec![Read, Send(OK), Wait]]).await;
        let shared = shared();
        for _ in 0..2 {
            assert_eq!(get(&shared, &server).await.unwrap(), b"ok", "{late:?}");
        }
        assert_eq!((server.accepted(), server.heads.lock().unwrap().len()), (2, 3));
        let replaced = UpstreamTotals { idle: 1, opened: 2, found_closed: 1, ..UpstreamTotals::default() };
        assert_eq!(shared.totals(), replaced, "{late:?}");
    }
    let server = Server::start(vec![vec![Read, Send(OK), Read], vec![Read], vec![Read, Send(OK)]]).await;
    let shared = shared();
    get(&shared, &server).await.unwrap();
    let problem = get(&shared, &server).await.unwrap_err();
    assert_eq!((problem.reason, problem.hop, server.accepted()), (Reason::Closed, 1, 2));
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_not_requested_again() {
    let server = Server::start(vec![vec![Read, Send(OK), Read, Send("HTTP/1.1 200 O")], vec![Read, Send(OK)]]).await;
    let shared = shared();
    get(&shared, &server).await.unwrap();
    let problem = get(&shared, &server).await.unwrap_err();
    assert_eq!((problem.reason, server.accepted(), shared.totals().idle), (Reason::Closed, 1, 0));
}

#[tokio::test]
async fn one_with_bytes_or_an_end_is_never_used() {
    const LATE: &str = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    for script in [vec![Read, Send(OK), Wait, Send(LATE), Wait], vec![Read, Send(OK), Wait]] {
        let server = Server::start(vec![script, vec![Read, Send(OK), Wait]]).await;
        let shared = shared();
        get(&shared, &server).await.unwrap();
        until_not_silent(&shared, &server).await;
        assert_eq!(get(&shared, &server).await.unwrap(), b"ok");
        assert_eq!((server.accepted(), shared.totals().found_closed, shared.totals().idle), (2, 1, 1));
        assert_eq!(server.heads.lock().unwrap().len(), 2, "no request was sent on it");
    }
}

#[tokio::test]
async fn only_what_was_read_to_its_end_is_kept() {
    const EXTRA: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nChain-Hops: 0\r\n\r\nokHTTP/1.1 200 OK\r\n";
    const CLOSES: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nChain-Hops: 0\r\n\r\nok";
    const OLD: &str = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const SHORT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: max=9, timeout=0\r\n\r\nok";
    for reply in [EXTRA, CLOSES, OLD, SHORT] {
        let server = Server::start(vec![vec![Read, Send(reply), Wait]]).await;
        let shared = shared();
        assert_eq!(get(&shared, &server).await.unwrap(), b"ok");
        assert_eq!(shared.totals().idle, 0, "{reply:?}");
    }
    // A body that is not wanted, and a request that was cancelled.
    let server = Server::start(vec![vec![Read, Send(OK), Wait], vec![Read, Wait]]).await;
    let (shared, hop) = (shared(), Hop::new(server.address.into()));
    let mut upstream = client(&shared, Limits::default());
    head(&mut upstream, &hop, Method::Get).await.unwrap();
    upstream.finish();
    assert!(timeout(Duration::from_millis(50), head(&mut upstream, &hop, Method::Get)).await.is_err());
    upstream.finish();
    assert_eq!((shared.totals().idle, shared.totals().opened), (0, 2));
    // An error that was read to its end, a head without a body, and that of a server that is not ours, which may still
    // send a body.
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
    let ours = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nChain-Hops: 0\r\n\r\n";
    let foreign = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let server = Server::start(vec![vec![Read, Send(missing), Read, Send(ours), Read, Send(foreign), Wait]]).await;
    let hop = Hop::new(server.address.into());
    assert_eq!(head(&mut upstream, &hop, Method::Get).await.unwrap_err().reason, Reason::NotFound);
    head(&mut upstream, &hop, Method::Head).await.unwrap();
    upstream.finish();
    assert_eq!((server.accepted(), shared.totals().idle), (1, 1));
    head(&mut upstream, &hop, Method::Head).await.unwrap();
    upstream.finish();
    assert_eq!((server.accepted(), shared.totals().idle), (1, 0));
}

#[tokio::test]
async fn an_announced_timeout_and_zero_are_honored() {
    const SECOND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\nok";
    let server = Server::start(vec![vec![Read, Send(SECOND), Wait], vec![Read, Send(SECOND), Wait]]).await;
    let shared = shared();
    get(&shared, &server).await.unwrap();
    assert!(shared.close_expired(), "it may be used for half a second");
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(600)).await;
    tokio::time::resume();
    get(&shared, &server).await.unwrap();
    assert_eq!((server.accepted(), shared.totals().reused), (2, 0));
    let server = Server::start(vec![vec![Read, Send(OK), Wait], vec![Read, Send(OK), Wait]]).await;
    let off = Limits { idle_connections: 0, ..Limits::default() };
    for _ in 0..2 {
        get_as(&shared, &Hop::new(server.address.into()), off).await.unwrap();
    }
    assert!(server.heads.lock().unwrap().iter().all(|head| head.contains("\r\nConnection: close\r\n")));
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_name_that_moves_is_followed_after_ten_seconds() {
    let old = Server::start(vec![vec![Read, Send(OK), Read, Send(OK), Wait]]).await;
    let new = Server::at(([127, 0, 0, 2], old.address.port()).into(), vec![vec![Read, Send(OK), Wait]]).await;
    let lookups = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&lookups);
    let resolver = Resolver::new(move |_| {
        let moved = counted.fetch_add(1, SeqCst) > 0;
        Ok(vec![IpAddr::from([127, 0, 0, 1 + u8::from(moved)])])
    });
    let shared = Arc::new(UpstreamShared::new(resolver));
    let hop = Hop::new(format!("moves:{}", old.address.port()).parse().unwrap());
    for (advance, expected) in [(0, [1, 1, 0]), (6, [1, 1, 0]), (5, [2, 1, 1])] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(advance)).await;
        tokio::time::resume();
        assert_eq!(get_as(&shared, &hop, Limits::default()).await.unwrap(), b"ok");
        assert_eq!([lookups.load(SeqCst), old.accepted(), new.accepted()], expected, "after {advance} s");
    }
}

#[tokio::test]
async fn the_first_message_of_tls_follows_the_request_for_a_tunnel_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Hop::new(listener.local_addr().unwrap().into());
    let end = Hop::parse_line("10.0.0.9 1 key=sha256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let mut request = Box::new(Request::new(Method::Get, FileName::new(b"f").unwrap()));
    request.route = vec![end];
    let mut upstream = client(&Arc::default(), Limits::default()).end_to_end();
    let requesting = upstream.request(&relay, request, TIMEOUT, &|_| ());
    let reading = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
        // Nothing is replied, so that what is complete here has come without waiting.
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&received));
            received.extend_from_slice(&buffer[..read]);
            let Some(head) = received.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
            let Some([kind, _, _, length @ ..]) = received.get(head + 4..head + 9) else { continue };
            let length = u16::from_be_bytes([length[0], length[1]]);
            if received.len() == head + 9 + usize::from(length) {
                return (String::from_utf8_lossy(&received[..head]).into_owned(), *kind);
            }
        }
    };
    let (head, kind) = tokio::select! {
        reply = requesting => panic!("{reply:?}"),
        read = timeout(TIMEOUT, reading) => read.unwrap(),
    };
    assert!(head.starts_with("CONNECT 10.0.0.9:1 HTTP/1.1\r\n") && kind == 0x16, "{kind:#x} {head}");
}
