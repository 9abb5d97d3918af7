//! A client that checks every byte it receives, and behaves in every way that clients do.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::names::{FileKind, content, etag, transfer};
use crate::faulty::Seeded;

/// Far longer than any exchange takes, even on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Requests of one connection.
pub(crate) struct Session {
    pub(crate) to: SocketAddr,
    pub(crate) route: String,
    pub(crate) names: Vec<String>,
    /// With those of a faulty server, or at nodes that drain, a request may fail.
    pub(crate) may_fail: bool,
    pub(crate) random: Seeded,
}

/// What a client does beside reading its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    Plain,
    /// All requests in one write.
    Pipelined,
    Slow,
    /// Disconnects within the head of its last request.
    CutsRequest,
    /// Disconnects after its last request, and this long.
    Leaves(u64),
    /// Disconnects after this many bytes of the last reply.
    LeavesReply(u64),
    /// Ends its direction after the last request.
    HalfCloses,
    /// Sends bytes behind the last request that are none.
    Junk,
}

/// One request.
#[derive(Clone, Debug)]
struct Request {
    name: String,
    head: bool,
    old: bool,
    range: Option<(u64, u64)>,
    condition: Condition,
    closes: bool,
}

/// The condition of a request, about the validator of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    None,
    Match,
    OtherMatch,
    NoneMatch,
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// The announced length arrived.
    complete: bool,
}

/// How many replies arrived, and how many of them were complete successes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) requests: usize,
    pub(crate) replies: usize,
    pub(crate) successes: usize,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.replies += other.replies;
        self.successes += other.successes;
    }
}

impl Request {
    fn any(name: &str, random: &mut Seeded) -> Self {
        let size = content(name).len() as u64;
        let range = random.one_in(5).then(|| {
            let first = random.below(size + 1);
            (first, first + random.below(size + 1))
        });
        Self {
            name: name.to_owned(),
            head: random.one_in(6),
            old: random.one_in(10),
            range,
            condition: match random.below(20) {
                0 => Condition::Match,
                1 => Condition::OtherMatch,
                2 | 3 => Condition::NoneMatch,
                _ => Condition::None,
            },
            closes: false,
        }
    }

    fn bytes(&self, route: &str) -> Vec<u8> {
        let (method, version) = (if self.head { "HEAD" } else { "GET" }, if self.old { "1.0" } else { "1.1" });
        let name = &self.name[..];
        let range = self.range.map_or(String::new(), |(first, last)| format!("Range: bytes={first}-{last}\r\n"));
        let condition = match self.condition {
            Condition::None => String::new(),
            Condition::Match => format!("If-Match: {}\r\n", etag(name)),
            Condition::OtherMatch => "If-Match: \"other\"\r\n".to_owned(),
            Condition::NoneMatch => format!("If-None-Match: {}\r\n", etag(name)),
        };
        let connection = match (self.closes, self.old) {
            (true, _) => "Connection: close\r\n",
            (false, true) => "Connection: keep-alive\r\n",
            (false, false) => "",
        };
        let lines = [
            format!("{method} /files/{name} HTTP/{version}\r\nHost: 127.0.0.1\r\nChain-Route: {route}\r\n"),
            format!("Chain-Transfer: {}\r\n{range}{condition}{connection}\r\n", transfer(name)),
        ];
        lines.concat().into_bytes()
    }

    /// Returns what is wrong with a reply; a failure of the chain is no fault of its relays.
    fn check(&self, reply: &Reply, session: &Session) -> Result<(), String> {
        let (name, kind) = (&self.name, FileKind::of(&self.name));
        let whole = content(name);
        let wrong = |what: &str| {
            let body = String::from_utf8_lossy(&reply.body[..reply.body.len().min(200)]);
            Err(format!("{what}: {self:?} got {}{body}", reply.head))
        };
        let tag = reply.field("etag");
        let expected = match self {
            _ if kind != FileKind::Found => kind.status(),
            Self { condition: Condition::NoneMatch, .. } => 304,
            Self { condition: Condition::OtherMatch, .. } => 412,
            Self { range: Some((first, _)), head: false, .. } if *first >= whole.len() as u64 => 416,
            Self { range: Some(_), head: false, .. } => 206,
            _ => 200,
        };
        let part = match self.range {
            Some((first, last)) if reply.status == 206 => {
                let end = whole.len().min(last as usize + 1);
                whole.get(first as usize..end).unwrap_or_default()
            }
            _ => &whole[..],
        };
        match reply.status {
            200 | 206 | 304 if tag != Some(&etag(name)) => return wrong("another file"),
            200 | 206 | 304 | 403 | 404 | 412 | 416 if reply.status != expected => return wrong("another status"),
            200 | 206 if !self.head && !part.starts_with(&reply.body) => return wrong("other bytes"),
            404 if !String::from_utf8_lossy(&reply.body).contains(name) && !self.head => {
                return wrong("the error of another request");
            }
            200 | 206 | 304 | 403 | 404 | 412 | 416 => {}
            // 408 is the reply of a server that closes an idle connection, for a request that was on its way.
            408 | 500 | 502 | 503 | 504 if session.may_fail => {}
            _ => return wrong("no such reply is expected"),
        }
        if !session.may_fail {
            let all = self.head || reply.status >= 300 || reply.body == part;
            if reply.status != expected || !reply.complete || !all {
                return wrong("not the complete reply");
            }
        }
        Ok(())
    }
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }
}

/// The reading half of a connection.
struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    slow: bool,
}

impl Reader {
    async fn fill(&mut self) -> Result<bool, String> {
        if self.slow {
            sleep(Duration::from_millis(2)).await;
        }
        self.buffer.reserve(8 * 1024);
        match timeout(TIMEOUT, self.stream.read_buf(&mut self.buffer)).await {
            Err(_) => Err("nothing comes, and nothing ends".to_owned()),
            Ok(read) => Ok(matches!(read, Ok(1..))),
        }
    }

    /// Reads a reply; `None` if the connection ends before its head does.
    async fn reply(&mut self, request: &Request) -> Result<Option<Reply>, String> {
        loop {
            let end = loop {
                if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at + 4;
                }
                if !self.fill().await? {
                    return Ok(None);
                }
            };
            let head = String::from_utf8_lossy(&self.buffer.drain(..end).collect::<Vec<u8>>()).into_owned();
            let status = head.get(9..12).and_then(|status| status.parse().ok());
            let Some(status) = status.filter(|_| head.starts_with("HTTP/1.1 ")) else {
                return Err(format!("no head for {request:?}: {head}"));
            };
            if status < 200 {
                if request.old {
                    return Err(format!("an interim reply to HTTP/1.0: {head}"));
                }
                continue;
            }
            let mut reply = Reply { status, head, body: Vec::new(), complete: true };
            let length = reply.field("content-length").map(str::parse::<usize>);
            let length = match length {
                _ if request.head || status == 304 || status == 204 => 0,
                Some(Ok(length)) => length,
                _ => return Err(format!("no length for {request:?}: {}", reply.head)),
            };
            while self.buffer.len() < length {
                if !self.fill().await? {
                    reply.complete = false;
                    break;
                }
            }
            reply.body = self.buffer.drain(..length.min(self.buffer.len())).collect();
            return Ok(Some(reply));
        }
    }
}

impl Session {
    /// Runs all requests, over as many connections as that takes; returns the first violation.
    pub(crate) async fn run(mut self) -> Result<Count, String> {
        let mut count = Count::default();
        while !self.names.is_empty() {
            let names = std::mem::take(&mut self.names);
            let rest = self.connection(names, &mut count).await?;
            self.names = rest;
        }
        Ok(count)
    }

    /// Uses one connection; returns the names whose requests were not sent.
    async fn connection(&mut self, mut names: Vec<String>, count: &mut Count) -> Result<Vec<String>, String> {
        let random = &mut self.random;
        let pattern = match random.below(12) {
            0..=3 => Pattern::Plain,
            4 | 5 => Pattern::Pipelined,
            6 => Pattern::Slow,
            7 => Pattern::CutsRequest,
            8 => Pattern::Leaves(random.below(12)),
            9 => Pattern::LeavesReply(random.below(5000)),
            10 => Pattern::HalfCloses,
            _ => Pattern::Junk,
        };
        let rest = names.split_off((1 + random.below(4) as usize).min(names.len()));
        let mut requests: Vec<_> = names.iter().map(|name| Request::any(name, random)).collect();
        let ends = random.one_in(3);
        if let Some(last) = requests.last_mut() {
            last.closes = ends;
        }
        let Ok(stream) = TcpStream::connect(self.to).await else {
            return if self.may_fail { Ok(rest) } else { Err("not accepted".to_owned()) };
        };
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut reader = Reader { stream, buffer: Vec::new(), slow: pattern == Pattern::Slow };
        if pattern == Pattern::Pipelined {
            let all: Vec<u8> = requests.iter().flat_map(|request| request.bytes(&self.route)).collect();
            let _ = reader.stream.write_all(&all).await;
        }
        let last = requests.len() - 1;
        for (number, request) in requests.iter().enumerate() {
            count.requests += 1;
            let bytes = request.bytes(&self.route);
            let odd = number == last;
            match pattern {
                Pattern::Pipelined => {}
                Pattern::CutsRequest if odd => {
                    let _ = reader.stream.write_all(&bytes[..bytes.len() / 2]).await;
                    return Ok(rest);
                }
                _ => _ = reader.stream.write_all(&bytes).await,
            }
            match pattern {
                Pattern::Leaves(time) if odd => {
                    sleep(Duration::from_millis(time)).await;
                    return Ok(rest);
                }
                Pattern::LeavesReply(most) if odd => {
                    while reader.buffer.len() < most as usize && reader.fill().await? {}
                    return Ok(rest);
                }
                Pattern::HalfCloses if odd => _ = reader.stream.shutdown().await,
                Pattern::Junk if odd => _ = reader.stream.write_all(b"\0\x01 not a request\r\n\r\n").await,
                _ => {}
            }
            let Some(reply) = reader.reply(request).await? else {
                let excused = self.may_fail || odd && matches!(pattern, Pattern::HalfCloses | Pattern::Junk);
                return if excused { Ok(rest) } else { Err(format!("no reply: {request:?}, {pattern:?}")) };
            };
            count.replies += 1;
            count.successes += usize::from(reply.complete && matches!(reply.status, 200 | 206 | 304));
            request.check(&reply, self).map_err(|error| format!("{error}\n({pattern:?})"))?;
            if reply.closes() || !reply.complete {
                break;
            }
        }
        self.end(reader, pattern, rest).await
    }

    /// Ends a connection: nothing may come behind the last reply, except that junk is refused.
    async fn end(&self, mut reader: Reader, pattern: Pattern, rest: Vec<String>) -> Result<Vec<String>, String> {
        let _ = reader.stream.shutdown().await;
        while reader.fill().await? {}
        let behind = String::from_utf8_lossy(&reader.buffer);
        let refused = pattern == Pattern::Junk && behind.starts_with("HTTP/1.1 400 ");
        if !behind.is_empty() && !refused && pattern != Pattern::Pipelined {
            return Err(format!("bytes behind the last reply ({pattern:?}): {behind}"));
        }
        Ok(rest)
    }
}
