//! Outputs that are not regular files: a pipe, a device or standard output.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::error::{self, Error, shown};
use crate::text::SafeText;

/// A destination whose bytes cannot be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A named pipe or a character device.
    Special(PathBuf),
}

impl Output {
    /// Returns the output that `-o` names, if it is not a path for a regular file: `-` and the usual names for standard
    /// output, a named pipe, a character device.
    pub fn of(path: &Path) -> Option<Self> {
        if ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name)) {
            return Some(Self::Stdout);
        }
        let kind = fs::metadata(path).ok()?.file_type();
        (kind.is_fifo() || kind.is_char_device()).then(|| Self::Special(path.to_owned()))
    }

    /// Returns its name for display.
    pub(super) fn shown(&self) -> SafeText {
        match self {
            Self::Stdout => "standard output".into(),
            Self::Special(path) => shown(path),
        }
    }

    /// Opens it; blocks on a named pipe until it has a reader, so this belongs on a thread of its own.
    fn open(&self) -> io::Result<File> {
        match self {
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            Self::Special(path) => File::options().write(true).open(path),
        }
    }

    pub(super) fn failed(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Error::OutputClosed { path: self.shown() },
            _ => Error::Disk { action: "write to it", path: self.shown(), reason: error::plain(error) },
        }
    }
}

/// An output that is opened by its first write.
#[derive(Debug)]
pub(super) struct OutputSink {
    output: Output,
    file: Option<File>,
}

impl OutputSink {
    /// Returns an output that is not open yet.
    pub(super) fn new(output: Output) -> Self {
        Self { output, file: None }
    }

    /// Writes all bytes, however slow the reader; opens the output before the first.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        let failed = |output: &Output, error| Err(output.failed(&error));
        let file = match &mut self.file {
            Some(file) => file,
            none => match self.output.open() {
                Ok(file) => none.insert(file),
                Err(error) => return failed(&self.output, error),
            },
        };
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process that shares the file description may have made it nonblocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(file, PollFlags::OUT)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return failed(&self.output, error.into()),
                    }
                }
                Err(error) => return failed(&self.output, error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_outputs_that_are_not_regular_files() {
        for name in ["-", "/dev/stdout", "/dev/fd/1"] {
            assert_eq!(Output::of(Path::new(name)), Some(Output::Stdout), "{name}");
        }
        assert_eq!(Output::of(Path::new("/dev/null")), Some(Output::Special("/dev/null".into())));
        for name in [".", "./-", "/no/such/file", "Cargo.toml"] {
            assert_eq!(Output::of(Path::new(name)), None, "{name}");
        }
    }
}
