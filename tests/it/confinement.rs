//! Confinement of the served folder: hundreds of hostile names on both protocols, and links that are swapped during an
//! open.
//!
//! `cargo test` runs the race for a few seconds. For a minute:
//!
//! ```text
//! CHAINVIEW_FAULTS=full cargo test --release --test it confinement:: -- --nocapture
//! ```

mod names;
use crate::support;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use support::TIMEOUT;
use support::process::Node;

/// How every file that may be served begins, and no other on this machine.
const INSIDE: &str = "INSIDE:";
/// The content of files that must not be served.
const OUTSIDE: &str = "OUTSIDE";
/// A file that a listing of any folder outside would name.
const ONLY_OUTSIDE: &str = "only_outside";
/// An open that takes longer has blocked.
const MAX_OPEN_TIME: Duration = Duration::from_millis(50);

/// The outcome of a request for a name.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    /// A file, or the listing of a folder.
    File(Vec<u8>),
    /// An error reply.
    Refused(String),
}

/// A folder to serve with everything that may lead out of it, and one beside it.
struct Site {
    _all: tempfile::TempDir,
    served: PathBuf,
    outside: PathBuf,
    _socket: UnixListener,
}

impl Site {
    fn new() -> Self {
        let all = tempfile::tempdir().unwrap();
        let here = all.path().canonicalize().unwrap();
        let (served, outside) = (here.join("served"), here.join("outside"));
        fs::create_dir_all(served.join("dir/sub")).unwrap();
        fs::create_dir_all(served.join(".git")).unwrap();
        fs::create_dir(&outside).unwrap();
        for secret in ["secret", "legit", ONLY_OUTSIDE] {
            fs::write(outside.join(secret), OUTSIDE).unwrap();
        }
        fs::write(all.path().join("secret"), OUTSIDE).unwrap();
        for hidden in [".hidden", "dir/.hidden", ".git/config", "..hidden", "..."] {
            fs::write(served.join(hidden), OUTSIDE).unwrap();
        }
        for name in names::served() {
            fs::write(served.join(OsStr::from_bytes(&name)), [INSIDE.as_bytes(), &name].concat()).unwrap();
        }
        let links: &[(&str, &str)] = &[
            ("dir/sub/file", "in_link"),
            ("in_link", "in_link_2"),
            ("../legit", "dir/in_up"),
            ("dir", "in_dir"),
            ("../secret", "out_file"),
            ("../outside", "out_dir"),
            ("../../secret", "dir/out_up"),
            ("dir/../../secret", "out_winding"),
            (".", "self"),
            ("..", "up"),
            ("up/..", "up_2"),
            ("dir/sub/../../..", "dir/up_3"),
            ("/", "top"),
            ("/etc/passwd", "absolute"),
            ("/proc/self/root/etc/passwd", "magic_root"),
            ("/proc/self/cwd", "magic_cwd"),
            ("/proc/self/fd", "magic_fd"),
            ("/proc/self/environ", "magic_environ"),
            ("/dev/zero", "to_zero"),
            ("/dev/stdin", "to_stdin"),
            ("/dev/tty", "to_tty"),
            ("loop_2", "loop_1"),
            ("loop_1", "loop_2"),
            ("loop_self", "loop_self"),
            ("nothing", "dangling"),
            ("", "empty"),
            ("fifo", "to_fifo"),
        ];
        for (to, name) in links.iter().filter(|(to, _)| !to.is_empty()) {
            symlink(to, served.join(name)).unwrap();
        }
        // An absolute link leads out, even one whose target is inside.
        symlink(served.join("legit"), served.join("absolute_inside")).unwrap();
        // 39 links in a row are followed, the kernel stops at 40.
        for (first, last) in [("dir/sub/file", "in"), ("../secret", "out")] {
            symlink(first, served.join(format!("chain_{last}_0"))).unwrap();
            for step in 1..45 {
                symlink(format!("chain_{last}_{}", step - 1), served.join(format!("chain_{last}_{step}"))).unwrap();
            }
        }
        let special = |name: &str, kind, device| mknodat(CWD, served.join(name), kind, Mode::from(0o600), device);
        special("fifo", FileType::Fifo, 0).unwrap();
        special("dir/fifo", FileType::Fifo, 0).unwrap();
        if special("zero", FileType::CharacterDevice, makedev(1, 5)).is_err() {
            eprintln!("SKIPPED: creating device files needs root; links to existing ones are tested");
        }
        let socket = UnixListener::bind(served.join("socket")).unwrap();
        Self { _all: all, served, outside, _socket: socket }
    }

    /// Whether it is a file that may be served, or a listing with only names below the served folder.
    fn is_inside(&self, body: &[u8]) -> bool {
        let Ok(listing) = serde_json::from_slice::<chainview::snapshot::Listing>(body) else {
            return body.starts_with(INSIDE.as_bytes());
        };
        let within = |path: &Path| path.canonicalize().is_ok_and(|path| path.starts_with(&self.served));
        let mut names = listing.entries.iter().map(|entry| entry.path.as_bytes());
        names.all(|name| !name.ends_with(ONLY_OUTSIDE.as_bytes()) && within(&self.served.join(OsStr::from_bytes(name))))
    }
}

/// Sends bytes, reads to the end.
fn exchange(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    reply
}

/// Requests over HTTP, with the path unchanged.
fn request_http(to: SocketAddr, path: &[u8]) -> Got {
    let bytes = [b"GET /files/", path, b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"].concat();
    let mut reply = exchange(to, &bytes);
    let head = reply.windows(4).position(|four| four == b"\r\n\r\n").map_or(reply.len(), |end| end + 4);
    let body = reply.split_off(head);
    if reply.starts_with(b"HTTP/1.1 200 ") {
        return Got::File(body);
    }
    Got::Refused(String::from_utf8_lossy(&reply).lines().next().unwrap_or("closed").to_owned())
}

/// Requests over the legacy protocol, with the name unchanged.
fn request_legacy(to: SocketAddr, name: &[u8]) -> Got {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(&[name, format!("\n{} {}", to.ip(), to.port()).as_bytes()].concat()).unwrap();
    let mut reply = [0; 1024];
    let read = stream.read(&mut reply).unwrap_or(0);
    let reply = String::from_utf8_lossy(&reply[..read]).into_owned();
    let Ok(size) = reply.parse::<usize>() else { return Got::Refused(reply) };
    stream.write_all(b"ack_").unwrap();
    let mut body = vec![0; size];
    stream.read_exact(&mut body).unwrap();
    Got::File(body)
}

/// Escapes every byte, so that the name arrives unchanged.
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut path = String::new();
    for byte in name {
        let _ = write!(path, "%{byte:02X}");
    }
    path.into_bytes()
}

/// The reply and the shortest time of a few attempts: this machine may be busy, but an open that blocks does so always.
fn timed(request: impl Fn() -> Got) -> (Got, Duration) {
    let mut best = None;
    for _ in 0..5 {
        let began = Instant::now();
        let got = request();
        let elapsed = began.elapsed();
        if best.as_ref().is_none_or(|(_, best)| elapsed < *best) {
            best = Some((got, elapsed));
        }
        if elapsed < MAX_OPEN_TIME {
            break;
        }
    }
    best.unwrap()
}

#[test]
fn no_name_escapes_the_folder_over_either_protocol() {
    let site = Site::new();
    let node = Node::chainview(&site.served, &[]);
    let to = node.address();
    let legit = names::served();
    let hostile = names::hostile(&site.outside);
    let count = hostile.iter().collect::<std::collections::HashSet<_>>().len();
    assert!(count >= 300, "{count} names");
    let (escapes, waits, files) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let check = |protocol: &str, name: &[u8], (got, elapsed): (Got, Duration), limit: Duration| {
        let shown = String::from_utf8_lossy(name);
        if let Got::File(body) = &got {
            files.fetch_add(1, Relaxed);
            if !site.is_inside(body) {
                escapes.fetch_add(1, Relaxed);
                eprintln!("ESCAPE over {protocol}: {shown:?} gave {:?}", String::from_utf8_lossy(body));
            }
        }
        if elapsed > limit {
            waits.fetch_add(1, Relaxed);
            eprintln!("BLOCKS over {protocol}: {shown:?}: {elapsed:?}, {got:?}");
        }
    };
    thread::scope(|scope| {
        let chunks = hostile.chunks(hostile.len().div_ceil(8));
        for names in chunks {
            let check = &check;
            scope.spawn(move || {
                for name in names {
                    check("HTTP", name, timed(|| request_http(to, &escaped(name))), MAX_OPEN_TIME);
                    check("HTTP as it stands", name, timed(|| request_http(to, name)), MAX_OPEN_TIME);
                    // The legacy protocol has no end mark: a request is complete when nothing arrived for 20 ms, or for
                    // 200 ms where a line may be incomplete.
                    let gap = Duration::from_millis(if name.contains(&b'\n') { 200 } else { 20 });
                    check("legacy", name, timed(|| request_legacy(to, name)), MAX_OPEN_TIME + gap);
                }
            });
        }
    });
    println!("{count} names, {} of {} replies are files", files.load(Relaxed), 3 * hostile.len());
    assert_eq!((escapes.load(Relaxed), waits.load(Relaxed)), (0, 0));
    // Harmless names are served, however unusual.
    for name in &legit {
        let content = Got::File([INSIDE.as_bytes(), name].concat());
        let shown = String::from_utf8_lossy(name);
        assert_eq!(request_http(to, &escaped(name)), content, "{shown:?} over HTTP");
        assert_eq!(request_legacy(to, name), content, "{shown:?} over the legacy protocol");
    }
    for name in ["in_link", "in_link_2", "in_dir/sub/file", "chain_in_39", "dir//sub///file"] {
        assert!(matches!(request_http(to, name.as_bytes()), Got::File(_)), "{name}");
    }
    assert!(node.stderr().lines().all(|line| !line.contains("internal error")), "{}", node.stderr());
}

/// Swaps two names repeatedly until `stop`; returns how often.
fn swap(one: &Path, other: &Path, stop: &AtomicBool) -> u64 {
    let mut swaps = 0;
    while !stop.load(Relaxed) {
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
        swaps += 1;
        // Lets the node run, on a machine with few cores.
        thread::yield_now();
    }
    swaps
}

#[test]
fn links_swapped_during_an_open_do_not_escape() {
    let full = std::env::var("CHAINVIEW_FAULTS").is_ok_and(|value| value == "full");
    let time = Duration::from_secs(if full { 60 } else { 3 });
    let site = Site::new();
    let inside = |name: &str| site.served.join(name);
    fs::create_dir(inside("flip")).unwrap();
    fs::write(inside("flip/secret"), format!("{INSIDE} flip")).unwrap();
    symlink("../outside", inside("flop")).unwrap();
    fs::write(inside("file"), format!("{INSIDE} file")).unwrap();
    symlink("../outside/secret", inside("link")).unwrap();
    // Leads to the file inside through the folder that is swapped, and from the folder outside to one that may not be
    // served.
    symlink("flip/../legit", inside("through")).unwrap();
    let node = Node::chainview(&site.served, &[]);
    let to = node.address();
    let stop = AtomicBool::new(false);
    let (files, refused, escapes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let listings = AtomicU64::new(0);
    let check = |got: &Got| match got {
        // A listing names what was there at that moment; the names outside occur nowhere inside.
        Got::File(body) if body.starts_with(INSIDE.as_bytes()) => files.fetch_add(1, Relaxed),
        Got::File(body) if body.starts_with(b"{") && !body.windows(12).any(|name| name == ONLY_OUTSIDE.as_bytes()) => {
            listings.fetch_add(1, Relaxed)
        }
        Got::File(_) => escapes.fetch_add(1, Relaxed),
        Got::Refused(_) => refused.fetch_add(1, Relaxed),
    };
    let names = [&b"flip/secret"[..], b"file", b"through", b"in_dir/../file", b"flip/", b"flip/../flip/secret"];
    let swaps = thread::scope(|scope| {
        let folders = scope.spawn(|| swap(&inside("flip"), &inside("flop"), &stop));
        let links = scope.spawn(|| swap(&inside("file"), &inside("link"), &stop));
        for client in 0..4 {
            let (stop, check) = (&stop, &check);
            scope.spawn(move || {
                let mut kept = None;
                for name in names.into_iter().cycle().skip(client) {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let mut stream = kept.take().unwrap_or_else(|| TcpStream::connect(to).unwrap());
                    // A file that was moved between its opening and its end is not sent: the node then closes.
                    let got = request_on(&mut stream, name);
                    kept = got.is_some().then_some(stream);
                    check(&got.unwrap_or(Got::Refused("closed".to_owned())));
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                check(&request_legacy(to, b"flip/secret"));
            }
        });
        // For the given time, and on a busy machine until there has been a race at all.
        let (began, raced) =
            (Instant::now(), || [&files, &refused, &listings].iter().all(|count| count.load(Relaxed) > 50));
        while began.elapsed() < time || (!raced() && began.elapsed() < time + TIMEOUT) {
            thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Relaxed);
        folders.join().unwrap() + links.join().unwrap()
    });
    let (files, refused, listings) = (files.load(Relaxed), refused.load(Relaxed), listings.load(Relaxed));
    println!("{files} files, {listings} listings and {refused} refusals while names flipped {swaps} times");
    assert_eq!(escapes.load(Relaxed), 0, "escapes");
    assert!(files.min(refused).min(listings).min(swaps) > 50, "no race");
}

/// Requests over an open connection; `None` if the node closes it.
fn request_on(stream: &mut TcpStream, name: &[u8]) -> Option<Got> {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(&[b"GET /files/", name, b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"].concat()).ok()?;
    let mut reply = Vec::new();
    let head = loop {
        if let Some(end) = reply.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8_lossy(&reply.drain(..end + 4).collect::<Vec<u8>>()).into_owned();
        }
        let mut chunk = [0; 2048];
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        reply.extend_from_slice(&chunk[..read]);
    };
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let had = reply.len();
    reply.resize(length?, 0);
    stream.read_exact(&mut reply[had..]).ok()?;
    Some(if head.starts_with("HTTP/1.1 200 ") { Got::File(reply) } else { Got::Refused(head) })
}
