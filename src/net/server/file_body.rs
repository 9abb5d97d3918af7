//! The body of a served file: read from the page cache or by a blocking thread, with a check for changes.

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

/// A part of a file as a stream: from the page cache immediately, from the disk by a thread that may block.
///
/// A file that changes while it is sent ends in an error before its last bytes, so that a mixture does not have the
/// announced length. One that only grows is sent as it was when it was opened; whether it only grew is certain if the
/// client requests the digest afterwards, and otherwise inferred from the first bytes that were sent.
#[derive(Debug)]
pub struct FileBody {
    served: ServedFile,
    offset: u64,
    left: u64,
    reading: Option<WorkHandle<(Vec<u8>, io::Result<usize>)>>,
    buffer: Vec<u8>,
    ready: std::ops::Range<usize>,
    /// Offset of the body, and its first bytes as they were sent.
    start: u64,
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
}

/// Bytes of a body that are compared if its file has grown: programs that rewrite a file, such as `cp` and log
/// rotation, rarely begin it with the same bytes.
const PREFIX_LEN: usize = 32;

impl FileBody {
    /// Creates a body of `length` bytes of a file, from an offset.
    pub fn new(served: ServedFile, offset: u64, length: u64) -> Self {
        let (reading, buffer, ready) = (None, Vec::new(), 0..0);
        Self {
            served,
            offset,
            left: length,
            reading,
            buffer,
            ready,
            start: offset,
            prefix: [0; PREFIX_LEN],
            prefix_len: 0,
        }
    }

    /// Checks the file for changes before its last bytes are sent.
    fn check_before_last(&self, bytes: usize) -> io::Result<()> {
        let last = bytes > 0 && self.left == bytes as u64;
        match if last { self.served.change() } else { FileChange::Unchanged } {
            FileChange::Unchanged => Ok(()),
            FileChange::Grown if self.has_same_prefix() => Ok(()),
            FileChange::Grown | FileChange::Changed => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was sent"))
            }
        }
    }

    /// Records the first bytes, which are always copied.
    fn record_prefix(&mut self, read: &[u8]) {
        if self.offset == self.start && self.prefix_len == 0 {
            self.prefix_len = read.len().min(PREFIX_LEN);
            self.prefix[..self.prefix_len].copy_from_slice(&read[..self.prefix_len]);
        }
    }

    /// True if the file still has the first bytes that were sent.
    fn has_same_prefix(&self) -> bool {
        let mut now = [0; PREFIX_LEN];
        let now = &mut now[..self.prefix_len];
        self.served.file.read_exact_at(now, self.start).is_ok() && *now == self.prefix[..self.prefix_len]
    }

    /// Counts bytes that are about to be sent.
    fn advance(&mut self, bytes: usize) -> io::Result<()> {
        self.check_before_last(bytes)?;
        self.offset += bytes as u64;
        self.left -= bytes as u64;
        Ok(())
    }

    /// Reads from the page cache, without waiting for a disk; `None` if that is not possible.
    fn read_cached(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        match preadv2(&*self.served.file, &mut [IoSliceMut::new(buffer)], self.offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Some(Ok(read)),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Source for FileBody {
    fn peek(&mut self, most: usize) -> io::Result<&[u8]> {
        let most = most.min(usize::try_from(self.left).unwrap_or(most));
        // Not cached, or already being read by a thread: the copy loop waits for it.
        if most > 0 && self.direct().is_some() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(most, 0);
            let read = self.read_cached(&mut buffer).transpose()?.unwrap_or_default();
            self.record_prefix(&buffer[..read]);
            self.check_before_last(read)?;
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

    fn consume(&mut self, bytes: u64) {
        self.offset += bytes;
        self.left = self.left.saturating_sub(bytes);
        self.ready.start = self.ready.end.min(self.ready.start + bytes as usize);
        if self.ready.is_empty() {
            // A body may stall for long, and direct sends need no buffer.
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
            let unfilled = buf.initialize_unfilled_to(most);
            if let Some(read) = body.read_cached(unfilled) {
                let read = read?;
                body.record_prefix(&unfilled[..read]);
                body.advance(read)?;
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
                // Without a free thread this read blocks the runtime for one chunk: better than a failed body.
                let read = body.served.file.read_at(unfilled, body.offset)?;
                body.record_prefix(&unfilled[..read]);
                body.advance(read)?;
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
            body.record_prefix(&buffer[body.ready.clone()]);
            body.buffer = buffer;
        }
        let taken = most.min(body.ready.len());
        body.advance(taken)?;
        let from = body.ready.start;
        buf.put_slice(&body.buffer[from..from + taken]);
        body.ready.start += taken;
        Poll::Ready(Ok(()))
    }
}

/// A file that was sent to a client that requested no digest. The kernel sends pages of the file itself, so that a
/// change after the last byte was sent, and even after the client's kernel has acknowledged it, may alter what the
/// client reads; the risk ends only when the client sends something again.
#[derive(Debug)]
pub struct SentBytes {
    served: ServedFile,
    name: FileName,
}

impl SentBytes {
    /// Returns the file behind a body; `None` if all of it was copied.
    pub fn of(body: FileBody, name: &FileName, length: u64) -> Option<Box<Self>> {
        (length > COPIED_FIRST).then(|| Box::new(Self { served: body.served, name: name.clone() }))
    }

    /// Logs if the file changed before the client was known to have read it; the client can no longer be notified.
    pub fn check(self, node: &Node, reader: SocketAddr) {
        if self.served.change() == FileChange::Changed {
            node.late_changes.fetch_add(1, Relaxed);
            let name = self.name.shown();
            tracing::warn!("{name} changed before {reader}, which requested no digest, had finished reading it");
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
    async fn a_body_is_the_requested_range() {
        let content: Vec<u8> = (0..400_000u32).map(|i| (i % 251) as u8).collect();
        let (_dir, served) = served(&content);
        let (first, last) = ByteRange::Between(1000, 350_000).within(400_000).unwrap();
        let mut got = Vec::new();
        FileBody::new(served, first, last - first + 1).read_to_end(&mut got).await.unwrap();
        assert_eq!(got, &content[1000..=350_000]);
    }

    #[tokio::test]
    async fn a_file_that_changes_never_completes() {
        let (dir, served) = served(&[1; 1000]);
        let mut body = FileBody::new(served, 0, 1000);
        let mut got = vec![0; 500];
        body.read_exact(&mut got).await.unwrap();
        std::fs::write(dir.path().join("f"), [2; 1000]).unwrap();
        assert!(body.read_to_end(&mut got).await.is_err());
        assert!(got.len() < 1000, "a mixture has the announced length");
    }

    #[tokio::test]
    async fn a_file_that_grows_completes_and_one_that_is_rewritten_does_not() {
        for (record_prefix, completes) in [(1, true), (2, false)] {
            let (dir, served) = served(&[1; 1000]);
            let mut body = FileBody::new(served, 0, 1000);
            let mut got = vec![0; 500];
            body.read_exact(&mut got).await.unwrap();
            std::fs::write(dir.path().join("f"), [record_prefix; 1001]).unwrap();
            assert_eq!(body.read_to_end(&mut got).await.is_ok(), completes);
            assert_eq!(got == [1; 1000], completes);
        }
    }
}
