//! A server whose replies name their requests, and whose faults are decided by a seed and the name of the request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::acts::{Act, Close, Part, reply};
use super::names::{hash, transfer};
use crate::faulty::Seeded;

/// Whether a server keeps to HTTP: then every request must succeed, although the server closes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behavior {
    Correct,
    Faulty,
}

/// A listening server; it ends when dropped, together with its connections.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) record: Arc<Record>,
    _accepting: AbortOnDropHandle<()>,
}

/// What a server does and has seen.
pub(crate) struct Record {
    seed: u64,
    behavior: Behavior,
    /// Connections accepted so far.
    pub(crate) accepted: AtomicUsize,
    /// Connections that are open now.
    pub(crate) open: AtomicUsize,
    /// Requests received so far.
    pub(crate) requests: AtomicUsize,
    violations: Mutex<Vec<String>>,
    connections: Mutex<Vec<mpsc::UnboundedSender<oneshot::Sender<()>>>>,
}

/// A parsed request.
pub(crate) struct Request {
    pub(crate) head: bool,
    pub(crate) name: String,
    lines: Vec<(String, String)>,
}

impl Request {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        let lines = lines.filter_map(|line| line.split_once(": "));
        let lines = lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let name = path.strip_prefix('/')?.to_owned();
        (words.next() == Some("HTTP/1.1")).then_some(Self { head: method == "HEAD", name, lines })
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.lines.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

impl Server {
    pub(crate) async fn start(seed: u64, behavior: Behavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Record {
            seed,
            behavior,
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            violations: Mutex::default(),
            connections: Mutex::default(),
        });
        let recording = Arc::clone(&record);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let record = Arc::clone(&recording);
                record.accepted.fetch_add(1, Relaxed);
                record.open.fetch_add(1, Relaxed);
                connections.spawn(async move {
                    let (orders, ordered) = mpsc::unbounded_channel();
                    record.connections.lock().unwrap().push(orders);
                    serve(stream, &record, ordered).await;
                    record.open.fetch_sub(1, Relaxed);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, record, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Does something to each idle connection; returns once the bytes are sent.
    pub(crate) async fn disturb_idle(&self) {
        let connections = std::mem::take(&mut *self.record.connections.lock().unwrap());
        for connection in connections {
            let (done, waiting) = oneshot::channel();
            if connection.send(done).is_ok() {
                // An error means that it ended meanwhile.
                let _ = waiting.await;
                self.record.connections.lock().unwrap().push(connection);
            }
        }
    }

    /// Takes what the server has seen that must not happen.
    pub(crate) fn violations(&self) -> Vec<String> {
        std::mem::take(&mut *self.record.violations.lock().unwrap())
    }
}

impl Record {
    fn violation(&self, text: String) {
        self.violations.lock().unwrap().push(text);
    }

    fn check(&self, request: &Request, behind: usize) {
        let name = &request.name;
        if behind > 0 {
            self.violation(format!("{behind} bytes behind the request for {name}"));
        }
        if request.field("chain-transfer") != Some(&transfer(name)) {
            self.violation(format!("{name} came with the transfer id {:?}", request.field("chain-transfer")));
        }
        if request.field("chain-route").is_some() {
            self.violation(format!("{name} came with a route"));
        }
    }
}

/// Serves one connection until an act ends it.
async fn serve(mut stream: TcpStream, record: &Record, mut ordered: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let mut inbox = Vec::new();
    let mut idle: Option<(Instant, bool)> = None;
    for turn in 0.. {
        let closing = idle.take();
        let end = loop {
            if let Some(at) = inbox.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            tokio::select! {
                biased;
                read = stream.read_buf(&mut inbox) => if !matches!(read, Ok(1..)) { return },
                Some(done) = ordered.recv() => {
                    let stays = disturb(&mut stream, record, turn).await;
                    if !stays {
                        drop(stream);
                        let _ = done.send(());
                        return;
                    }
                    let _ = done.send(());
                }
                () = sleep_until(closing.map_or_else(Instant::now, |(at, _)| at)), if closing.is_some() => {
                    if closing.is_some_and(|(_, resets)| resets) {
                        let _ = stream.set_zero_linger();
                    }
                    return;
                }
            }
        };
        let head: Vec<u8> = inbox.drain(..end).collect();
        record.requests.fetch_add(1, Relaxed);
        let Some(request) = std::str::from_utf8(&head).ok().and_then(Request::parse) else {
            return record.violation(format!("not a request: {}", String::from_utf8_lossy(&head)));
        };
        record.check(&request, inbox.len());
        let mut random = Seeded::new(record.seed ^ hash(&request.name));
        let act = Act::of(&mut random, record.behavior, turn > 0);
        let (parts, close) = reply(&request, act, &mut random);
        if !send(&mut stream, record, &request.name, parts).await {
            return;
        }
        match close {
            Close::No => {}
            Close::Now => {
                let _ = stream.shutdown().await;
                return swallow(stream).await;
            }
            Close::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
            // As a server does that closes idle connections: a request may be on its way.
            Close::Idle(time) => idle = Some((Instant::now() + time, false)),
            Close::ResetIdle(time) => idle = Some((Instant::now() + time, true)),
        }
    }
}

/// Sends the parts of a reply; false if the connection ended.
async fn send(stream: &mut TcpStream, record: &Record, name: &str, parts: Vec<Part>) -> bool {
    for part in parts {
        match part {
            Part::Bytes(bytes) => {
                let written = tokio::time::timeout(Duration::from_secs(10), stream.write_all(&bytes)).await;
                if !matches!(written, Ok(Ok(()))) {
                    return false;
                }
            }
            Part::Pause(time) => {
                sleep(time).await;
                // The reply is incomplete: another request now would be on a connection that is in use.
                match stream.try_read(&mut [0; 1]) {
                    Ok(1..) => {
                        record.violation(format!("another request came before the end of the reply for {name}"));
                        return false;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Ok(_) | Err(_) => return false,
                }
            }
        }
    }
    true
}

/// Reads until the other end closes: unread bytes would reset the connection, and destroy what was sent.
async fn swallow(mut stream: TcpStream) {
    let mut space = [0; 1024];
    let reading = async { while matches!(stream.read(&mut space).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(Duration::from_secs(5), reading).await;
}

/// Does something to an idle connection that no request can be on the way to; false if it ended.
async fn disturb(stream: &mut TcpStream, record: &Record, turn: usize) -> bool {
    const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const UNSOLICITED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nETag: \"unsolicited\"\r\n\r\nunsolicited";
    const INTERIM: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";
    let peer = stream.peer_addr().map_or(0, |peer| u64::from(peer.port()));
    let mut random = Seeded::new(record.seed ^ peer << 20 ^ turn as u64);
    let kinds = if record.behavior == Behavior::Correct { 3 } else { 8 };
    let (bytes, stays) = match random.below(kinds) {
        0 => (&b""[..], true),
        1 => (&b""[..], false),
        2 => {
            let _ = stream.set_zero_linger();
            (&b""[..], false)
        }
        3 => (REQUEST_TIMEOUT, false),
        4 => (REQUEST_TIMEOUT, true),
        5 => (UNSOLICITED, true),
        6 => (INTERIM, true),
        _ => (&b"\n"[..], true),
    };
    let _ = stream.write_all(bytes).await;
    stays
}
