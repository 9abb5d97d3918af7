//! A hop that sends hostile text in every field it can.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// Number of different positions of a string.
pub(crate) const POSITIONS: usize = 7;

/// The hop; it runs for as long as the test.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    round: Arc<AtomicUsize>,
}

impl Peer {
    /// Starts it; each reply to a request for a file takes the next string and position.
    pub(crate) fn start(strings: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let round = Arc::new(AtomicUsize::new(0));
        let rounds = Arc::clone(&round);
        let strings = Arc::new(strings);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (rounds, strings) = (Arc::clone(&rounds), Arc::clone(&strings));
                thread::spawn(move || serve(stream, &strings, &rounds));
            }
        });
        Self { address, round }
    }

    /// From now on it replies with this round's string in this round's position.
    pub(crate) fn round(&self, round: usize) {
        self.round.store(round, Relaxed);
    }
}

fn serve(mut stream: TcpStream, strings: &[Vec<u8>], round: &AtomicUsize) {
    let mut request = Vec::new();
    loop {
        while !request.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut chunk = [0; 4096];
            let Some(read) = stream.read(&mut chunk).ok().filter(|read| *read > 0) else { return };
            request.extend_from_slice(&chunk[..read]);
        }
        let round = round.load(Relaxed);
        let reply = if request.starts_with(b"GET /v1/events") {
            let names =
                strings.iter().cycle().skip(round).take(40).map(|name| String::from_utf8_lossy(name).into_owned());
            events(&names.collect::<Vec<_>>())
        } else {
            reply_bytes(&strings[round % strings.len()], round % POSITIONS, request.starts_with(b"HEAD"))
        };
        request.clear();
        if stream.write_all(&reply).is_err() {
            return;
        }
        // After a stream of events the reader waits for the next line; after an error it closes.
    }
}

/// A report in which every text is one of these.
fn events(texts: &[String]) -> Vec<u8> {
    let mut text = texts.iter().cycle().cloned();
    let mut next = || text.next().unwrap();
    let connections: Vec<_> = (0..30)
        .map(|id| {
            serde_json::json!({"id": id, "state": "streaming", "role": "relay", "peer": next(), "upstream": next(),
                "protocol": next(), "upstream_protocol": next(), "transfer": next(), "name": next(), "size": 1000})
        })
        .collect();
    let node = serde_json::json!({"version": next(), "node": next(), "pid": 1, "address": next(), "policy": next(),
        "protocols": [next(), next()], "uptime_us": 1_000_000, "connections": connections});
    let line = node.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nChain-Hops: 0\r\n";
    format!("{head}Content-Length: 1000000\r\n\r\n{line}\n").into_bytes()
}

fn reply_bytes(string: &[u8], position: usize, is_head: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(string).into_owned();
    let problem = |kind: &str| {
        serde_json::json!({"type": text, "title": text, "status": 502, "detail": text, "hop": 1, "reporter": 0,
            "address": text, "action": "connect", "reason": kind, "ms": 1.5})
        .to_string()
        .into_bytes()
    };
    let with_body = |status: &[u8], kind: &[u8], body: &[u8]| {
        let length = format!("\r\nContent-Length: {}\r\nContent-Type: ", body.len());
        let body = if is_head { &b""[..] } else { body };
        [b"HTTP/1.1 ", status, length.as_bytes(), kind, b"\r\n\r\n", body].concat()
    };
    let lines = |name: &[u8]| [name, b": ", string, b"\r\n"].concat();
    match position {
        0 => with_body(b"502 Bad Gateway", b"application/problem+json", &problem("refused")),
        1 => with_body(b"502 Bad Gateway", b"application/problem+json", &problem("internal")),
        2 => with_body(&[b"500 ", string].concat(), string, string),
        3 => {
            let names: [&[u8]; 7] =
                [b"ETag", b"Last-Modified", b"Content-Type", b"Via", b"Date", b"X-Own", b"Repr-Digest"];
            let all: Vec<u8> = names.iter().flat_map(|name| lines(name)).collect();
            [
                &b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nChain-Hops: 0\r\n"[..],
                &all[..],
                b"\r\n",
                if is_head { b"" } else { b"body" },
            ]
            .concat()
        }
        4 => {
            let timing = [b"Server-Timing: ", string, b";dur=1;desc=\"", string, b"\", resolve;dur=1\r\n"].concat();
            [
                &b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nChain-Hops: 0\r\n"[..],
                &timing[..],
                b"\r\n",
                if is_head { b"" } else { b"body" },
            ]
            .concat()
        }
        5 => [b"HTTP/1.1 502 X\r\nContent-Length: 0\r\nChain-Problem: ", &problem("closed")[..], b"\r\n\r\n"].concat(),
        _ => [b"HTTP/1.1 ", string, b"\r\n\r\n"].concat(),
    }
}
