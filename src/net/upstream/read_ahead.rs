//! What was read from a next hop and not consumed yet: a head, and the beginning of the body behind it.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::io::AsyncReadExt;

use crate::net::os::socket::Socket;
use crate::wire::http::MAX_HEAD;

thread_local! {
    /// The buffer that was released last. Most replies are parsed and sent in the turn in which they are read, so that
    /// one buffer serves them all, and is in the processor's cache; one for each would be in memory.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes read from a connection. Without any it has no buffer: a reply may take long to arrive, and a body may stall.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    buffer: Vec<u8>,
    consumed: usize,
}

impl ReadAhead {
    /// Returns what is still to be consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.consumed..]
    }

    /// Returns true if everything was consumed.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Removes as many bytes from the front; all, if those are fewer.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.consumed = self.buffer.len().min(self.consumed.saturating_add(bytes));
        self.release_if_empty();
    }

    /// Reads more of what has arrived; 0 is the end of the stream. Cancel-safe.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, stream: &mut Socket) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.take();
        }
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.drain(..std::mem::take(&mut self.consumed));
        }
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.reserve(MAX_HEAD);
        }
        let read = pin!(stream.read_buf(&mut self.buffer)).poll(cx);
        self.release_if_empty();
        read
    }

    fn release_if_empty(&mut self) {
        // Without a buffer there is none to release: the spare one stays.
        if self.is_empty() && self.buffer.capacity() > 0 {
            let mut buffer = std::mem::take(self).buffer;
            // A larger one was for one long head.
            if buffer.capacity() <= MAX_HEAD {
                buffer.clear();
                SPARE.set(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Socket::new(near.unwrap()), far.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_are_consumed_in_order_however_they_arrive() {
        let (mut near, mut far) = pair().await;
        let sent: Vec<u8> = (0..3 * MAX_HEAD).map(|at| (at % 251) as u8).collect();
        let (mut ahead, mut received) = (ReadAhead::default(), Vec::new());
        for (piece, consumed) in sent.chunks(3000).zip([0, 1, 2999, 4000, 9000].into_iter().cycle()) {
            far.write_all(piece).await.unwrap();
            let before = ahead.bytes().len();
            while ahead.bytes().len() < before + piece.len() {
                assert!(poll_fn(|cx| ahead.poll_fill(cx, &mut near)).await.unwrap() > 0);
            }
            received.extend_from_slice(&ahead.bytes()[..consumed.min(before + piece.len())]);
            ahead.consume(consumed);
        }
        received.extend_from_slice(ahead.bytes());
        assert!(received == sent);
        ahead.consume(usize::MAX);
        drop(far);
        assert_eq!(poll_fn(|cx| ahead.poll_fill(cx, &mut near)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn only_unconsumed_bytes_have_a_buffer_and_two_never_the_same() {
        let (mut near, mut far) = pair().await;
        let (mut one, mut other) = (ReadAhead::default(), ReadAhead::default());
        assert!(timeout(Duration::from_millis(1), poll_fn(|cx| one.poll_fill(cx, &mut near))).await.is_err());
        assert_eq!(one.buffer.capacity(), 0, "while it waits");
        far.write_all(b"one").await.unwrap();
        assert_eq!(poll_fn(|cx| one.poll_fill(cx, &mut near)).await.unwrap(), 3);
        far.write_all(b"other").await.unwrap();
        assert_eq!(poll_fn(|cx| other.poll_fill(cx, &mut near)).await.unwrap(), 5);
        assert_eq!((one.bytes(), other.bytes()), (&b"one"[..], &b"other"[..]));
        let buffer = one.buffer.as_ptr();
        one.consume(3);
        let spare = SPARE.take();
        assert_eq!((one.buffer.capacity(), spare.as_ptr()), (0, buffer));
        SPARE.set(spare);
        one.consume(0);
        one.consume(1 << 20);
        let spare = SPARE.take();
        assert_eq!(spare.as_ptr(), buffer, "a body that was moved by the kernel");
        other.consume(4);
        assert_eq!((other.bytes(), other.is_empty()), (&b"r"[..], false));
    }
}
