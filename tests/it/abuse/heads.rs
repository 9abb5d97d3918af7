//! Malformed heads and routes without a destination: rejected immediately, without a connection left open.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::support::TIMEOUT;
use super::support::process::{Node, release_clients};
use super::{read_text, status};

/// Returns the reply of a node to these bytes until it closes, and the time that took.
fn reply_to(to: SocketAddr, bytes: &[u8]) -> (String, Duration) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let began = Instant::now();
    // It may close before it has read all of it.
    let _ = stream.write_all(bytes);
    (read_text(&mut stream), began.elapsed())
}

#[test]
fn malformed_heads_are_rejected_immediately() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "x").unwrap();
    let node = Node::chainview(folder.path(), &[]);
    let to = node.address();
    let send_request = |lines: &str| format!("GET /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n").into_bytes();
    let long = "x".repeat(8192);
    let many = "X: y\r\n".repeat(500);
    let elements = vec!["127.0.0.1:9"; 33].join(", ");
    let cases: Vec<(Vec<u8>, u16)> = vec![
        (send_request(&format!("X: {long}\r\n")), 431),
        (format!("GET /files/{long} HTTP/1.1\r\n").into_bytes(), 431),
        (send_request(&many), 431),
        (send_request("Content-Length: 1073741824\r\n"), 400),
        (send_request("Content-Length: 18446744073709551615\r\n"), 400),
        (send_request("Content-Length: 18446744073709551616\r\n"), 400),
        (send_request("Content-Length: -1\r\n"), 400),
        (send_request("Content-Length: +1\r\n"), 400),
        (send_request("Content-Length: 0x10\r\n"), 400),
        (send_request("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (send_request("Transfer-Encoding: chunked\r\n"), 400),
        (send_request("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400),
        (send_request("Transfer-Encoding : chunked\r\n"), 400),
        (send_request("A: b\r\n c: d\r\n"), 400),
        (send_request("A\0: b\r\n"), 400),
        (send_request("Host: other\r\n"), 400),
        (send_request(&format!("Chain-Route: {elements}\r\n")), 508),
        (send_request("Chain-Route: 127.0.0.1:9,,127.0.0.1:9\r\n"), 400),
        (send_request("Chain-Route: 127.0.0.1\r\n"), 400),
        (send_request("Chain-Route: 127.0.0.1:99999\r\n"), 400),
        (b"GET /files/f HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(), 403),
        (b"GET /files/f HTTP/1.1\r\n\r\n".to_vec(), 400),
        (b"GET /files/f HTTP/1.9\r\nHost: 127.0.0.1\r\n\r\n".to_vec(), 505),
        (b"GET http://evil.example/files/f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(), 403),
        (b"GET http://evil.example/v1/node HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(), 403),
        // Whether or not a server listens there: it is no node, and not listed.
        (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(), 502),
        (b"CONNECT 192.0.2.1:22 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(), 403),
        (b"CONNECT 127.0.0.1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(), 400),
        (b"PUT /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\nx".to_vec(), 405),
    ];
    for (head, expected) in cases {
        let shown = String::from_utf8_lossy(&head[..head.len().min(100)]).into_owned();
        let (reply, elapsed) = reply_to(to, &head);
        assert_eq!(status(&reply), expected, "{shown:?}: {reply}");
        assert!(elapsed < Duration::from_secs(2), "{shown:?}: {elapsed:?}");
    }
    // A client of another protocol gets the time of one head at most, and nothing that could pass for a reply.
    thread::scope(|scope| {
        for greeting in [
            &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
            b"EHLO example.org\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"\0\0\0\x01\0\0\0",
            b"\r\n\r\n\r\n",
            b"f",
        ] {
            scope.spawn(move || {
                let (reply, elapsed) = reply_to(to, greeting);
                assert_eq!(reply, "", "{:?}", String::from_utf8_lossy(greeting));
                assert!(elapsed < Duration::from_secs(8), "{elapsed:?}");
            });
        }
    });
    assert!(node.becomes_idle(0, usize::MAX, TIMEOUT), "{:?}", node.held());
}

#[test]
fn looping_and_long_routes_are_rejected_on_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Node::chainview(folder.path(), &[]), Node::chainview(folder.path(), &[]));
    let to = one.address();
    let (own, next) = (to.to_string(), other.address().to_string());
    let by_name = format!("localhost:{}", to.port());
    let there_and_back: Vec<&str> = (0..32).map(|hop| if hop % 2 == 0 { &*next } else { &*own }).collect();
    for route in [&own, &by_name, &format!("{next}, {own}"), &format!("{next}, {by_name}"), &there_and_back.join(", ")]
    {
        for head in ["GET", "HEAD"] {
            let head = format!(
                "{head} /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Route: {route}\r\nConnection: close\r\n\r\n"
            );
            let (reply, elapsed) = reply_to(to, head.as_bytes());
            assert_eq!(status(&reply), 508, "{route}: {reply}");
            assert!(elapsed < Duration::from_secs(2), "{route}: {elapsed:?}");
        }
        let endpoint = format!("GET /v1/node HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Route: {route}\r\n\r\n");
        let (reply, _) = reply_to(to, endpoint.as_bytes());
        assert_ne!(status(&reply), 200, "{route}: {reply}");
    }
    let line = |address: &str| format!("\n{}", address.replacen(':', " ", 1));
    let loops = [
        format!("f{}{}", line(&own), line(&own)),
        format!("f{}{}{}", line(&own), line(&next), line(&own)),
        format!("f{}{}", line(&own), there_and_back.iter().map(|hop| line(hop)).collect::<String>()),
    ];
    for request in loops {
        let (reply, elapsed) = reply_to(to, request.as_bytes());
        assert!(reply.contains("route returns to a node that it has passed"), "{request:?}: {reply:?}");
        assert!(elapsed < Duration::from_secs(2), "{request:?}: {elapsed:?}");
    }
    let too_long = format!("f{}{}", line(&own), line(&next).repeat(33));
    assert_eq!(reply_to(to, too_long.as_bytes()).0, "");
    assert!(release_clients(&[&one, &other], Duration::from_secs(3)), "{:?} {:?}", one.held(), other.held());
}
