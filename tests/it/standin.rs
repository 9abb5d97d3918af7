//! Compares the stand-in with the legacy program: one list of observations that holds for both.
//!
//! `CHAINVIEW_LEGACY_DIR=DIR cargo test --test it standin::` runs the same checks against the legacy program.

use crate::support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use support::chain::Node;
use support::{Outcome, Pace, TIMEOUT, accept, content, process, standin};
use tempfile::TempDir;

/// A legacy node that serves a file of 3,000 bytes and a folder.
fn node() -> (TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), content(3000)).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let node = Node::legacy(folder.path());
    (folder, node)
}

fn line(address: SocketAddr) -> String {
    format!("\n{} {}", address.ip(), address.port())
}

fn send_request(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(request).unwrap();
    stream
}

/// What arrives next: some bytes, the end, or nothing for a long time.
fn next(mut stream: &TcpStream) -> String {
    let mut buffer = [0; 100];
    stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    match stream.read(&mut buffer) {
        Ok(0) => "end".to_owned(),
        Ok(count) => String::from_utf8_lossy(&buffer[..count]).into_owned(),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => "silence".to_owned(),
        Err(error) => error.kind().to_string(),
    }
}

fn fetch(input: &Path, folder: &Path) -> Outcome {
    match process::legacy_dir() {
        Some(program) => process::fetch_legacy(&program, input, folder, Pace::Fast),
        None => standin::fetch(input, folder, Pace::Fast),
    }
}

#[test]
fn an_origin_replies_size_na_or_nothing() {
    let (_folder, node) = node();
    let own = line(node.address());
    let first_reply = |request: String| next(&send_request(node.address(), request.as_bytes()));
    assert_eq!(first_reply(format!("file{own}")), "3000");
    assert_eq!(first_reply(format!("file{own} more words=here")), "3000");
    assert_eq!(first_reply(format!("nothing{own}")), "NA");
    assert_eq!(first_reply(format!("chainview?{own}")), "NA");
    // A final newline makes three lines of two, and so a relay without a next hop.
    assert_eq!(first_reply(format!("file{own}\n")), "silence");
    assert_eq!(first_reply("file".to_owned()), "silence");
    assert_eq!(first_reply(format!("GET /files/file HTTP/1.1\r\nHost: {}\r\n\r\n", node.address())), "silence");
    assert_eq!(next(&send_request(node.address(), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xff\xfe")), "silence");
    // It never checks whose address line 2 is.
    assert_eq!(first_reply("file\nelsewhere 1".to_owned()), "3000");
}

#[test]
fn only_the_first_read_of_a_request_counts() {
    let (_folder, node) = node();
    let mut stream = send_request(node.address(), b"fi");
    assert_eq!(next(&stream), "silence");
    stream.write_all(format!("le{}", line(node.address())).as_bytes()).unwrap();
    assert_eq!(next(&stream), "silence");
    // Of a longer request only the first 1,024 bytes are used; the rest then counts as the go-ahead.
    let long = format!("file{} {}", line(node.address()), "x".repeat(2000));
    assert_eq!(next(&send_request(node.address(), long.as_bytes()))[..4], *"3000");
}

#[test]
fn a_directory_has_a_size_and_then_na() {
    let (_folder, node) = node();
    let mut stream = send_request(node.address(), format!("folder{}", line(node.address())).as_bytes());
    assert!(next(&stream).parse::<u64>().unwrap() > 2);
    stream.write_all(b"ack_").unwrap();
    assert_eq!([next(&stream), next(&stream)], ["NA", "end"]);
}

#[test]
fn unread_bytes_of_the_go_ahead_end_in_a_reset() {
    let (_folder, node) = node();
    let mut stream = send_request(node.address(), format!("file{}", line(node.address())).as_bytes());
    assert_eq!(next(&stream), "3000");
    stream.write_all(b"ack_to_send").unwrap();
    let mut all = Vec::new();
    assert_eq!(stream.read_to_end(&mut all).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut stream = send_request(node.address(), format!("file{}", line(node.address())).as_bytes());
    assert_eq!(next(&stream), "3000");
    stream.write_all(b"ack_").unwrap();
    let mut all = Vec::new();
    assert_eq!(stream.read_to_end(&mut all).unwrap(), 3000);
}

#[test]
fn a_relay_forwards_lines_and_4_bytes() {
    let (_folder, node) = node();
    let next_hop = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = line(next_hop.local_addr().unwrap());
    let mut stream =
        send_request(node.address(), format!("file{} own=1{there} key=value\n", line(node.address())).as_bytes());
    let mut upstream = accept(&next_hop);
    assert_eq!(next(&upstream), format!("file{there} key=value\n"));
    upstream.write_all(b"5000").unwrap();
    assert_eq!(next(&stream), "5000");
    stream.write_all(b"ack_to_send").unwrap();
    assert_eq!(next(&upstream), "ack_");
    assert_eq!(next(&upstream), "silence");
    upstream.write_all(b"bytes").unwrap();
    assert_eq!(next(&stream), "bytes");
    drop(upstream);
    // Seven bytes of the go-ahead remain: four are read as the client's `close`, three cause the reset.
    assert_eq!(next(&stream), "connection reset");
    assert!(node.becomes_idle(TIMEOUT));
}

#[test]
fn a_next_hop_that_cannot_be_reached_is_never_mentioned() {
    let (_folder, node) = node();
    let unreachable = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let request = format!("file{}{}", line(node.address()), line(unreachable));
    let stream = send_request(node.address(), request.as_bytes());
    assert_eq!(next(&stream), "silence");
    // The connection stays open until the next one arrives.
    let second = send_request(node.address(), format!("file{}", line(node.address())).as_bytes());
    assert_eq!(next(&second), "3000");
    assert_eq!(next(&stream), "end");
}

#[test]
fn a_client_ends_in_each_of_its_ways() {
    let folder = tempfile::tempdir().unwrap();
    let hop = TcpListener::bind("127.0.0.1:0").unwrap();
    let input = folder.path().join("input.txt");
    fs::write(&input, format!("name{}", line(hop.local_addr().unwrap()))).unwrap();
    let play = |script: fn(&TcpStream)| {
        thread::scope(|scope| {
            let client = scope.spawn(|| fetch(&input, folder.path()));
            let stream = accept(&hop);
            assert_eq!(next_request(&stream), fs::read_to_string(&input).unwrap());
            script(&stream);
            drop(stream);
            client.join().unwrap()
        })
    };
    assert_eq!(play(|mut hop| hop.write_all(b"NA").unwrap()), Outcome::NotThere);
    let refused = play(|mut hop| hop.write_all(b"Address not found: 127.0.0.1:9: refused").unwrap());
    assert_eq!(refused, Outcome::NotASize("Address not found: 127.0.0.1:9: refused".to_owned()));
    assert_eq!(play(|_| {}), Outcome::NotASize(String::new()));
    let whole = play(|mut hop| {
        hop.write_all(b"5").unwrap();
        assert_eq!(next(hop), "ack_to_send");
        hop.write_all(b"bytes").unwrap();
        assert_eq!([next(hop), next(hop)], ["close", "end"]);
    });
    assert_eq!(whole, Outcome::Done);
    assert_eq!(fs::read(folder.path().join("name")).unwrap(), b"bytes");
    let short = play(|mut hop| {
        hop.write_all(b"5").unwrap();
        assert_eq!(next(hop), "ack_to_send");
        hop.write_all(b"byt").unwrap();
    });
    assert_eq!(short, Outcome::Spins(3));
    let reset = play(|mut hop| {
        hop.write_all(b"5").unwrap();
        // The go-ahead is not read, so the close is a reset.
        let mut first = [0; 4];
        hop.read_exact(&mut first).unwrap();
    });
    assert_eq!(reset, Outcome::Reset(0));
    // Body bytes that precede the go-ahead are appended to the size.
    let glued = play(|mut hop| hop.write_all(b"5bytes").unwrap());
    assert_eq!(glued, Outcome::NotASize("5bytes".to_owned()));
}

fn next_request(stream: &TcpStream) -> String {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut buffer = [0; 1024];
    let count = (&mut &*stream).read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn two_adjacent_relays_deadlock() {
    let (folder, origin) = node();
    let relays = [Node::legacy(folder.path()), Node::legacy(folder.path())];
    let lines = [relays[0].address(), relays[1].address(), origin.address()].map(line).concat();
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("input.txt"), format!("file{lines}")).unwrap();
    for _ in 0..3 {
        assert_eq!(fetch(&out.path().join("input.txt"), out.path()), Outcome::Done);
    }
    assert!(origin.becomes_idle(TIMEOUT));
    let held: Vec<String> = relays.iter().map(Node::holding).collect();
    assert_eq!(held, ["6 sockets, 3 threads"; 2]);
}
