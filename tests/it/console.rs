//! The program as shells, service managers and log collectors see it: signals, logs that are not read, the environment.

mod audit;
mod clients;
mod environment;
mod logs;
mod signals;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far longer than any step of these tests takes, even on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the program in a folder of its own, without the tester's environment.
fn chainview(folder: &Path) -> Command {
    in_folder(Command::new(env!("CARGO_BIN_EXE_chainview")), folder)
}

/// The same, started by a shell that runs `before` first.
fn by_shell(folder: &Path, before: &str) -> Command {
    let mut command = in_folder(Command::new("/bin/sh"), folder);
    command.args(["-c", &format!("{before}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_chainview")]);
    command
}

fn in_folder(mut command: Command, folder: &Path) -> Command {
    command.env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin").current_dir(folder).stdin(Stdio::null());
    command
}

/// A process that is killed when this is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end, with a timeout.
    fn ends(&mut self, what: &str) -> ExitStatus {
        let mut status = None;
        until(what, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// The signals that it ignores, as the kernel reports them.
    fn ignores(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
        u64::from_str_radix(mask, 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node and its address.
struct Node {
    running: Running,
    address: String,
}

impl Node {
    /// Starts one; the command is the program with any wrapper.
    fn start(mut command: Command, line: &str) -> Self {
        command.arg("--node").args(line.split_whitespace()).stdout(Stdio::piped());
        let mut running = Running::start(&mut command);
        let mut first = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim_end().strip_prefix("listening ").expect("an address in the first line").to_owned();
        Self { running, address }
    }

    /// Sends bytes and reads the reply to its end.
    fn send_request(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    fn is_healthy(&self) -> bool {
        self.send_request(&format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", self.address))
            .starts_with("HTTP/1.1 200")
    }
}

/// The value of a counter in a page of metrics.
fn counter(metrics: &str, name: &str) -> u64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

/// Polls for a condition that sends no event.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < end, "not within {TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A full pipe: writers block until it is read.
fn full_pipe() -> (OwnedFd, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while (&writer).write(&[b'\n'; 4096]).is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader.into(), writer.into())
}

/// A folder with a file, and an input that names it at these hops.
fn folder(size: usize, hops: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("data.bin"), vec![7; size]).unwrap();
    input(folder.path(), hops);
    folder
}

fn input(folder: &Path, hops: &[&str]) {
    std::fs::write(folder.join("input.txt"), format!("data.bin\n{}\n", hops.join("\n"))).unwrap();
}
