//! One child process: started, heard, and stopped.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::line::ChildLine;
use super::spawning::{ReadToken, Spawning};
use super::vacant::{beyond, vacant};
use crate::allow_list::AllowList;
use crate::net::os::deadline::within;
use crate::route::{Hop, Host, HostPort};
use crate::secret::CHAIN_TOKEN;
use crate::text::SafeText;

/// How long a node may take to say that it listens.
const START: Duration = Duration::from_secs(5);
/// How long a node may take to leave after SIGTERM.
const LEAVE: Duration = Duration::from_secs(2);
/// What a node that ends with its standard input reads there to live on instead.
pub const STAY: &[u8] = b"stay\n";
/// Longest line read from a node; the rest of a longer one is skipped.
const LONGEST: usize = 1024;

/// What a child is started with.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    /// Its hop, from 1.
    pub(super) hop: usize,
    /// Where the route says it is.
    pub(super) address: HostPort,
    /// Where the route goes on.
    pub(super) next: Option<Hop>,
    /// What all have in common.
    pub(super) spawning: Arc<Spawning>,
}

/// A node that was started; it is killed when this is dropped, unless it was let go.
#[derive(Debug)]
pub(super) struct ChildNode {
    child: Child,
    /// Its end tells the node to leave, even if this program is killed.
    stdin: Option<ChildStdin>,
    readers: JoinSet<()>,
    let_go: bool,
}

impl Spec {
    /// Starts the node and waits until it says that it listens; `None` where it is not ours to start: somebody listens
    /// there already, or it is no place on this machine.
    pub(super) async fn start(&self, lines: mpsc::Sender<ChildLine>) -> Result<Option<ChildNode>, String> {
        let Some(listen) = vacant(&self.address).await else { return Ok(None) };
        let mut command = self.command(listen, beyond(self.next.as_ref().map(|next| &next.address)).await);
        let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut running = ChildNode { child, stdin, readers: JoinSet::new(), let_go: false };
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err("cannot be heard: its output is not a pipe".to_owned());
        };
        let hop = self.hop;
        running.readers.spawn(each_line(BufReader::new(stderr), move |line| {
            // A full queue drops the line: the node must not wait for whoever reads its log.
            let _ = lines.try_send(ChildLine::read(hop, &line));
        }));
        let mut stdout = BufReader::new(stdout);
        match within(START, first_line(&mut stdout)).await {
            Err(_) => return Err(format!("did not say within {} s that it listens", START.as_secs())),
            Ok(line) if line == format!("listening {listen}\n").as_bytes() => {}
            Ok(line) if line.is_empty() => {
                let ended = timeout(LEAVE, running.child.wait()).await;
                return Err(ended.map_or_else(|_| "closed its output".to_owned(), |status| words(status.ok())));
            }
            Ok(line) => {
                let line = SafeText::from_bytes(line.trim_ascii_end());
                return Err(format!("said \"{line}\" instead of that it listens"));
            }
        }
        // What else it prints is of no interest, but a full pipe would stop it.
        running.readers.spawn(each_line(stdout, |_| {}));
        Ok(Some(running))
    }

    fn command(&self, listen: SocketAddr, next: Vec<SocketAddr>) -> Command {
        let spawning = &self.spawning;
        let mut command = Command::new(&spawning.program);
        command.arg("--node").arg(listen.to_string()).arg("--root").arg(&spawning.root);
        command.arg("--until-stdin-closes");
        // Whoever holds the token of a node of its own may do what it likes with it.
        command.arg("--allow-faults");
        let faults = spawning.faults.get(self.hop - 1).copied().unwrap_or_default();
        if let Some(limit) = faults.limit {
            command.arg("--limit").arg(limit.to_string());
        }
        if faults.delay_ms > 0 {
            command.arg("--delay").arg(format!("{}ms", faults.delay_ms));
        }
        for fault in faults.disruptive() {
            command.arg("--fault").arg(fault.to_string());
        }
        if let Host::Name(name) = &self.address.host {
            command.arg("--host-name").arg(name);
        }
        let base = self.next.as_ref().and_then(|next| next.base.as_deref());
        let next = AllowList::of_hop(next, base);
        let lists: Vec<String> = spawning
            .allow_next
            .iter()
            .chain([&next])
            .filter(|list| !list.is_empty())
            .map(AllowList::to_string)
            .collect();
        if !lists.is_empty() {
            command.arg("--allow-next").arg(lists.join(","));
        }
        command.args(&spawning.flags);
        // What the environment says to this program is not meant for its nodes.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("CHAINVIEW_")) {
            command.env_remove(key);
        }
        let variable = match spawning.read {
            ReadToken::Configured(_) => "CHAINVIEW_READ_TOKEN",
            ReadToken::Made(_) => CHAIN_TOKEN,
        };
        command.env(variable, spawning.read.secret().reveal());
        command.env("CHAINVIEW_CONTROL_TOKEN", spawning.control.reveal());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // With that flag the node takes a session of its own: Ctrl-C in the terminal, and its end, are for this program
        // alone, which then stops its nodes in order.
        command
    }
}

impl ChildNode {
    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Waits for the node to end by itself; the answer says how. Cancel safe.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        self.child.wait().await.ok()
    }

    /// Asks the node to let its transfers finish and then leave.
    pub(super) fn ask_to_leave(&self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The process is a child that was not waited for, so its number cannot mean another one.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Tells the node to leave at once, and makes it.
    pub(super) async fn stop(mut self) {
        drop(self.stdin.take());
        self.ask_to_leave();
        if timeout(LEAVE, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Ends the node now.
    pub(super) async fn kill(mut self) {
        let _ = self.child.kill().await;
    }

    /// Lets the node live on after us. Its log goes nowhere from then on.
    pub(super) async fn let_go(mut self) {
        // It stays in the pipe until the node reads it, also when we are gone by then. A node that does not take five
        // bytes is not one that could be relied on to live.
        if let Some(stdin) = &mut self.stdin
            && matches!(timeout(LEAVE, stdin.write_all(STAY)).await, Ok(Ok(())))
        {
            self.let_go = true;
        }
    }
}

impl Drop for ChildNode {
    fn drop(&mut self) {
        if !self.let_go {
            // One that has ended already is told nothing.
            let _ = self.child.start_kill();
        }
    }
}

/// How a node ended, for people.
pub(super) fn words(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "ended".to_owned(), |status| format!("ended with {status}"))
}

/// The first line, newline included; what there is of it where it is too long or the stream ends.
async fn first_line<R: AsyncBufRead + Unpin>(reader: &mut R) -> Vec<u8> {
    let mut line = Vec::new();
    let _ = reader.take(LONGEST as u64).read_until(b'\n', &mut line).await;
    line
}

/// Hands every line over, made safe, until the stream ends.
async fn each_line<R: AsyncRead + Unpin>(mut reader: BufReader<R>, mut say: impl FnMut(SafeText)) {
    let mut line = Vec::new();
    loop {
        let chunk = match reader.fill_buf().await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            _ => break,
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        line.extend_from_slice(&part[..part.len().min(LONGEST - line.len())]);
        let used = end.map_or(chunk.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            say(SafeText::from_bytes(&line));
            line.clear();
        }
    }
    if !line.is_empty() {
        say(SafeText::from_bytes(&line));
    }
}
