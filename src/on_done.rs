//! The user's command that runs when a transfer ends (`--on-done`), with what happened in variables.
//!
//! It runs without a shell, in a process group of its own that is killed after the time limit, with no standard input.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, sink};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use crate::error::{Error, OK, plain, shown};
use crate::options::DoneCommand;
use crate::snapshot::verdict::Verdict;
use crate::snapshot::{Integrity, Level, TransferSnapshot};
use crate::text::SafeText;
use crate::units::HumanDuration;

/// Time limit of a command, for a message or the start of something else; the program waits this long at its end.
pub const LIMIT: Duration = Duration::from_mins(1);
/// Most commands that run at once; further ones wait.
const MAX_RUNNING: usize = 4;
/// Most output kept of a command, in bytes; the rest is read and dropped, so that the command does not block.
const MAX_OUTPUT: u64 = 16 * 1024;
/// Most lines of output that are logged.
const MAX_LINES: usize = 40;
/// Time for the last output after a command has ended; a background process of it may hold the pipe open.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// The command, with its limits; clones share them.
#[derive(Clone, Debug)]
pub struct OnDone {
    command: Arc<DoneCommand>,
    limit: Duration,
    slots: Arc<Semaphore>,
    groups: Arc<Mutex<HashSet<Pid>>>,
}

/// What happened in a transfer.
#[derive(Clone, Debug)]
pub struct DoneReport {
    /// The requested file, as it is.
    pub file: OsString,
    /// The path of the complete file.
    pub path: Option<PathBuf>,
    /// Why it failed; `None` where it did not.
    pub error: Option<Error>,
    /// Its last snapshot.
    pub snapshot: TransferSnapshot,
    /// What limited it.
    pub verdict: Option<Verdict>,
}

impl OnDone {
    /// Returns a command with a time limit.
    pub fn new(command: DoneCommand, limit: Duration) -> Self {
        let slots = Arc::new(Semaphore::new(MAX_RUNNING));
        Self { command: Arc::new(command), limit, slots, groups: Arc::default() }
    }

    /// Runs the command and returns lines for the log: its output, and how it failed. Dropping the future kills it.
    pub async fn run(&self, report: &DoneReport) -> Vec<(Level, String)> {
        let Ok(_slot) = self.slots.acquire().await else { return Vec::new() };
        let mut output = Vec::new();
        let failure = match self.start(report) {
            Ok((child, group, pipe)) => self.finish(child, group, pipe, &mut output).await,
            Err(error) => Some(format!("cannot start {}: {}", shown(&self.command.program), plain(&error))),
        };
        let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(MAX_LINES);
        let mut lines: Vec<_> =
            lines.map(|line| (Level::Info, format!("on-done: {}", SafeText::from_bytes(line)))).collect();
        lines.extend(failure.map(|why| (Level::Warn, format!("on-done: {why}"))));
        lines
    }

    /// Kills the running commands and starts no more.
    pub fn close(&self) {
        self.slots.close();
        self.lock().drain().for_each(kill);
    }

    fn start(&self, report: &DoneReport) -> io::Result<(Child, ProcessGroup, Receiver)> {
        let (reader, writer) = io::pipe()?;
        let reader = Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let mut command = Command::new(&self.command.program);
        command.args(&self.command.args).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        command.process_group(0).envs(variables(report));
        let child = command.spawn()?;
        // It has not been waited for, so that its id cannot belong to another process.
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = ProcessGroup { id, groups: Arc::clone(&self.groups) };
        self.lock().extend(id);
        if self.slots.is_closed() {
            // `close` may have run since the slot was taken.
            self.close();
        }
        Ok((child, group, reader))
    }

    /// Waits for the command, and kills it after the time limit. Returns how it failed.
    async fn finish(
        &self,
        mut child: Child,
        group: ProcessGroup,
        mut pipe: Receiver,
        output: &mut Vec<u8>,
    ) -> Option<String> {
        let reading = async {
            let _ = (&mut pipe).take(MAX_OUTPUT).read_to_end(output).await;
            let _ = tokio::io::copy(&mut pipe, &mut sink()).await;
        };
        tokio::pin!(reading);
        let mut read = false;
        let deadline = tokio::time::sleep(self.limit);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                status = child.wait() => {
                    group.disarm();
                    if !read {
                        let _ = tokio::time::timeout(LAST_OUTPUT, reading).await;
                    }
                    return failure(status);
                }
                () = &mut reading, if !read => read = true,
                () = &mut deadline => break,
            }
        }
        drop(group);
        let _ = child.wait().await;
        Some(format!("killed after {}", HumanDuration(self.limit)))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Pid>> {
        lock(&self.groups)
    }
}

/// Process group of a running command, killed on drop.
struct ProcessGroup {
    id: Option<Pid>,
    groups: Arc<Mutex<HashSet<Pid>>>,
}

impl ProcessGroup {
    /// Leaves the group alone: its command has ended.
    fn disarm(mut self) {
        if let Some(id) = self.id.take() {
            lock(&self.groups).remove(&id);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && lock(&self.groups).remove(&id)
        {
            kill(id);
        }
    }
}

fn kill(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

fn lock(groups: &Mutex<HashSet<Pid>>) -> MutexGuard<'_, HashSet<Pid>> {
    groups.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure(status: io::Result<ExitStatus>) -> Option<String> {
    match status {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("ended with {status}")),
        Err(error) => Some(format!("cannot wait for it: {}", plain(&error))),
    }
}

/// Returns the variables of the command. All are set, so that a script under `set -u` can read each.
fn variables(report: &DoneReport) -> Vec<(&'static str, OsString)> {
    let (snapshot, error) = (&report.snapshot, report.error.as_ref());
    let status = match error {
        None => "done",
        Some(Error::Interrupted { .. }) => "cancelled",
        Some(_) => "failed",
    };
    let path = report.path.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let digest = match &snapshot.integrity {
        Integrity::Verified { digest } | Integrity::SizeChecked { digest, .. } => digest.as_str(),
        Integrity::Pending => "",
    };
    let hop = error.and_then(Error::hop).map(|hop| hop.to_string()).unwrap_or_default();
    let files = snapshot.folder.as_ref().map(|folder| (folder.done + folder.present, folder.failed));
    let count = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
    vec![
        ("CHAINVIEW_DONE_STATUS", status.into()),
        ("CHAINVIEW_DONE_FILE", report.file.clone()),
        ("CHAINVIEW_DONE_PATH", path.unwrap_or_default().into()),
        ("CHAINVIEW_DONE_BYTES", snapshot.received.to_string().into()),
        ("CHAINVIEW_DONE_SECONDS", format!("{:.3}", snapshot.elapsed.as_secs_f64()).into()),
        ("CHAINVIEW_DONE_FILES", count(files.map(|(here, _)| here)).into()),
        ("CHAINVIEW_DONE_FAILED", count(files.map(|(_, failed)| failed)).into()),
        ("CHAINVIEW_DONE_DIGEST", digest.into()),
        ("CHAINVIEW_DONE_VERDICT", report.verdict.map(|verdict| verdict.to_string()).unwrap_or_default().into()),
        ("CHAINVIEW_DONE_HOP", hop.into()),
        ("CHAINVIEW_DONE_ERROR", error.map(ToString::to_string).unwrap_or_default().into()),
        ("CHAINVIEW_DONE_EXIT_CODE", error.map_or(OK, Error::exit_code).to_string().into()),
    ]
}
