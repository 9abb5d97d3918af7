//! Malformed requests to a node: one error reply or none, and no connection is opened for them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::peers::Peer;
use crate::scene::{Chain, pattern};
use crate::{Before, all, short};

/// The bytes sent, and the status of the one reply; 0 is none at all.
fn shapes(next: &str) -> Vec<(&'static str, Vec<u8>, u16)> {
    let get = |lines: &str| format!("GET /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Route: {next}\r\n{lines}\r\n");
    let smuggled = "GET /files/g HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let mut shapes: Vec<(&str, Vec<u8>, u16)> = [
        ("both framings", get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + smuggled, 400),
        ("chunked", get("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n" + smuggled, 400),
        ("chunked, hidden", get("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n" + smuggled, 400),
        ("a body", get("Content-Length: 52\r\n") + smuggled, 400),
        ("two lengths", get("Content-Length: 0\r\nContent-Length: 52\r\n") + smuggled, 400),
        ("lengths in a list", get("Content-Length: 0, 52\r\n") + smuggled, 400),
        ("a signed length", get("Content-Length: +52\r\n") + smuggled, 400),
        ("a length with a blank", get("Content-Length : 52\r\n") + smuggled, 400),
        ("bare line feeds", get("X: y\nContent-Length: 52\n") + smuggled, 400),
        ("a bare return", get("X: y\rContent-Length: 52\r\n") + smuggled, 400),
        ("a folded line", get("X: y\r\n Content-Length: 52\r\n") + smuggled, 400),
        ("a name that climbs", get("").replace("/files/f", "/files/a/%2e%2E/g"), 400),
        ("a base that climbs", get("").replace(next, &format!("{next};base=/a/../")), 400),
        ("a base with a query", get("").replace(next, &format!("{next};base=/a?b=")), 400),
        ("two bases", get("").replace(next, &format!("{next};base=/;base=/a/")), 400),
        ("a method of its own", get("").replace("GET", "BREW"), 501),
        ("a file put", get("Content-Length: 52\r\n").replace("GET", "PUT") + smuggled, 405),
        ("a NUL", get("X: y\0z\r\n"), 400),
        ("two hosts", get("Host: 127.0.0.2\r\n"), 400),
        ("an invalid route", get("Chain-Route: ;;;\r\n"), 400),
        ("a route with a line in it", get("").replace("/files/f", "/files/f%0D%0AX"), 400),
        ("a huge head", get(&format!("X: {}\r\n", "y".repeat(9000))), 431),
        ("too many lines", get(&"X: y\r\n".repeat(100)), 431),
        ("a loop of 33", get(&format!("Chain-Route: {}\r\n", vec![next; 33].join(", "))), 508),
        ("a proxy's request", get("").replace("/files/f", "http://evil.example/files/f"), 403),
        ("a tunnel to another end", get("").replace("GET /files/f", "CONNECT 127.0.0.1:1"), 400),
        ("SSH", "SSH-2.0-OpenSSH_9.6\r\n".to_owned(), 0),
        ("a mail", "EHLO x\r\nMAIL FROM:<a@b>\r\n".to_owned(), 0),
        ("redis", "*1\r\n$4\r\nPING\r\n".to_owned(), 0),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 0),
    ]
    .into_iter()
    .map(|(name, text, status)| (name, text.into_bytes(), status))
    .collect();
    shapes.push(("TLS", [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 500]].concat(), 0));
    shapes.push(("garbage", pattern(5000), 0));
    shapes.push(("zeros", vec![0; 100_000], 0));
    shapes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_rejected_without_connecting() {
    let before = Before::now().await;
    let chain = Arc::new(Chain::with_limits(1, short()).await);
    chain.write("g", b"what was smuggled in");
    let next = Arc::new(Peer::silent().await);
    let runs = shapes(&next.address.to_string());
    let wrong = Arc::new(Mutex::new(Vec::new()));
    all(runs.into_iter().map(|(name, bytes, status)| {
        let (chain, wrong) = (Arc::clone(&chain), Arc::clone(&wrong));
        async move {
            let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
            // It may be rejected before all of it is sent.
            let _ = stream.write_all(&bytes).await;
            let mut reply = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut reply)).await;
            assert!(read.is_ok(), "{name}: the connection stays open");
            let reply = String::from_utf8_lossy(&reply);
            let replies = reply.matches("HTTP/1.1 ").count();
            let status_code = reply.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
            if (replies, status_code) != (usize::from(status > 0), status) {
                wrong.lock().unwrap().push(format!("{name}: {replies} replies: {reply}"));
            }
            assert!(!reply.contains("smuggled in"), "{name}");
        }
    }))
    .await;
    assert!(wrong.lock().unwrap().is_empty(), "{:#?}", wrong.lock().unwrap());
    assert_eq!(next.connections(), 0, "a connection was opened");
    drop(next);
    before.is_back(Arc::into_inner(chain).unwrap()).await;
}
