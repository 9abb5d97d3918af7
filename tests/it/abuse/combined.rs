//! All attacks together: idle connections, names that do not resolve, uncached digests, large listings, event streams
//! that are not read, and a full log pipe.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::ioctl_fionread;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::support::process::{Node, chainview};
use super::support::{TIMEOUT, content};
use super::{is_full, memory, request, serial, status};

/// Maximum memory of the node in total.
const MAX_MEMORY: u64 = 128 << 10;
/// Address of the test's resolver, which never replies.
const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 53), 53);

/// How much of each load there is, and the allowed latency of replies: the short form runs beside other tests.
struct Size {
    idle: usize,
    names: usize,
    readers: usize,
    /// Entries of the listed folder, and the number of listings of it.
    entries: usize,
    listings: usize,
    rounds: usize,
    endpoint: Duration,
    fetch: Duration,
}

impl Size {
    fn chosen() -> Self {
        if is_full() {
            let (endpoint, fetch) = (Duration::from_millis(100), Duration::from_secs(1));
            Self { idle: 4000, names: 700, readers: 200, entries: 200_000, listings: 200, rounds: 50, endpoint, fetch }
        } else {
            let patient = Duration::from_secs(5);
            Self {
                idle: 600,
                names: 100,
                readers: 40,
                entries: 3000,
                listings: 40,
                rounds: 5,
                endpoint: patient,
                fetch: patient,
            }
        }
    }
}

/// Connects from this loopback address.
fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::from(from), 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), TIMEOUT).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// The complete reply to one request on a connection of its own, and the time until its last byte.
fn send_request(from: [u8; 4], to: SocketAddr, request: &str) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    let mut stream = connect(from, to);
    stream.write_all(request.as_bytes()).unwrap();
    let (mut reply, mut bytes, mut elapsed) = (Vec::new(), [0; 16 * 1024], Duration::ZERO);
    // The close may take longer: a draining node closes all idle connections first.
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        reply.extend_from_slice(&bytes[..read]);
        elapsed = began.elapsed();
    }
    (reply, elapsed)
}

/// A node whose log goes into a pipe without a reader, and the handle that keeps the pipe open. If this process has the
/// rights, the node resolves names with a resolver that never replies; without them, which is printed, resolution fails
/// for lack of a socket.
fn attacked(folder: &Path, root: &Path, more: &[&str]) -> (Node, File, Option<UdpSocket>) {
    let (log, config, bare) = (folder.join("log"), folder.join("resolv.conf"), chainview());
    mknodat(CWD, &log, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let unread = File::options().read(true).write(true).open(&log).unwrap();
    fs::write(&config, format!("nameserver {}\noptions timeout:5 attempts:3\n", RESOLVER.0)).unwrap();
    let may_mount = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    let resolver = UdpSocket::bind(RESOLVER).ok().filter(|_| may_mount);
    let mut command = if resolver.is_some() {
        let mut command = Command::new("unshare");
        command.args([
            "-m",
            "sh",
            "-c",
            "mount --bind \"$1\" /etc/resolv.conf && exec 2>\"$0\" && shift && exec \"$@\"",
        ]);
        command
    } else {
        eprintln!("SKIPPED: names that hang need root, for a mount namespace and port 53 of {}", RESOLVER.0);
        let mut command = Command::new("sh");
        command.args(["-c", "exec 2>\"$0\" && shift && exec \"$@\""]);
        command
    };
    command.arg(&log).arg(&config).arg(bare.get_program()).env("XDG_CONFIG_HOME", "/nonexistent");
    (Node::start(command, root, more), unread, resolver)
}

/// Fills the log pipe with lines about requests until it accepts no more. The number of bytes depends on how the lines
/// share its pages.
fn fill(log: &File, to: SocketAddr) {
    let began = Instant::now();
    let takes_more = || {
        let mut pipe = [PollFd::new(log, PollFlags::OUT)];
        poll(&mut pipe, Some(&Timespec::default())).unwrap() > 0 && pipe[0].revents().contains(PollFlags::OUT)
    };
    while takes_more() {
        assert!(began.elapsed() < TIMEOUT, "{} bytes of log", ioctl_fionread(log).unwrap());
        send_request([127, 0, 0, 3], to, &request("missing", "Connection: close\r\n"));
    }
}

/// Writes a control token that only this user can read.
fn token(folder: &Path) -> PathBuf {
    let path = folder.join("token");
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    file.write_all(b"sesame\n").unwrap();
    path
}

/// Descriptors for this process's own ends.
fn use_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[test]
fn a_node_under_combined_abuse_serves_operators_and_others() {
    let _serial = serial();
    use_all_descriptors();
    let size = Size::chosen();
    // In memory: 200,000 files take minutes on a busy disk.
    let (folder, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    fs::write(root.path().join("small"), content(4096)).unwrap();
    let large = ["one", "two"];
    for name in large {
        // Long enough that none of its digests finishes during the test.
        File::create(root.path().join(name)).unwrap().set_len(2 << 40).unwrap();
    }
    let token = token(folder.path());
    let most = (size.idle + 96).to_string();
    let flags = ["-v", "--max-connections", &most, "--control-token-file", token.to_str().unwrap()];
    let many = root.path().join("many");
    fs::create_dir(&many).unwrap();
    (0..size.entries).for_each(|number| drop(File::create(many.join(format!("entry-{number}"))).unwrap()));
    let (node, log, resolver) = attacked(folder.path(), root.path(), &flags);
    let (to, attacker, other) = (node.address(), [127, 0, 0, 1], [127, 0, 0, 2]);
    let head = "HTTP/1.1\r\nHost: 127.0.0.1\r\n";

    fill(&log, to);
    let mut held: Vec<TcpStream> = Vec::new();
    let mut open = |request: &str, wait_for_reply: bool| {
        let mut stream = connect(attacker, to);
        stream.write_all(request.as_bytes()).unwrap();
        if wait_for_reply {
            assert!(stream.read(&mut [0; 2048]).unwrap() > 0);
        }
        held.push(stream);
    };
    (0..size.readers).for_each(|_| open(&format!("GET /v1/events?interval=50ms {head}\r\n"), false));
    for name in &large {
        open(&format!("HEAD /files/{name} {head}Want-Repr-Digest: blake3=9\r\n\r\n"), false);
    }
    (0..size.idle).for_each(|_| open(&format!("HEAD /files/small {head}\r\n"), true));
    if resolver.is_some() {
        for number in 0..size.names {
            open(&format!("GET /files/small {head}Chain-Route: hang{number}.example:9\r\n\r\n"), false);
        }
    }

    // The only ones that end by themselves.
    (0..size.listings).for_each(|_| open(&format!("GET /files/many/ {head}\r\n"), false));

    let digest = format!("Repr-Digest: blake3=:{}:", STANDARD.encode(blake3::hash(&content(4096)).as_bytes()));
    let full = ioctl_fionread(&log).unwrap();
    let (mut endpoint, mut fetch, mut grown) = (Duration::ZERO, Duration::ZERO, 0);
    for _ in 0..size.rounds {
        let (reply, elapsed) = send_request(attacker, to, &format!("GET /healthz {head}Connection: close\r\n\r\n"));
        assert_eq!(status(&String::from_utf8_lossy(&reply)), 200);
        endpoint = endpoint.max(elapsed);
        // As a client fetches: the bytes, then their digest.
        let (reply, got) = send_request(other, to, &request("small", "Connection: close\r\n"));
        assert!(reply.starts_with(b"HTTP/1.1 200 ") && reply.ends_with(&content(4096)));
        let digest_request = format!("HEAD /files/small {head}Want-Repr-Digest: blake3=9\r\nConnection: close\r\n\r\n");
        let (reply, digest_time) = send_request(other, to, &digest_request);
        let reply = String::from_utf8_lossy(&reply);
        assert!(reply.contains(&digest), "{reply}");
        let elapsed = got + digest_time;
        fetch = fetch.max(elapsed);
        grown = grown.max(memory(&node));
    }
    let drain = format!("POST /v1/drain {head}Authorization: Bearer sesame\r\nContent-Length: 0\r\n\r\n");
    let (reply, elapsed) = send_request(attacker, to, &drain);
    let reply = String::from_utf8_lossy(&reply);
    assert!(status(&reply) == 200 && reply.contains("\"draining\":true"), "{reply}");
    println!(
        "{} open connections: /healthz within {endpoint:?}, drain {elapsed:?}, a fetch within {fetch:?}, {grown} KiB",
        held.len()
    );
    assert_eq!(ioctl_fionread(&log).unwrap(), full, "the log was written all the time");
    endpoint = endpoint.max(elapsed);
    assert!(endpoint <= size.endpoint, "an endpoint took {endpoint:?}");
    assert!(fetch <= size.fetch, "a fetch took {fetch:?}");
    assert!(grown < MAX_MEMORY, "{grown} KiB");
}

#[test]
fn a_full_node_serves_endpoints_control_and_other_addresses() {
    let _serial = serial();
    let (folder, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(root.path().join("small"), content(4096)).unwrap();
    fs::write(root.path().join("slow"), content(1 << 20)).unwrap();
    let token = token(folder.path());
    let limit = ["--limit", "1K", "--max-connections", "64", "--control-token-file", token.to_str().unwrap()];
    let node = Node::chainview(root.path(), &limit);
    let (to, head) = (node.address(), "HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    let slow = |from| {
        let mut stream = connect(from, to);
        stream.write_all(request("slow", "").as_bytes()).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        (String::from_utf8_lossy(&start).into_owned(), stream)
    };
    let ok = |reply: &(String, TcpStream)| reply.0 == "HTTP/1.1 200";
    // One address gets three quarters of a node without other clients, and no more.
    let mut held: Vec<_> = (0..60).map(|_| slow([127, 0, 0, 1])).collect();
    assert_eq!((held.iter().filter(|one| ok(one)).count(), held.pop().unwrap().0.as_str()), (48, "HTTP/1.1 503"));
    // Others get the last quarter, until that is full as well.
    held.retain(ok);
    held.extend((0..16).map(|last| slow([127, 0, 1, last])));
    assert!(held.iter().all(ok));
    assert_eq!(slow([127, 0, 2, 1]).0, "HTTP/1.1 503");
    for path in ["/healthz", "/metrics", "/v1/node"] {
        let (reply, _) = send_request([127, 0, 0, 1], to, &format!("GET {path} {head}\r\n"));
        assert_eq!(status(&String::from_utf8_lossy(&reply)), 200, "{path}");
    }
    let (reply, _) = send_request([127, 0, 0, 1], to, &format!("GET /metrics {head}\r\n"));
    assert!(String::from_utf8_lossy(&reply).contains("chainview_connections_refused_total 1"), "13 were refused");
    let drain = format!("POST /v1/drain {head}Authorization: Bearer sesame\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(status(&String::from_utf8_lossy(&send_request([127, 0, 0, 1], to, &drain).0)), 200);
}
