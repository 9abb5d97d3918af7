//! A served file on its way out: from the page cache or by a thread that may wait, with a look at whether it changed.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::net::body::copy::CHUNK;
use crate::net::body::{COPIED_FIRST, Direct, Source};
use crate::net::node::Node;
use crate::net::node::root::{FileChange, ServedFile};
use crate::net::os::threads::{COLD_READS, WorkHandle};
use crate::route::FileName;

/// A part of a file as a stream: from the page cache at once, from the disk by a thread that may wait.
///
/// A file that changes on the way ends in an error before its last bytes are given out, so that a mixture does not have
/// the announced length. One that only grows is sent as it was when it was opened; whether it only grew is certain
/// where the client asks for the digest afterwards, and else guessed from the first bytes that were given out.
#[derive(Debug)]
pub struct FileBody {
    served: ServedFile,
    offset: u64,
    left: u64,
    reading: Option<WorkHandle<(Vec<u8>, io::Result<usize>)>>,
    buffer: Vec<u8>,
    ready: std::ops::Range<usize>,
    /// Where the body begins, and its first bytes as they were given out.
    start: u64,
    begin: [u8; BEGIN],
    begun: usize,
}

/// Bytes of a body that are compared where its file has grown: whoever writes a file anew, as `cp` and rotated logs do,
/// hardly ever begins it with the same.
const BEGIN: usize = 32;

impl FileBody {
    /// `length` bytes of a file, from an offset.
    pub fn new(served: ServedFile, offset: u64, length: u64) -> Self {
        let (reading, buffer, ready) = (None, Vec::new(), 0..0);
        Self { served, offset, left: length, reading, buffer, ready, start: offset, begin: [0; BEGIN], begun: 0 }
    }

    /// Looks at the file once more before its last bytes are given out.
    fn check_before(&self, bytes: usize) -> io::Result<()> {
        let last = bytes > 0 && self.left == bytes as u64;
        match if last { self.served.since() } else { FileChange::Unchanged } {
            FileChange::Unchanged => Ok(()),
            FileChange::Grown if self.begins_alike() => Ok(()),
            FileChange::Grown | FileChange::Changed => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was sent"))
            }
        }
    }

    /// Remembers the first bytes, which are always copied.
    fn begins(&mut self, read: &[u8]) {
        if self.offset == self.start && self.begun == 0 {
            self.begun = read.len().min(BEGIN);
            self.begin[..self.begun].copy_from_slice(&read[..self.begun]);
        }
    }

    /// True if the file still has the first bytes that were given out.
    fn begins_alike(&self) -> bool {
        let mut now = [0; BEGIN];
        let now = &mut now[..self.begun];
        self.served.file.read_exact_at(now, self.start).is_ok() && *now == self.begin[..self.begun]
    }

    /// Counts bytes that are about to be given out.
    fn give(&mut self, bytes: usize) -> io::Result<()> {
        self.check_before(bytes)?;
        self.offset += bytes as u64;
        self.left -= bytes as u64;
        Ok(())
    }

    /// Reads from the page cache, without waiting for a disk; `None` where that cannot be done.
    fn read_cached(&self, space: &mut [u8]) -> Option<io::Result<usize>> {
        match preadv2(&*self.served.file, &mut [IoSliceMut::new(space)], self.offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Some(Ok(read)),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Source for FileBody {
    fn ahead(&mut self, most: usize) -> io::Result<&[u8]> {
        let most = most.min(usize::try_from(self.left).unwrap_or(most));
        // Where it is not in the page cache, or a thread is reading it already, the pump waits for it.
        if most > 0 && self.direct().is_some() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(most, 0);
            let read = self.read_cached(&mut buffer).transpose()?.unwrap_or_default();
            self.begins(&buffer[..read]);
            self.check_before(read)?;
            self.buffer = buffer;
            self.ready = 0..read;
        }
        Ok(&self.buffer[self.ready.clone()])
    }

    fn direct(&self) -> Option<Direct<'_>> {
        let read_ahead = self.reading.is_some() || !self.ready.is_empty();
        (!read_ahead).then(|| Direct::File(Arc::clone(&self.served.file), self.offset))
    }

    fn socket(&self) -> Option<Arc<TcpStream>> {
        None
    }

    fn skip(&mut self, bytes: u64) {
        self.offset += bytes;
        self.left = self.left.saturating_sub(bytes);
        self.ready.start = self.ready.end.min(self.ready.start + bytes as usize);
        if self.ready.is_empty() {
            // A body may stand still for long, and what goes out directly needs no space.
            self.buffer = Vec::new();
        }
    }
}

impl AsyncRead for FileBody {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let body = &mut *self;
        let most = usize::try_from(body.left).unwrap_or(usize::MAX).min(buf.remaining());
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        if body.ready.is_empty() && body.reading.is_none() {
            let space = buf.initialize_unfilled_to(most);
            if let Some(read) = body.read_cached(space) {
                let read = read?;
                body.begins(&space[..read]);
                body.give(read)?;
                buf.advance(read);
                return Poll::Ready(Ok(()));
            }
            let (file, offset) = (Arc::clone(&body.served.file), body.offset);
            let mut buffer = std::mem::take(&mut body.buffer);
            buffer.resize(CHUNK.min(usize::try_from(body.left).unwrap_or(CHUNK)), 0);
            let read = move || {
                let read = file.read_at(&mut buffer, offset);
                (buffer, read)
            };
            let Ok(reading) = COLD_READS.run(read) else {
                // Without a thread for it, the one that everybody shares has to wait for this one chunk: better than a
                // body that breaks.
                let read = body.served.file.read_at(space, body.offset)?;
                body.begins(&space[..read]);
                body.give(read)?;
                buf.advance(read);
                return Poll::Ready(Ok(()));
            };
            (body.served.machine.settle)(&|| reading.is_there());
            body.reading = Some(reading);
        }
        if let Some(reading) = &mut body.reading {
            let done = ready!(Pin::new(reading).poll(cx));
            body.reading = None;
            let (buffer, read) = done?;
            body.ready = 0..read?;
            body.begins(&buffer[body.ready.clone()]);
            body.buffer = buffer;
        }
        let given = most.min(body.ready.len());
        body.give(given)?;
        let from = body.ready.start;
        buf.put_slice(&body.buffer[from..from + given]);
        body.ready.start += given;
        Poll::Ready(Ok(()))
    }
}

/// A file that was sent to a reader that asks for no digest. The kernel hands out pages of the file itself, so that
/// what is changed after the last byte was sent, and even after the reader's kernel has acknowledged it, may change
/// what the reader gets: only when it says something again is that over.
#[derive(Debug)]
pub struct SentBytes {
    served: ServedFile,
    name: FileName,
}

impl SentBytes {
    /// What was sent with a body; `None` where all of it was copied.
    pub fn of(body: FileBody, name: &FileName, length: u64) -> Option<Box<Self>> {
        (length > COPIED_FIRST).then(|| Box::new(Self { served: body.served, name: name.clone() }))
    }

    /// Looks whether the reader may have got something else than the file; nothing but the log can be told.
    pub fn look(self, node: &Node, reader: SocketAddr) {
        if self.served.since() == FileChange::Changed {
            node.late_changes.fetch_add(1, Relaxed);
            let name = self.name.shown();
            tracing::warn!(
                "{name} changed before {reader}, which asked for no digest, had said that it was done with it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::net::node::root::Root;
    use crate::wire::ByteRange;

    fn served(content: &[u8]) -> (tempfile::TempDir, ServedFile) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), content).unwrap();
        let served = Root::open(dir.path()).unwrap().serve(&FileName::new(b"f").unwrap()).unwrap();
        (dir, served)
    }

    #[tokio::test]
    async fn a_body_is_the_part_that_was_asked_for() {
        let content: Vec<u8> = (0..400_000u32).map(|i| (i % 251) as u8).collect();
        let (_dir, served) = served(&content);
        let (first, last) = ByteRange::Between(1000, 350_000).within(400_000).unwrap();
        let mut got = Vec::new();
        FileBody::new(served, first, last - first + 1).read_to_end(&mut got).await.unwrap();
        assert_eq!(got, &content[1000..=350_000]);
    }

    #[tokio::test]
    async fn a_file_that_changes_never_ends_as_a_whole() {
        let (dir, served) = served(&[1; 1000]);
        let mut body = FileBody::new(served, 0, 1000);
        let mut got = vec![0; 500];
        body.read_exact(&mut got).await.unwrap();
        std::fs::write(dir.path().join("f"), [2; 1000]).unwrap();
        assert!(body.read_to_end(&mut got).await.is_err());
        assert!(got.len() < 1000, "a mixture has the announced length");
    }

    #[tokio::test]
    async fn a_file_that_grows_ends_as_it_was_and_one_that_is_written_anew_does_not() {
        for (begins, whole) in [(1, true), (2, false)] {
            let (dir, served) = served(&[1; 1000]);
            let mut body = FileBody::new(served, 0, 1000);
            let mut got = vec![0; 500];
            body.read_exact(&mut got).await.unwrap();
            std::fs::write(dir.path().join("f"), [begins; 1001]).unwrap();
            assert_eq!(body.read_to_end(&mut got).await.is_ok(), whole);
            assert_eq!(got == [1; 1000], whole);
        }
    }
}
