//! What a server does with one request: correct replies of every form, and faults.

use std::time::Duration;

use super::names::{FileKind, content, etag};
use super::server::{Behavior, Request};
use crate::faulty::Seeded;

/// A part of what is sent.
pub(crate) enum Part {
    Bytes(Vec<u8>),
    /// In the middle of a reply.
    Pause(Duration),
}

/// How a connection ends after a reply.
pub(crate) enum Close {
    No,
    Now,
    Reset,
    /// Unless another request comes within this time.
    Idle(Duration),
    /// The same with a reset.
    ResetIdle(Duration),
}

/// What a server does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Plain,
    /// As many interim replies first.
    Interim(u64),
    Slow,
    /// `Connection: close`.
    AnnouncedClose,
    CloseAfter,
    CloseIdle,
    ResetIdle,
    /// Closed before any byte of the reply, as an idle connection may be; only where it was used before.
    CloseIdleUnanswered,
    ResetIdleUnanswered,
    ShortKeepAlive,
    /// HTTP/1.0, which closes, or names `keep-alive`.
    Old,
    OldKeepAlive,
    // Faults from here on.
    CloseUnanswered,
    ResetUnanswered,
    CloseAfterInterim,
    CutHead(bool),
    CutBody(bool),
    /// More is announced than sent.
    Short,
    /// Less is announced than sent.
    Long,
    ByteBehind,
    TimeoutBehind,
    ReplyBehind,
    InterimBehind,
    /// A reply to HEAD with a body, a 304 or 204 with one; at once, or later than the head.
    ForbiddenBody,
    LateForbiddenBody,
    NoContent,
    Chunked,
    ChunkedError,
    NoLength,
    Switch,
    WrongHops,
    Redirect,
    LargeError,
    UnaskedPart,
    EndlessInterim,
    NotHttp,
}

const CORRECT: [Act; 11] = [
    Act::Slow,
    Act::AnnouncedClose,
    Act::CloseAfter,
    Act::ResetIdle,
    Act::CloseIdle,
    Act::CloseIdleUnanswered,
    Act::ResetIdleUnanswered,
    Act::ShortKeepAlive,
    Act::Old,
    Act::OldKeepAlive,
    Act::Plain,
];
const FAULTS: [Act; 26] = [
    Act::CloseUnanswered,
    Act::ResetUnanswered,
    Act::CloseAfterInterim,
    Act::CutHead(false),
    Act::CutHead(true),
    Act::CutBody(false),
    Act::CutBody(true),
    Act::Short,
    Act::Long,
    Act::ByteBehind,
    Act::TimeoutBehind,
    Act::ReplyBehind,
    Act::InterimBehind,
    Act::ForbiddenBody,
    Act::LateForbiddenBody,
    Act::NoContent,
    Act::Chunked,
    Act::ChunkedError,
    Act::NoLength,
    Act::Switch,
    Act::WrongHops,
    Act::Redirect,
    Act::LargeError,
    Act::UnaskedPart,
    Act::EndlessInterim,
    Act::NotHttp,
];

impl Act {
    pub(crate) fn of(random: &mut Seeded, behavior: Behavior, reused: bool) -> Self {
        let act = match random.below(if behavior == Behavior::Correct { 8 } else { 12 }) {
            0..=3 => Self::Plain,
            4 => Self::Interim(1 + random.below(6)),
            5..=7 => random.pick(&CORRECT),
            _ => random.pick(&FAULTS),
        };
        match act {
            Self::CloseIdleUnanswered | Self::ResetIdleUnanswered if !reused => Self::Plain,
            act => act,
        }
    }
}

/// The correct reply: status, lines, body.
fn correct(request: &Request) -> (u16, Vec<String>, Vec<u8>) {
    let name = &request.name;
    let mut lines = vec![format!("ETag: {}", etag(name))];
    let kind = FileKind::of(name);
    if kind != FileKind::Found {
        let body = format!("{} for {name}", kind.status()).into_bytes();
        let lines = vec![format!("Content-Length: {}", body.len())];
        return (kind.status(), lines, if request.head { Vec::new() } else { body });
    }
    let whole = content(name);
    let size = whole.len();
    if request.field("if-none-match") == Some(&etag(name)) {
        return (304, lines, Vec::new());
    }
    if request.field("if-match").is_some_and(|wanted| wanted != etag(name)) {
        return (412, vec!["Content-Length: 0".to_owned()], Vec::new());
    }
    let range = request.field("range").filter(|_| !request.head).and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let first: usize = first.parse().ok()?;
        Some((first, last.parse::<usize>().map_or(size, |last| last + 1).min(size)))
    });
    let (status, body) = match range {
        Some((first, _)) if first >= size => {
            return (416, vec![format!("Content-Range: bytes */{size}"), "Content-Length: 0".to_owned()], Vec::new());
        }
        Some((first, end)) => {
            lines.push(format!("Content-Range: bytes {first}-{}/{size}", end - 1));
            (206, whole[first..end].to_vec())
        }
        None => (200, whole),
    };
    lines.push(format!("Content-Length: {}", body.len()));
    (status, lines, if request.head { Vec::new() } else { body })
}

fn head(version: &str, status: u16, lines: &[String]) -> Vec<u8> {
    let lines: Vec<_> = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.{version} {status} X\r\n{}\r\n", lines.concat()).into_bytes()
}

/// A complete reply with a body that belongs to no request.
fn stray() -> Vec<u8> {
    [head("1", 200, &["Content-Length: 5".to_owned(), "ETag: \"stray\"".to_owned()]), b"stray".to_vec()].concat()
}

fn with_length(lines: Vec<String>, length: usize) -> Vec<String> {
    let rest = lines.into_iter().filter(|line| !line.starts_with("Content-Length"));
    rest.chain([format!("Content-Length: {length}")]).collect()
}

const WORKING: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";

fn pause(random: &mut Seeded) -> Part {
    Part::Pause(Duration::from_micros(random.below(4000)))
}

/// What is sent for a request, and how the connection ends.
pub(crate) fn reply(request: &Request, act: Act, random: &mut Seeded) -> (Vec<Part>, Close) {
    if let Some((bytes, close)) = in_one_piece(request, act, random) {
        return (vec![Part::Bytes(bytes)], close);
    }
    let (status, mut lines, mut body) = correct(request);
    let mut parts = Vec::new();
    let mut close = Close::No;
    let mut version = "1";
    let mut behind = Vec::new();
    match act {
        Act::Interim(count) => {
            for _ in 0..count {
                let status = random.pick(&[100, 102, 102, 103]);
                let line = if status == 103 { "Link: </x>\r\n" } else { "" };
                parts.push(Part::Bytes(format!("HTTP/1.1 {status} X\r\n{line}\r\n").into_bytes()));
                if random.one_in(2) {
                    parts.push(pause(random));
                }
            }
        }
        Act::Slow => {
            parts.push(pause(random));
            let mut bytes = [head(version, status, &lines), body].concat();
            while bytes.len() > 1 && !random.one_in(4) {
                let rest = bytes.split_off(1 + random.below(bytes.len() as u64 - 1) as usize);
                parts.extend([Part::Bytes(bytes), pause(random)]);
                bytes = rest;
            }
            parts.push(Part::Bytes(bytes));
            return (parts, Close::No);
        }
        Act::AnnouncedClose => {
            lines.push("Connection: close".to_owned());
            close = Close::Now;
        }
        Act::CloseAfter => close = Close::Now,
        Act::CloseIdle => close = Close::Idle(Duration::from_millis(random.below(20))),
        // A reset destroys what has not arrived yet.
        Act::ResetIdle if body.len() <= 4096 => close = Close::ResetIdle(Duration::from_millis(5 + random.below(20))),
        Act::ShortKeepAlive => {
            lines.push("Keep-Alive: timeout=1, max=100".to_owned());
            close = Close::Idle(Duration::from_secs(1));
        }
        Act::Old => (version, close) = ("0", Close::Now),
        Act::OldKeepAlive => {
            version = "0";
            lines.push("Connection: keep-alive".to_owned());
        }
        Act::Short => {
            lines = with_length(lines, body.len() + 1 + random.below(100) as usize);
            close = Close::Now;
        }
        Act::Long => lines = with_length(lines, body.len().saturating_sub(1 + random.below(100) as usize)),
        Act::ByteBehind => behind = b"\n".to_vec(),
        Act::TimeoutBehind => behind = head("1", 408, &["Content-Length: 0".to_owned()]),
        Act::ReplyBehind => behind = stray(),
        Act::InterimBehind => behind = WORKING.to_vec(),
        Act::ForbiddenBody => body = if request.head || status == 304 { stray() } else { body },
        Act::LateForbiddenBody if request.head || status == 304 => {
            let late = Part::Pause(Duration::from_millis(1 + random.below(10)));
            return (vec![Part::Bytes(head(version, status, &lines)), late, Part::Bytes(stray())], Close::No);
        }
        Act::NoLength => {
            lines.retain(|line| !line.starts_with("Content-Length"));
            close = Close::Now;
        }
        Act::WrongHops => lines.push("Chain-Hops: 3".to_owned()),
        Act::EndlessInterim => parts.push(Part::Bytes(WORKING.repeat(300))),
        _ => {}
    }
    // Bytes behind the body come with its end, in one piece: nothing but a look at the socket can show them.
    let mut bytes = [head(version, status, &lines), body].concat();
    if bytes.len() > 4096 && !behind.is_empty() {
        let tail = bytes.split_off(bytes.len() - 1000);
        parts.extend([Part::Bytes(bytes), pause(random)]);
        bytes = tail;
    }
    parts.push(Part::Bytes([bytes, behind].concat()));
    (parts, close)
}

/// The faults that are sent at once, if this is one.
fn in_one_piece(request: &Request, act: Act, random: &mut Seeded) -> Option<(Vec<u8>, Close)> {
    let (status, mut lines, mut body) = correct(request);
    let closes = |reset: bool| if reset { Close::Reset } else { Close::Now };
    Some(match act {
        Act::CloseIdleUnanswered | Act::CloseUnanswered => (Vec::new(), Close::Now),
        Act::ResetIdleUnanswered | Act::ResetUnanswered => (Vec::new(), Close::Reset),
        Act::CloseAfterInterim => (WORKING.to_vec(), closes(random.one_in(2))),
        Act::CutHead(reset) => {
            let mut bytes = head("1", status, &lines);
            bytes.truncate(1 + random.below(bytes.len() as u64 - 1) as usize);
            (bytes, closes(reset))
        }
        Act::CutBody(reset) => {
            body.truncate(random.below(body.len().max(1) as u64) as usize);
            ([head("1", status, &lines), body].concat(), closes(reset))
        }
        Act::NoContent => ([head("1", 204, &lines), stray()].concat(), Close::No),
        Act::Chunked | Act::ChunkedError => {
            let status = if act == Act::Chunked { status } else { 500 };
            lines.retain(|line| !line.starts_with("Content-Length"));
            lines.push("Transfer-Encoding: chunked".to_owned());
            let chunk = format!("{:x}\r\n", body.len().max(1)).into_bytes();
            let filled = if body.is_empty() { b"x".to_vec() } else { body };
            ([head("1", status, &lines), chunk, filled, b"\r\n0\r\n\r\n".to_vec()].concat(), Close::No)
        }
        Act::Switch => ([head("1", 101, &lines), stray()].concat(), Close::No),
        Act::Redirect => {
            lines.push("Location: /elsewhere".to_owned());
            ([head("1", 302, &lines), body].concat(), Close::No)
        }
        Act::LargeError => {
            let large = stray().repeat(2000);
            ([head("1", 503, &with_length(lines, large.len())), large].concat(), Close::No)
        }
        Act::UnaskedPart if status < 400 => {
            let size = body.len().max(1);
            lines.push(format!("Content-Range: bytes 0-{}/{size}", size - 1));
            ([head("1", 206, &lines), body].concat(), Close::No)
        }
        Act::NotHttp => (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Close::No),
        _ => return None,
    })
}
