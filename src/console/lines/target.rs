//! Destination of lines: a stream or a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::shown;

/// Maximum number of bytes per write: `PIPE_BUF`, which a pipe takes atomically, so that programs that share it do not
/// mix their lines.
const MAX_WRITE: usize = 4096;

/// Destination of the lines.
#[derive(Debug)]
pub(in crate::console) struct LineTarget {
    kind: TargetKind,
    /// What was written last does not end with a newline: the next line must not continue it.
    is_torn: bool,
}

#[derive(Debug)]
enum TargetKind {
    Stdout,
    Stderr,
    File { file: File, path: PathBuf },
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// Their number.
    pub(super) lines: u64,
    /// The error of the first.
    pub(super) error: io::Error,
}

impl LineTarget {
    /// Standard output.
    pub(in crate::console) const STDOUT: Self = Self { kind: TargetKind::Stdout, is_torn: false };
    /// Standard error.
    pub(in crate::console) const STDERR: Self = Self { kind: TargetKind::Stderr, is_torn: false };

    /// Opens a file for appending, created with these permissions; a FIFO without a reader is an error, and does not
    /// block.
    pub(super) fn open(path: &Path, mode: u32) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(mode)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        let found = file.metadata()?;
        let is_torn = found.is_file() && found.len() > 0 && !ends_with_newline(path, found.len());
        Ok(Self { kind: TargetKind::File { file, path: path.to_owned() }, is_torn })
    }

    /// Opens the path of a file again.
    pub(super) fn reopen(&mut self, mode: u32) -> io::Result<()> {
        if let TargetKind::File { path, .. } = &self.kind {
            *self = Self::open(path, mode)?;
        }
        Ok(())
    }

    /// Writes lines, in pieces that end at a newline, waiting for room; continues after an error.
    pub(super) fn write(&mut self, mut lines: &[u8]) -> Result<(), Unwritten> {
        let mut failed: Option<Unwritten> = None;
        while !lines.is_empty() {
            let whole = memchr::memrchr(b'\n', &lines[..lines.len().min(MAX_WRITE)]);
            let end = whole.or_else(|| memchr::memchr(b'\n', lines)).map_or(lines.len(), |end| end + 1);
            let (piece, rest) = lines.split_at(end);
            if let Err((unwritten, error)) = self.write_piece(piece) {
                let count = memchr::memchr_iter(b'\n', unwritten).count() as u64;
                failed.get_or_insert_with(|| Unwritten { lines: 0, error: error.into() }).lines += count;
            }
            lines = rest;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Writes a piece; on an error, returns what is left of it.
    fn write_piece<'a>(&mut self, piece: &'a [u8]) -> Result<(), (&'a [u8], Errno)> {
        if self.is_torn {
            write_whole(self.fd(), b"\n").map_err(|(_, error)| (piece, error))?;
            self.is_torn = false;
        }
        let written = write_whole(self.fd(), piece);
        if let Err((rest, _)) = written
            && rest.len() < piece.len()
        {
            self.is_torn = !piece[..piece.len() - rest.len()].ends_with(b"\n");
        }
        written
    }

    /// Returns the descriptor. Not the standard library's handle, whose lock would be held while a write waits.
    fn fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            TargetKind::Stdout => rustix::stdio::stdout(),
            TargetKind::Stderr => rustix::stdio::stderr(),
            TargetKind::File { file, .. } => file.as_fd(),
        }
    }

    /// Makes an open file a target.
    #[cfg(test)]
    pub(super) fn of_test(file: File) -> Self {
        Self { kind: TargetKind::File { file, path: PathBuf::new() }, is_torn: false }
    }
}

impl fmt::Display for LineTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            TargetKind::Stdout => f.pad("standard output"),
            TargetKind::Stderr => f.pad("standard error"),
            TargetKind::File { path, .. } => f.pad(shown(path).as_str()),
        }
    }
}

/// Returns whether the last byte of a file is a newline. If that cannot be read, an empty line does no harm.
fn ends_with_newline(path: &Path, length: u64) -> bool {
    let mut last = [0];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut last, length - 1));
    read.is_ok() && last == *b"\n"
}

/// Writes bytes, waiting for room; on an error, returns what is left of them.
fn write_whole<'a>(fd: BorrowedFd<'_>, mut bytes: &'a [u8]) -> Result<(), (&'a [u8], Errno)> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Another program that shares the stream may have made it non-blocking.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None)),
            Err(error) => return Err((bytes, error)),
        }
    }
    Ok(())
}
