//! Hostile text at every output: no terminal, log or document gets a character that acts on a terminal.
//!
//! `cargo test` gives some of the strings to the real program. All 500 at every position:
//!
//! ```text
//! CHAINVIEW_FAULTS=full cargo test --release --test it escapes:: -- --nocapture
//! ```

mod peer;
use crate::support::script;
use crate::support::snapshots;
mod strings;
use crate::support;
use crate::support::terminal;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;

use chainview::snapshot::{HopLink, Integrity, Level, LogLine, Phase};
use chainview::text::SafeText;
use peer::{POSITIONS, Peer};
use script::Script;
use snapshots::{mixed, streaming, transfer};
use strings::{hostile, raw, raw_on_a_terminal};
use support::TIMEOUT;
use support::process::{Node, chainview};
use terminal::Terminal;

fn is_full() -> bool {
    std::env::var("CHAINVIEW_FAULTS").is_ok_and(|value| value == "full")
}

/// All of them, or this many spread over the list.
fn some(most: usize) -> Vec<Vec<u8>> {
    let all = hostile();
    let step = if is_full() { 1 } else { all.len().div_ceil(most) };
    all.into_iter().step_by(step).collect()
}

#[track_caller]
fn is_clean(what: &str, string: &[u8], found: &[String]) {
    assert!(found.is_empty(), "{what} obeys {:?}: {found:?}", String::from_utf8_lossy(string));
}

#[test]
fn the_screen_shows_control_characters_as_text() {
    let all = hostile();
    assert!(all.len() >= 500, "{} strings", all.len());
    for string in &all {
        let text = || SafeText::from_bytes(string);
        let mut chain = if string.len() % 2 == 0 { streaming() } else { mixed() };
        (chain.source, chain.folder, chain.file) = (text(), text(), text());
        for hop in &mut chain.hops {
            (hop.address, hop.label) = (text(), text());
            if let Some(node) = &mut hop.node {
                (node.version, node.node, node.address, node.policy) = (text(), text(), text(), text());
                for conn in &mut node.connections {
                    (conn.peer, conn.upstream, conn.name, conn.transfer) = (text(), text(), text(), text());
                }
            }
        }
        chain.hops[1].link = HopLink::Down { reason: text().into() };
        chain.transfers = [Phase::Streaming, Phase::Done, Phase::Failed].map(|phase| transfer(1, phase)).into();
        for transfer in &mut chain.transfers {
            (transfer.id, transfer.name, transfer.path) = (text(), text(), text());
            transfer.error = transfer.error.as_ref().map(|_| text());
        }
        chain.transfers[1].integrity = Integrity::SizeChecked { digest: String::new(), reason: text() };
        chain.log.push(LogLine { level: Level::Error, text: text(), ..LogLine::default() });
        let screen = Script::new(120, 40, chain.clone()).screen();
        is_clean("the screen", string, &raw(screen.as_bytes(), "\n"));
        let screen = Script::new(60, 15, chain).screen();
        is_clean("the small screen", string, &raw(screen.as_bytes(), "\n"));
    }
}

/// Runs a fetch and returns its output: standard output, standard error, the log.
fn fetch(folder: &Path, input: &Path, more: &[&str]) -> [Vec<u8>; 3] {
    let log = folder.join("log");
    let _ = fs::remove_file(&log);
    let mut command = chainview();
    command.current_dir(folder).arg("--fetch").arg(input).args(["-o", "out", "--force", "-v", "-v", "--log"]).arg(&log);
    let output = command.args(more).output().unwrap();
    [output.stdout, output.stderr, fs::read(&log).unwrap_or_default()]
}

#[test]
fn text_from_hops_is_sanitized() {
    let strings = some(70);
    let peer = Peer::start(strings.clone());
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input.txt");
    for (round, string) in strings.iter().enumerate() {
        peer.round(round);
        // Half of them directly, half of them through a relay.
        fs::write(&input, format!("f\n{} {} protocol=http\n", peer.address.ip(), peer.address.port())).unwrap();
        let json: &[&str] = if round % 2 == 0 { &["--json"] } else { &[] };
        for (what, output) in ["stdout", "stderr", "the log"].iter().zip(fetch(folder.path(), &input, json)) {
            is_clean(&format!("{what}, position {}", round % POSITIONS), string, &raw(&output, "\n"));
        }
    }
}

#[test]
fn names_are_sanitized() {
    let strings = some(50);
    let folder = tempfile::tempdir().unwrap();
    let node = Node::chainview(folder.path(), &[]);
    let (ip, port) = (node.address().ip(), node.address().port());
    let input = folder.path().join("input.txt");
    for (round, string) in strings.iter().enumerate() {
        let hops = [format!("\n{ip} {port} name=").as_bytes(), string, b"\n"].concat();
        let lines = match round % 4 {
            // The file, a label, a host, and an unknown key.
            0 => [string, &hops[..]].concat(),
            1 => [b"nothing", &hops[..]].concat(),
            2 => [b"nothing\n", &string[..], b" 1\n"].concat(),
            _ => [format!("nothing\n{ip} {port} protocol=").as_bytes(), string, b"\n"].concat(),
        };
        fs::write(&input, lines).unwrap();
        let json: &[&str] = if round % 8 < 4 { &["--json"] } else { &[] };
        for (what, output) in ["stdout", "stderr", "the log"].iter().zip(fetch(folder.path(), &input, json)) {
            is_clean(&format!("{what}, line {}", round % 4), string, &raw(&output, "\n"));
        }
        let typed = OsStr::from_bytes(string);
        for flag in ["--limit", "--node", "--expect", "--allow-next", "--no-such", "--file"] {
            let mut command = chainview();
            command.current_dir(folder.path()).arg("--fetch").arg(flag).arg(typed).arg("--check");
            let output = command.output().unwrap();
            is_clean(flag, string, &raw(&output.stderr, "\n"));
            if !is_full() {
                break;
            }
        }
    }
}

/// Sends a request to a node, and returns the reply until it closes.
fn send_request(to: SocketAddr, head: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(&[head, b"Connection: close\r\n\r\n"].concat()).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    reply
}

#[test]
fn text_from_requests_is_sanitized() {
    let strings = some(170);
    let peer = Peer::start(strings.clone());
    let folder = tempfile::tempdir().unwrap();
    let node = Node::chainview(folder.path(), &["-v", "-v"]);
    let to = node.address();
    for (round, string) in strings.iter().enumerate() {
        peer.round(round);
        let escaped = string.iter().fold(String::new(), |mut path, byte| {
            let _ = write!(path, "%{byte:02X}");
            path
        });
        let id = format!("{:032x}", round + 1);
        let path = format!("GET /files/{escaped} HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Transfer: {id}\r\n");
        let mut replies = vec![
            send_request(to, path.as_bytes()),
            send_request(to, format!("{path}Chain-Route: {}\r\n", peer.address).as_bytes()),
            send_request(to, format!("GET /v1/transfers/{id} HTTP/1.1\r\nHost: 127.0.0.1\r\n").as_bytes()),
        ];
        // Raw, where the head may contain any bytes.
        for head in [
            [b"GET /files/", &string[..], b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"].concat(),
            [b"GET /files/x HTTP/1.1\r\nHost: ", &string[..], b"\r\n"].concat(),
            [b"GET /files/x HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Route: ", &string[..], b":1\r\n"].concat(),
            [b"GET /files/x HTTP/1.1\r\nHost: 127.0.0.1\r\n", &string[..], b": x\r\n"].concat(),
            [b"GET /v1/", &string[..], b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"].concat(),
            [b"GET /v1/node HTTP/1.1\r\nHost: ", &string[..], b"\r\n"].concat(),
            [b"GET /v1/node HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Route: ", &string[..], b"\r\n"].concat(),
            [b"BREW/", &string[..], b" /files/x HTTP/1.1\r\nHost: 127.0.0.1\r\n"].concat(),
        ] {
            replies.push(send_request(to, &head));
        }
        for reply in replies {
            // A tab is optional whitespace of HTTP.
            is_clean("a node's reply", string, &raw(&reply, "\r\n\t"));
        }
    }
    for endpoint in ["/v1/node", "/v1/connections", "/metrics"] {
        let reply = send_request(to, format!("GET {endpoint} HTTP/1.1\r\nHost: 127.0.0.1\r\n").as_bytes());
        is_clean(endpoint, b"", &raw(&reply, "\r\n"));
    }
    is_clean("the log", b"", &raw(node.stderr().as_bytes(), "\n"));
}

#[test]
fn a_real_terminal_gets_only_our_sequences() {
    let strings = hostile();
    let peer = Peer::start(strings.clone());
    let runs = if is_full() { 42 } else { 3 };
    thread::scope(|scope| {
        for run in 0..runs {
            let (strings, peer) = (&strings, &peer);
            let on_terminal = move || {
                let round = run * strings.len() / runs;
                peer.round(round);
                let folder = tempfile::tempdir().unwrap();
                // A word of an input file is text without blanks.
                let word = |string: &&Vec<u8>| {
                    std::str::from_utf8(string).is_ok_and(|text| !text.contains(char::is_whitespace))
                };
                let label = strings[round + 1..].iter().find(word).map_or(&b"none"[..], Vec::as_slice);
                let hop = format!("\n{} {} protocol=http name=", peer.address.ip(), peer.address.port());
                let input = [&strings[round], hop.as_bytes(), label, b"\n"].concat();
                fs::write(folder.path().join("input.txt"), input).unwrap();
                let mut screen = Terminal::start(terminal::chainview(folder.path(), "--no-spawn"), 120, 40);
                screen.shows(&["LIVE"]);
                screen.keys("f");
                screen.until("how it ended", |screen| {
                    let text = screen.contents();
                    text.contains("1 failed") || text.contains("1 done")
                });
                screen.keys("q");
                screen.ends(TIMEOUT);
                is_clean("the terminal", &strings[round], &raw_on_a_terminal(&screen.sent()));
                // The bar, and the last lines.
                let bar = Terminal::start(terminal::chainview(folder.path(), "--fetch input.txt"), 100, 30);
                bar.ends(TIMEOUT);
                is_clean("the bar", &strings[round], &raw_on_a_terminal(&bar.sent()));
            };
            if is_full() {
                on_terminal();
            } else {
                scope.spawn(on_terminal);
            }
        }
    });
}
