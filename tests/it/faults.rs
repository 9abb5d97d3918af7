//! Faults of processes and disks: hops that are stopped or killed, disks that are full or fail. `tests/README.md` lists
//! all faults and the tests that cover them.

use crate::support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use support::process::{Node, chainview, failing, release_clients};
use support::{TIMEOUT, content};
use tempfile::TempDir;

/// How long the neighbors of a killed hop may keep sockets of its transfers.
const RELEASE: Duration = Duration::from_secs(1);

/// Two relays and an origin, each a process of its own.
struct Chain {
    nodes: Vec<Node>,
    folder: TempDir,
}

impl Chain {
    /// Starts the nodes; `more` are flags of every node, `origin` those of the last only.
    fn start(more: &[&str], origin: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = |number| {
            let own = if number == 2 { origin } else { &[] };
            Node::chainview(folder.path(), &[more, own].concat())
        };
        Self { nodes: (0..3).map(node).collect(), folder }
    }

    fn write(&self, name: &str, size: usize) {
        fs::write(self.folder.path().join(name), content(size)).unwrap();
    }

    /// Requests a file through the whole chain; returns the head, and the stream at the start of the body.
    fn begin_fetch(&self, name: &str, lines: &str) -> (String, TcpStream) {
        let mut stream = TcpStream::connect(self.nodes[0].address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let rest: Vec<String> = self.nodes[1..].iter().map(|node| node.address().to_string()).collect();
        let route = format!("Host: 127.0.0.1\r\nChain-Route: {}\r\nConnection: close", rest.join(", "));
        stream.write_all(format!("GET /files/{name} HTTP/1.1\r\n{route}\r\n{lines}\r\n").as_bytes()).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
        }
        (String::from_utf8(head).unwrap(), stream)
    }

    fn fetch(&self, name: &str) -> Vec<u8> {
        body(&mut self.begin_fetch(name, "").1)
    }

    /// Waits until every node holds nothing for any client.
    #[track_caller]
    fn releases_clients(&self, after: &str) {
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        let held = || nodes.iter().map(|node| node.held()).collect::<Vec<_>>();
        assert!(release_clients(&nodes, RELEASE), "{after}: {:?}", held());
    }

    /// Writes an input file for the whole chain.
    fn input(&self, name: &str) -> PathBuf {
        let hops = self.nodes.iter().map(|node| format!("\n{} {}", node.address().ip(), node.address().port()));
        let path = self.folder.path().join("input.txt");
        fs::write(&path, format!("{name}{}\n", hops.collect::<String>())).unwrap();
        path
    }
}

/// Reads a body until the connection ends, in any way.
fn body(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn signal(node: &Node, signal: Signal) {
    kill_process(node.pid(), signal).unwrap();
}

/// Polls for a condition that sends no event.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_stopped_hop_is_disconnected_on_both_sides() {
    let chain = Chain::start(&["--idle-timeout", "2s", "--stall-timeout", "2s"], &["--limit", "8M"]);
    // Far more than the kernel buffers for a stalled reader.
    File::create(chain.folder.path().join("f")).unwrap().set_len(256 << 20).unwrap();
    chain.write("small", 10_000);
    let (head, mut client) = chain.begin_fetch("f", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.read_exact(&mut [0; 1024]).unwrap();
    signal(&chain.nodes[1], Signal::STOP);
    let stopped = Instant::now();
    let got = body(&mut client);
    let elapsed = stopped.elapsed();
    assert!(got.len() < 256 << 20 && elapsed >= Duration::from_millis(1500) && elapsed < TIMEOUT, "{elapsed:?}");
    // Downstream by the idle timeout, upstream by the stall timeout; the stopped hop can do nothing itself.
    for node in [&chain.nodes[0], &chain.nodes[2]] {
        // Its kernel still acknowledges, so upstream the limit is that of one step of its window.
        assert!(node.becomes_idle(0, usize::MAX, 2 * TIMEOUT), "{:?}: {}", node.held(), node.stderr());
    }
    println!("the client failed after {elapsed:?}, the neighbors were idle after {:?}", stopped.elapsed());
    assert!(chain.nodes[0].stderr().contains("no data for 2s"), "{}", chain.nodes[0].stderr());
    assert!(chain.nodes[2].stderr().contains("accepted no data for"), "{}", chain.nodes[2].stderr());
    signal(&chain.nodes[1], Signal::CONT);
    assert!(chain.nodes[1].becomes_idle(0, usize::MAX, TIMEOUT), "{:?}", chain.nodes[1].held());
    assert!(chain.fetch("small") == content(10_000), "it serves again");
}

#[test]
fn a_briefly_stopped_hop_breaks_nothing() {
    let chain = Chain::start(&[], &["--limit", "6M"]);
    chain.write("f", 6 << 20);
    for hop in 0..3 {
        let (_, mut client) = chain.begin_fetch("f", "");
        client.read_exact(&mut [0; 1]).unwrap();
        signal(&chain.nodes[hop], Signal::STOP);
        thread::sleep(Duration::from_millis(300));
        signal(&chain.nodes[hop], Signal::CONT);
        assert!(body(&mut client) == content(6 << 20)[1..], "hop {}", hop + 1);
    }
}

#[test]
fn a_killed_hop_leaves_no_socket_and_a_new_one_resumes() {
    let whole = content(8 << 20);
    for hop in 0..3 {
        let mut chain = Chain::start(&[], &["--limit", "16M"]);
        chain.write("f", whole.len());
        // A file that was just written may change again with the same timestamps.
        let old = std::time::SystemTime::now() - Duration::from_hours(1);
        File::options().write(true).open(chain.folder.path().join("f")).unwrap().set_modified(old).unwrap();
        let (head, mut client) = chain.begin_fetch("f", "");
        let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("a validator").to_owned();
        let mut got = vec![0; 500_000 * (hop + 1)];
        client.read_exact(&mut got).unwrap();
        let killed = chain.nodes.remove(hop);
        let address = killed.address();
        let began = Instant::now();
        drop(killed);
        got.extend(body(&mut client));
        let elapsed = began.elapsed();
        drop(client);
        assert!(got.len() < whole.len() && got == whole[..got.len()], "hop {}", hop + 1);
        assert!(elapsed < RELEASE, "hop {}: {elapsed:?}", hop + 1);
        for node in &chain.nodes {
            assert!(node.becomes_idle(0, usize::MAX, RELEASE), "hop {}: {:?}", hop + 1, node.held());
        }
        println!("hop {} killed: the client failed after {elapsed:?}, {} bytes had arrived", hop + 1, got.len());
        chain.nodes.insert(hop, Node::chainview_at(address, chain.folder.path(), &[]));
        let (head, mut client) =
            chain.begin_fetch("f", &format!("Range: bytes={}-\r\nIf-Range: {etag}\r\n", got.len()));
        assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
        got.extend(body(&mut client));
        assert!(got == whole, "hop {}", hop + 1);
    }
}

/// Starts a client process.
fn client(input: &Path, output: &Path) -> Child {
    let mut command = chainview();
    command.arg("--fetch").arg(input).arg("-o").arg(output).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for its exit code and its stderr.
fn ended(client: Child) -> (Option<i32>, String) {
    let output = client.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_disk_that_fills_up_keeps_what_was_written() {
    let whole = content(24 << 20);
    let chain = Chain::start(&[], &["--limit", "12M"]);
    chain.write("f", whole.len());
    let input = chain.input("f");
    let out = tempfile::tempdir().unwrap();
    let running = client(&input, out.path());
    let part = out.path().join("f.part");
    let length = || fs::metadata(&part).map_or(0, |found| found.len());
    until("the body begins", || length() > 9 << 20);
    // From now on every write beyond this fails, as with an exhausted quota.
    let most = Rlimit { current: Some(12 << 20), maximum: None };
    prlimit(Some(Pid::from_child(&running)), Resource::Fsize, most).unwrap();
    let (code, message) = ended(running);
    let began = Instant::now();
    assert_eq!(code, Some(7), "{message}");
    assert!(message.contains("f.part") && !message.contains("panicked"), "{message}");
    for node in &chain.nodes {
        assert!(node.becomes_idle(0, usize::MAX, RELEASE), "{:?}", node.held());
    }
    println!("the nodes were idle {:?} after the client; {} bytes kept: {}", began.elapsed(), length(), message.trim());
    let kept = fs::read(&part).unwrap();
    assert!(kept.len() >= 9 << 20 && kept == whole[..kept.len()] && !out.path().join("f").exists());
    // The quota is lifted: the partial file counts.
    let mut again = chainview();
    let again = again.arg("--fetch").arg(&input).arg("-o").arg(out.path()).arg("--json").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report["exit_code"], 0, "{report}");
    let resumed = report["transfers"][0]["resumed_from"].as_u64().unwrap();
    println!("the next fetch resumed at {resumed}");
    // Data is synced every 7 MiB; 12 MiB were written.
    assert!(resumed >= 7 << 20, "{report}");
    assert!(fs::read(out.path().join("f")).unwrap() == whole && !part.exists());
}

/// Runs in a mount namespace of its own, so that the file system disappears with it. `$1` is the program, `$2` the
/// input file, `$3` a folder, `$4` the file to compare with.
const ON_A_SMALL_DISK: &str = r#"
mount -t tmpfs -o size=16m none "$3" && head -c 12000000 /dev/zero >"$3/other" || exit 99
"$1" --fetch "$2" -o "$3"
echo "full: $?, beside the other $(($(ls "$3" | wc -l) - 1)) files"
rm "$3/other"
"$1" --fetch "$2" -o "$3" >&2
echo "freed: $?"
cmp "$3/f" "$4" && echo "same"
"#;

#[test]
fn client_disk_errors_never_publish_a_file() {
    let whole = content(24 << 20);
    let chain = Chain::start(&[], &[]);
    chain.write("f", whole.len());
    let input = chain.input("f");
    for (inject, least) in [
        // In the middle of the file; at the first sync; at the last step.
        ("pwrite64:error=EIO:when=30+", 7 << 20),
        ("fdatasync,fsync:error=EIO", 0),
        ("renameat,renameat2:error=EIO", 14 << 20),
    ] {
        let Some(mut failing) = failing(inject) else { return };
        let out = tempfile::tempdir().unwrap();
        failing
            .args(["--force", "--fetch"])
            .arg(&input)
            .arg("-o")
            .arg(out.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (code, message) = ended(failing.spawn().unwrap());
        assert_eq!(code, Some(7), "{inject}: {message}");
        assert!(
            message.contains("input/output error") && message.contains(out.path().to_str().unwrap()),
            "{inject}: {message}"
        );
        assert!(!out.path().join("f").exists() && out.path().join("f.part").exists(), "{inject}");
        chain.releases_clients(inject);
        let mut again = chainview();
        let again = again.arg("--fetch").arg(&input).arg("-o").arg(out.path()).arg("--json").output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(report["exit_code"], 0, "{inject}: {report}");
        assert!(report["transfers"][0]["resumed_from"].as_u64().unwrap_or(0) >= least, "{inject}: {report}");
        assert!(fs::read(out.path().join("f")).unwrap() == whole, "{inject}");
    }
}

#[test]
fn origin_disk_errors_are_attributed_to_the_origin() {
    let whole = content(24 << 20);
    let mut chain = Chain::start(&[], &[]);
    chain.write("f", whole.len());
    let inject = "sendfile,pread64,preadv2:error=EIO:when=20+";
    let Some(origin) = Node::failing(inject, chain.folder.path(), &[]) else { return };
    chain.nodes[2] = origin;
    let (input, out) = (chain.input("f"), tempfile::tempdir().unwrap());
    let mut fetch = chainview();
    fetch.arg("--fetch").arg(&input).arg("-o").arg(out.path()).args(["--retries", "0"]).stderr(Stdio::piped());
    let (code, message) = ended(fetch.spawn().unwrap());
    assert_eq!(code, Some(6), "{message}");
    assert!(message.contains("hop 3") && message.contains("could not read the file"), "{message}");
    assert!(!out.path().join("f").exists(), "{message}");
}

#[test]
fn a_full_disk_is_detected_before_the_first_byte() {
    let chain = Chain::start(&[], &[]);
    chain.write("f", 8 << 20);
    let (input, disk) = (chain.input("f"), tempfile::tempdir().unwrap());
    let program = chainview().get_program().to_owned();
    let run = |unshare: &str| {
        let mut command = Command::new("unshare");
        command.args([unshare, "sh", "-c", ON_A_SMALL_DISK, "sh"]).arg(&program).arg(&input).arg(disk.path());
        command.arg(chain.folder.path().join("f")).stdin(Stdio::null()).env("XDG_CONFIG_HOME", "/nonexistent");
        command.output().ok().filter(|output| output.status.success() || !output.stdout.is_empty())
    };
    // As root, or with user namespaces.
    let Some(output) = run("-m").or_else(|| run("-rm")) else {
        eprintln!("SKIPPED: mounting a small disk needs root, or user namespaces; a quota is tested beside this");
        return;
    };
    let (message, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(message, "full: 7, beside the other 0 files\nfreed: 0\nsame\n", "{errors}");
    assert!(errors.contains("not enough disk space"), "{errors}");
    chain.releases_clients("a full disk");
}

/// Collects every function that a test or a source file defines.
fn functions(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let names =
                text.lines().filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
            found.extend(names.filter_map(|rest| rest.split('(').next()).map(str::to_owned));
        }
    }
}

#[test]
fn the_fault_table_names_existing_tests() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = Vec::new();
    for folder in ["src", "tests"] {
        functions(&here.join(folder), &mut known);
    }
    let table = fs::read_to_string(here.join("tests/README.md")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    // Between backticks there is a test, or a file or module with several.
    let named =
        rows.flat_map(|row| row.split('`').skip(1).step_by(2)).map(|name| name.rsplit([':', '…']).next().unwrap());
    let tests: Vec<&str> = named.filter(|name| name.matches('_').count() > 2 && !name.starts_with('_')).collect();
    let missing: Vec<&&str> = tests.iter().filter(|name| !known.iter().any(|known| known == **name)).collect();
    assert!(tests.len() > 30 && missing.is_empty(), "of {} these do not exist: {missing:?}", tests.len());
}
