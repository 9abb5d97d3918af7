//! Abusive clients against the running node: slow heads, floods, floods without descriptors left.
//!
//! `cargo test` runs a short version. The full version, with 2,000 sockets of one byte a second:
//!
//! ```text
//! CHAINVIEW_FAULTS=full cargo test --release --test it abuse:: -- --nocapture
//! ```

mod combined;
mod heads;
use crate::support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::process::Node;
use support::{TIMEOUT, content};

/// Each of these is a load that would change what the others measure.
static SERIAL: Mutex<()> = Mutex::new(());

fn serial() -> MutexGuard<'static, ()> {
    SERIAL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_full() -> bool {
    std::env::var("CHAINVIEW_FAULTS").is_ok_and(|value| value == "full")
}

/// Connects from one of the 65,536 addresses of 127.1.0.0/16.
fn connect_from(number: usize, to: SocketAddr) -> TcpStream {
    let [high, low] = (number as u16).to_be_bytes();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), TIMEOUT).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Fetches a file by hand over a new connection.
fn fetch(from: SocketAddr, name: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(from).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(request(name, "Connection: close\r\n").as_bytes()).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    assert!(reply.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&reply[..end]));
    reply.split_off(end)
}

fn request(name: &str, lines: &str) -> String {
    format!("GET /files/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n")
}

/// Reads until the other side closes, in any way.
fn read_text(stream: &mut TcpStream) -> String {
    String::from_utf8_lossy(&read_bytes(stream)).into_owned()
}

fn read_bytes(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// Returns the status of the status line; 0 if nothing was received.
fn status(reply: &str) -> u16 {
    reply.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// CPU time of a process.
fn used(node: &Node) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid().as_raw_nonzero())).unwrap();
    let words: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap();
    // The kernel counts in hundredths of a second.
    Duration::from_millis(ticks * 10)
}

/// Anonymous memory of a process, in KiB.
fn memory(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Durations of this many fetches of a small file, the longest last, and the maximum memory of the node during them.
fn fetch_times(node: &Node, count: usize) -> (Vec<Duration>, u64) {
    let mut most = 0;
    let fetch = |_| {
        // Spread over the load in parallel.
        thread::sleep(Duration::from_millis(4));
        let began = Instant::now();
        assert!(fetch(node.address(), "small") == content(4096));
        let elapsed = began.elapsed();
        most = most.max(memory(node));
        elapsed
    };
    let mut elapsed: Vec<Duration> = (0..count).map(fetch).collect();
    elapsed.sort();
    (elapsed, most)
}

/// A client that sends a byte a second; what it received, and after how long it was disconnected.
struct Slow {
    stream: TcpStream,
    began: Instant,
    /// When its next byte is due.
    due: Duration,
    sent: usize,
    received: Vec<u8>,
    ended: Option<Duration>,
}

impl Slow {
    /// Its bytes are offset this much from each full second: many slow clients do not send in step.
    fn new(number: usize, to: SocketAddr, due: Duration) -> Self {
        let began = Instant::now();
        let stream = connect_from(number, to);
        stream.set_nonblocking(true).unwrap();
        Self { stream, began, due, sent: 0, received: Vec::new(), ended: None }
    }

    /// Sends the byte that is due and reads what has arrived; true once it has ended.
    fn step(&mut self, head: &[u8]) -> bool {
        if self.ended.is_some() {
            return true;
        }
        let age = self.began.elapsed();
        if age < self.due && age < Duration::from_secs(4) {
            // Polling thousands of sockets in a tight loop would take CPU time from the measured clients.
            return false;
        }
        if age >= self.due {
            let _ = self.stream.write(&head[self.sent..=self.sent]);
            self.sent += 1;
            self.due += Duration::from_secs(1);
        }
        let mut bytes = [0; 1024];
        match self.stream.read(&mut bytes) {
            Ok(read @ 1..) => self.received.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.ended = Some(age),
        }
        self.ended.is_some()
    }
}

#[test]
fn slow_heads_time_out_without_delaying_others() {
    let _serial = serial();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small"), content(4096)).unwrap();
    let node = Node::chainview(folder.path(), &[]);
    let (sockets, fetches) = if is_full() { (2000, 1000) } else { (300, 100) };
    let (alone, before) = fetch_times(&node, fetches);
    let due = |number| Duration::from_secs(1) * number as u32 / sockets as u32;
    let mut slow: Vec<Slow> = (0..sockets).map(|number| Slow::new(number * 31, node.address(), due(number))).collect();
    let head = request("small", "");
    let (beside, most) = thread::scope(|scope| {
        // Half of them show their protocol, and then continue as slowly.
        scope.spawn(|| {
            while slow.iter_mut().map(|one| usize::from(!one.step(head.as_bytes()))).sum::<usize>() > 0 {
                thread::sleep(Duration::from_millis(10));
            }
        });
        fetch_times(&node, fetches)
    });
    let ended: Vec<Duration> = slow.iter().filter_map(|one| one.ended).collect();
    let (first, last) = (*ended.iter().min().unwrap(), *ended.iter().max().unwrap());
    let at = |elapsed: &[Duration], share: usize| elapsed[elapsed.len() * share / 100 - 1];
    let grown = most.saturating_sub(before);
    println!("{sockets} slow heads disconnected after {first:?} to {last:?}; {grown} KiB more");
    println!("honest fetches, p50 and p99: {:?} {:?} alone", at(&alone, 50), at(&alone, 99));
    println!("honest fetches, p50 and p99: {:?} {:?} beside", at(&beside, 50), at(&beside, 99));
    // The clocks of this test are read on a machine that has other load, too.
    let late = Duration::from_millis(if is_full() { 5500 } else { 7000 });
    assert!(first >= Duration::from_millis(4500) && last <= late, "disconnected after {first:?} to {last:?}");
    assert!(grown <= 40 << 10, "{grown} KiB more");
    if is_full() {
        assert!(at(&beside, 99) <= 2 * at(&alone, 99), "others wait longer");
    }
    assert!(node.becomes_idle(0, usize::MAX, TIMEOUT), "{:?}", node.held());
}

#[test]
fn clients_over_a_limit_get_503_immediately() {
    let _serial = serial();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small"), content(4096)).unwrap();
    let node = Node::chainview(folder.path(), &["--max-connections", "100"]);
    let address = node.address();
    // A client that was served continues, regardless of the new ones.
    let mut kept = TcpStream::connect(address).unwrap();
    let again = |kept: &mut TcpStream| {
        kept.write_all(request("small", "").as_bytes()).unwrap();
        let mut reply = [0; 12];
        kept.read_exact(&mut reply).unwrap();
        String::from_utf8_lossy(&reply).into_owned()
    };
    assert_eq!(again(&mut kept), "HTTP/1.1 200");
    // Half of the connections may be without a complete head.
    let silent: Vec<TcpStream> = (0..50).map(|number| connect_from(number, address)).collect();
    let began = Instant::now();
    let mut refused: Vec<TcpStream> = (0..250).map(|number| connect_from(1000 + number, address)).collect();
    for stream in &mut refused {
        let _ = stream.write_all(request("small", "").as_bytes());
        let reply = read_text(stream);
        assert_eq!(status(&reply), 503, "{reply}");
        assert!(reply.contains("\r\nRetry-After: 1\r\n"), "{reply}");
    }
    let elapsed = began.elapsed();
    println!("{} clients were rejected within {elapsed:?}", refused.len());
    assert!(elapsed < Duration::from_secs(4), "the silent ones have timed out");
    let mut rest = vec![0; 4096];
    while kept.read(&mut rest).unwrap() == rest.len() {}
    assert_eq!(again(&mut kept), "HTTP/1.1 200");
    drop(silent);
    assert!(node.becomes_idle(1, usize::MAX, TIMEOUT), "{:?}", node.held());
    assert!(fetch(address, "small") == content(4096));
}

#[test]
fn exhausted_descriptors_give_503_at_low_cpu_cost() {
    let _serial = serial();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small"), content(4096)).unwrap();
    fs::write(folder.path().join("large"), content(8 << 20)).unwrap();
    let origin = Node::chainview(folder.path(), &[]);
    let relay = Node::with_descriptors(64, folder.path(), &["--limit", "2M"]);
    let address = relay.address();
    let lines = format!("Chain-Route: {}\r\nConnection: close\r\n", origin.address());
    let fetching = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(request("large", &lines).as_bytes()).unwrap();
        read_bytes(&mut stream)
    });
    // The two sockets of the transfer, then all that is left.
    let began = Instant::now();
    while relay.held().0 < 2 {
        assert!(began.elapsed() < TIMEOUT, "the transfer does not begin");
        thread::sleep(Duration::from_millis(1));
    }
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", relay.pid().as_raw_nonzero())).unwrap().count();
    let mut silent = Vec::new();
    // One is reserved for sending the `503`.
    while descriptors() < 64 && silent.len() < 64 {
        silent.push(connect_from(silent.len(), address));
        thread::sleep(Duration::from_millis(1));
    }
    let (full, before) = (Instant::now(), used(&relay));
    let mut rejected = 0;
    while full.elapsed() < Duration::from_secs(2) {
        // As many as it rejects in one pause.
        let mut clients: Vec<TcpStream> = (0..16).map(|number| connect_from(1000 + number, address)).collect();
        for client in &mut clients {
            let _ = client.write_all(request("small", "Connection: close\r\n").as_bytes());
        }
        for client in &mut clients {
            let reply = read_text(client);
            assert_eq!(status(&reply), 503, "{reply}");
            rejected += 1;
        }
    }
    let (share, spent) = (used(&relay).saturating_sub(before), full.elapsed());
    println!("{rejected} clients were rejected in {spent:?}, for {share:?} of CPU time; {} silent ones", silent.len());
    assert!(rejected > 0 && share * 10 < spent, "{share:?} of {spent:?}");
    drop(silent);
    let freed = Instant::now();
    while freed.elapsed() < Duration::from_secs(1) {
        let mut client = connect_from(1, address);
        client.write_all(request("small", "Connection: close\r\n").as_bytes()).unwrap();
        if status(&read_text(&mut client)) == 200 {
            break;
        }
    }
    println!("serves again after {:?}", freed.elapsed());
    assert!(freed.elapsed() < Duration::from_secs(1), "it does not recover");
    let (reply, large) = (fetching.join().unwrap(), content(8 << 20));
    assert!(reply.ends_with(&large), "the transfer failed: {} bytes arrived", reply.len());
    assert!(relay.stderr().matches("cannot accept").count() == 1, "{}", relay.stderr());
    assert!(relay.becomes_idle(0, usize::MAX, TIMEOUT), "{:?}", relay.held());
}
