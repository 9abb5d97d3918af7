//! Tests of the digests: once for all who ask, never for nobody, and never before the first byte of a body.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::dials::Dials;
use crate::net::access::Access;
use crate::net::drain::Drain;
use crate::net::limits::Limits;
use crate::net::node::{Node, NodeConfig};
use crate::net::policy::{AllowList, Policy};
use crate::net::resolve::Resolver;
use crate::net::root::Root;
use crate::route::FileName;
use crate::snapshot::ConnState;

fn with_one_worker(patience: Duration) -> Arc<Digests> {
    Arc::new(Digests { workers: Arc::new(Semaphore::new(1)), patience, known: Mutex::default() })
}

fn served(root: &Root, name: &str) -> Served {
    root.serve(&FileName::new(name.as_bytes()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_digest_is_computed_once_and_remembered_when_the_file_has_settled() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    let old = SystemTime::now() - Duration::from_hours(1);
    let file = std::fs::File::options().write(true).open(dir.path().join("f")).unwrap();
    file.set_modified(old).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
    let digests = Arc::new(Digests::default());
    assert_eq!(digests.ready(&served, Algorithm::Sha256), None);
    let digest = digests.start(&served, Algorithm::Sha256).finished().await.unwrap();
    assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(digests.ready(&served, Algorithm::Sha256), Some(digest));
    let blake3 = digests.start(&served, Algorithm::Blake3).finished().await.unwrap();
    assert_eq!(blake3.value, *blake3::hash(b"abc").as_bytes());
}

#[tokio::test]
async fn a_file_that_just_changed_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
    let digests = Arc::new(Digests::default());
    digests.start(&served, Algorithm::Blake3).finished().await.unwrap();
    assert_eq!(digests.ready(&served, Algorithm::Blake3), None);
}

#[tokio::test]
async fn a_digest_that_nobody_waits_for_is_not_computed_and_holds_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let digests = with_one_worker(PATIENCE);
    let busy = digests.workers.acquire().await.unwrap();
    let mut kept = None;
    for name in ["a", "b", "c"] {
        std::fs::write(dir.path().join(name), name).unwrap();
        let served = root.serve(&FileName::new(name.as_bytes()).unwrap()).unwrap();
        let pending = digests.start(&served, Algorithm::Blake3);
        kept = Some((served, pending));
    }
    assert_eq!(digests.lock().slots.len(), 3);
    drop(busy);
    let (served, mut pending) = kept.unwrap();
    assert_eq!(pending.finished().await.unwrap().value, *blake3::hash(b"c").as_bytes());
    // The queue is in order: whoever is done last has seen the others off.
    assert_eq!(Arc::strong_count(&served.file), 1);
    assert!(digests.lock().slots.is_empty() && digests.lock().order.is_empty());
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_has_no_digest() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
    std::fs::write(dir.path().join("f"), "abcdef").unwrap();
    assert!(Arc::new(Digests::default()).start(&served, Algorithm::Blake3).finished().await.is_err());
}

#[tokio::test]
async fn two_who_ask_at_once_share_one_computation_from_the_descriptor_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let digests = with_one_worker(PATIENCE);
    let busy = digests.workers.acquire().await.unwrap();
    let (one, two) = (served(&root, "f"), served(&root, "f"));
    let mut first = digests.start(&one, Algorithm::Blake3);
    let mut second = digests.start(&two, Algorithm::Blake3);
    assert_eq!((Arc::strong_count(&one.file), Arc::strong_count(&two.file)), (2, 1));
    assert_eq!(digests.lock().slots.len(), 1);
    drop(busy);
    let (first, second) = tokio::join!(first.finished(), second.finished());
    assert_eq!((first.as_ref(), first.clone().unwrap().value), (second.as_ref(), *blake3::hash(b"abc").as_bytes()));
}

#[tokio::test]
async fn a_digest_that_is_no_longer_wanted_is_given_up_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    // Holes take no room on the disk, and seconds to hash; the digest of a file this old would be remembered.
    let holes = std::fs::File::create(dir.path().join("holes")).unwrap();
    holes.set_len(16 << 30).unwrap();
    holes.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let digests = with_one_worker(Duration::ZERO);
    let unwanted = digests.start(&served(&root, "holes"), Algorithm::Blake3);
    while digests.workers.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(digests.lock().slots.len(), 1);
    drop(unwanted);
    // The one worker has time for it: the other digest was given up.
    digests.start(&served(&root, "f"), Algorithm::Blake3).finished().await.unwrap();
    assert!(digests.lock().slots.is_empty() && digests.lock().order.is_empty());
}

#[tokio::test]
async fn a_body_does_not_wait_for_its_digest_and_the_question_after_it_does() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "abc").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = NodeConfig {
        root: Root::open(dir.path()).unwrap(),
        policy: Policy::new(address, AllowList::default()),
        access: Access::new(address),
        limits: Limits::default(),
        dials: Dials::default(),
        max_connections: 4,
        wire: None,
        resolver: Resolver::default(),
    };
    let node = Node::new(config, address);
    let running = tokio::spawn(Arc::clone(&node).run(listener, Drain::new()));
    let workers = Arc::clone(&node.digests.workers);
    // No digest can be computed for as long as this is held.
    let busy = workers.acquire_many(u32::try_from(workers.available_permits()).unwrap()).await.unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    let ask = |method| format!("{method} /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\nWant-Repr-Digest: blake3=10\r\n\r\n");
    client.write_all(ask("GET").as_bytes()).await.unwrap();
    let got = read_until(&mut client, "\r\n\r\nabc").await;
    assert!(!got.contains("Repr-Digest"), "{got}");
    client.write_all(ask("HEAD").as_bytes()).await.unwrap();
    // The question has been read, and nothing is said to it.
    while node.registry.states().get(&ConnState::Waiting) != Some(&1) {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.try_read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(busy);
    let got = read_until(&mut client, "\r\n\r\n").await;
    assert!(got.contains("Repr-Digest: blake3=:"), "{got}");
    running.abort();
}

async fn read_until(client: &mut TcpStream, end: &str) -> String {
    let mut got = Vec::new();
    let reading = async { while !got.ends_with(end.as_bytes()) && client.read_buf(&mut got).await.unwrap() > 0 {} };
    let in_time = tokio::time::timeout(Duration::from_secs(10), reading).await;
    let got = String::from_utf8(got).unwrap();
    assert!(in_time.is_ok() && got.ends_with(end), "{got}");
    got
}
