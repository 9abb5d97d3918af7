//! Bodies below the minimum rate while connections are short, on real sockets.

use std::sync::Arc;
use std::time::Duration;

use chainview::error::{BodyFailure, Error};
use chainview::limits::Limits;
use chainview::net::fetch::{FetchJob, RateLimit, client, fetch};
use chainview::route::{FileName, Hop, Route};
use chainview::snapshot::TransferSnapshot;
use chainview::wire::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::control::{Site, site};
use super::scene::pattern;

/// More than all buffers between two sockets.
const SIZE: usize = 64 << 20;
/// Far longer than any step here takes.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A node with four connections, three of which make them short, and a file.
async fn short_site() -> Site {
    let site = site(|config| {
        config.max_connections = 4;
        config.limits.minimum_rate_over = Duration::from_secs(1);
    })
    .await;
    std::fs::write(site.folder.path().join("large"), pattern(SIZE)).unwrap();
    site
}

/// Requests the file over HTTP.
async fn send_request(site: &Site) -> TcpStream {
    let mut stream = site.connect().await;
    stream.write_all(b"GET /files/large HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Reads steadily until the node has disconnected a client, then the rest; returns how much arrived.
async fn steady(site: &Site, mut stream: TcpStream) -> usize {
    let (mut buffer, mut came) = (vec![0; 64 << 10], 0);
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return came,
            read => came += read,
        }
        if too_slow(site) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Bodies that the node ended for being too slow.
fn too_slow(site: &Site) -> u64 {
    let failures = site.node.registry.failures().into_iter();
    failures.filter(|(reason, _)| *reason == Reason::TooSlow).map(|(_, count)| count).sum()
}

#[tokio::test]
async fn the_slowest_body_is_ended_on_a_full_node_with_its_reason() {
    let site = short_site().await;
    let route = Route::new(FileName::new(b"large").unwrap(), vec![Hop::new(site.address())]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut job = FetchJob::new(1, route, folder.path().to_owned(), Limits::default());
    let cap = RateLimit::new(Some(100));
    job.rate_limit = cap.clone();
    let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
    let mut upstream = client(Arc::default(), job.limits, None);
    let mut news = progress.subscribe();
    let slow = fetch(&mut upstream, &mut job, &progress, &stop);
    let others = async {
        news.wait_for(|now| now.received > 0).await.unwrap();
        let streams = [send_request(&site).await, send_request(&site).await];
        let [one, other] = streams.map(|stream| steady(&site, stream));
        let ended = tokio::join!(one, other);
        // The bytes in its kernel buffer precede the end.
        cap.set(None);
        ended
    };
    let (ended, others) = timeout(TIMEOUT, async { tokio::join!(slow, others) }).await.unwrap();
    let error = ended.unwrap_err();
    assert!(
        matches!(error, Error::Short { hop: 1, how: BodyFailure::TooSlow, .. }) && error.exit_code() == 6,
        "{error}"
    );
    assert_eq!((others, too_slow(&site)), ((SIZE, SIZE), 1));
}

#[tokio::test]
async fn the_slowest_body_is_ended_over_the_legacy_protocol() {
    let site = short_site().await;
    let mut slow = site.connect().await;
    let request = format!("large\n127.0.0.1 {}", site.node.address.port());
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut size = vec![0; SIZE.to_string().len()];
    slow.read_exact(&mut size).await.unwrap();
    assert_eq!(size, SIZE.to_string().as_bytes());
    slow.write_all(b"ack_").await.unwrap();
    slow.read_exact(&mut [0; 1000]).await.unwrap();
    let (one, other) = (send_request(&site).await, send_request(&site).await);
    let others = async { tokio::join!(steady(&site, one), steady(&site, other)) };
    assert_eq!(timeout(TIMEOUT, others).await.unwrap(), (SIZE, SIZE));
    assert_eq!(too_slow(&site), 1);
    let mut rest = Vec::new();
    let _ = timeout(TIMEOUT, slow.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() + 1000 < SIZE, "all of it arrived");
}
