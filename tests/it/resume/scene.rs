//! A chain of node processes that can be killed, stopped and restarted, and a client process that is watched.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::support::process::{Node, chainview};
use super::support::{TIMEOUT, content};

/// The name of the file that is fetched.
pub(crate) const NAME: &str = "data.bin";

/// Whether the long versions are selected.
pub(crate) fn is_full() -> bool {
    std::env::var_os("CHAINVIEW_FAULTS").is_some_and(|value| value == "full")
}

/// A chain, what it serves, and where its clients write.
pub(crate) struct Scene {
    pub(crate) content: Vec<u8>,
    pub(crate) served: TempDir,
    folder: TempDir,
    nodes: Vec<Option<Node>>,
    addresses: Vec<SocketAddr>,
    flags: Vec<String>,
    origin_flags: Vec<String>,
}

/// A running client.
pub(crate) struct Client {
    child: Child,
    stderr: JoinHandle<String>,
    stdout: JoinHandle<String>,
    lines: Arc<std::sync::Mutex<String>>,
}

/// How a client ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
    /// Its one transfer, as in its JSON document; null if it was killed.
    pub(crate) transfer: serde_json::Value,
}

/// Checks the final name as long as the client runs: only the complete file may ever be there.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<String>>,
}

impl Scene {
    /// Starts this many nodes with a file of this size; the origin sends at this rate.
    pub(crate) fn new(hops: usize, size: usize, rate: &str, flags: &[&str]) -> Self {
        let served = tempfile::tempdir().unwrap();
        let content = content(size);
        fs::write(served.path().join(NAME), &content).unwrap();
        // A file that has not changed recently has a cached digest.
        let old = std::time::SystemTime::now() - Duration::from_hours(1);
        fs::File::options().write(true).open(served.path().join(NAME)).unwrap().set_modified(old).unwrap();
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let origin_flags = [flags.clone(), vec!["--limit".to_owned(), rate.to_owned()]].concat();
        let mut scene = Self {
            content,
            served,
            folder: tempfile::tempdir().unwrap(),
            nodes: (0..hops).map(|_| None).collect(),
            addresses: vec![([127, 0, 0, 1], 0).into(); hops],
            flags,
            origin_flags,
        };
        (1..=hops).for_each(|hop| scene.start(hop));
        scene
    }

    /// Starts a hop's node, at the address it had before.
    pub(crate) fn start(&mut self, hop: usize) {
        let flags = if hop == self.nodes.len() { &self.origin_flags } else { &self.flags };
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let node = Node::chainview_at(self.addresses[hop - 1], self.served.path(), &flags);
        self.addresses[hop - 1] = node.address();
        self.nodes[hop - 1] = Some(node);
    }

    /// Restarts a hop's node with further flags.
    pub(crate) fn start_with(&mut self, hop: usize, more: &[&str]) {
        self.nodes[hop - 1] = None;
        let before = (self.flags.len(), self.origin_flags.len());
        self.flags.extend(more.iter().map(ToString::to_string));
        self.origin_flags.extend(more.iter().map(ToString::to_string));
        self.start(hop);
        self.flags.truncate(before.0);
        self.origin_flags.truncate(before.1);
    }

    /// Kills a hop's node with SIGKILL, and returns once it has ended.
    pub(crate) fn kill(&mut self, hop: usize) {
        self.nodes[hop - 1] = None;
    }

    pub(crate) fn node(&self, hop: usize) -> &Node {
        self.nodes[hop - 1].as_ref().unwrap()
    }

    /// Stops or continues a hop's process.
    pub(crate) fn signal(&self, hop: usize, signal: Signal) {
        kill_process(self.node(hop).pid(), signal).unwrap();
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.folder.path().join(NAME)
    }

    pub(crate) fn part(&self) -> PathBuf {
        self.folder.path().join(format!("{NAME}.part"))
    }

    /// Every name in the client's folder.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with("input"));
        names.sort();
        names
    }

    /// Removes what was fetched.
    pub(crate) fn clear(&self) {
        self.names().iter().for_each(|name| fs::remove_file(self.folder.path().join(name)).unwrap());
    }

    pub(crate) fn fetch(&self, more: &[&str]) -> Client {
        self.fetch_over("http", more)
    }

    /// Fetches with all hops configured for this protocol, or none of them: `auto`.
    pub(crate) fn fetch_over(&self, protocol: &str, more: &[&str]) -> Client {
        let protocol = if protocol == "auto" { String::new() } else { format!(" protocol={protocol}") };
        let input = self.write_input("input.txt", &self.addresses, &protocol);
        self.spawn(&input, more)
    }

    /// Fetches over several routes, each of these hops.
    pub(crate) fn fetch_by(&self, routes: &[&[usize]], more: &[&str]) -> Client {
        let input = |(number, route): (usize, &&[usize])| {
            let addresses: Vec<_> = route.iter().map(|hop| self.addresses[hop - 1]).collect();
            self.write_input(&format!("input-{number}.txt"), &addresses, " protocol=http")
        };
        let inputs: Vec<_> = routes.iter().enumerate().map(input).collect();
        let others = inputs[1..].iter().flat_map(|input| ["--route", input.to_str().unwrap()]);
        self.spawn(&inputs[0], &others.chain(more.iter().copied()).collect::<Vec<_>>())
    }

    fn write_input(&self, name: &str, hops: &[SocketAddr], protocol: &str) -> PathBuf {
        let input = self.folder.path().join(name);
        let hops = hops.iter().map(|address| format!("{} {}{protocol}\n", address.ip(), address.port()));
        fs::write(&input, format!("{NAME}\n{}", hops.collect::<String>())).unwrap();
        input
    }

    fn spawn(&self, input: &Path, more: &[&str]) -> Client {
        let mut command = chainview();
        command.arg("--fetch").arg(input).arg("-o").arg(self.folder.path()).arg("--json").args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let lines = Arc::new(std::sync::Mutex::new(String::new()));
        let seen = Arc::clone(&lines);
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            let _ = out.read_to_string(&mut text);
            text
        });
        let stderr = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = err.read(&mut chunk) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..read]));
            }
            seen.lock().unwrap().clone()
        });
        Client { child, stderr, stdout, lines }
    }

    /// Waits until this much of the partial file is on the disk or in its cache; polls, because there is no event.
    pub(crate) fn arrives(&self, bytes: u64) {
        self.until("bytes arrive", || fs::metadata(self.part()).is_ok_and(|part| part.len() >= bytes));
    }

    pub(crate) fn until(&self, what: &str, is: impl FnMut() -> bool) {
        self.until_within(TIMEOUT, what, is);
    }

    pub(crate) fn until_within(&self, time: Duration, what: &str, mut is: impl FnMut() -> bool) {
        let end = Instant::now() + time;
        while !is() {
            assert!(Instant::now() < end, "{what}: not within {time:?}; there are {:?}", self.names());
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Checks that the file is there, complete, and nothing beside it.
    pub(crate) fn is_whole(&self) {
        assert_eq!(self.names(), [NAME]);
        assert!(fs::read(self.target()).unwrap() == self.content, "the bytes differ");
    }

    pub(crate) fn watch(&self) -> Watcher {
        let (stop, target, content) = (Arc::new(AtomicBool::new(false)), self.target(), self.content.clone());
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                match fs::read(&target) {
                    Ok(found) if found == content => return None,
                    Ok(found) => return Some(format!("{} bytes under the final name", found.len())),
                    Err(_) => thread::sleep(Duration::from_micros(200)),
                }
            }
            None
        });
        Watcher { stop, thread }
    }
}

impl Client {
    pub(crate) fn kill(self) -> Ended {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.wait()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn wait(mut self) -> Ended {
        let end = Instant::now() + 3 * TIMEOUT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("the client did not end; stderr: {}", self.stderr());
            }
            thread::sleep(Duration::from_millis(1));
        };
        let document: serde_json::Value = serde_json::from_str(&self.stdout.join().unwrap()).unwrap_or_default();
        Ended { status, stderr: self.stderr.join().unwrap(), transfer: document["transfers"][0].clone() }
    }
}

impl Watcher {
    /// Ends the watch; panics if anything but the complete file was ever seen.
    pub(crate) fn end(self) {
        self.stop.store(true, Relaxed);
        assert_eq!(self.thread.join().unwrap(), None);
    }
}

/// Pseudorandom numbers that are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from a range.
    pub(crate) fn roll(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + self.0 % (to - from)
    }
}

/// A file at the origin, with its state.
pub(crate) fn served(scene: &Scene) -> PathBuf {
    Path::new(scene.served.path()).join(NAME)
}
