//! Memory of a transfer on this machine: little while its reader is stalled, and no more pipes than a user may have.

use crate::support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use support::process::{Node, chainview};
use support::{TIMEOUT, content};
use tempfile::TempDir;

/// Maximum bytes that one node may buffer for a stalled reader, both its sockets together.
const MAX_BUFFERED: u64 = 640 << 10;
/// Memory of a relay itself for each such reader, in KiB; the figure to beat is 8, a build without optimization has
/// more.
const MAX_OWN_MEMORY: u64 = 12;

struct Chain {
    nodes: Vec<Node>,
    folder: TempDir,
    _serial: MutexGuard<'static, ()>,
}

/// The tests run one after another: they measure the whole machine.
static SERIAL: Mutex<()> = Mutex::new(());

impl Chain {
    fn start(nodes: usize, node: impl Fn(&Path) -> Node) -> Self {
        let serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let nodes = (0..nodes).map(|_| node(folder.path())).collect();
        Self { nodes, folder, _serial: serial }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Requests a file through the whole chain, up to the start of its body.
    fn begin_fetch(&self, name: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.nodes[0].address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT * 3)).unwrap();
        let rest: Vec<String> = self.nodes[1..].iter().map(|node| node.address().to_string()).collect();
        let head = format!("GET /files/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Route: {}\r\n\r\n", rest.join(", "));
        stream.write_all(head.as_bytes()).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
        stream
    }

    /// Bytes in the sockets of each node, once they no longer change; the kernel sends no event for that.
    fn buffered(&self) -> Vec<u64> {
        let (mut before, mut same) = (Vec::new(), 0);
        let end = Instant::now() + TIMEOUT;
        while same < 10 {
            assert!(Instant::now() < end, "bytes are still moving: {before:?}");
            thread::sleep(Duration::from_millis(50));
            let sockets = sockets();
            let now: Vec<u64> = (0..self.nodes.len()).map(|hop| self.buffered_at(hop, &sockets)).collect();
            same = if now == before && now.iter().any(|buffered| *buffered > 0) { same + 1 } else { 0 };
            before = now;
        }
        before
    }

    /// Bytes to be sent on the side a node accepted, and to be read on the side it connected to.
    fn buffered_at(&self, hop: usize, sockets: &[Socket]) -> u64 {
        let own = self.nodes[hop].address();
        let next = self.nodes.get(hop + 1).map(Node::address);
        let sending = sockets.iter().filter(|socket| socket.local == own).map(|socket| socket.sending);
        let reading = sockets.iter().filter(|socket| Some(socket.remote) == next).map(|socket| socket.reading);
        sending.sum::<u64>() + reading.sum::<u64>()
    }
}

struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    sending: u64,
    reading: u64,
}

/// The open TCP connections of this machine.
fn sockets() -> Vec<Socket> {
    let address = |text: &str| {
        let (ip, port) = text.split_once(':').unwrap();
        let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
        SocketAddr::from((ip, u16::from_str_radix(port, 16).unwrap()))
    };
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let open = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    open.filter(|fields| fields[3] == "01")
        .map(|fields| {
            let (sending, reading) = fields[4].split_once(':').unwrap();
            let bytes = |text| u64::from_str_radix(text, 16).unwrap();
            let (local, remote) = (address(fields[1]), address(fields[2]));
            Socket { local, remote, sending: bytes(sending), reading: bytes(reading) }
        })
        .collect()
}

/// Anonymous memory of a node, in KiB.
fn own_memory(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a figure of the kernel");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_stalled_reader_buffers_little_at_every_hop() {
    let chain = Chain::start(4, |root| Node::chainview(root, &[]));
    let bytes = content(48 << 20);
    chain.write("f", &bytes);
    let mut reader = chain.begin_fetch("f");
    let buffered = chain.buffered();
    println!("buffered at each hop: {buffered:?}");
    assert!(buffered.iter().all(|buffered| *buffered <= MAX_BUFFERED), "{buffered:?}");
    let mut got = vec![0; bytes.len()];
    reader.read_exact(&mut got).unwrap();
    assert!(got == bytes);
}

#[test]
fn fixed_buffers_hold_no_more_than_their_size() {
    let chain = Chain::start(4, |root| Node::chainview(root, &["--sockbuf", "16KiB"]));
    let bytes = content(4 << 20);
    chain.write("f", &bytes);
    let mut reader = chain.begin_fetch("f");
    let buffered = chain.buffered();
    println!("buffered at each hop: {buffered:?}");
    // Two sockets, each with its size twice, and the chunk that was begun while there was space.
    assert!(buffered.iter().all(|buffered| (1..=128 << 10).contains(buffered)), "{buffered:?}");
    let mut got = vec![0; bytes.len()];
    reader.read_exact(&mut got).unwrap();
    assert!(got == bytes);
}

#[test]
fn stalled_readers_cost_a_relay_no_buffers_or_pipes() {
    const READERS: u64 = 100;
    let chain = Chain::start(2, |root| Node::chainview(root, &[]));
    // More than the kernel would buffer of it without a limit.
    chain.write("f", &vec![7; 24 << 20]);
    // The thread's buffer, and other one-time allocations.
    chain.begin_fetch("f").read_exact(&mut vec![0; 24 << 20]).unwrap();
    let (before, descriptors) = (own_memory(&chain.nodes[0]), descriptors(&chain.nodes[0]));
    let readers: Vec<TcpStream> = (0..READERS).map(|_| chain.begin_fetch("f")).collect();
    chain.buffered();
    let each = (own_memory(&chain.nodes[0]) - before) / READERS;
    println!("{each} KiB for each");
    assert!(each <= MAX_OWN_MEMORY, "{each} KiB for each");
    let sockets = 2 * readers.len();
    assert!(self::descriptors(&chain.nodes[0]) <= descriptors + sockets, "a stalled reader has a pipe");
}

fn descriptors(node: &Node) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.pid().as_raw_nonzero())).unwrap().count()
}

#[test]
fn every_file_arrives_without_pipes_left() {
    // Three relays would need 192 MiB of pipes; an unprivileged user has 64 for all of them.
    const READERS: usize = 64;
    let program = tempfile::tempdir().unwrap();
    fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = program.path().join("chainview");
    fs::copy(chainview().get_program(), &copy).unwrap();
    let chain = Chain::start(4, |root| Node::unprivileged(&copy, root, &[]));
    let bytes = content(6 << 20);
    chain.write("f", &bytes);
    let all_started = Barrier::new(READERS);
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut stream = chain.begin_fetch("f");
                all_started.wait();
                let mut got = vec![0; bytes.len()];
                stream.read_exact(&mut got).unwrap();
                assert!(got == bytes);
            });
        }
    });
    for node in &chain.nodes {
        assert_eq!(node.stderr().lines().filter(|line| line.contains("WARN")).count(), 0, "{}", node.stderr());
    }
}
