//! The body of a tar stream: a chunk that is being sent, and the next one, which a thread produces meanwhile.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::packer::Packer;
use crate::net::body::{Direct, Source};
use crate::net::node::Node;
use crate::net::node::root::WalkError;
use crate::net::os::threads::WorkHandle;

/// A part of a stream, and why it is the last one.
pub(super) type Chunk = (Vec<u8>, Result<(), WalkError>);

/// A tar stream as the source of a body. While its reader does not read, no thread is held.
#[derive(Debug)]
pub(super) struct TarBody {
    node: Arc<Node>,
    next: NextChunk,
    chunk: Vec<u8>,
    sent: usize,
    error: Option<io::Error>,
}

/// What comes after the current chunk.
#[derive(Debug)]
enum NextChunk {
    /// It is being produced, or was.
    Pending(WorkHandle<(Box<Packer>, Chunk)>),
    /// Nothing.
    End,
}

impl TarBody {
    /// Creates a body whose first chunk was produced already.
    pub(super) fn new(node: &Arc<Node>, packer: Box<Packer>, first: Chunk) -> Self {
        let mut body = Self { node: Arc::clone(node), next: NextChunk::End, chunk: Vec::new(), sent: 0, error: None };
        body.take(packer, first);
        body
    }

    /// Takes a chunk, and starts the production of the next one.
    fn take(&mut self, packer: Box<Packer>, (chunk, result): Chunk) {
        let mut used = std::mem::replace(&mut self.chunk, chunk);
        self.sent = 0;
        used.clear();
        self.next = match result {
            Ok(()) if packer.is_done() => NextChunk::End,
            Ok(()) => self.produce(packer, used),
            Err(error) => {
                self.error = Some(to_io(error));
                NextChunk::End
            }
        };
    }

    fn produce(&mut self, mut packer: Box<Packer>, mut buffer: Vec<u8>) -> NextChunk {
        let work = move || {
            let result = packer.fill(&mut buffer);
            (packer, (buffer, result))
        };
        match self.node.tar_streams.run(work) {
            Ok(pending) => {
                (self.node.machine().settle)(&|| pending.is_there());
                NextChunk::Pending(pending)
            }
            Err(error) => {
                self.error = Some(error);
                NextChunk::End
            }
        }
    }
}

/// Converts an error; a change gets the kind that means so in the record of a transfer.
fn to_io(error: WalkError) -> io::Error {
    match error {
        WalkError::Changed(_) => io::Error::new(io::ErrorKind::InvalidData, error),
        WalkError::Failed { error: ref cause, .. } => io::Error::new(cause.kind(), error),
    }
}

impl Source for TarBody {
    fn peek(&mut self, max: usize) -> io::Result<&[u8]> {
        let rest = &self.chunk[self.sent..];
        Ok(&rest[..rest.len().min(max)])
    }

    fn direct(&self) -> Option<Direct<'_>> {
        None
    }

    fn socket(&self) -> Option<Arc<TcpStream>> {
        None
    }

    fn consume(&mut self, bytes: u64) {
        self.sent += bytes as usize;
    }
}

impl AsyncRead for TarBody {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let body = &mut *self;
        while body.sent == body.chunk.len() {
            match &mut body.next {
                NextChunk::Pending(pending) => {
                    let (packer, chunk) = ready!(Pin::new(pending).poll(cx))?;
                    body.take(packer, chunk);
                }
                NextChunk::End => return Poll::Ready(body.error.take().map_or(Ok(()), Err)),
            }
        }
        let rest = &body.chunk[body.sent..];
        let copied = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..copied]);
        body.sent += copied;
        Poll::Ready(Ok(()))
    }
}
