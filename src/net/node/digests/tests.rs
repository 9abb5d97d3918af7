//! Tests of the digests: computed once for all requesters, never without one, and never before the first byte of a
//! body.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::net::node::drain::Drain;
use crate::net::node::root::Root;
use crate::net::node::{Node, NodeConfig};
use crate::net::server;
use crate::route::FileName;
use crate::snapshot::ConnState;

/// With `large` 0, no large file is ever started.
fn with_lanes(large: usize, grace: Duration) -> Arc<Digests> {
    Arc::new(Digests::new(large, grace))
}

/// Creates a sparse file: it takes no space on the disk, and may take long to hash.
fn holes(folder: &Path, name: &str, size: u64) {
    let file = std::fs::File::create(folder.join(name)).unwrap();
    file.set_len(size).unwrap();
    // Otherwise its digest would be cached.
    file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it finishes in time")
}

const US: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LARGE: u64 = 17 << 20;

fn served(root: &Root, name: &str) -> ServedFile {
    root.serve(&FileName::new(name.as_bytes()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_digest_is_cached_when_the_file_has_settled() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    let old = SystemTime::now() - Duration::from_hours(1);
    let file = std::fs::File::options().write(true).open(dir.path().join("f")).unwrap();
    file.set_modified(old).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
    let digests = Arc::new(Digests::default());
    assert_eq!(digests.ready(served.version, Algorithm::Sha256), None);
    let digest = digests.start(&served, Algorithm::Sha256, US).finished().await.unwrap();
    assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(digests.ready(served.version, Algorithm::Sha256), Some(digest));
    let blake3 = digests.start(&served, Algorithm::Blake3, US).finished().await.unwrap();
    assert_eq!(blake3.value, *blake3::hash(b"abc").as_bytes());
}

#[tokio::test]
async fn the_digest_of_a_file_that_just_changed_is_not_cached() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
    let digests = Arc::new(Digests::default());
    digests.start(&served, Algorithm::Blake3, US).finished().await.unwrap();
    assert_eq!(digests.ready(served.version, Algorithm::Blake3), None);
}

#[tokio::test]
async fn an_abandoned_digest_is_not_computed_and_closes_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let digests = with_lanes(0, GRACE);
    let mut kept = Vec::new();
    for name in ["a", "b", "c"] {
        holes(dir.path(), name, LARGE);
        let served = served(&root, name);
        kept.push((digests.start(&served, Algorithm::Blake3, US), served));
    }
    assert_eq!((digests.lock().slots.len(), Arc::strong_count(&kept[0].1.file)), (3, 2));
    let files: Vec<_> = kept.into_iter().map(|(_pending, served)| served).collect();
    // The next request removes the others.
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    in_time(digests.start(&served(&root, "f"), Algorithm::Blake3, US).finished()).await.unwrap();
    assert!(files.iter().all(|served| Arc::strong_count(&served.file) == 1));
    let known = digests.lock();
    assert!(known.slots.is_empty() && known.order.is_empty() && known.waiting.is_empty());
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_has_no_digest() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
    std::fs::write(dir.path().join("f"), "abcdef").unwrap();
    assert!(Arc::new(Digests::default()).start(&served, Algorithm::Blake3, US).finished().await.is_err());
}

#[tokio::test]
async fn concurrent_requests_share_one_computation() {
    let dir = tempfile::tempdir().unwrap();
    holes(dir.path(), "f", LARGE);
    let root = Root::open(dir.path()).unwrap();
    let digests = with_lanes(0, GRACE);
    let (one, two) = (served(&root, "f"), served(&root, "f"));
    let mut first = digests.start(&one, Algorithm::Blake3, US);
    let mut second = digests.start(&two, Algorithm::Blake3, US);
    assert_eq!((Arc::strong_count(&one.file), Arc::strong_count(&two.file)), (2, 1));
    assert_eq!(digests.progress(&second), Some(DigestProgress { done: 0, size: LARGE, ahead: 1 }));
    digests.lock().lanes.set_large(1);
    digests.start_next();
    let (first, second) = in_time(async { tokio::join!(first.finished(), second.finished()) }).await;
    assert_eq!((first.as_ref(), first.clone().unwrap()), (second.as_ref(), hash(&vec![0; LARGE as usize])));
}

#[tokio::test]
async fn an_abandoned_digest_stops_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    holes(dir.path(), "holes", 2 << 40);
    holes(dir.path(), "f", LARGE);
    let root = Root::open(dir.path()).unwrap();
    let digests = with_lanes(1, Duration::ZERO);
    let unwanted = digests.start(&served(&root, "holes"), Algorithm::Blake3, US);
    in_time(async {
        while digests.progress(&unwanted).is_none_or(|progress| progress.done == 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(unwanted);
    in_time(async {
        while !digests.lock().slots.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    in_time(digests.start(&served(&root, "f"), Algorithm::Blake3, US).finished()).await.unwrap();
}

#[tokio::test]
async fn a_small_file_and_a_shorter_one_do_not_wait_for_the_longest() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two", "three"] {
        holes(dir.path(), name, 2 << 40);
    }
    holes(dir.path(), "small", 4096);
    holes(dir.path(), "shorter", LARGE);
    let root = Root::open(dir.path()).unwrap();
    let digests = with_lanes(2, GRACE);
    let long = ["one", "two", "three"].map(|name| digests.start(&served(&root, name), Algorithm::Blake3, US));
    assert_eq!(digests.progress(&long[2]).unwrap().ahead, 1);
    for (name, size) in [("small", 4096), ("shorter", LARGE)] {
        let digest = in_time(digests.start(&served(&root, name), Algorithm::Blake3, US).finished()).await.unwrap();
        assert_eq!(digest, hash(&vec![0; size as usize]), "{name}");
    }
    assert!(long.iter().all(|pending| pending.slot.borrow().is_none()));
}

#[tokio::test]
async fn the_first_bytes_of_a_file_have_a_digest_of_their_own_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![7; LARGE as usize];
    std::fs::write(dir.path().join("f"), &content).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let digests = with_lanes(1, GRACE);
    let grown = served(&root, "f");
    for size in [1000, LARGE - 1, 0] {
        let mut pending = digests.of_first(&grown, size, Algorithm::Blake3, US);
        assert_eq!(in_time(pending.finished()).await, Ok(hash(&content[..size as usize])));
    }
    assert_eq!(digests.compute_now(&grown, 1000, Algorithm::Blake3), Some(hash(&content[..1000])));
    let file = std::fs::File::options().write(true).open(dir.path().join("f")).unwrap();
    file.set_len(999).unwrap();
    let mut pending = digests.of_first(&grown, 1000, Algorithm::Blake3, US);
    assert_eq!(in_time(pending.finished()).await, Err(NoDigest::Changed));
    assert_eq!(digests.compute_now(&grown, 1000, Algorithm::Blake3), None);
    assert!(digests.lock().slots.is_empty());
}

#[tokio::test]
async fn a_full_queue_refuses_immediately() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let digests = with_lanes(0, GRACE);
    let mut pending = Vec::new();
    for number in 0..100 {
        holes(dir.path(), &number.to_string(), LARGE);
        pending.push(digests.start(&served(&root, &number.to_string()), Algorithm::Blake3, US));
    }
    let refused = pending.iter().filter(|pending| *pending.slot.borrow() == Some(Err(NoDigest::Busy))).count();
    assert!((1..100).contains(&refused), "{refused}");
    assert_eq!(digests.lock().slots.len(), 100 - refused);
}

#[tokio::test]
async fn a_get_does_not_wait_for_its_digest_and_a_head_does() {
    let dir = tempfile::tempdir().unwrap();
    holes(dir.path(), "f", LARGE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = NodeConfig { max_connections: 4, ..NodeConfig::of_test(address, Root::open(dir.path()).unwrap()) };
    let node = Node::new(config, address);
    // No large digest can be computed for as long as there is no lane.
    digests_of(&node).lanes = Lanes::new(0);
    let running = tokio::spawn(server::run(Arc::clone(&node), listener, Drain::new()));
    let mut client = TcpStream::connect(address).await.unwrap();
    let request =
        |method| format!("{method} /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\nWant-Repr-Digest: blake3=10\r\n\r\n");
    client.write_all(request("GET").as_bytes()).await.unwrap();
    let got = read_until(&mut client, "\r\n\r\n").await;
    assert!(!got.contains("Repr-Digest"), "{got}");
    let mut body = vec![1; LARGE as usize];
    in_time(client.read_exact(&mut body)).await.unwrap();
    client.write_all(request("HEAD").as_bytes()).await.unwrap();
    // The request has been read, and there is no reply yet.
    in_time(async {
        while node.registry.states().get(&ConnState::Waiting) != Some(&1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(client.try_read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    digests_of(&node).lanes.set_large(1);
    node.digests.start_next();
    let got = read_until(&mut client, "\r\n\r\n").await;
    assert!(got.contains("Repr-Digest: blake3=:"), "{got}");
    running.abort();
}

fn digests_of(node: &Node) -> MutexGuard<'_, Known> {
    node.digests.lock()
}

fn hash(content: &[u8]) -> Digest {
    Digest { algorithm: Algorithm::Blake3, value: *blake3::hash(content).as_bytes() }
}

/// Byte by byte: what follows must stay unread.
async fn read_until(client: &mut TcpStream, end: &str) -> String {
    let mut got = Vec::new();
    let reading = async {
        while !got.ends_with(end.as_bytes()) {
            got.push(client.read_u8().await.unwrap());
        }
    };
    in_time(reading).await;
    String::from_utf8(got).unwrap()
}
