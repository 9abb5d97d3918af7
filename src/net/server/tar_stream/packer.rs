//! Production of a tar stream in chunks, each by a short piece of work that may block on the disk.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::fs::{Stat, fstat};
use rustix::io::{Errno, pread};

use crate::net::node::root::{Root, Walk, WalkEntry, WalkError, is_executable};
use crate::net::os::version::Version;
use crate::route::{FileName, WalkRange};
use crate::text::SafeText;
use crate::wire::tar::{EntryHead, TarLength, TarWriter};

/// Bytes produced at a time: some dozens of small files, so that waking a thread costs little beside them.
const CHUNK: usize = 256 * 1024;
/// Room for what follows the last whole entry of a chunk: headers, records, or the beginning of a file.
const ROOM: usize = 16 * 1024;
/// Time of one piece of a walk that only adds up lengths; others wait for a thread meanwhile.
const PIECE: Duration = Duration::from_millis(50);
/// Entries between two looks at the clock.
const PER_LOOK: usize = 256;

/// Adds up the length of a stream.
#[derive(Debug)]
pub(super) struct Measuring {
    walk: Walk,
    path: PathInStream,
    length: TarLength,
}

/// Produces a stream of known length.
#[derive(Debug)]
pub(super) struct Packer {
    walk: Walk,
    path: PathInStream,
    writer: TarWriter,
    /// The announced length, and how much of it was produced.
    length: u64,
    produced: u64,
    file: Option<OpenFile>,
    /// The folder itself, while its header is to be produced.
    top: Option<Stat>,
}

/// A file whose content is being produced.
#[derive(Debug)]
struct OpenFile {
    handle: OwnedFd,
    version: Version,
    offset: u64,
    /// The digest of what was read before; most files are read at once and need none.
    hasher: Option<Box<blake3::Hasher>>,
    /// Where the file begins in this chunk, if it does.
    start: Option<usize>,
}

/// The path of an entry as the stream has it: with the folder's own name before it.
#[derive(Debug)]
struct PathInStream {
    bytes: Vec<u8>,
    prefix: usize,
}

impl Measuring {
    /// Starts to walk through a folder, `None` for the root.
    pub(super) fn new(walk: Walk, folder: Option<&FileName>, range: &WalkRange) -> Self {
        let (path, mut length) = (PathInStream::new(folder), TarLength::default());
        // A later part of a walk does not begin with it.
        if let Some(top) = path.top().filter(|_| range.after.is_none()) {
            length.add_folder(top);
        }
        Self { walk, path, length }
    }

    /// Walks on for a moment; returns true at the end.
    ///
    /// # Errors
    /// `Failed` if a folder or file cannot be looked at.
    pub(super) fn proceed(&mut self) -> Result<bool, WalkError> {
        let began = Instant::now();
        loop {
            for _ in 0..PER_LOOK {
                match self.walk.advance()? {
                    None => return Ok(true),
                    Some(WalkEntry::Folder(_)) => self.length.add_folder(self.path.folder(self.walk.path())),
                    Some(WalkEntry::File) => {
                        if let Some(stat) = self.walk.read()? {
                            self.length.add_file(self.path.file(self.walk.path()), Version::of(&stat).size);
                        }
                    }
                }
            }
            if began.elapsed() >= PIECE {
                return Ok(false);
            }
        }
    }

    /// Returns the length of the whole stream.
    pub(super) fn length(&self) -> u64 {
        self.length.total(self.path.top())
    }

    /// Returns how many files and folders were left out.
    pub(super) fn omitted(&self) -> u64 {
        self.walk.omitted()
    }

    /// Starts to produce the stream: the same walk once more.
    ///
    /// # Errors
    /// `Changed` if the folder is not the same any more.
    pub(super) fn pack(self, root: &Root, folder: Option<&FileName>, range: WalkRange) -> Result<Packer, WalkError> {
        // As in the first walk, a later part does not begin with it.
        let begins = range.after.is_none();
        let gone = |_| WalkError::Changed(folder.map(FileName::shown).unwrap_or_default());
        let walk = root.walk(folder, range).map_err(gone)?.unchanged_since(self.walk.newest())?;
        let (length, writer, top) = (self.length(), TarWriter::default(), begins.then(|| *walk.folder()));
        Ok(Packer { walk, path: self.path, writer, length, produced: 0, file: None, top })
    }
}

impl Packer {
    /// Returns whether everything was produced.
    pub(super) fn is_done(&self) -> bool {
        self.produced == self.length
    }

    /// Produces the next chunk in an empty buffer.
    ///
    /// # Errors
    /// `Changed` if anything is not as it was when the length was added up, `Failed` if it cannot be read. The buffer
    /// then has what can still be sent, and the stream cannot be completed.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), WalkError> {
        let left = usize::try_from(self.length - self.produced).unwrap_or(usize::MAX);
        out.reserve_exact((CHUNK + ROOM).min(left));
        let result = self.produce(out, left);
        if result.is_err() {
            // Up to the beginning of the file, so that those before it are proven.
            let whole = match &self.file {
                None => true,
                Some(file) => file.start.inspect(|start| out.truncate(*start)).is_some(),
            };
            if whole {
                self.writer.digests(out);
            }
            // Never the announced length.
            out.truncate(left.saturating_sub(1));
        }
        self.produced += out.len() as u64;
        result
    }

    fn produce(&mut self, out: &mut Vec<u8>, left: usize) -> Result<(), WalkError> {
        if let Some(file) = &mut self.file {
            file.start = None;
        }
        while out.len() < CHUNK {
            if let Some(file) = &mut self.file {
                let done = file.produce(out, self.path.file(self.walk.path()))?;
                if let Some(digest) = done {
                    self.writer.end_of_file(file.version.size, digest, out);
                    self.file = None;
                }
                continue;
            }
            if let Some((stat, path)) = self.top.take().zip(self.path.top()) {
                self.writer.head(&head(path, &stat), out);
            }
            match self.walk.advance()? {
                None => {
                    let folder = self.path.top().map(|path| head(path, self.walk.folder()));
                    self.writer.finish(folder.as_ref(), out);
                    return if out.len() == left { Ok(()) } else { Err(self.differs()) };
                }
                Some(WalkEntry::Folder(stat)) => {
                    self.writer.head(&head(self.path.folder(self.walk.path()), &stat), out);
                }
                Some(WalkEntry::File) => {
                    if let Some((handle, stat)) = self.walk.open()? {
                        let start = Some(out.len());
                        self.writer.head(&head(self.path.file(self.walk.path()), &stat), out);
                        self.file =
                            Some(OpenFile { handle, version: Version::of(&stat), offset: 0, hasher: None, start });
                    }
                }
            }
        }
        if out.len() < left { Ok(()) } else { Err(self.differs()) }
    }

    /// Describes a difference between the two walks that no time of change shows.
    fn differs(&self) -> WalkError {
        WalkError::Changed(SafeText::from_bytes(&self.walk.name()))
    }
}

impl OpenFile {
    /// Reads on into the room that is left; returns the digest at the end.
    fn produce(&mut self, out: &mut Vec<u8>, path: &[u8]) -> Result<Option<[u8; 32]>, WalkError> {
        let path = || SafeText::from_bytes(path);
        let failed = |error: Errno| WalkError::Failed { path: path(), error: error.into() };
        let left = self.version.size - self.offset;
        let begin = out.len();
        if left > 0 {
            match pread(&self.handle, spare_capacity(out), self.offset) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
            let read = (out.len() - begin) as u64;
            if read == 0 || read > left {
                return Err(WalkError::Changed(path()));
            }
            self.offset += read;
        }
        let digest = match (&mut self.hasher, self.offset == self.version.size) {
            (None, true) => Some(blake3::hash(&out[begin..]).into()),
            (hasher, whole) => {
                let hasher = hasher.get_or_insert_default();
                hasher.update(&out[begin..]);
                whole.then(|| hasher.finalize().into())
            }
        };
        if digest.is_some() && self.version.size > 0 {
            let stat = fstat(&self.handle).map_err(failed)?;
            if self.version.later(&stat) != self.version {
                return Err(WalkError::Changed(path()));
            }
        }
        Ok(digest)
    }
}

impl PathInStream {
    fn new(folder: Option<&FileName>) -> Self {
        let segments = folder.into_iter().flat_map(|folder| folder.as_bytes().rsplit(|byte| *byte == b'/'));
        let mut bytes = segments.into_iter().find(|segment| !segment.is_empty()).unwrap_or_default().to_vec();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        let prefix = bytes.len();
        Self { bytes, prefix }
    }

    /// Returns the path of the folder itself; the root has none.
    fn top(&self) -> Option<&[u8]> {
        Some(&self.bytes[..self.prefix]).filter(|path| !path.is_empty())
    }

    fn file(&mut self, path: &[u8]) -> &[u8] {
        self.bytes.truncate(self.prefix);
        self.bytes.extend_from_slice(path);
        &self.bytes
    }

    fn folder(&mut self, path: &[u8]) -> &[u8] {
        self.file(path);
        self.bytes.push(b'/');
        &self.bytes
    }
}

fn head<'a>(path: &'a [u8], stat: &Stat) -> EntryHead<'a> {
    let size = if path.ends_with(b"/") { 0 } else { Version::of(stat).size };
    EntryHead { path, size, modified: stat.st_mtime, executable: is_executable(stat) }
}

#[cfg(test)]
mod tests;
