//! Fair sharing of a rate limit among connections, over real sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::process::Node;
use crate::support::{TIMEOUT, at_once};

const CLIENTS: usize = 64;
/// 64 KiB a second for each.
const RATE: &str = "4MiB";
const WINDOW: Duration = Duration::from_secs(2);
/// Windows to measure; on a loaded machine one may be off.
const WINDOWS: usize = 5;

/// Requests a file through nodes, and counts what arrives until the node ends.
fn client(node: &Node, next: &[&Node], path: &str) -> Arc<AtomicU64> {
    let mut stream = TcpStream::connect(node.address()).unwrap();
    let route: Vec<_> = next.iter().map(|node| node.address().to_string()).collect();
    let route = route.join(", ");
    write!(stream, "GET /files/{path} HTTP/1.1\r\nHost: localhost\r\nChain-Route: {route}\r\n\r\n").unwrap();
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            counter.fetch_add(read as u64, Relaxed);
        }
    });
    received
}

fn set_limit(node: &Node, token: &str) {
    let mut stream = TcpStream::connect(node.address()).unwrap();
    let body = format!("{{\"limit\":{}}}", 4 << 20);
    let head = format!(
        "POST /v1/faults HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    );
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

/// Returns the number of windows in which the clients' shares are at most a tenth apart, and all that was measured.
fn fair_windows(received: &[Arc<AtomicU64>]) -> (usize, Vec<(u64, u64)>) {
    let counts = || received.iter().map(|received| received.load(Relaxed)).collect::<Vec<u64>>();
    let mut before = counts();
    let mut seen = Vec::new();
    for _ in 0..WINDOWS {
        thread::sleep(WINDOW);
        let now = counts();
        let moved = || before.iter().zip(&now).map(|(before, now)| now - before);
        seen.push((moved().min().unwrap(), moved().max().unwrap()));
        before = now;
    }
    (seen.iter().filter(|(least, most)| (most - least) * 10 <= *most).count(), seen)
}

#[test]
fn connections_get_equal_shares_of_a_rate_limit() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("large")).unwrap().set_len(1 << 40).unwrap();
    let token = "0123456789abcdef0123456789abcdef";
    let token_file = folder.path().join(".token");
    std::fs::write(&token_file, token).unwrap();
    std::fs::set_permissions(&token_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let origin = Node::chainview(folder.path(), &[]);
    at_once([false, true], |limited_later| {
        let limit = if limited_later { &[][..] } else { &["--limit", RATE] };
        let control = ["--control-token-file", token_file.to_str().unwrap()];
        let relay = Node::chainview(folder.path(), &[limit, &control].concat());
        let received: Vec<_> = (0..CLIENTS).map(|_| client(&relay, &[&origin], "large")).collect();
        let start = Instant::now();
        // Bodies that have moved this much without a limit go through a pipe.
        let enough = if limited_later { 4 << 20 } else { 1 };
        while received.iter().any(|received| received.load(Relaxed) < enough) {
            assert!(start.elapsed() < TIMEOUT, "{received:?}");
            thread::sleep(Duration::from_millis(10));
        }
        if limited_later {
            set_limit(&relay, token);
            // What was under way without a limit arrives first.
            thread::sleep(WINDOW);
        }
        let (fair, seen) = fair_windows(&received);
        assert!(fair > WINDOWS / 2, "limited later: {limited_later}, least and most bytes: {seen:?}");
    });
}

#[test]
fn a_rate_limit_stalls_no_connection_of_a_chain() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("large")).unwrap().set_len(1 << 40).unwrap();
    let origin = Node::chainview(folder.path(), &[]);
    let relay = Node::chainview(folder.path(), &[]);
    let limited = Node::chainview(folder.path(), &["--limit", "4MB"]);
    let received: Vec<_> = (0..3).map(|_| client(&limited, &[&relay, &origin], "large")).collect();
    // The receive buffers of the relay grow to megabytes first, and its connections then count as stalled.
    thread::sleep(WINDOW);
    for _ in 0..2 {
        let (_, seen) = fair_windows(&received);
        assert!(seen.iter().all(|(least, most)| least * 2 > *most), "least and most bytes: {seen:?}");
    }
}
