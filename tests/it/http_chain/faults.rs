//! Faults set and cleared while bodies are under way: at every position of a chain, over both protocols.

use std::sync::LazyLock;
use std::time::Duration;

use chainview::faults::{FaultChange, Faults};
use chainview::net::node::Node;
use chainview::wire::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::scene::{Chain, Reply, exchange, pattern, read_reply};

/// Far longer than any step here takes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// More than all sockets on the way can buffer, so that a body whose reader waits is still under way.
const LARGE: usize = 48 << 20;
/// Its bytes; generated once, which takes longer than sending them.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(LARGE));
/// Bytes after which a body uses every fast path there is.
const FLOWS: usize = 6 << 20;

async fn chain() -> Chain {
    let chain = Chain::start(3).await;
    chain.write("large", &CONTENT);
    chain
}

/// A body of the chain that is under way over HTTP, and what has arrived of it.
async fn http(chain: &Chain) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let request = format!("GET /files/large HTTP/1.1\r\nHost: 127.0.0.1\r\n{}Connection: close\r\n\r\n", chain.route());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, Vec::new())
}

/// The same over the legacy protocol.
async fn legacy(chain: &Chain) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let hops = chain.nodes.iter().map(|node| format!("\n{} {}", node.address.ip(), node.address.port()));
    stream.write_all(format!("large{}", hops.collect::<String>()).as_bytes()).await.unwrap();
    let mut size = vec![0; LARGE.to_string().len()];
    stream.read_exact(&mut size).await.unwrap();
    assert_eq!(size, LARGE.to_string().into_bytes());
    stream.write_all(b"ack_").await.unwrap();
    (stream, Vec::new())
}

async fn read(stream: &mut TcpStream, got: &mut Vec<u8>, bytes: usize) {
    let before = got.len();
    got.resize(before + bytes, 0);
    timeout(TIMEOUT, stream.read_exact(&mut got[before..])).await.expect("it flows").unwrap();
}

async fn read_all(stream: &mut TcpStream, got: &mut Vec<u8>) {
    while got.len() < LARGE {
        read(stream, got, (LARGE - got.len()).min(1 << 20)).await;
    }
    assert!(*got == *CONTENT, "the bytes are the same");
}

fn sent(node: &Node) -> u64 {
    node.registry.totals().flow.bytes_out
}

/// Waits until a node has sent nothing for a moment.
async fn stops_sending(node: &Node) -> u64 {
    let standing = async {
        loop {
            let before = sent(node);
            sleep(Duration::from_millis(200)).await;
            if sent(node) == before {
                return before;
            }
        }
    };
    timeout(TIMEOUT, standing).await.expect("it stalls")
}

#[tokio::test]
async fn a_stall_pauses_a_running_body_at_any_hop() {
    for hop in 0..3 {
        let chain = chain().await;
        let node = &chain.nodes[hop];
        let (mut stream, mut got) = if hop == 1 { legacy(&chain).await } else { http(&chain).await };
        read(&mut stream, &mut got, FLOWS).await;
        node.faults.apply(&[FaultChange::Stall(true)]);
        let held = sent(node);
        // However much the reader reads, the node sends nothing.
        while timeout(Duration::from_millis(300), stream.readable()).await.is_ok() {
            let mut space = vec![0; 1 << 20];
            let count = stream.try_read(&mut space).unwrap_or(0);
            got.extend_from_slice(&space[..count]);
        }
        // The change and a chunk that was being written may overlap.
        assert!(sent(node) - held <= 1 << 20, "hop {hop}: {} after the stall", sent(node) - held);
        let standing = stops_sending(node).await;
        // The reader reads all that was in transit: space for more, which a stalled node must not use.
        while timeout(Duration::from_millis(100), stream.readable()).await.is_ok() {
            let mut space = vec![0; 1 << 20];
            let count = stream.try_read(&mut space).unwrap_or(0);
            got.extend_from_slice(&space[..count]);
        }
        assert_eq!(sent(node), standing, "hop {hop}");
        assert!(got.len() < LARGE);
        node.faults.apply(&[FaultChange::Stall(false)]);
        read_all(&mut stream, &mut got).await;
    }
}

#[tokio::test]
async fn a_rate_limit_applies_to_a_running_body() {
    for hop in 0..3 {
        let chain = chain().await;
        let node = &chain.nodes[hop];
        let (mut stream, mut got) = if hop == 1 { legacy(&chain).await } else { http(&chain).await };
        read(&mut stream, &mut got, FLOWS).await;
        node.faults.apply(&[FaultChange::Limit(Some(100_000))]);
        // A hundred ms later it applies, so that a reader that reads everything gets no more than the limit.
        sleep(Duration::from_millis(100)).await;
        let (before, began) = (sent(node), std::time::Instant::now());
        let counted = async {
            while began.elapsed() < Duration::from_millis(600) {
                let mut space = vec![0; 1 << 20];
                if timeout(Duration::from_millis(100), stream.readable()).await.is_ok() {
                    let count = stream.try_read(&mut space).unwrap_or(0);
                    got.extend_from_slice(&space[..count]);
                }
            }
        };
        counted.await;
        let (more, took) = (sent(node) - before, began.elapsed());
        let allowed = 100_000.0 * took.as_secs_f64() + 10_000.0;
        assert!(more > 0 && more as f64 <= allowed, "hop {hop}: {more} bytes in {took:?}");
        node.faults.apply(&[FaultChange::Limit(None)]);
        read_all(&mut stream, &mut got).await;
        let flow = node.registry.totals().flow;
        assert!(flow.limited_us > 100_000, "hop {hop}: {flow:?}");
    }
}

#[tokio::test]
async fn truncate_ends_a_body_at_its_byte() {
    for hop in 0..3 {
        let chain = chain().await;
        let node = &chain.nodes[hop];
        // From the start.
        node.faults.apply(&[FaultChange::Truncate(Some(1_234_567))]);
        let (mut stream, mut got) = http(&chain).await;
        timeout(TIMEOUT, stream.read_to_end(&mut got)).await.unwrap().unwrap();
        assert!(got == CONTENT[..1_234_567], "hop {hop}: {}", got.len());
        assert_eq!(sent(node), 1_234_567, "hop {hop}");
        // While it flows by a fast path: the bytes in a pipe count too.
        node.faults.apply(&[FaultChange::Truncate(None)]);
        let (mut stream, mut got) = http(&chain).await;
        read(&mut stream, &mut got, FLOWS).await;
        let at = sent(node) - 1_234_567 + 3;
        node.faults.apply(&[FaultChange::Truncate(Some(at))]);
        timeout(TIMEOUT, stream.read_to_end(&mut got)).await.unwrap().unwrap();
        assert!(got == CONTENT[..got.len()] && got.len() as u64 == at, "hop {hop}: {} not {at}", got.len());
        assert_eq!(node.registry.failures()[&Reason::Fault], 2, "hop {hop}");
    }
}

#[tokio::test]
async fn truncate_resets_on_the_legacy_protocol() {
    let chain = chain().await;
    chain.nodes[0].faults.apply(&[FaultChange::Truncate(Some(500))]);
    let (mut stream, mut got) = legacy(&chain).await;
    let ended = timeout(TIMEOUT, stream.read_to_end(&mut got)).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(got.len() <= 500, "{}", got.len());
}

#[tokio::test]
async fn fragment_changes_no_byte_over_either_protocol() {
    let chain = Chain::start(3).await;
    chain.write("large", &CONTENT);
    chain.write("f", &pattern(20_000));
    for (hop, most) in [(0, 1), (1, 7), (2, 1000)] {
        chain.nodes[hop].faults.apply(&[FaultChange::Fragment(Some(most))]);
    }
    assert!(chain.get("f", "").await.body == pattern(20_000));
    // A fault in the middle of a body.
    for node in &chain.nodes {
        node.faults.apply(&[FaultChange::Fragment(None)]);
    }
    let (mut stream, mut got) = legacy(&chain).await;
    read(&mut stream, &mut got, FLOWS).await;
    for node in &chain.nodes {
        node.faults.apply(&[FaultChange::Fragment(Some(60_000))]);
    }
    read_all(&mut stream, &mut got).await;
}

#[tokio::test]
async fn reject_says_that_it_is_injected() {
    let chain = Chain::start(3).await;
    chain.write("f", b"x");
    for hop in 0..3 {
        let faults = chain.nodes[hop].faults.apply(&[FaultChange::Reject(true)]);
        let id = format!("{:032x}", 7 + hop);
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let refused =
            exchange(&mut stream, "GET", "/files/f", &format!("{}Chain-Transfer: {id}\r\n", chain.route())).await;
        let problem = refused.problem();
        assert_eq!((refused.status, problem.reason, problem.hop as usize), (503, Reason::Fault, hop));
        assert!(problem.to_string().contains("the fault \"reject\" is on"), "{problem}");
        // The record of the transfer shows it, too.
        let mut page = TcpStream::connect(chain.nodes[hop].address).await.unwrap();
        let record = exchange(&mut page, "GET", &format!("/v1/transfers/{id}"), "").await;
        let record: chainview::snapshot::TransferRecord = serde_json::from_slice(&record.body).unwrap();
        assert_eq!((record.status, record.faults), (503, faults));
        assert!(record.error.unwrap().as_str().contains("rejected by an injected fault"));
        chain.nodes[hop].faults.apply(&[FaultChange::Reject(false)]);
        let served: Reply = exchange(&mut stream, "GET", "/files/f", &chain.route()).await;
        assert_eq!((served.status, served.body.as_slice()), (200, &b"x"[..]), "on the same connection");
    }
    let node = &chain.nodes[0];
    node.faults.apply(&[FaultChange::Reject(true)]);
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(format!("f\n{} {}", node.address.ip(), node.address.port()).as_bytes()).await.unwrap();
    let mut message = String::new();
    timeout(TIMEOUT, stream.read_to_string(&mut message)).await.unwrap().unwrap();
    assert!(
        message.starts_with("Address not found: ") && message.contains("rejected by an injected fault"),
        "{message}"
    );
}

#[tokio::test]
async fn clearing_a_delay_releases_waiting_requests() {
    let chain = Chain::start(2).await;
    chain.write("f", b"x");
    chain.nodes[1].faults.apply(&[FaultChange::Delay(5_000)]);
    assert_eq!(chain.nodes[1].snapshot().faults, Faults { delay_ms: 5_000, ..Faults::default() });
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let request = format!("GET /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n", chain.route());
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(timeout(Duration::from_millis(300), stream.readable()).await.is_err(), "it is delayed");
    let began = std::time::Instant::now();
    chain.nodes[1].faults.apply(&[FaultChange::Delay(0)]);
    assert_eq!(read_reply(&mut stream, "GET").await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
