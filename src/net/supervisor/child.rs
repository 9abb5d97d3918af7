//! A child process: started, its output read, and stopped.

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

use super::duty_cycle::{DutyCycle, DutyState};
use super::line::ChildLine;
use super::spawning::{ReadToken, Spawning};
use super::vacant::{beyond, vacant};
use crate::allow_list::AllowList;
use crate::net::os::deadline::within;
use crate::route::{Hop, Host, HostPort};
use crate::secret::CHAIN_TOKEN;
use crate::text::SafeText;

/// Timeout of a node's start, until it prints its address.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a node's exit after SIGTERM.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Line on standard input that makes a node outlive the end of its standard input.
pub const STAY: &[u8] = b"stay\n";
/// Maximum length of a line read from a node; the rest of a longer one is skipped.
const MAX_LINE: usize = 1024;

/// Start parameters of one child.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    /// Its hop, from 1.
    pub(super) hop: usize,
    /// Its address in the route.
    pub(super) address: HostPort,
    /// The next hop.
    pub(super) next: Option<Hop>,
    /// Parameters shared by all nodes.
    pub(super) spawning: Arc<Spawning>,
}

/// A running node; killed when dropped, unless detached.
#[derive(Debug)]
pub(super) struct ChildNode {
    child: Child,
    /// Closing it makes the node exit, even if this program is killed.
    stdin: Option<ChildStdin>,
    readers: JoinSet<()>,
    detached: bool,
    duty: DutyState,
}

impl Spec {
    /// Starts the node and waits until it prints its address; `None` if another process listens there already, or if
    /// the address is not on this machine.
    pub(super) async fn start(&self, lines: mpsc::Sender<ChildLine>) -> Result<Option<ChildNode>, String> {
        let Some(listen) = vacant(&self.address).await else { return Ok(None) };
        let mut command = self.command(listen, beyond(self.next.as_ref().map(|next| &next.address)).await);
        let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut running =
            ChildNode { child, stdin, readers: JoinSet::new(), detached: false, duty: DutyState::default() };
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err("its output cannot be read: it is not a pipe".to_owned());
        };
        let hop = self.hop;
        running.readers.spawn(each_line(BufReader::new(stderr), move |line| {
            // A full queue drops the line: the node must not wait for the reader of its log.
            let _ = lines.try_send(ChildLine::read(hop, &line));
        }));
        let mut stdout = BufReader::new(stdout);
        match within(START_TIMEOUT, first_line(&mut stdout)).await {
            Err(_) => return Err(format!("did not listen within {} s", START_TIMEOUT.as_secs())),
            Ok(line) if line == format!("listening {listen}\n").as_bytes() => {}
            Ok(line) if line.is_empty() => {
                let exited = timeout(EXIT_TIMEOUT, running.child.wait()).await;
                return Err(exited.map_or_else(|_| "closed its output".to_owned(), |status| exit_text(status.ok())));
            }
            Ok(line) => {
                let line = SafeText::from_bytes(line.trim_ascii_end());
                return Err(format!("printed \"{line}\" instead of its address"));
            }
        }
        // The rest of its output is discarded; a full pipe would block it.
        running.readers.spawn(each_line(stdout, |_| {}));
        Ok(Some(running))
    }

    fn command(&self, listen: SocketAddr, next: Vec<SocketAddr>) -> Command {
        let spawning = &self.spawning;
        let mut command = Command::new(&spawning.program);
        command.arg("--node").arg(listen.to_string()).arg("--root").arg(&spawning.root);
        command.arg("--until-stdin-closes");
        // The owner of these nodes may inject faults into them.
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
        // The environment variables of this program are not meant for its nodes.
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
        // With this flag the node starts a session of its own: Ctrl-C and hangup of the terminal reach only this
        // program, which then stops its nodes gracefully.
        command
    }
}

impl ChildNode {
    /// Process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Waits for the node to exit by itself, and meanwhile stops and continues its process as its duty cycle says;
    /// returns its status. Cancel safe.
    pub(super) async fn exited(&mut self) -> Option<ExitStatus> {
        loop {
            tokio::select! {
                status = self.child.wait() => return status.ok(),
                signal = self.duty.next_signal() => self.signal(signal),
            }
        }
    }

    /// Lets the process run only for a part of the time, or all of it.
    pub(super) fn set_duty_cycle(&mut self, cycle: Option<DutyCycle>) {
        if let Some(signal) = self.duty.set(cycle) {
            self.signal(signal);
        }
    }

    /// Sends SIGTERM: the node drains, then exits.
    pub(super) fn terminate(&mut self) {
        // A stopped process would take it only when it continues.
        self.set_duty_cycle(None);
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The child was not waited for, so its process id cannot have been reused.
            let _ = kill_process(pid, signal);
        }
    }

    /// Stops the node: end of input and SIGTERM, then SIGKILL.
    pub(super) async fn stop(mut self) {
        drop(self.stdin.take());
        self.terminate();
        if timeout(EXIT_TIMEOUT, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills the node.
    pub(super) async fn kill(mut self) {
        let _ = self.child.kill().await;
    }

    /// Detaches the node, which then outlives this program. Its log is lost from then on.
    pub(super) async fn detach(mut self) {
        self.set_duty_cycle(None);
        // The line stays in the pipe until the node reads it, even after this program has exited. A node that cannot
        // take five bytes is not worth keeping.
        if let Some(stdin) = &mut self.stdin
            && matches!(timeout(EXIT_TIMEOUT, stdin.write_all(STAY)).await, Ok(Ok(())))
        {
            self.detached = true;
        }
    }
}

impl Drop for ChildNode {
    fn drop(&mut self) {
        if !self.detached {
            // Fails if it has exited already.
            let _ = self.child.start_kill();
        }
    }
}

/// Describes an exit status.
pub(super) fn exit_text(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "ended".to_owned(), |status| format!("ended with {status}"))
}

/// Reads the first line, newline included; a prefix if it is too long or the stream ends.
async fn first_line<R: AsyncBufRead + Unpin>(reader: &mut R) -> Vec<u8> {
    let mut line = Vec::new();
    let _ = reader.take(MAX_LINE as u64).read_until(b'\n', &mut line).await;
    line
}

/// Passes every line, sanitized, to `on_line` until the stream ends.
async fn each_line<R: AsyncRead + Unpin>(mut reader: BufReader<R>, mut on_line: impl FnMut(SafeText)) {
    let mut line = Vec::new();
    loop {
        let chunk = match reader.fill_buf().await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            _ => break,
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        line.extend_from_slice(&part[..part.len().min(MAX_LINE - line.len())]);
        let consumed = end.map_or(chunk.len(), |end| end + 1);
        reader.consume(consumed);
        if end.is_some() {
            on_line(SafeText::from_bytes(&line));
            line.clear();
        }
    }
    if !line.is_empty() {
        on_line(SafeText::from_bytes(&line));
    }
}
