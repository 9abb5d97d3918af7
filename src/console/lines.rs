//! Queue of lines that a thread of its own writes to a stream or file, so that nothing waits for a slow reader or disk:
//! the log, and the audit.
//!
//! `tracing-appender` has such a thread, but it neither reports dropped lines nor reopens a file, and it brings a
//! second calendar library.

mod target;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::DroppedEntry;
use crate::error;
pub(super) use target::LineTarget;
use target::Unwritten;

/// Time limit of a flush, as at the end of the program.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Delay from the first dropped line to the notice that counts them.
const NOTICE_DELAY: Duration = Duration::from_secs(1);
/// Time for which audit lines are gathered before they are written. A thread that woke up for each line would cost as
/// much as a small request does.
const GATHER_TIME: Duration = Duration::from_millis(10);
/// Capacity that an empty buffer of the queue keeps.
const KEPT_CAPACITY: usize = 256 << 10;

/// Handle to the queue of a stream or file; clones share it.
#[derive(Clone, Debug)]
pub struct Sink(Arc<QueueShared>);

/// What the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Lines of the log.
    Log,
    /// Audit lines: JSON, and more important than the log, which reports what happens to them.
    Audit,
}

#[derive(Debug)]
struct QueueShared {
    content: Content,
    queue: Mutex<LineQueue>,
    /// Signals that something was queued, or that everything was written.
    changed: Condvar,
    /// Number of lines lost since the start: over a limit, or not writable.
    lost: &'static AtomicU64,
}

#[derive(Debug, Default)]
struct LineQueue {
    text: Vec<u8>,
    /// Lines that were dropped and not yet reported.
    dropped: Dropped,
    /// Time when the first of these was dropped.
    dropped_at: Option<Instant>,
    /// The thread is writing.
    writing: bool,
    reopen: bool,
    /// A flush is waiting: dropped lines are reported immediately.
    flushing: bool,
}

/// Numbers of lines that were dropped.
#[derive(Clone, Copy, Debug, Default)]
struct Dropped {
    /// They did not fit.
    overflowed: u64,
    /// They were over a limit of lines per second.
    limited: u64,
    /// They could not be written.
    unwritten: u64,
}

impl Content {
    /// Returns the capacity of the queue in bytes: for the log a burst of a thousand lines, four times what a pipe
    /// holds; for the audit, which has a line of some 300 bytes for each request, a second of 25,000 requests.
    fn capacity(self) -> usize {
        match self {
            Self::Log => 256 << 10,
            Self::Audit => 8 << 20,
        }
    }

    /// Returns the permissions of a new file, of which the umask takes some away. Audit lines contain ids of transfers,
    /// with which their records can be read.
    fn mode(self) -> u32 {
        match self {
            Self::Log => 0o666,
            Self::Audit => 0o600,
        }
    }

    /// Returns what stands in place of dropped lines.
    fn notice(self, dropped: Dropped) -> Vec<u8> {
        let Dropped { overflowed, limited, unwritten } = dropped;
        match self {
            Self::Log => notice(dropped).into_bytes(),
            Self::Audit => {
                let dropped = overflowed + limited + unwritten;
                tracing::warn!(
                    "{dropped} audit lines lost: {overflowed} did not fit, {limited} over the rate limit, {unwritten} \
                     could not be written"
                );
                DroppedEntry { time: jiff::Timestamp::now(), dropped }.to_line()
            }
        }
    }

    /// Reports that a moved file could not be opened again; returns the line of it for the target.
    fn not_reopened(self, error: &io::Error) -> String {
        match self {
            Self::Log => line("ERROR", &format!("cannot reopen the log: {}", error::plain(error))),
            Self::Audit => {
                tracing::error!("cannot reopen the audit file: {}: lines go to the old one", error::plain(error));
                String::new()
            }
        }
    }

    /// Reports the first of several failed writes. That of the log has nowhere to go.
    fn not_written(self, target: &LineTarget, error: &io::Error) {
        if self == Self::Audit {
            tracing::error!(
                "{target}: cannot write audit lines: {}: they are counted until it works",
                error::plain(error)
            );
        }
    }
}

impl Sink {
    /// Starts the thread that writes to a target; lost lines are counted in `lost`.
    pub(super) fn start(content: Content, target: LineTarget, lost: &'static AtomicU64) -> io::Result<Self> {
        let shared = Arc::new(QueueShared { content, queue: Mutex::default(), changed: Condvar::new(), lost });
        let writing = Arc::clone(&shared);
        let name = match content {
            Content::Log => "log",
            Content::Audit => "audit",
        };
        thread::Builder::new().name(name.to_owned()).spawn(move || writing.write_all_to(target))?;
        Ok(Self(shared))
    }

    /// Opens a file as a target, created if it is missing.
    pub(super) fn open(content: Content, path: &Path) -> io::Result<LineTarget> {
        LineTarget::open(path, content.mode())
    }

    /// Closes the file and opens its path again, for log rotation.
    pub fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.changed.notify_all();
    }

    /// Queues a line with its newline, or drops it; never blocks.
    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.text.len() + line.len() > self.0.content.capacity() {
            queue.dropped.overflowed += 1;
            self.dropped(queue);
        } else {
            // The thread waits for the first of several lines alone, and each notification is a system call.
            let is_first = queue.text.is_empty();
            queue.text.extend_from_slice(line);
            drop(queue);
            if is_first {
                self.0.changed.notify_all();
            }
        }
    }

    /// Counts a line over a limit of lines per second.
    pub(super) fn limited(&self) {
        let mut queue = self.0.lock();
        queue.dropped.limited += 1;
        self.dropped(queue);
    }

    fn dropped(&self, mut queue: MutexGuard<'_, LineQueue>) {
        self.0.lost.fetch_add(1, Relaxed);
        if queue.dropped_at.is_none() {
            queue.dropped_at = Some(Instant::now());
            drop(queue);
            self.0.changed.notify_all();
        }
    }

    /// Waits until the queued lines are written, at most `FLUSH_TIMEOUT`: the reader may have stopped reading.
    pub(super) fn flush(&self) {
        let mut queue = self.0.lock();
        queue.flushing = true;
        self.0.changed.notify_all();
        let busy = |queue: &mut LineQueue| queue.writing || queue.has_work();
        let waited = self.0.changed.wait_timeout_while(queue, FLUSH_TIMEOUT, busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.flushing = false;
    }
}

impl LineQueue {
    fn has_work(&self) -> bool {
        !self.text.is_empty() || self.reopen || self.dropped_at.is_some()
    }

    /// Returns the time until the dropped lines are to be reported.
    fn notice_in(&self) -> Option<Duration> {
        let left = |at: Instant| NOTICE_DELAY.saturating_sub(at.elapsed());
        self.dropped_at.map(|at| if self.flushing { Duration::ZERO } else { left(at) })
    }
}

impl QueueShared {
    fn lock(&self) -> MutexGuard<'_, LineQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the thread: writes what is queued and reports dropped lines.
    fn write_all_to(&self, mut target: LineTarget) {
        let mut text = Vec::new();
        // Lines that could not be written since the last successful write.
        let mut unwritten = 0;
        loop {
            let mut queue = self.lock();
            queue.writing = false;
            self.changed.notify_all();
            let due = loop {
                let wait = queue.notice_in();
                let due = wait.is_some_and(|wait| wait.is_zero());
                if !queue.text.is_empty() || queue.reopen || due {
                    break due;
                }
                let wait = wait.unwrap_or(Duration::MAX);
                queue = self.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
            };
            if self.content == Content::Audit {
                let gathers = |queue: &mut LineQueue| !queue.flushing && !queue.reopen;
                let gathered = self.changed.wait_timeout_while(queue, GATHER_TIME, gathers);
                queue = gathered.unwrap_or_else(PoisonError::into_inner).0;
            }
            std::mem::swap(&mut queue.text, &mut text);
            let reopen = std::mem::take(&mut queue.reopen);
            let dropped = due.then(|| {
                queue.dropped_at = None;
                std::mem::take(&mut queue.dropped)
            });
            queue.writing = true;
            drop(queue);
            if reopen && let Err(error) = target.reopen(self.content.mode()) {
                text.extend_from_slice(self.content.not_reopened(&error).as_bytes());
            }
            if let Some(dropped) = dropped {
                text.extend_from_slice(&self.content.notice(dropped));
            }
            self.write(&mut target, &text, &mut unwritten);
            text.clear();
            text.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Writes lines, and reports when that begins to fail, and how many lines were lost when it works again.
    fn write(&self, target: &mut LineTarget, text: &[u8], unwritten: &mut u64) {
        match target.write(text) {
            Ok(()) if *unwritten == 0 || text.is_empty() => {}
            Ok(()) => {
                let dropped = Dropped { unwritten: std::mem::take(unwritten), ..Dropped::default() };
                // The lines above were written, so this one can be lost alone.
                let _ = target.write(&self.content.notice(dropped));
            }
            Err(Unwritten { lines, error }) => {
                if *unwritten == 0 {
                    self.content.not_written(target, &error);
                }
                *unwritten += lines;
                self.lost.fetch_add(lines, Relaxed);
            }
        }
    }
}

/// Formats the notice of dropped lines of the log.
fn notice(dropped: Dropped) -> String {
    let lines = |count: u64| format!("{count} line{} dropped", if count == 1 { "" } else { "s" });
    let mut text = String::new();
    for (count, reason) in [
        (dropped.limited, "rate limit of one call site"),
        (dropped.overflowed, "the log was not read fast enough"),
        (dropped.unwritten, "the log could not be written"),
    ] {
        if count > 0 {
            text += &line("WARN", &format!("{}: {reason}", lines(count)));
        }
    }
    text
}

/// Formats a line of the log.
fn line(level: &str, text: &str) -> String {
    format!("{:.6} {level:>5} {text}\n", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn an_unread_stream_drops_lines_without_blocking_and_reports_them() {
        static LOST: AtomicU64 = AtomicU64::new(0);
        let (reader, writer) = io::pipe().unwrap();
        let target = LineTarget::of_test(File::from(OwnedFd::from(writer)));
        let sink = Sink::start(Content::Log, target, &LOST).unwrap();
        let line = [&[b'x'; 99][..], b"\n"].concat();
        let sent = 10_000;
        for _ in 0..sent {
            sink.push(&line);
        }
        let lost = LOST.load(Relaxed);
        assert!(lost > 0 && lost < sent, "{lost} of {sent}");
        // Times out without a reader.
        sink.flush();
        let reading = thread::spawn(move || {
            let mut lines = io::BufRead::lines(io::BufReader::new(reader));
            let mut whole = 0;
            loop {
                match lines.next().unwrap().unwrap() {
                    text if text.len() == 99 => whole += 1,
                    text => return (whole, text),
                }
            }
        });
        let (whole, notice) = reading.join().unwrap();
        assert_eq!(whole + lost, sent);
        assert!(notice.contains(&format!("WARN {lost} lines dropped: the log was not read")), "{notice}");
    }

    #[test]
    fn a_moved_file_is_reopened() {
        static UNUSED: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("l.log"), folder.path().join("l.log.1"));
        let sink = Sink::start(Content::Log, Sink::open(Content::Log, &path).unwrap(), &UNUSED).unwrap();
        sink.push(b"before\n");
        sink.flush();
        std::fs::rename(&path, &moved).unwrap();
        sink.reopen();
        sink.push(b"after\n");
        sink.flush();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("before\n", "after\n"));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_reported_afterwards() {
        static LOST: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("full");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let sink = Sink::start(Content::Audit, Sink::open(Content::Audit, &path).unwrap(), &LOST).unwrap();
        sink.push(b"{}\n");
        sink.push(b"{}\n");
        sink.flush();
        assert_eq!(LOST.load(Relaxed), 2);
        std::fs::remove_file(&path).unwrap();
        sink.reopen();
        sink.push(b"{\"a\":1}\n");
        sink.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0] == "{\"a\":1}" && lines[1].ends_with(",\"dropped\":2}"), "{text}");
        assert_eq!(LOST.load(Relaxed), 2);
    }

    #[test]
    fn a_line_does_not_continue_one_that_was_cut_off() {
        static UNUSED: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        std::fs::write(&path, "{\"a\":1}\n{\"b").unwrap();
        let sink = Sink::start(Content::Audit, Sink::open(Content::Audit, &path).unwrap(), &UNUSED).unwrap();
        sink.push(b"{\"c\":3}\n");
        sink.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"b\n{\"c\":3}\n");
    }
}
