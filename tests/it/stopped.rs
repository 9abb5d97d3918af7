//! Time during which this program is stopped does not count against a peer, and a slow reader is not stalled: real
//! processes, short timeouts, SIGSTOP.

use crate::resume::scene;
use crate::support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use scene::{NAME, Scene};
use support::{TIMEOUT, at_once};

/// Size of the file: at the origin's rate there is time to stop a process in the middle.
const SIZE: usize = 8 << 20;
/// Timeouts so short that a stop is longer than both of them.
const SHORT: [&str; 4] = ["--idle-timeout", "2s", "--stall-timeout", "2s"];
/// How long a process is stopped.
const STOP: Duration = Duration::from_secs(5);

/// Checks that no hop is blamed, no request is repeated, and the file is complete.
fn assert_continues(scene: &Scene, ended: &scene::Ended, context: &str) {
    assert!(ended.status.success(), "{context}: {}", ended.stderr);
    assert_eq!(ended.transfer["attempts"].as_u64().unwrap_or(1), 1, "{context}: {}", ended.transfer);
    for word in ["retrying", "starts over", "does not respond"] {
        assert!(!ended.stderr.contains(word), "{context}: {}", ended.stderr);
    }
    scene.is_whole();
    scene.clear();
}

#[test]
fn a_stopped_client_blames_no_hop_and_continues() {
    // The nodes wait for it by their own timeouts, which are long.
    at_once(["http", "legacy"], |protocol| {
        let scene = Scene::new(2, SIZE, "4M", &[]);
        let client = scene.fetch_over(protocol, &["--idle-timeout", "2s", "--retries", "0"]);
        scene.arrives(1 << 20);
        client.signal(Signal::STOP);
        thread::sleep(STOP);
        client.signal(Signal::CONT);
        assert_continues(&scene, &client.wait(), protocol);
    });
}

#[test]
fn a_stopped_node_blames_no_hop_and_continues() {
    at_once([(1, "http"), (2, "http"), (3, "http"), (1, "legacy"), (3, "legacy")], |(hop, protocol)| {
        // Only the stopped node has short timeouts: the others wait for it.
        let mut scene = Scene::new(3, SIZE, "4M", &[]);
        scene.start_with(hop, &SHORT);
        let client = scene.fetch_over(protocol, &["--retries", "0"]);
        scene.arrives(1 << 20);
        scene.signal(hop, Signal::STOP);
        thread::sleep(STOP);
        scene.signal(hop, Signal::CONT);
        assert_continues(&scene, &client.wait(), &format!("hop {hop} over {protocol}"));
        assert!(!scene.node(hop).stderr().contains("WARN"), "hop {hop} over {protocol}: {}", scene.node(hop).stderr());
    });
}

#[test]
fn a_stopped_chain_continues() {
    // As on a suspended machine: the first process to continue finds no data in its socket yet.
    let scene = Scene::new(3, SIZE, "4M", &SHORT);
    let client = scene.fetch(&["--idle-timeout", "2s", "--retries", "0"]);
    scene.arrives(1 << 20);
    for hop in 1..=3 {
        scene.signal(hop, Signal::STOP);
    }
    client.signal(Signal::STOP);
    thread::sleep(STOP);
    client.signal(Signal::CONT);
    for hop in 1..=3 {
        scene.signal(hop, Signal::CONT);
    }
    assert_continues(&scene, &client.wait(), "all");
}

/// Reads this many bytes a second for this long; returns how many arrived before the end.
fn read_slowly(scene: &Scene, rate: usize, lasting: Duration) -> (usize, bool) {
    let mut stream = TcpStream::connect(scene.node(1).address()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT * 3)).unwrap();
    let head =
        format!("GET /files/{NAME} HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Route: {}\r\n\r\n", scene.node(2).address());
    stream.write_all(head.as_bytes()).unwrap();
    let (end, mut got) = (Instant::now() + lasting, 0);
    let mut space = vec![0; rate / 10];
    while Instant::now() < end {
        match stream.read(&mut space) {
            Ok(0) | Err(_) => return (got, false),
            Ok(read) => got += read,
        }
        thread::sleep(Duration::from_millis(100));
    }
    (got, true)
}

#[test]
fn a_slow_reader_is_not_disconnected() {
    // At these rates loopback acknowledges nothing for 3.3 s, and for 26 s; a limited body uses the copy loop.
    at_once([(40_000, 12, "1G"), (5_000, 30, "1G"), (20_000, 12, "30M")], |(rate, lasting, origin)| {
        let scene = Scene::new(2, 32 << 20, origin, &["--stall-timeout", "2s"]);
        let (got, whole) = read_slowly(&scene, rate, Duration::from_secs(lasting));
        assert!(whole, "{rate} B/s: cut off after {got} bytes: {}", scene.node(1).stderr());
        for hop in [1, 2] {
            assert!(!scene.node(hop).stderr().contains("WARN"), "{rate} B/s: {}", scene.node(hop).stderr());
        }
    });
}

#[test]
fn a_reader_that_reads_nothing_is_disconnected() {
    let scene = Scene::new(2, 32 << 20, "1G", &["--stall-timeout", "2s"]);
    let mut stream = TcpStream::connect(scene.node(1).address()).unwrap();
    let head =
        format!("GET /files/{NAME} HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Route: {}\r\n\r\n", scene.node(2).address());
    stream.write_all(head.as_bytes()).unwrap();
    let began = Instant::now();
    scene.until_within(2 * TIMEOUT, "it is cut off", || scene.node(1).stderr().contains("accepted no data for"));
    let elapsed = began.elapsed();
    assert!(elapsed >= Duration::from_secs(25) && elapsed < Duration::from_secs(45), "{elapsed:?}");
    assert!(scene.node(1).becomes_idle(0, usize::MAX, TIMEOUT), "{:?}", scene.node(1).held());
}
