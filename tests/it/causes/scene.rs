//! The chain into which a cause is injected: real nodes, a real client, and its JSON document.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::cause::{Cause, HOPS, runs};
use super::{foreign, reader};

/// The file: longer than any trial, and sparse.
const SIZE: u64 = 2 << 30;
/// Maximum time from an interrupt to the end of a client.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A process that is killed when this is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::CONT);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two network namespaces and a slow link between them: the hops from `from` on are in the second.
pub(crate) struct Narrow {
    from: usize,
    near: String,
    far: String,
}

/// Addresses of the namespaces of one test process are isolated, so every pair may have the same.
const NEAR: &str = "10.77.0.1";
const FAR: &str = "10.77.0.2";

impl Narrow {
    /// Creates the link from this hop down, with this capacity; `None` if that is not possible here.
    pub(crate) fn new(from: usize, mbit: u64) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("cv{}x{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let narrow = Self { from, near: format!("{name}n"), far: format!("{name}f") };
        let (near, far) = (&narrow.near, &narrow.far);
        let made = [
            format!("ip netns add {near}"),
            format!("ip netns add {far}"),
            format!("ip -n {near} link add v0 type veth peer name v1 netns {far}"),
            format!("ip -n {near} addr add {NEAR}/24 dev v0"),
            format!("ip -n {far} addr add {FAR}/24 dev v1"),
            format!("ip -n {near} link set v0 up"),
            format!("ip -n {far} link set v1 up"),
            format!("ip -n {near} link set lo up"),
            format!("ip -n {far} link set lo up"),
            format!("ip netns exec {far} tc qdisc add dev v1 root tbf rate {mbit}mbit burst 32kb latency 50ms"),
        ];
        made.iter().all(|line| runs(line)).then_some(narrow)
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        runs(&format!("ip netns del {}", self.near));
        runs(&format!("ip netns del {}", self.far));
    }
}

/// Stops and continues a process periodically.
struct Starving {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Starving {
    fn start(pid: Pid, stopped_ms: u64, of_ms: u64) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let _ = kill_process(pid, Signal::STOP);
                thread::sleep(Duration::from_millis(stopped_ms));
                let _ = kill_process(pid, Signal::CONT);
                thread::sleep(Duration::from_millis(of_ms - stopped_ms));
            }
        });
        Self { done, thread: Some(thread) }
    }
}

impl Drop for Starving {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A chain into which a cause is injected.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    /// The address of each hop, hop 1 first.
    pub(crate) addresses: Vec<String>,
    nodes: Vec<Process>,
    narrow: Option<Narrow>,
    encrypted: bool,
}

/// The token with which a scene's client and dashboard read its nodes, and the name of its file.
pub(crate) const TOKEN: &str = "a-token-of-this-test-alone";
pub(crate) const TOKEN_FILE: &str = "token";

impl Scene {
    fn new(cause: &Cause) -> Self {
        let encrypted = matches!(cause, Cause::Encrypted(_));
        let (foreign, cause) = cause.parts();
        let folder = tempfile::tempdir().unwrap();
        let token = token_file(folder.path());
        fs::create_dir_all(token.parent().unwrap()).unwrap();
        fs::write(&token, format!("{TOKEN}\n")).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        fs::File::create(folder.path().join("f")).unwrap().set_len(SIZE).unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        let key = encrypted.then(|| new_key(folder.path()));
        let narrow = match cause {
            Cause::Link { from, mbit } => Some(Narrow::new(*from, *mbit).expect("it could be made before")),
            _ => None,
        };
        let mut lines = vec!["f".to_owned()];
        let (mut nodes, mut addresses) = (Vec::new(), Vec::new());
        for hop in 1..=HOPS {
            let (node, address) = if foreign == Some(hop) {
                {
                    let (space, ip) = address_of(narrow.as_ref(), hop);
                    foreign::start(space, ip, folder.path())
                }
            } else {
                node(cause, (hop, key.is_some()), narrow.as_ref(), folder.path())
            };
            let how = if foreign == Some(hop) {
                "protocol=legacy".to_owned()
            } else {
                match &key {
                    Some(key) if hop == HOPS => format!("key={key} token-file={TOKEN_FILE}"),
                    // No token is sent in clear text on such a route.
                    Some(_) => "protocol=http".to_owned(),
                    None => format!("protocol=http token-file={TOKEN_FILE}"),
                }
            };
            lines.push(format!("{address} {how}"));
            nodes.push(node);
            addresses.push(address);
        }
        fs::write(folder.path().join("input.txt"), lines.join("\n")).unwrap();
        Self { folder, addresses, nodes, narrow, encrypted }
    }

    pub(crate) fn input(&self) -> PathBuf {
        self.folder.path().join("input.txt")
    }
}

/// Injects a cause into a chain, and returns the verdict after this time, in its JSON form.
pub(crate) fn verdict_on(cause: &Cause, within: Duration) -> serde_json::Value {
    let scene = Scene::new(cause);
    match cause {
        Cause::Reader { .. } | Cause::Nothing { watched: true } => reader::verdict_on(&scene, cause, within),
        _ => fetched(&scene, cause.parts().1, within),
    }
}

/// Fetches through the chain; returns the verdict of the client's document.
fn fetched(scene: &Scene, cause: &Cause, within: Duration) -> serde_json::Value {
    let Scene { folder, nodes, narrow, .. } = scene;
    let wrapped = match cause {
        Cause::ClientDisk { slower_us } => slow_call("pwrite64", &format!("pwrite64:delay_enter={slower_us}")),
        _ => Vec::new(),
    };
    let mut command = chainview(narrow.as_ref().map(|narrow| narrow.near.as_str()), &wrapped);
    command.env("XDG_CONFIG_HOME", folder.path());
    command.arg(scene.input()).args(["--no-verify", "--json", "--output"]).arg(folder.path().join("out"));
    // Relays without a token are read by the id of the transfer alone, unless they are on this machine.
    command.arg(if scene.encrypted && narrow.is_some() { "--fetch" } else { "--no-spawn" });
    let mut client = Process(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut document = client.0.stdout.take().unwrap();
    let starving = match cause {
        Cause::Starved { stage, stopped_ms, of_ms } => {
            let process = if *stage == 0 { &client } else { &nodes[stage - 1] };
            Some(Starving::start(Pid::from_child(&process.0), *stopped_ms, *of_ms))
        }
        _ => None,
    };
    // The cause counts from the first byte: on a loaded machine a client starts slowly.
    let arriving = || fs::read_dir(folder.path().join("out")).is_ok_and(|mut files| files.next().is_some());
    let end = Instant::now() + TIMEOUT;
    while Instant::now() < end && !arriving() && client.0.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(20));
    }
    // A client of a chain without a cause may finish earlier.
    let end = Instant::now() + within;
    while Instant::now() < end && client.0.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(20));
    }
    drop(starving);
    let _ = kill_process(Pid::from_child(&client.0), Signal::INT);
    let reading = thread::spawn(move || {
        let mut text = String::new();
        document.read_to_string(&mut text).map(|_| text)
    });
    let end = Instant::now() + TIMEOUT;
    while !reading.is_finished() && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    drop(client);
    let text = reading.join().unwrap().unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no document: {text}"));
    let transfer = &report["transfers"][0];
    if transfer["verdict"].is_null() {
        println!("no verdict: {transfer}");
    }
    transfer["verdict"].clone()
}

/// Writes the token of a scene: its client's configuration folder is in the scene's own.
fn token_file(folder: &Path) -> PathBuf {
    folder.join("chainview").join(TOKEN_FILE)
}

/// The file of the origin's key.
const KEY_FILE: &str = "origin-key";

/// Creates the key of the origin; returns its fingerprint.
fn new_key(folder: &Path) -> String {
    let made = chainview(None, &[]).arg("--new-key").arg(folder.join(KEY_FILE)).output().unwrap();
    String::from_utf8(made.stdout).unwrap().trim_end().to_owned()
}

/// The network namespace of a hop, if there are any, and the address on which it listens.
fn address_of(narrow: Option<&Narrow>, hop: usize) -> (Option<&str>, &'static str) {
    match narrow {
        None => (None, "127.0.0.1"),
        Some(narrow) if hop >= narrow.from => (Some(&narrow.far), FAR),
        Some(narrow) => (Some(&narrow.near), NEAR),
    }
}

/// Starts a node of the chain; returns its address too.
fn node(cause: &Cause, (hop, encrypted): (usize, bool), narrow: Option<&Narrow>, folder: &Path) -> (Process, String) {
    let wrapped = match cause {
        Cause::OriginDisk { slower_us } if hop == HOPS => {
            // The page cache is empty, and reads from the disk are slow.
            let mut words = slow_call("preadv2,pread64", "preadv2:error=EAGAIN");
            words.extend(["-e".to_owned(), format!("inject=pread64:delay_enter={slower_us}")]);
            words
        }
        _ => Vec::new(),
    };
    let (space, ip) = address_of(narrow, hop);
    let mut command = chainview(space, &wrapped);
    command.args(["--node", &format!("{ip}:0"), "--root"]).arg(folder);
    if encrypted && hop == HOPS {
        command.arg("--identity").arg(folder.join(KEY_FILE));
    }
    if !encrypted || hop == HOPS {
        command.arg("--read-token-file").arg(token_file(folder));
    }
    if narrow.is_some() {
        command.args(["--allow-next", "10.77.0.0/24"]);
    }
    if let Cause::RateLimit { hop: limited, rate } = cause
        && *limited == hop
    {
        command.arg("--limit").arg(rate.to_string());
    }
    let mut node = Process(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut first = String::new();
    BufReader::new(node.0.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    let address = first.strip_prefix("listening ").unwrap_or_else(|| panic!("hop {hop} printed {first:?}"));
    (node, address.trim_end().to_owned())
}

/// The command prefix that makes one system call of a program slow; the program stays the direct child.
fn slow_call(traced: &str, how: &str) -> Vec<String> {
    let words = ["strace", "-D", "-f", "-q", "--seccomp-bpf", "-o", "/dev/null", "-e"];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.extend([format!("trace={traced}"), "-e".to_owned(), format!("inject={how}")]);
    words
}

/// The program, in a network namespace and after a command prefix if there is one.
fn chainview(space: Option<&str>, wrapped: &[String]) -> Command {
    let binary = std::env::var("CHAINVIEW_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_chainview").to_owned());
    command(space, wrapped, &binary)
}

/// The same for any program.
pub(crate) fn command(space: Option<&str>, wrapped: &[String], program: &str) -> Command {
    let mut words: Vec<String> = Vec::new();
    if let Some(space) = space {
        words.extend(["ip", "netns", "exec", space].map(str::to_owned));
    }
    words.extend_from_slice(wrapped);
    words.push(program.to_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("XDG_CONFIG_HOME", "/nonexistent").stdin(Stdio::null());
    // A developer's own settings must not leak into the tests.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHAINVIEW_")) {
        command.env_remove(name);
    }
    command
}
