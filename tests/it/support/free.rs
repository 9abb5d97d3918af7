//! A chain of nodes that do not run yet: free ports, a file to fetch, an input file, an output folder.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// The chain, as files in a folder of its own.
pub(crate) struct Chain {
    pub(crate) folder: TempDir,
    pub(crate) ports: Vec<u16>,
    pub(crate) content: Vec<u8>,
}

impl Chain {
    /// This many hops, and a file `data.bin` of this size; `other.bin` is another one.
    pub(crate) fn new(hops: usize, size: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut content = vec![0; size];
        blake3::Hasher::new().update(b"terminal").finalize_xof().fill(&mut content);
        std::fs::create_dir(folder.path().join("out")).unwrap();
        std::fs::write(folder.path().join("data.bin"), &content).unwrap();
        std::fs::write(folder.path().join("other.bin"), &content[..size / 2]).unwrap();
        let ports: Vec<u16> = (0..hops).map(|_| free_port()).collect();
        let mut input = "data.bin\n".to_owned();
        for port in &ports {
            writeln!(input, "127.0.0.1 {port}").unwrap();
        }
        std::fs::write(folder.path().join("input.txt"), input).unwrap();
        Self { folder, ports, content }
    }

    /// A file in the output folder.
    pub(crate) fn fetched(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    /// The address of a hop, from 1.
    pub(crate) fn address(&self, hop: usize) -> String {
        format!("127.0.0.1:{}", self.ports[hop - 1])
    }
}

/// Processes that outlive the program that started them, but not the test.
pub(crate) struct Survivors(pub(crate) Vec<Pid>);

impl Survivors {
    /// Whether all of them run.
    pub(crate) fn all_run(&self) -> bool {
        self.0.iter().all(|pid| test_kill_process(*pid).is_ok())
    }
}

impl Drop for Survivors {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::KILL);
        }
    }
}

/// A port below those that the system assigns to connections, so that none of them takes it before its node does.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Connections that the kernel counts as open to a port of this machine.
pub(crate) fn established(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let rows = table.lines().map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|words| words.len() > 3 && words[1].ends_with(&local) && words[3] == "01").count()
}
