//! An origin that supports ranges and validators, with faults of its own from a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use chainview::wire::http::{RequestKind, encode_reply, parse_request};
use chainview::wire::{ByteRange, Digest, Method, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::faulty::Seeded;

/// Requests that may have a fault; later ones succeed, so that retries can.
const FAULTY_REQUESTS: usize = 8;
/// Bytes behind a body that its head does not announce.
const EXTRA: usize = 300;
/// Bytes by which a wrong range is off.
const SHIFT: u64 = 4096;
/// Bytes that are sent at a time.
const CHUNK: usize = 64 * 1024;

/// A fault of one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Nothing,
    /// 503, to be retried at once.
    Busy,
    /// 500.
    Internal,
    /// Another range of the same length.
    WrongRange,
    /// The whole file in place of a range.
    Whole,
    /// The range ends earlier than requested.
    ShorterRange,
    /// The bytes of this version under another validator.
    OtherEtag,
    /// Bytes behind the body.
    Extra,
    /// The connection ends at this offset of the body.
    Cut(usize),
    Reset(usize),
    Hang(usize),
    /// One bit of this byte is flipped.
    Flip(usize),
}

/// A served file, and a version that replaces it.
pub(super) struct Origin {
    pub(super) versions: [(Arc<Vec<u8>>, Digest); 2],
    /// Number of the request from which the second version is served; at the latest from the end of the faults on.
    pub(super) changes_at: Option<usize>,
    /// Replies to GET have the digest; those to HEAD always do.
    pub(super) announces: bool,
    /// Bodies may be altered.
    pub(super) alters: bool,
    pub(super) seed: u64,
    pub(super) requests: AtomicUsize,
    /// Ends all faults, and with them the connections.
    pub(super) faults_end: CancellationToken,
}

impl Origin {
    /// Replies to the requests of one connection.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream) {
        if self.faults_end.is_cancelled() {
            self.reply_to_all(stream).await;
        } else {
            tokio::select! {
                () = self.faults_end.cancelled() => {}
                () = self.reply_to_all(stream) => {}
            }
        }
    }

    async fn reply_to_all(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut inbox = Vec::new();
        loop {
            let request = loop {
                match parse_request(&inbox) {
                    Ok(Some((RequestKind::File(request), length))) => {
                        inbox.drain(..length);
                        break request;
                    }
                    Ok(None) => {}
                    // A fault has altered the request.
                    Ok(Some((RequestKind::Endpoint | RequestKind::Tunnel(_), _))) | Err(_) => return,
                }
                if !matches!(stream.read_buf(&mut inbox).await, Ok(1..)) {
                    return;
                }
            };
            if !self.reply(&mut stream, &request).await {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }

    fn act(&self, number: usize, length: usize) -> Act {
        let mut random = Seeded::new(self.seed.wrapping_mul(31).wrapping_add(number as u64));
        if self.faults_end.is_cancelled() || number >= FAULTY_REQUESTS || !random.one_in(3) {
            return Act::Nothing;
        }
        let at = random.below(length.max(1) as u64) as usize;
        match random.below(11) {
            0 => Act::Busy,
            1 => Act::Internal,
            2 => Act::WrongRange,
            3 => Act::Whole,
            4 => Act::ShorterRange,
            5 => Act::OtherEtag,
            6 => Act::Extra,
            7 => Act::Cut(at),
            8 => Act::Reset(at),
            9 => Act::Hang(at),
            _ if self.alters => Act::Flip(at),
            _ => Act::Nothing,
        }
    }

    /// Replies to one request; false if the connection has ended.
    async fn reply(&self, stream: &mut TcpStream, request: &Request) -> bool {
        let number = self.requests.fetch_add(1, Relaxed);
        let changes = self.changes_at.is_some_and(|at| number >= at || self.faults_end.is_cancelled());
        let version = usize::from(changes);
        let (content, digest) = &self.versions[version];
        let etag = format!("\"v{version}\"");
        let size = content.len() as u64;
        if request.if_match.as_ref().is_some_and(|wanted| *wanted != etag) {
            return send_head(stream, &Reply { etag: Some(etag), ..status(412) }).await;
        }
        let range = request.range.filter(|_| request.if_range.as_ref().is_none_or(|wanted| *wanted == etag));
        let range = range.map(|range| match range {
            ByteRange::From(first) => (first, size),
            ByteRange::Between(first, last) => (first, size.min(last + 1)),
            ByteRange::Last(bytes) => (size.saturating_sub(bytes), size),
        });
        let (from, to) = range.unwrap_or((0, size));
        if from >= to {
            return send_head(stream, &Reply { range_outside: Some(size), ..status(416) }).await;
        }
        let act = self.act(number, (to - from) as usize);
        let is_head = request.method == Method::Head;
        let (from, to, is_range) = match act {
            Act::Busy => return send_head(stream, &Reply { retry_after: Some(0), ..status(503) }).await,
            Act::Internal => return send_head(stream, &status(500)).await,
            Act::WrongRange if from >= SHIFT => (from - SHIFT, to - SHIFT, true),
            Act::ShorterRange if range.is_some() && to - from > SHIFT => (from, to - SHIFT, true),
            Act::Whole => (0, size, false),
            _ => (from, to, range.is_some()),
        };
        let reply = Reply {
            length: Some(to - from),
            content_range: is_range.then_some((from, to - 1, size)),
            etag: Some(if act == Act::OtherEtag { "\"another\"".to_owned() } else { etag }),
            digests: (is_head || self.announces).then_some(*digest).into_iter().collect(),
            accept_ranges: Some(true),
            ..status(if is_range { 206 } else { 200 })
        };
        if !send_head(stream, &reply).await || is_head {
            return is_head;
        }
        send_body(stream, &content[from as usize..to as usize], act).await
    }
}

fn status(status: u16) -> Reply {
    Reply { status, length: Some(0), keep_alive: true, ..Reply::default() }
}

async fn send_head(stream: &mut TcpStream, reply: &Reply) -> bool {
    let mut head = Vec::new();
    encode_reply(reply, &mut head);
    stream.write_all(&head).await.is_ok()
}

/// Sends a body with a fault; false if the connection has ended.
async fn send_body(stream: &mut TcpStream, body: &[u8], act: Act) -> bool {
    let end = match act {
        Act::Cut(at) | Act::Reset(at) | Act::Hang(at) => at.min(body.len()),
        _ => body.len(),
    };
    let mut at = 0;
    for chunk in body[..end].chunks(CHUNK) {
        let mut chunk = chunk.to_vec();
        if let Act::Flip(flipped) = act
            && let Some(byte) = flipped.checked_sub(at).and_then(|within| chunk.get_mut(within))
        {
            *byte ^= 4;
        }
        if stream.write_all(&chunk).await.is_err() {
            return false;
        }
        at += chunk.len();
        // Otherwise a whole file is in the buffers of the kernel before a second connection has begun.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match act {
        Act::Extra => stream.write_all(&[b'x'; EXTRA]).await.is_ok(),
        Act::Cut(_) => false,
        Act::Reset(_) => {
            let _ = stream.set_zero_linger();
            false
        }
        Act::Hang(_) => std::future::pending().await,
        _ => true,
    }
}
