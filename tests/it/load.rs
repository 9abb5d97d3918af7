//! Load: many clients, clients that disconnect, hops that stop or crash. Every byte arrives, no client starves, nothing
//! leaks.
//!
//! `cargo test` runs a short version. The full version, with larger files and a slow client that stays slow to its end:
//!
//! ```text
//! CHAINVIEW_LOAD=full cargo test --release --test it load:: -- --nocapture
//! ```

mod held;

use crate::support;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use support::process::{Node, fetch_chainview};
use support::{Outcome, Pace, TIMEOUT, content};
use tempfile::TempDir;

const LEGACY: &[&str] = &["--protocol", "legacy"];
const CLIENTS: usize = 64;
/// What the slow client fetches, how much it reads at a time, and how long it then pauses: 128 KiB a second.
const SLOW_FILE: (&str, usize) = ("slow", 8 << 20);
const SLOW_CHUNK: usize = 16 * 1024;
const SLOW_PAUSE: Duration = Duration::from_millis(125);
/// How long the nodes may take to release what a client has left.
const RELEASE: Duration = Duration::from_secs(1);
/// The same after a successful transfer over the legacy protocol, whose end waits for the peer to close first.
const LINGER: Duration = Duration::from_secs(4);

/// Three relays and an origin, each a process of its own.
struct Chain {
    nodes: Vec<Node>,
    folder: TempDir,
    seed: bool,
}

/// Tests that are a load run one after another.
static SERIAL: Mutex<()> = Mutex::new(());

fn serial() -> MutexGuard<'static, ()> {
    SERIAL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chain {
    /// Starts the nodes; `more` are flags of every node, `origin` those of the last only.
    fn start(relays: usize, seed: bool, more: &[&str], origin: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flags = [if seed { LEGACY } else { &[] }, more].concat();
        let mut nodes: Vec<Node> = (0..relays).map(|_| Node::chainview(folder.path(), &flags)).collect();
        nodes.push(Node::chainview(folder.path(), &[&flags, origin].concat()));
        for node in &nodes {
            // A node that has replied holds all that it holds when idle.
            assert_eq!(totals(node).open, 1);
            assert!(node.becomes_idle(0, usize::MAX, LINGER));
        }
        Self { nodes, folder, seed }
    }

    fn write(&self, name: &str, size: usize) {
        fs::write(self.folder.path().join(name), content(size)).unwrap();
    }

    /// Creates a file whose bytes are not compared.
    fn write_any(&self, name: &str, size: u64) {
        File::create(self.folder.path().join(name)).unwrap().set_len(size).unwrap();
    }

    fn connect(&self) -> TcpStream {
        // Small enough that the chain meets backpressure from a client that does not read.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.connect(&self.nodes[0].address().into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// A request for a file through the whole chain.
    fn request(&self, method: &str, name: &str, lines: &str) -> String {
        let rest: Vec<String> = self.nodes[1..].iter().map(|node| node.address().to_string()).collect();
        let route = if rest.is_empty() { String::new() } else { format!("Chain-Route: {}\r\n", rest.join(", ")) };
        format!("{method} /files/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n{route}{lines}\r\n")
    }

    /// Requests a file in the chain's protocol, up to the start of its body; returns the size.
    fn begin_fetch(&self, stream: &mut TcpStream, name: &str) -> usize {
        if self.seed {
            let hops = self.nodes.iter().map(|node| format!("\n{} {}", node.address().ip(), node.address().port()));
            stream.write_all(format!("{name}{}", hops.collect::<String>()).as_bytes()).unwrap();
            let mut reply = [0; 64];
            let read = stream.read(&mut reply).unwrap();
            stream.write_all(b"ok").unwrap();
            return String::from_utf8_lossy(&reply[..read]).parse().expect("a size");
        }
        stream.write_all(self.request("GET", name, "").as_bytes()).unwrap();
        let head = read_head(stream);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        length.expect("a length")
    }

    fn fetch(&self, name: &str) -> Vec<u8> {
        let mut stream = self.connect();
        let mut body = vec![0; self.begin_fetch(&mut stream, name)];
        stream.read_exact(&mut body).expect("the complete body");
        body
    }

    /// Starts this many transfers of a file, and disconnects when part of each has arrived.
    fn disconnect_clients(&self, name: &str, count: usize) {
        let mut clients: Vec<TcpStream> = (0..count).map(|_| self.connect()).collect();
        let mut bytes = [0; 1024];
        for client in &mut clients {
            self.begin_fetch(client, name);
            client.read_exact(&mut bytes).unwrap();
        }
    }
}

fn totals(node: &Node) -> chainview::snapshot::Totals {
    node.snapshot().totals
}

fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn is_full() -> bool {
    std::env::var("CHAINVIEW_LOAD").is_ok_and(|value| value == "full")
}

/// A size for each client, no two alike: few large files and many small ones, as on real file servers.
fn sizes() -> Vec<usize> {
    let step = |client: usize| match client {
        0 => 0,
        1 => 16 << 20,
        2..=5 => (4 << 20) + client,
        _ if is_full() => (client % 8) * (1 << 20) + client,
        6..=16 => (1 << 20) + client,
        _ => (client % 6) * 40_000 + client,
    };
    (0..CLIENTS).map(step).collect()
}

/// Reads the file at 128 KiB a second, in the short version only until `hurry`; returns the bytes read by then, and the
/// file.
fn read_slowly(stream: &mut TcpStream, size: usize, hurry: impl Fn() -> bool) -> (usize, Vec<u8>) {
    let mut body = vec![0; size];
    let (mut taken, mut slowly) = (0, size);
    while taken < size {
        let chunk = SLOW_CHUNK.min(size - taken);
        stream.read_exact(&mut body[taken..taken + chunk]).expect("the slow client is served to the end");
        taken += chunk;
        let hurries = hurry();
        if hurries {
            slowly = slowly.min(taken);
        }
        if !hurries || is_full() {
            thread::sleep(SLOW_PAUSE);
        }
    }
    (slowly, body)
}

/// Checks that every fast client is done, and right, while the slow one is still reading.
fn many_clients_beside_a_slow_one(chain: &Chain, fetch: impl Fn(usize) -> Vec<u8> + Sync) {
    let sizes = sizes();
    for (client, size) in sizes.iter().enumerate() {
        chain.write(&client.to_string(), *size);
    }
    chain.write(SLOW_FILE.0, SLOW_FILE.1);
    assert_eq!(fetch(0), content(0), "a first fetch, for the threads that a node starts when it first needs them");
    chain.releases_clients(LINGER);
    let before = chain.descriptors();
    let began = Instant::now();
    let mut slow = chain.connect();
    let size = chain.begin_fetch(&mut slow, SLOW_FILE.0);
    let done = Mutex::new(0);
    let (slowly, body) = thread::scope(|scope| {
        for (client, size) in sizes.iter().enumerate() {
            let (fetch, done) = (&fetch, &done);
            scope.spawn(move || {
                assert!(fetch(client) == content(*size), "client {client} of {size} bytes");
                *done.lock().unwrap() += 1;
                println!("client {client}: {size} bytes after {:?}", began.elapsed());
            });
        }
        read_slowly(&mut slow, size, || *done.lock().unwrap() == CLIENTS)
    });
    println!("slow client: {slowly} of {size} bytes when the last fast one was done, all after {:?}", began.elapsed());
    assert!(slowly < size, "a fast client was not done before the slow one");
    assert!(body == content(SLOW_FILE.1));
    drop(slow);
    chain.becomes_idle(&before, LINGER);
}

/// Polls for a condition of another process for which the kernel sends no event.
fn becomes(done: impl Fn() -> bool, failed: impl Fn() -> String) {
    let end = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < end, "{}", failed());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn many_clients_beside_a_slow_one_over_http() {
    let _serial = serial();
    let chain = Chain::start(3, false, &[], &[]);
    many_clients_beside_a_slow_one(&chain, |client| chain.fetch(&client.to_string()));
}

#[test]
fn many_clients_beside_a_slow_one_over_the_legacy_protocol() {
    let _serial = serial();
    let chain = Chain::start(3, true, &[], &[]);
    let folders = tempfile::tempdir().unwrap();
    let hops = chain.nodes.iter().map(|node| format!("\n{} {}", node.address().ip(), node.address().port()));
    let hops: String = hops.collect();
    many_clients_beside_a_slow_one(&chain, |client| {
        let folder = folders.path().join(client.to_string());
        fs::create_dir_all(&folder).unwrap();
        let input = folder.join("input.txt");
        fs::write(&input, format!("{client}{hops}\n")).unwrap();
        let ended = fetch_chainview(&input, &folder, Pace::Fast, &["--protocol", "legacy", "--force"]);
        assert_eq!(ended, Outcome::Done, "client {client}");
        fs::read(folder.join(client.to_string())).unwrap()
    });
}

#[test]
fn disconnected_clients_release_every_hop() {
    let _serial = serial();
    for seed in [false, true] {
        // A fast origin leaves data unread at the client, which resets; a limited one leaves none, and it just ends.
        for origin in [&[][..], &["--limit", "200K"]] {
            let chain = Chain::start(3, seed, &[], origin);
            chain.write_any("f", 16 << 20);
            let before = chain.descriptors();
            chain.disconnect_clients("f", 8);
            chain.becomes_idle(&before, RELEASE);
        }
    }
}

#[test]
fn a_client_lost_during_a_digest_is_released() {
    let _serial = serial();
    let chain = Chain::start(1, false, &[], &[]);
    chain.write_any("large", 16 << 30);
    let mut stream = chain.connect();
    stream.write_all(chain.request("HEAD", "large", "Want-Repr-Digest: sha-256=10\r\n").as_bytes()).unwrap();
    let sockets = || (chain.nodes[0].held().0, chain.nodes[1].held().0);
    becomes(|| sockets() == (2, 1), || format!("the request is not on its way: {:?}", sockets()));
    drop(stream);
    for node in &chain.nodes {
        assert!(node.becomes_idle(0, usize::MAX, RELEASE), "{:?}", node.held());
    }
}

#[test]
fn a_killed_origin_ends_every_transfer() {
    let _serial = serial();
    for seed in [false, true] {
        let mut chain = Chain::start(3, seed, &[], &["--limit", "1M"]);
        chain.write_any("f", 16 << 20);
        let before = chain.descriptors();
        let mut clients: Vec<TcpStream> = (0..8).map(|_| chain.connect()).collect();
        for client in &mut clients {
            assert_eq!(chain.begin_fetch(client, "f"), 16 << 20);
            client.read_exact(&mut [0; 1024]).unwrap();
        }
        chain.nodes.pop();
        for client in &mut clients {
            let mut rest = Vec::new();
            let ended = client.read_to_end(&mut rest).map_err(|error| error.kind());
            // The legacy protocol can signal an incomplete body only by a reset.
            let expected = if seed { Err(ErrorKind::ConnectionReset) } else { Ok(rest.len()) };
            assert_eq!((ended, rest.len() < 16 << 20), (expected, true));
        }
        drop(clients);
        chain.becomes_idle(&before[..3], RELEASE);
    }
}

#[test]
fn idle_connections_are_closed_by_the_idle_timeout() {
    let chain = Chain::start(1, false, &["--idle-timeout", "1s"], &[]);
    chain.write("f", 1000);
    let before = chain.descriptors();
    let began = Instant::now();
    let (mut silent, mut slow) = (chain.connect(), chain.connect());
    let mut kept = chain.connect();
    let mut body = vec![0; chain.begin_fetch(&mut kept, "f")];
    kept.read_exact(&mut body).unwrap();
    let idle = Instant::now();
    assert_eq!(kept.read(&mut body).unwrap(), 0);
    assert!((900..3000).contains(&idle.elapsed().as_millis()), "idle for {:?}", idle.elapsed());
    // One byte at a time extends the time of a head no more than silence does.
    let mut sent = 0;
    let request = chain.request("GET", "f", &format!("X: {}\r\n", "x".repeat(1000)));
    while began.elapsed() < Duration::from_millis(4500) {
        slow.write_all(&request.as_bytes()[sent..=sent]).unwrap();
        sent += 1;
        thread::sleep(Duration::from_millis(50));
    }
    assert!(read_head(&mut slow).starts_with("HTTP/1.1 408 "));
    assert_eq!(silent.read(&mut body).unwrap(), 0);
    assert!((4900..8000).contains(&began.elapsed().as_millis()), "heads had {:?}", began.elapsed());
    drop((silent, slow, kept));
    chain.becomes_idle(&before, RELEASE);
}

#[test]
fn a_client_that_never_reads_leaves_no_kernel_buffers() {
    let chain = Chain::start(0, false, &["--stall-timeout", "1s"], &[]);
    chain.write("f", 1 << 20);
    let mut stream = chain.connect();
    stream.write_all(chain.request("GET", "f", "Connection: close\r\n").as_bytes()).unwrap();
    let own = format!(":{:04X} 0100007F:{:04X} ", chain.nodes[0].address().port(), stream.local_addr().unwrap().port());
    let kept = || fs::read_to_string("/proc/net/tcp").unwrap().contains(&own);
    becomes(kept, || "the file is not on its way".to_owned());
    // The kernel allows it the time that a slow reader may need for one step of its window.
    let end = Instant::now() + 3 * TIMEOUT;
    while kept() {
        assert!(Instant::now() < end, "the kernel keeps the file");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_hop_stopped_for_a_while_breaks_nothing() {
    let chain = Chain::start(3, false, &[], &["--limit", "8M"]);
    chain.write("f", 12 << 20);
    let before = chain.descriptors();
    let body = thread::scope(|scope| {
        let fetching = scope.spawn(|| chain.fetch("f"));
        for node in [&chain.nodes[1], &chain.nodes[3]] {
            thread::sleep(Duration::from_millis(300));
            kill_process(node.pid(), Signal::STOP).unwrap();
            thread::sleep(Duration::from_secs(if is_full() { 10 } else { 1 }));
            kill_process(node.pid(), Signal::CONT).unwrap();
        }
        fetching.join().unwrap()
    });
    assert!(body == content(12 << 20));
    chain.becomes_idle(&before, RELEASE);
}

#[test]
fn sequential_small_fetches_leak_nothing() {
    let _serial = serial();
    let count = if is_full() { 2000 } else { 200 };
    let chain = Chain::start(3, false, &[], &[]);
    chain.write("f", 4096);
    let before = chain.descriptors();
    for _ in 0..count {
        assert!(chain.fetch("f") == content(4096));
    }
    chain.becomes_idle(&before, RELEASE);
    for node in &chain.nodes {
        let totals = totals(node);
        assert_eq!((totals.served, totals.failed, totals.refused), (count, 0, 0));
    }
}
