//! The accepted side of a session: buffered input, heads written in one piece, closes that lose no data.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::file_body::SentBytes;
use crate::keys::Fingerprint;
use crate::limits::Limits;
use crate::net::access::{Caller, until_next_day};
use crate::net::body::reader::{STEP, write_some};
use crate::net::os::clock::{http_date, seconds};
use crate::net::os::deadline::within;
use crate::net::os::socket::{Socket, drain};
use crate::net::tls::{ServerTls, client_key};
use crate::text::SafeText;
use crate::wire::http::{MAX_HEAD, encode_reply};
use crate::wire::{Method, Problem, Reason, Reply, problem};

/// Header lines of a problem: it must not be cached, and browsers must not guess a type.
const PROBLEM_LINES: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
/// The same for an unsupported method.
const METHOD_LINES: &str = "Allow: GET, HEAD\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";

/// An accepted connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one connection")]
pub struct Downstream {
    /// The socket.
    pub stream: Socket,
    /// Input that was read and not yet consumed.
    pub inbox: Vec<u8>,
    /// Head of a reply, sent together with the beginning of its body.
    pub head: Vec<u8>,
    /// The peer announced that it sends no further request.
    pub last_request: bool,
    /// The peer speaks HTTP/1.0: a reply must state that the connection stays open.
    pub http10: bool,
    /// The last reply was about a file, and had no digest of it.
    pub lacks_digest: bool,
    /// The peer's user was admitted.
    pub admitted: bool,
    /// Whose request is being served.
    pub caller: Caller,
    /// The key that the client has proven in its TLS handshake.
    pub tls_key: Option<Fingerprint>,
    /// It is inside a tunnel that came through a relay: the peer is not the client.
    pub relayed: bool,
    /// That tunnel passed a foreign proxy, or a relay that lists no folders for its client.
    pub proxied: bool,
    /// The last file sent, if only a later check can show whether it was delivered unchanged.
    pub sent: Option<Box<SentBytes>>,
    limits: Limits,
}

/// Action of a session after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRequest {
    /// Read another request.
    Keep,
    /// Serve what follows like a new connection: a tunnel to this node is open.
    Restart,
    /// Close gracefully: everything that was sent arrives.
    Close,
    /// Drop the connection, which is of no more use.
    Drop,
}

impl AfterRequest {
    /// Keeps or closes a connection over which a whole reply was sent.
    pub fn kept_if(keep: bool) -> Self {
        if keep { Self::Keep } else { Self::Close }
    }
}

impl Downstream {
    /// Wraps a connection from which nothing was read yet.
    pub fn new(stream: TcpStream, limits: Limits) -> Self {
        Self {
            stream: Socket::new(stream),
            inbox: Vec::new(),
            head: Vec::new(),
            last_request: false,
            http10: false,
            lacks_digest: false,
            admitted: false,
            caller: Caller::default(),
            tls_key: None,
            relayed: false,
            proxied: false,
            sent: None,
            limits,
        }
    }

    /// Runs the TLS handshake of a server; what the client has sent so far is in the inbox.
    ///
    /// # Errors
    /// The error of the connection or of the handshake.
    pub async fn accept_tls(mut self, tls: &ServerTls, asks: bool) -> io::Result<Self> {
        let received = std::mem::take(&mut self.inbox);
        let stream = self.stream.accept_tls(received, |hello| tls.for_client(hello, asks)).await?;
        let tls_key = stream.handshake(|session| client_key(session.peer_certificates())).flatten();
        Ok(Self { stream, tls_key, ..self })
    }

    /// Reads more into the inbox; 0 means the end of the stream. Cancel-safe.
    pub async fn fill(&mut self) -> io::Result<usize> {
        loop {
            // Buffer space is allocated once data is there: an idle connection uses none.
            poll_fn(|cx| self.stream.poll_read_ready(cx)).await?;
            if self.inbox.capacity() == self.inbox.len() {
                // One of our heads fits into this; a larger one doubles it, up to the parser's limit.
                self.inbox.reserve(1024);
            }
            // Not `try_read_buf`: this one detects after a short read that nothing is left, and saves a system call.
            let mut reading = pin!(self.stream.read_buf(&mut self.inbox));
            if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
                return read;
            }
            // The previous read may have taken everything, which shows only now.
            self.release_buffer();
        }
    }

    /// Reads what has arrived, without waiting, by asking the kernel: tokio learns of it only when the runtime polls
    /// for events.
    pub fn fill_now(&mut self) -> io::Result<usize> {
        let mut arrived = [0; 1024];
        let read = if self.stream.is_plain() {
            recv(&*self.stream, &mut arrived, RecvFlags::DONTWAIT)?.0
        } else {
            let mut space = ReadBuf::new(&mut arrived);
            match Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut space) {
                Poll::Ready(read) => read.map(|()| space.filled().len())?,
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            }
        };
        self.inbox.extend_from_slice(&arrived[..read]);
        Ok(read)
    }

    /// Frees the buffer of an empty inbox, for the time without a request or while a body is sent.
    pub fn release_buffer(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
    }

    /// Waits until the client disconnects, buffering up to one head of its input. Cancel-safe.
    pub async fn disconnected(&mut self) {
        while self.inbox.len() < MAX_HEAD {
            if !matches!(self.fill().await, Ok(read) if read > 0) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Waits until the connection fails, buffering up to one head of the input. The end of the client's stream is no
    /// failure: of a tunnel it ends one direction only. Cancel-safe.
    pub async fn failed(&mut self) {
        while self.inbox.len() < MAX_HEAD {
            match self.fill().await {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => return,
            }
        }
        std::future::pending::<()>().await;
    }

    /// Writes bytes, within the stall limit.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.caller.spend();
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

    /// Encodes a reply head, to be sent with the body.
    pub fn announce(&mut self, reply: &mut Reply) {
        self.caller.spend();
        self.lacks_digest = reply.digests.is_empty();
        self.head.reserve(1024);
        reply.echo_keep_alive = self.http10;
        encode_reply(reply, &mut self.head);
    }

    /// Writes the head of a reply that has no body.
    pub async fn send_head(&mut self) -> io::Result<()> {
        let head = std::mem::take(&mut self.head);
        self.write(&head).await
    }

    /// Writes a problem: as a body, or for HEAD in a header line.
    pub async fn send_problem(&mut self, failed: &Problem, method: Method, keep_alive: bool) -> AfterRequest {
        let keep_alive = keep_alive && !self.http10;
        match self.write(&problem_message(failed, method, keep_alive)).await {
            Ok(()) => AfterRequest::kept_if(keep_alive),
            Err(_) => AfterRequest::Drop,
        }
    }

    /// Shuts down our side, then reads what the peer still sends: unread input would make the kernel reset the
    /// connection and destroy data not yet delivered. Once that is done, dropping the socket is enough.
    pub async fn close(mut self) {
        if within(self.limits.linger, self.stream.shutdown()).await.is_ok() {
            drain(&mut self.stream, self.limits.linger).await;
        }
    }

    /// True if no more input is expected: the peer announced its last request, and everything it sent was read, as far
    /// as known without another system call.
    pub fn is_over(&self) -> bool {
        let silent =
            || matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        self.last_request && self.inbox.is_empty() && self.stream.is_plain() && silent()
    }

    /// Closes as the legacy protocol does: the peer may close first, then we do.
    pub async fn close_after_peer(mut self) {
        drain(&mut self.stream, self.limits.linger).await;
        let _ = within(self.limits.linger, self.stream.shutdown()).await;
        let mut buffer = [0; 1024];
        while self.stream.is_plain() && matches!(self.stream.try_read(&mut buffer), Ok(read) if read > 0) {}
    }

    /// Resets the connection: the only way to show the legacy program that a body is incomplete.
    pub fn abort(self) {
        let _ = self.stream.set_zero_linger();
    }
}

/// Returns after how many seconds a request may succeed that failed for a reason of a chainview node.
fn own_retry_after(failed: &Problem) -> Option<u64> {
    match failed.reason {
        Reason::DailyLimit => Some(until_next_day(seconds(SystemTime::now())).as_secs()),
        reason => matches!(reason.status(), 429 | 503).then_some(1),
    }
}

/// Encodes a reply with a problem: as a body, or for HEAD in a header line.
pub(crate) fn problem_message(failed: &Problem, method: Method, keep_alive: bool) -> Vec<u8> {
    let body = failed.to_json();
    let status = failed.status();
    // The challenge of a foreign origin; our own nodes require a bearer token.
    let challenge = failed.server.as_ref().and_then(|server| server.challenge.as_ref());
    let challenge = challenge.map(SafeText::as_str).filter(|challenge| challenge.is_ascii());
    let reply = Reply {
        status,
        length: Some(body.len() as u64),
        date: http_date(SystemTime::now()),
        content_type: Some(problem::MEDIA_TYPE.into()),
        range_outside: failed.size.filter(|_| status == 416),
        retry_after: failed.server.as_ref().and_then(|server| server.retry_after).or_else(|| own_retry_after(failed)),
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
    async fn an_idle_connection_has_no_buffer() {
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
        down.release_buffer();
        // The read filled the buffer, so the socket still counts as readable until the next read.
        assert!(timeout(Duration::from_millis(1), down.fill()).await.is_err());
        assert_eq!(down.inbox.capacity(), 0);
        client.write_all(b"two").await.unwrap();
        assert_eq!((down.fill().await.unwrap(), down.inbox.as_slice()), (3, &b"two"[..]));
    }
}
