//! The accepted side of a session: what was read and not yet used, heads written in one piece, closes that lose
//! nothing.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::file_body::SentBytes;
use crate::limits::Limits;
use crate::net::body::reader::{STEP, write_some};
use crate::net::os::clock::http_date;
use crate::net::os::deadline::within;
use crate::net::os::socket::{Socket, drain};
use crate::text::SafeText;
use crate::wire::http::{MAX_HEAD, encode_reply};
use crate::wire::{Method, Problem, Reply, problem};

/// The lines of a problem: it is no longer true a moment later, and nobody may take text for a program.
const PROBLEM_LINES: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
/// The same where the method is the problem.
const METHOD_LINES: &str = "Allow: GET, HEAD\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";

/// An accepted connection.
#[derive(Debug)]
pub struct Downstream {
    /// The connection.
    pub stream: Socket,
    /// Read and not yet used.
    pub inbox: Vec<u8>,
    /// The head of a reply, which goes out together with the beginning of its body.
    pub head: Vec<u8>,
    /// The peer has said that it asks nothing more.
    pub asked_last: bool,
    /// The peer speaks HTTP/1.0: it has to be told where the connection stays open.
    pub old: bool,
    /// Its user may be served.
    pub admitted: bool,
    /// What it was sent last, where only another look can tell whether that was whole.
    pub sent: Option<Box<SentBytes>>,
    limits: Limits,
}

/// What a session does after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRequest {
    /// Read another request.
    Keep,
    /// Close in order: everything that was sent arrives.
    Close,
    /// The connection is of no more use: let go of it.
    Drop,
}

impl Downstream {
    /// A connection nothing was read from yet.
    pub fn new(stream: TcpStream, limits: Limits) -> Self {
        let (stream, inbox, head) = (Socket::new(stream), Vec::new(), Vec::new());
        Self { stream, inbox, head, asked_last: false, old: false, admitted: false, sent: None, limits }
    }

    /// Reads more into the inbox; 0 is the end of the stream. Cancel-safe.
    pub async fn fill(&mut self) -> io::Result<usize> {
        loop {
            // Space is made when there is something to put there: a connection that is quiet holds none.
            poll_fn(|cx| self.stream.poll_read_ready(cx)).await?;
            if self.inbox.capacity() == self.inbox.len() {
                // A head of ours fits into this; a larger one doubles it, up to the cap its reader holds.
                self.inbox.reserve(1024);
            }
            // Not `try_read_buf`: this one knows after a short read that nothing is left, and saves asking once more.
            let mut reading = pin!(self.stream.read_buf(&mut self.inbox));
            if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
                return read;
            }
            // What was read last may have been all there was, which shows only now.
            self.rest();
        }
    }

    /// Gives up the space of an inbox with nothing in it, for as long as no request comes or a body is on its way.
    pub fn rest(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
    }

    /// Waits until the client is gone, keeping what it says meanwhile up to one head. Cancel-safe.
    pub async fn gone(&mut self) {
        while self.inbox.len() < MAX_HEAD {
            if !matches!(self.fill().await, Ok(read) if read > 0) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Writes bytes, within the stall limit.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            let writing =
                write_some(&mut self.stream, (self.limits.stall, STEP), |stream, cx| stream.poll_write(cx, left));
            match writing.await {
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => left = &left[written?..],
            }
        }
        Ok(())
    }

    /// Takes a reply head, for whatever sends the body.
    pub fn announce(&mut self, reply: &mut Reply) {
        self.head.reserve(1024);
        reply.echo_keep_alive = self.old;
        encode_reply(reply, &mut self.head);
    }

    /// Writes the head of a reply that has no body.
    pub async fn send_head(&mut self) -> io::Result<()> {
        let head = std::mem::take(&mut self.head);
        self.write(&head).await
    }

    /// Writes a problem: as a body, or for HEAD in a header line.
    pub async fn send_problem(&mut self, failed: &Problem, method: Method, keep_alive: bool) -> AfterRequest {
        let keep_alive = keep_alive && !self.old;
        match self.write(&problem_message(failed, method, keep_alive)).await {
            Ok(()) if keep_alive => AfterRequest::Keep,
            Ok(()) => AfterRequest::Close,
            Err(_) => AfterRequest::Drop,
        }
    }

    /// Ends our side, then takes what the peer still says: unread input would make the kernel reset the connection and
    /// destroy what it has not delivered yet. Where that is over, letting go is enough.
    pub async fn close(mut self) {
        if within(self.limits.linger, self.stream.shutdown()).await.is_ok() {
            drain(&mut self.stream, self.limits.linger).await;
        }
    }

    /// True if nothing more is to come: the peer said so, and what it sent was read, as far as is known without asking
    /// the kernel again.
    pub fn is_over(&self) -> bool {
        let silent =
            || matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        self.asked_last && self.inbox.is_empty() && silent()
    }

    /// The legacy protocol's end: the peer closes first if it will, then we do.
    pub async fn close_after_peer(mut self) {
        drain(&mut self.stream, self.limits.linger).await;
        let _ = within(self.limits.linger, self.stream.shutdown()).await;
        let mut rest = [0; 1024];
        while matches!(self.stream.try_read(&mut rest), Ok(read) if read > 0) {}
    }

    /// Resets the connection: the only way to tell the original program that a body is not whole.
    pub fn abort(self) {
        let _ = self.stream.set_zero_linger();
    }
}

/// A reply that carries a problem: as a body, or for HEAD in a header line.
pub(crate) fn problem_message(failed: &Problem, method: Method, keep_alive: bool) -> Vec<u8> {
    let body = failed.to_json();
    let status = failed.status();
    // What an origin asks for; a node of ours takes a token.
    let challenge = failed.server.as_ref().and_then(|server| server.challenge.as_ref());
    let challenge = challenge.map(SafeText::as_str).filter(|challenge| challenge.is_ascii());
    let reply = Reply {
        status,
        length: Some(body.len() as u64),
        date: http_date(SystemTime::now()),
        content_type: Some(problem::MEDIA_TYPE.into()),
        range_outside: failed.size.filter(|_| status == 416),
        retry_after: failed.server.as_ref().and_then(|server| server.retry_after).or((status == 503).then_some(1)),
        lines: if status == 405 { METHOD_LINES } else { PROBLEM_LINES }.into(),
        challenge: (status == 401).then(|| challenge.unwrap_or("Bearer").to_owned()),
        problem: (method == Method::Head).then(|| failed.clone()),
        keep_alive,
        ..Reply::default()
    };
    let mut message = Vec::with_capacity(1024);
    encode_reply(&reply, &mut message);
    if method == Method::Get {
        message.extend_from_slice(&body);
    }
    message
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_waits_for_a_request_holds_no_space_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut client = client.unwrap();
        let mut down = Downstream::new(accepted.unwrap().0, Limits::default());
        client.write_all(&[1; 1024]).await.unwrap();
        while down.inbox.len() < 1024 {
            down.fill().await.unwrap();
        }
        down.inbox.clear();
        down.rest();
        // What was read filled the space, so the socket still counts as readable: nobody has met its end yet.
        assert!(timeout(Duration::from_millis(1), down.fill()).await.is_err());
        assert_eq!(down.inbox.capacity(), 0);
        client.write_all(b"two").await.unwrap();
        assert_eq!((down.fill().await.unwrap(), down.inbox.as_slice()), (3, &b"two"[..]));
    }
}
