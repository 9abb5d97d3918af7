//! A chain that serves a tree of files through a forwarder that counts bytes and can break off, and clients of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use tempfile::TempDir;

use crate::support::content;
use crate::support::process::{Node, chainview};

/// Two relays and an origin; the client reaches the first relay through a forwarder.
pub(crate) struct Scene {
    pub(crate) served: TempDir,
    pub(crate) folder: TempDir,
    pub(crate) forwarder: Forwarder,
    nodes: Vec<Node>,
}

/// Passes connections on, and counts the bytes that it returns.
pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    returned: Arc<AtomicU64>,
    left: Arc<AtomicU64>,
}

/// How a client ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) json: serde_json::Value,
    pub(crate) err: String,
}

impl Scene {
    /// Serves `files` files of 3,000 to 3,100 bytes in `tree/`, in three folders.
    pub(crate) fn new(files: usize) -> Self {
        let served = tempfile::tempdir().unwrap();
        for number in 0..files {
            let path = served.path().join(format!("tree/{}/f{number:04}", ["a", "a/deep", "b"][number % 3]));
            write(&path, &content(3000 + number % 100));
        }
        let nodes: Vec<Node> = (0..3).map(|_| Node::chainview(served.path(), &[])).collect();
        let forwarder = Forwarder::start(nodes[0].address());
        let scene = Self { served, folder: tempfile::tempdir().unwrap(), forwarder, nodes };
        scene.input("tree/");
        scene
    }

    /// Writes the input file with this name to fetch.
    pub(crate) fn input(&self, name: &str) {
        let hops = [self.forwarder.address, self.nodes[1].address(), self.nodes[2].address()];
        let hops: Vec<String> = hops.iter().map(ToString::to_string).collect();
        fs::write(self.folder.path().join("input.txt"), format!("{name}\n{}\n", hops.join("\n"))).unwrap();
    }

    /// A client in the scene's folder, which writes to `out/`.
    pub(crate) fn client(&self, options: &str) -> Command {
        client(self.folder.path(), options)
    }

    /// Fetches, with the JSON document.
    pub(crate) fn fetch(&self, options: &str) -> Ended {
        Ended::of(&self.client(&format!("--json {options}")).output().unwrap())
    }

    /// Fetches; returns the bytes that came back from the first relay, too.
    pub(crate) fn counted(&self, options: &str) -> (Ended, u64) {
        let before = self.forwarder.returned.load(SeqCst);
        let ended = self.fetch(options);
        (ended, self.forwarder.returned.load(SeqCst) - before)
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out/tree")
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.served.path().join("tree")
    }

    /// Checks that the output is what is served, modification times included.
    pub(crate) fn assert_same(&self) {
        assert!(files(&self.out()) == files(&self.tree()), "the trees differ");
    }
}

impl Forwarder {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (returned, left) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let counters = (Arc::clone(&returned), Arc::clone(&left));
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(node) = TcpStream::connect(to) else { continue };
                let (from_client, to_node) = (client.try_clone().unwrap(), node.try_clone().unwrap());
                thread::spawn(move || copy(from_client, to_node, |_| true));
                let (returned, left) = (Arc::clone(&counters.0), Arc::clone(&counters.1));
                thread::spawn(move || {
                    copy(node, client, |bytes| {
                        returned.fetch_add(bytes, SeqCst);
                        // The last bytes before the break are passed on, and the next connections are whole.
                        let before = left.fetch_update(SeqCst, SeqCst, |left| {
                            Some(if left == u64::MAX { left } else { left.checked_sub(bytes).unwrap_or(u64::MAX) })
                        });
                        before.is_ok_and(|before| before == u64::MAX || before >= bytes)
                    });
                });
            }
        });
        Self { address, returned, left }
    }

    /// Breaks the connection that returns the last of these bytes, once.
    pub(crate) fn break_after(&self, bytes: u64) {
        self.left.store(bytes, SeqCst);
    }
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        let out = String::from_utf8(output.stdout.clone()).unwrap();
        let err = String::from_utf8(output.stderr.clone()).unwrap();
        let json = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{err}"));
        Self { code: output.status.code().unwrap(), json, err }
    }

    /// A count of the folder: `fetched`, `present`, `failed`, `planned`, `total`, `left_out`, `bytes`.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.json["transfers"][0]["folder"][name].as_u64().unwrap_or_else(|| panic!("{name}: {}", self.json))
    }

    /// The files with this outcome.
    pub(crate) fn files(&self, outcome: &str) -> Vec<&str> {
        let files = self.json["transfers"][0]["folder"]["files"].as_array().unwrap().iter();
        files.filter(|file| file["outcome"] == outcome).map(|file| file["path"].as_str().unwrap()).collect()
    }
}

/// A client in this folder, which writes to `out/` unless the options say otherwise.
pub(crate) fn client(folder: &Path, options: &str) -> Command {
    let mut command = chainview();
    command.arg("--fetch").args(options.split_whitespace()).current_dir(folder);
    if !options.contains("-o ") {
        command.args(["-o", "out/"]);
    }
    command
}

pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The files below a folder, with their content and times; folders have none.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Option<(Vec<u8>, i64)>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(folder).unwrap().to_owned();
            if path.is_dir() {
                found.insert(relative, None);
                open.push(path);
            } else {
                let time = fs::metadata(&path).unwrap().mtime();
                found.insert(relative, Some((fs::read(&path).unwrap(), time)));
            }
        }
    }
    found
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(u64) -> bool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let whole = passes(read as u64);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        if !whole {
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
