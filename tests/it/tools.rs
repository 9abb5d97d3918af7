//! Common HTTP clients through a chain of three nodes: each gets the right bytes and its options work.

use crate::support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use support::process::Node;
use tempfile::TempDir;

/// Longest run of one tool: a hundred times what the slowest needs on an idle machine.
const MAX_RUN: &str = "60";
/// Size of the large file: some seconds at the rate limit of a chain that is interrupted in the middle.
const LARGE: usize = 12 << 20;

/// Two relays and an origin, and an output folder for the tools.
struct Scene {
    nodes: Vec<Node>,
    content: Vec<u8>,
    root: TempDir,
    out: TempDir,
}

impl Scene {
    fn new(size: usize, limit: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let content = support::content(size);
        fs::write(root.path().join("f.bin"), &content).unwrap();
        let nodes = vec![
            Node::chainview(root.path(), &[]),
            Node::chainview(root.path(), &[]),
            Node::chainview(root.path(), limit),
        ];
        Self { nodes, content, root, out: tempfile::tempdir().unwrap() }
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/files/{name}", self.nodes[0].address())
    }

    fn route(&self) -> String {
        format!("Chain-Route: {}, {}", self.nodes[1].address(), self.nodes[2].address())
    }

    /// Runs a tool in the output folder; `None`, with a message, if it is not installed.
    fn run(&self, tool: &str, args: &[&str]) -> Option<Output> {
        if !is_installed(tool) {
            return None;
        }
        let output = command(tool, args, self.out.path()).output().unwrap();
        Some(output)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    fn is_whole(&self, name: &str) {
        assert!(fs::read(self.path(name)).unwrap() == self.content, "{name} has other bytes");
    }
}

fn is_installed(tool: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", tool]).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED: {tool} is not installed");
    }
    found
}

/// A tool with a deadline, so that one that hangs fails its test.
fn command(tool: &str, args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args([MAX_RUN, tool]).args(args).current_dir(folder);
    // Proxies and settings of the user who runs the tests are not under test.
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.env("HOME", folder);
    command
}

fn succeeded(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
}

#[test]
fn curl_fetches_twenty_in_parallel() {
    let scene = Scene::new(300_000, &[]);
    let (url, route) = (scene.url("f.bin"), scene.route());
    let names: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
    let mut args = vec!["-sSfZ", "--parallel-max", "20", "-H", &route];
    for name in &names {
        args.extend(["-o", name, &url]);
    }
    let Some(output) = scene.run("curl", &args) else { return };
    succeeded(&output);
    for name in &names {
        scene.is_whole(name);
    }
}

#[test]
fn curl_tunnels_to_a_node_and_to_a_listed_server_and_to_no_other() {
    let scene = Scene::new(2_000_000, &[]);
    // A server that is no node: it closes the connection behind its answer, whose length it does not announce.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let listed = server.local_addr().unwrap();
    let content = scene.content.clone();
    thread::spawn(move || {
        for mut stream in server.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(&[&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &content].concat()).unwrap();
        }
    });
    let relay = Node::chainview(scene.root.path(), &["--allow-connect", &listed.to_string()]);
    let (first, proxy) = (format!("http://{}", scene.nodes[0].address()), format!("http://{}", relay.address()));
    let route = format!("Chain-Route: {}, {listed}", relay.address());
    let (of_node, of_server) =
        (format!("http://{}/files/f.bin", scene.nodes[2].address()), format!("http://{listed}/x"));
    for (name, args) in [
        ("of-node", ["-x", &first, "--proxy-header", "X: y", &of_node]),
        ("of-server", ["-x", &proxy, "--proxy-header", "X: y", &of_server]),
        ("of-route", ["-x", &first, "--proxy-header", &route, &of_server]),
    ] {
        let args = [&["-sSf", "--proxytunnel", "-o", name][..], &args].concat();
        let Some(output) = scene.run("curl", &args) else { return };
        succeeded(&output);
        scene.is_whole(name);
    }
    let Some(output) = scene.run("curl", &["-sS", "-p", "-x", &first, &of_server]) else { return };
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("502"), "{error}");
}

#[test]
fn curl_resumes_partial_files_and_skips_complete_ones() {
    let scene = Scene::new(2_000_000, &[]);
    fs::write(scene.path("f"), &scene.content[..700_000]).unwrap();
    let (url, route) = (scene.url("f.bin"), scene.route());
    for expected in ["206", "416"] {
        let args = ["-sS", "-C", "-", "-H", &route, "-o", "f", "-w", "%{http_code}", &url];
        let Some(output) = scene.run("curl", &args) else { return };
        succeeded(&output);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        scene.is_whole("f");
    }
}

#[test]
fn curl_fetches_only_changed_files() {
    let scene = Scene::new(500_000, &[]);
    // A date validates a file only once it is some seconds old.
    let old = Command::new("touch").args(["-d", "2020-02-03"]).arg(scene.root.path().join("f.bin")).status().unwrap();
    assert!(old.success());
    let (url, route) = (scene.url("f.bin"), scene.route());
    let moved = |args: &[&str]| {
        let common = ["-sS", "-H", &route, "-o", "f", "-w", "%{http_code} %{size_download}", &url];
        let output = scene.run("curl", &[args, &common].concat())?;
        succeeded(&output);
        Some(String::from_utf8(output.stdout).unwrap())
    };
    let Some(first) = moved(&["--etag-save", "e", "-R"]) else { return };
    assert_eq!(first, "200 500000");
    assert_eq!(moved(&["--etag-compare", "e"]).unwrap(), "304 0");
    assert_eq!(moved(&["-z", "f"]).unwrap(), "304 0");
    scene.is_whole("f");
    fs::write(scene.root.path().join("f.bin"), b"another file").unwrap();
    assert_eq!(moved(&["--etag-compare", "e"]).unwrap(), "200 12");
    assert_eq!(fs::read(scene.path("f")).unwrap(), b"another file");
}

#[test]
fn curl_survives_a_relay_restart() {
    let mut scene = Scene::new(LARGE, &["--limit", "4M"]);
    if !is_installed("curl") {
        return;
    }
    let (url, route) = (scene.url("f.bin"), scene.route());
    let retry = ["--retry", "20", "--retry-all-errors", "--retry-delay", "1", "-C", "-"];
    let args = [&["-sS", "-H", &route, "-o", "f"][..], &retry, &[&url]].concat();
    let mut client = command("curl", &args, scene.out.path()).spawn().unwrap();
    let (end, part) = (Instant::now() + Duration::from_secs(20), scene.path("f"));
    while fs::metadata(&part).map_or(0, |found| found.len()) < 2 << 20 {
        assert!(Instant::now() < end, "the file does not arrive");
        thread::sleep(Duration::from_millis(10));
    }
    let address = scene.nodes[1].address();
    kill_process(scene.nodes[1].pid(), Signal::KILL).unwrap();
    drop(scene.nodes.remove(1));
    scene.nodes.insert(1, Node::chainview_at(address, scene.root.path(), &[]));
    assert!(client.wait().unwrap().success());
    scene.is_whole("f");
}

#[test]
fn wget_resumes_and_skips_current_files() {
    let scene = Scene::new(2_000_000, &[]);
    let old = Command::new("touch").args(["-d", "2020-02-03"]).arg(scene.root.path().join("f.bin")).status().unwrap();
    assert!(old.success());
    fs::write(scene.path("f.bin"), &scene.content[..700_000]).unwrap();
    let (url, header) = (scene.url("f.bin"), format!("--header={}", scene.route()));
    let Some(output) = scene.run("wget", &["-c", &header, &url]) else { return };
    succeeded(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("206 Partial Content"));
    scene.is_whole("f.bin");
    let output = scene.run("wget", &["-N", &header, &url]).unwrap();
    succeeded(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("304 Not Modified"));
}

#[test]
fn aria2_fetches_sixteen_ranges_and_verifies_the_digest() {
    let scene = Scene::new(LARGE, &[]);
    let sum = Command::new("sha256sum").arg(scene.root.path().join("f.bin")).output().unwrap();
    let sum = format!("--checksum=sha-256={}", String::from_utf8_lossy(&sum.stdout[..64]));
    let (url, header) = (scene.url("f.bin"), format!("--header={}", scene.route()));
    let parts = ["-x16", "-s16", "-k1M", "--file-allocation=none", "--console-log-level=warn"];
    let Some(output) = scene.run("aria2c", &[&parts[..], &[&sum, &header, "-o", "f", &url]].concat()) else { return };
    succeeded(&output);
    scene.is_whole("f");
}

#[test]
fn python_reuses_a_connection_after_an_error_and_pipelines() {
    const PROGRAM: &str = r#"
import hashlib, http.client, socket, sys
host, port, route = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sums = []
client = http.client.HTTPConnection(host, port, timeout=30)
good = ("/files/f.bin", 200)
for path, status in [good, ("/files/%zz", 400), good, ("/files/none", 404), good]:
    client.request("GET", path, headers={"Chain-Route": route})
    reply = client.getresponse()
    body = reply.read()
    assert reply.status == status, (path, reply.status)
    if status == 200:
        sums.append(hashlib.sha256(body).hexdigest())
with socket.create_connection((host, port), 30) as stream:
    request = "GET /files/f.bin HTTP/1.1\r\nHost: %s:%d\r\nChain-Route: %s\r\n" % (host, port, route)
    stream.sendall(((request + "\r\n") * 4 + request + "Connection: close\r\n\r\n").encode())
    with stream.makefile("rb") as replies:
        for _ in range(5):
            assert replies.readline().startswith(b"HTTP/1.1 200 ")
            fields = {}
            while (line := replies.readline()) != b"\r\n":
                name, _, value = line.decode().partition(":")
                fields[name.lower()] = value.strip()
            sums.append(hashlib.sha256(replies.read(int(fields["content-length"]))).hexdigest())
        assert replies.read() == b""
assert len(sums) == 8 and len(set(sums)) == 1, sums
print(sums[0])
"#;
    let scene = Scene::new(200_000, &[]);
    let (address, route) = (scene.nodes[0].address(), scene.route());
    let route = route.strip_prefix("Chain-Route: ").unwrap();
    let port = address.port().to_string();
    let args = ["-c", PROGRAM, &address.ip().to_string(), &port, route];
    let Some(output) = scene.run("python3", &args) else { return };
    succeeded(&output);
    let sum = Command::new("sha256sum").arg(scene.root.path().join("f.bin")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), String::from_utf8_lossy(&sum.stdout[..64]));
}
