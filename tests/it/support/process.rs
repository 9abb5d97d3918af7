//! Child processes: nodes and clients of chainview, and of the legacy program if it is available.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chainview::snapshot::NodeSnapshot;
use rustix::process::{Pid, Signal, kill_process};

use super::{Outcome, Pace, TIMEOUT};

/// A running node; it is killed when this is dropped.
pub(crate) struct Node {
    child: Child,
    address: SocketAddr,
    /// The inode of its listener.
    listener: String,
    stderr: Arc<Mutex<String>>,
}

/// The chainview binary: the one just built, or the one that `CHAINVIEW_BIN` names.
pub(crate) fn chainview() -> Command {
    let binary = std::env::var_os("CHAINVIEW_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_chainview").into());
    let mut command = Command::new(binary);
    // A developer's own settings must not leak into the tests.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHAINVIEW_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// The chainview binary with system calls that fail, such as `pwrite64:error=EIO:when=20+`; `None`, with a message, if
/// strace is missing or may not trace.
pub(crate) fn failing(inject: &str) -> Option<Command> {
    // The tracer is a grandchild, so that the child is the program itself.
    let traced = |program: &std::ffi::OsStr| {
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={inject}")]).arg(program);
        command.stdin(Stdio::null()).env("XDG_CONFIG_HOME", "/nonexistent");
        command
    };
    let works = traced("true".as_ref()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: disk errors are injected with strace, which is missing or may not trace");
        return None;
    }
    Some(traced(chainview().get_program()))
}

/// The folder of the legacy program, if `CHAINVIEW_LEGACY_DIR` names one.
pub(crate) fn legacy_dir() -> Option<PathBuf> {
    std::env::var_os("CHAINVIEW_LEGACY_DIR").map(PathBuf::from)
}

impl Node {
    /// Starts a chainview node on a free loopback port.
    pub(crate) fn chainview(root: &Path, more: &[&str]) -> Self {
        Self::start(chainview(), root, more)
    }

    /// Starts a node of a user without privileges: `program` is a copy of the binary that this user can read. Without
    /// root, it is a node of the current user.
    pub(crate) fn unprivileged(program: &Path, root: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("XDG_CONFIG_HOME", "/nonexistent").stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            // The user nobody, as on every Linux.
            command.uid(65534).gid(65534);
        }
        Self::start(command, root, more)
    }

    /// Starts such a node, which gets no further thread after its first line.
    pub(crate) fn without_threads(program: &Path, root: &Path) -> Self {
        let node = Self::unprivileged(program, root, &[]);
        // As the same user, whose own limits these are: not every root may set those of others.
        let mut limit = Command::new("prlimit");
        limit.arg("--pid").arg(node.child.id().to_string()).arg("--nproc=1");
        if rustix::process::geteuid().is_root() {
            limit.uid(65534).gid(65534);
        }
        assert!(limit.status().is_ok_and(|status| status.success()), "prlimit of util-linux is needed");
        node
    }

    /// Starts a chainview node with this limit on descriptors.
    pub(crate) fn with_descriptors(most: usize, root: &Path, more: &[&str]) -> Self {
        let bare = chainview();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\"")]).arg(bare.get_program());
        command.env("XDG_CONFIG_HOME", "/nonexistent").stdin(Stdio::null());
        Self::start(command, root, more)
    }

    /// Starts a chainview node whose system calls fail as in `failing`; `None` if that is not possible.
    pub(crate) fn failing(inject: &str, root: &Path, more: &[&str]) -> Option<Self> {
        failing(inject).map(|command| Self::start(command, root, more))
    }

    /// Starts a chainview node at this address.
    pub(crate) fn chainview_at(address: SocketAddr, root: &Path, more: &[&str]) -> Self {
        Self::start_at(&address.to_string(), chainview(), root, more)
    }

    /// Starts a node with this command.
    pub(crate) fn start(command: Command, root: &Path, more: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", command, root, more)
    }

    fn start_at(address: &str, mut command: Command, root: &Path, more: &[&str]) -> Self {
        command.args(["--node", address, "--root"]).arg(root).args(more);
        let mut child = piped(&mut command).spawn().expect("the chainview binary starts");
        let lines = lines_of(child.stdout.take().unwrap());
        let stderr = text_of(child.stderr.take().unwrap());
        let Ok(first) = lines.recv_timeout(TIMEOUT) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("chainview --node printed no first line; stderr: {}", stderr.lock().unwrap());
        };
        let address = first.strip_prefix("listening ").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("the first line is {first:?}, not \"listening HOST:PORT\""));
        let (listener, _) = listeners(child.id()).pop().expect("it listens");
        Self { child, address, listener, stderr }
    }

    /// Starts a node of the legacy program on a free loopback port, which is read from the kernel.
    pub(crate) fn legacy(program: &Path, root: &Path) -> Self {
        let mut command = Command::new("python3");
        command.arg("-u").arg(program.join("server.py")).current_dir(root).stdin(Stdio::piped());
        let mut child = piped(&mut command).spawn().expect("python3 starts");
        child.stdin.take().unwrap().write_all(b"127.0.0.1\n0\n").unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let stderr = text_of(child.stderr.take().unwrap());
        let first = lines.recv_timeout(TIMEOUT).expect("a first line of the legacy program");
        assert!(first.ends_with("Socket established"), "{first}");
        let (listener, port) = listeners(child.id()).pop().expect("the legacy program listens");
        Self { child, address: ([127, 0, 0, 1], port).into(), listener, stderr }
    }

    /// The address of its listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process ID.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Its open TCP sockets without the listener, and its threads, as the kernel counts them.
    pub(crate) fn held(&self) -> (usize, usize) {
        let sockets = network_sockets(self.child.id()).iter().filter(|inode| **inode != self.listener).count();
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).map_or(0, Iterator::count);
        (sockets, threads)
    }

    /// Waits until it holds no more than this; polls, because the kernel sends no event for that.
    pub(crate) fn becomes_idle(&self, sockets: usize, threads: usize, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        loop {
            let held = self.held();
            if held.0 <= sockets && held.1 <= threads {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it reports about itself; the connection of the report is one of those that it counts.
    pub(crate) fn snapshot(&self) -> NodeSnapshot {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(b"GET /v1/node HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        serde_json::from_str(reply.split_once("\r\n\r\n").expect("a head").1).unwrap()
    }

    /// Its connections to the next hop that it keeps for the next request.
    pub(crate) fn idle_upstream(&self) -> usize {
        self.snapshot().upstream.idle as usize
    }
}

/// Waits until these nodes hold nothing for any client: only the idle connections between them, each at both ends.
pub(crate) fn release_clients(nodes: &[&Node], timeout: Duration) -> bool {
    let held = || nodes.iter().map(|node| node.held().0).sum::<usize>();
    let end = Instant::now() + timeout;
    while held() > 0 {
        if Instant::now() > end {
            return false;
        }
        let idle: usize = nodes.iter().map(|node| node.idle_upstream()).sum();
        // The reports were connections, too; and one that ends meanwhile may become idle.
        let reports_end = Instant::now() + REPORTS_CLOSE;
        while Instant::now() < reports_end {
            if held() <= 2 * idle {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    true
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fetches with chainview, by the input file, into this folder.
pub(crate) fn fetch_chainview(input: &Path, folder: &Path, pace: Pace, more: &[&str]) -> Outcome {
    let mut command = chainview();
    command.arg("--fetch").arg(input).arg("-o").arg(folder).args(more);
    let mut child = piped(&mut command).spawn().expect("the chainview binary starts");
    drop(child.stdout.take());
    let lines = lines_of(child.stderr.take().unwrap());
    let mut last = String::new();
    match run(&mut child, &lines, pace, |line| {
        line.clone_into(&mut last);
        true
    }) {
        None => Outcome::Stuck,
        Some(status) if status.success() => Outcome::Done,
        Some(status) => Outcome::Failed(status.code().unwrap_or(-1), last),
    }
}

/// Fetches with the legacy client.
pub(crate) fn fetch_legacy(program: &Path, input: &Path, folder: &Path, pace: Pace) -> Outcome {
    let mut command = Command::new("python3");
    command.arg("-u").arg(program.join("client.py")).current_dir(folder).stdin(Stdio::piped());
    let mut child = piped(&mut command).spawn().expect("python3 starts");
    writeln!(child.stdin.take().unwrap(), "{}", input.display()).unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let stderr = text_of(child.stderr.take().unwrap());
    let (mut received, mut spins, mut not_there) = (0, false, false);
    let status = run(&mut child, &lines, pace, |line| {
        let line = line.trim_start_matches("Enter input filename: ");
        not_there |= line == "File not present";
        let count = line.split_once(" received").and_then(|(count, _)| count.parse::<u64>().ok());
        received += count.unwrap_or(0);
        spins |= count == Some(0);
        !spins
    });
    match status {
        _ if spins => Outcome::Spins(received),
        None => Outcome::Stuck,
        Some(status) if status.success() && not_there => Outcome::NotThere,
        Some(status) if status.success() => Outcome::Done,
        Some(status) => {
            let text = stderr.lock().unwrap().clone();
            match text.trim_end().rsplit('\n').next().unwrap_or_default() {
                last if last.starts_with("ConnectionResetError") => Outcome::Reset(received),
                last if last.starts_with("BrokenPipeError") => Outcome::Reset(received),
                last => match last.strip_prefix("ValueError: invalid literal for int() with base 10: ") {
                    Some(text) => Outcome::NotASize(text.trim_matches(['\'', '"']).to_owned()),
                    None => Outcome::Failed(status.code().unwrap_or(-1), last.to_owned()),
                },
            }
        }
    }
}

/// Waits for a client to end while each line it prints is checked; kills it if a check fails, or at the timeout.
///
/// A slow client is one that is stopped most of the time: that works for every program without its cooperation.
fn run(
    child: &mut Child,
    lines: &mpsc::Receiver<String>,
    pace: Pace,
    mut check: impl FnMut(&str) -> bool,
) -> Option<ExitStatus> {
    let pid = Pid::from_child(child);
    let end = Instant::now() + TIMEOUT;
    let mut stopped = false;
    let mut next_step = if pace == Pace::Slow { Instant::now() + SLOW_RUN } else { end };
    loop {
        match lines.recv_timeout(next_step.min(end).saturating_duration_since(Instant::now())) {
            Ok(line) if check(&line) => {}
            // The last holder of the pipe has closed it: the process is ending.
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if pace == Pace::Slow && Instant::now() < end => {}
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
        if pace == Pace::Slow && Instant::now() >= next_step {
            stopped = !stopped;
            let _ = kill_process(pid, if stopped { Signal::STOP } else { Signal::CONT });
            next_step = Instant::now() + if stopped { SLOW_STOP } else { SLOW_RUN };
        }
    }
    let _ = kill_process(pid, Signal::CONT);
    child.wait().ok()
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// The lines of a stream as they arrive; the stream is read to its end even without a receiver.
fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    });
    receiver
}

/// The text of a stream so far.
fn text_of(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&text);
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let mut text = all.lock().unwrap();
            text.push_str(&String::from_utf8_lossy(&line));
            text.push('\n');
        }
    });
    text
}

/// The inodes of a process's network sockets. The tables of TCP sockets are not needed for these: they hold the closed
/// connections of all tests, and a reset socket is in none.
fn network_sockets(pid: u32) -> HashSet<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut inodes: HashSet<String> = links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    // A node keeps a netlink socket to look up the owners of its connections in the kernel.
    for (name, column) in [("unix", 6), ("netlink", 9)] {
        for row in table(name).lines() {
            if let Some(inode) = row.split_ascii_whitespace().nth(column) {
                inodes.remove(inode);
            }
        }
    }
    inodes
}

/// The inodes of a process's listeners, and their ports.
fn listeners(pid: u32) -> Vec<(String, u16)> {
    let inodes = network_sockets(pid);
    let mut listeners = Vec::new();
    for row in table("tcp").lines().chain(table("tcp6").lines()) {
        let words: Vec<&str> = row.split_ascii_whitespace().collect();
        if words.len() > 9 && words[3] == "0A" && inodes.contains(words[9]) {
            let port = words[1].rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
            listeners.push((words[9].to_owned(), port.expect("a port")));
        }
    }
    listeners
}

/// A table of the kernel's sockets.
fn table(name: &str) -> String {
    fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default()
}

/// Time within which nodes close the connections of reports, even on a busy machine.
const REPORTS_CLOSE: Duration = Duration::from_millis(500);
/// How long a slow client runs,
const SLOW_RUN: Duration = Duration::from_millis(3);
/// and how long it is then stopped.
const SLOW_STOP: Duration = Duration::from_millis(6);
