//! Queue of lines that a thread of its own writes to a stream or file, so that nothing waits for a slow reader or disk.
//!
//! `tracing-appender` has such a thread, but it neither reports dropped lines nor reopens a file, and it brings a
//! second calendar library.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error;

/// Capacity of the queue in bytes: a burst of a thousand lines, four times what a pipe holds.
const CAPACITY: usize = 256 << 10;
/// Maximum number of bytes per write: `PIPE_BUF`, which a pipe takes atomically, so that programs that share it do not
/// mix their lines.
const MAX_WRITE: usize = 4096;
/// Time limit of a flush, as at the end of the program.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Delay from the first dropped line to the notice that counts them.
const NOTICE_DELAY: Duration = Duration::from_secs(1);

/// Handle to the queue of a stream or file; clones share it.
#[derive(Clone, Debug)]
pub struct Sink(Arc<QueueShared>);

#[derive(Debug)]
struct QueueShared {
    queue: Mutex<LineQueue>,
    /// Signals that something was queued, or that everything was written.
    changed: Condvar,
    /// Number of lines lost since the start: over a limit, or not writable.
    lost: &'static AtomicU64,
}

#[derive(Debug, Default)]
struct LineQueue {
    text: Vec<u8>,
    /// Number of lines that did not fit, not yet reported.
    overflowed: u64,
    /// Number of lines over the limit of their call site, not yet reported.
    limited: u64,
    /// Time when the first of these was dropped.
    dropped_at: Option<Instant>,
    /// The thread is writing.
    writing: bool,
    reopen: bool,
    /// A flush is waiting: dropped lines are reported immediately.
    flushing: bool,
}

/// Destination of the lines.
#[derive(Debug)]
pub(super) enum LineTarget {
    Stderr,
    File { file: File, path: PathBuf },
}

/// Opens a file for appending; a FIFO without a reader is an error, and does not block.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().create(true).append(true).custom_flags(flags.bits().cast_signed()).open(path)
}

impl Sink {
    /// Starts the thread that writes to a target; lost lines are counted in `lost`.
    pub(super) fn start(target: LineTarget, lost: &'static AtomicU64) -> io::Result<Self> {
        let shared = Arc::new(QueueShared { queue: Mutex::default(), changed: Condvar::new(), lost });
        let writing = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || writing.write_all_to(target))?;
        Ok(Self(shared))
    }

    /// Closes the file and opens its path again, for log rotation.
    pub fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.changed.notify_all();
    }

    /// Queues a line with its newline, or drops it; never blocks.
    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.text.len() + line.len() > CAPACITY {
            queue.overflowed += 1;
            self.dropped(queue);
        } else {
            queue.text.extend_from_slice(line);
            drop(queue);
            self.0.changed.notify_all();
        }
    }

    /// Counts a line over the limit of its call site.
    pub(super) fn limited(&self) {
        let mut queue = self.0.lock();
        queue.limited += 1;
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
            std::mem::swap(&mut queue.text, &mut text);
            let reopen = std::mem::take(&mut queue.reopen);
            let dropped = due.then(|| {
                queue.dropped_at = None;
                (std::mem::take(&mut queue.overflowed), std::mem::take(&mut queue.limited))
            });
            queue.writing = true;
            drop(queue);
            if reopen && let Err(error) = target.reopen() {
                text.extend_from_slice(
                    line("ERROR", &format!("cannot reopen the log: {}", error::plain(&error))).as_bytes(),
                );
            }
            if let Some((overflowed, limited)) = dropped {
                text.extend_from_slice(notice(overflowed, limited).as_bytes());
            }
            self.lost.fetch_add(target.write(&text), Relaxed);
            text.clear();
        }
    }
}

impl LineTarget {
    /// Writes lines, in pieces that end at a newline, waiting for room; returns how many could not be written.
    fn write(&self, mut lines: &[u8]) -> u64 {
        let mut lost = 0;
        while !lines.is_empty() {
            let whole = memchr::memrchr(b'\n', &lines[..lines.len().min(MAX_WRITE)]);
            let end = whole.or_else(|| memchr::memchr(b'\n', lines)).map_or(lines.len(), |end| end + 1);
            let (piece, rest) = lines.split_at(end);
            if write_whole(self.fd(), piece).is_err() {
                lost += memchr::memchr_iter(b'\n', piece).count() as u64;
            }
            lines = rest;
        }
        lost
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { file, path } = self {
            *file = open(path)?;
        }
        Ok(())
    }

    /// Returns the descriptor. Not the standard library's handle, whose lock would be held while a write waits.
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stderr => rustix::stdio::stderr(),
            Self::File { file, .. } => file.as_fd(),
        }
    }
}

fn write_whole(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Another program that shares the stream may have made it non-blocking.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Formats the notice of dropped lines.
fn notice(overflowed: u64, limited: u64) -> String {
    let lines = |count: u64| format!("{count} line{} dropped", if count == 1 { "" } else { "s" });
    let mut text = String::new();
    if limited > 0 {
        text += &line("WARN", &format!("{}: rate limit of one call site", lines(limited)));
    }
    if overflowed > 0 {
        text += &line("WARN", &format!("{}: the log was not read fast enough", lines(overflowed)));
    }
    text
}

/// Formats a line of the log.
fn line(level: &str, text: &str) -> String {
    format!("{:.6} {level:>5} {text}\n", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unread_stream_drops_lines_without_blocking_and_reports_them() {
        static LOST: AtomicU64 = AtomicU64::new(0);
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let sink = Sink::start(LineTarget::File { file, path: PathBuf::new() }, &LOST).unwrap();
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
        let sink = Sink::start(LineTarget::File { file: open(&path).unwrap(), path: path.clone() }, &UNUSED).unwrap();
        sink.push(b"before\n");
        sink.flush();
        std::fs::rename(&path, &moved).unwrap();
        sink.reopen();
        sink.push(b"after\n");
        sink.flush();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("before\n", "after\n"));
    }
}
