//! Clients that close their sending half after the request, as `nc -N` does: each gets its whole reply.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{bearer, route, site};

/// Parallel clients; few enough for a test node's connections, two for each.
const AT_ONCE: usize = 24;
/// Clients of each path, directly and through a relay.
const CLIENTS: usize = 120;

/// Returns everything that a client receives that sends a head and closes its sending half immediately.
async fn request(to: SocketAddr, head: String) -> Vec<u8> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        reply
    };
    timeout(Duration::from_secs(30), exchange).await.unwrap()
}

/// Records an incomplete reply.
fn check(path: &str, relayed: bool, reply: Vec<u8>, lost: &mut Vec<String>) {
    let reply = String::from_utf8(reply).unwrap();
    let status = if path == "/v1/none" { "HTTP/1.1 404 " } else { "HTTP/1.1 200 " };
    let body = reply.split_once("\r\n\r\n").map(|(_, body)| body);
    if !reply.starts_with(status) || body.is_none_or(str::is_empty) {
        lost.push(format!("{path} relayed={relayed}: {reply:?}"));
    }
}

#[tokio::test]
async fn a_half_closed_client_gets_every_reply() {
    let (first, second) = (site(|_| {}).await, site(|_| {}).await);
    let (token, way) = (bearer(), route(&[second.address]));
    let mut lost = Vec::new();
    for path in ["/healthz", "/v1/node", "/v1/connections", "/metrics", "/files/", "/v1/none"] {
        for relayed in [false, true] {
            let mut head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{}: {}\r\n", first.address, token.0, token.1);
            if relayed {
                head.extend([way.0, ": ", &way.1, "\r\n"]);
            }
            head += "\r\n";
            let mut asking = JoinSet::new();
            for started in 0..CLIENTS {
                if started >= AT_ONCE {
                    check(path, relayed, asking.join_next().await.unwrap().unwrap(), &mut lost);
                }
                let head = head.clone();
                asking.spawn(async move { request(first.address, head).await });
            }
            while let Some(reply) = asking.join_next().await {
                check(path, relayed, reply.unwrap(), &mut lost);
            }
        }
    }
    assert!(lost.is_empty(), "{} answers lost, the first {:?}", lost.len(), lost.first());
}

#[tokio::test]
async fn a_stream_of_events_ends_when_its_reader_closes() {
    let site = site(|_| {}).await;
    for target in ["/v1/events?interval=60s".to_owned(), format!("http://{}/v1/events?interval=60s", site.address)] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", site.address);
        request(site.address, head).await;
    }
}
