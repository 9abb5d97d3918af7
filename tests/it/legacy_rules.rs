//! The five rules by which a chainview node makes a mixed chain work, each checked with the real program.

use crate::support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::process::{Node, fetch_chainview};
use support::{Outcome, Pace, TIMEOUT, accept, content, standin};
use tempfile::TempDir;

const LEGACY: &[&str] = &["--protocol", "legacy"];
const NAME: &str = "file-3000";

/// A chainview node with a file to serve.
struct Served {
    folder: TempDir,
    node: Node,
}

fn served() -> Served {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(NAME), content(3000)).unwrap();
    let node = Node::chainview(folder.path(), LEGACY);
    Served { folder, node }
}

/// A listener whose one connection a test controls by hand.
struct Scripted(TcpListener);

impl Scripted {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Accepts the next connection and reads the request that arrived on it.
    fn accept(&self) -> (TcpStream, String) {
        let stream = accept(&self.0);
        let mut buffer = vec![0; 128 * 1024];
        let count = (&stream).read(&mut buffer).unwrap();
        (stream, String::from_utf8(buffer[..count].to_vec()).unwrap())
    }
}

fn line(address: SocketAddr) -> String {
    format!("\n{} {}", address.ip(), address.port())
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

fn send_request(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Reads until the end of the stream, which must be a clean one.
fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

fn read_exact(mut stream: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Checks that nothing arrives for a while; there is no event for the absence of bytes.
fn assert_silent(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let error = stream.read(&mut [0; 1]).expect_err("no byte may arrive yet");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
}

/// Size, go-ahead, body, `close`: the rest of a complete exchange, as the legacy client has it.
fn assert_delivers(mut stream: &TcpStream) {
    assert_eq!(read_exact(stream, 4), b"3000");
    stream.write_all(b"ack_to_send").unwrap();
    assert!(read_exact(stream, 3000) == content(3000), "the bytes differ");
    stream.write_all(b"close").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(stream), b"");
}

#[test]
fn a_request_in_single_bytes_is_accepted() {
    let served = served();
    let mut stream = connect(served.node.address());
    stream.set_nodelay(true).unwrap();
    for byte in format!("{NAME}{}", line(served.node.address())).bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_delivers(&stream);
}

#[test]
fn a_request_with_a_pause_in_its_address_is_accepted() {
    let served = served();
    let request = format!("{NAME}{}", line(served.node.address()));
    let (head, tail) = request.split_at(request.len() - 3);
    let mut stream = send_request(served.node.address(), head);
    // Longer than the short gap, shorter than the long one: the pause itself is what is tested.
    thread::sleep(Duration::from_millis(60));
    stream.write_all(tail.as_bytes()).unwrap();
    assert_delivers(&stream);
}

#[test]
fn a_relay_forwards_a_request_in_one_write() {
    let (served, origin) = (served(), standin_with_the_file());
    let mut stream = connect(served.node.address());
    stream.set_nodelay(true).unwrap();
    for byte in format!("{NAME}{}{}", line(served.node.address()), line(origin.1.address())).bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_delivers(&stream);
}

#[test]
fn a_final_newline_is_accepted_and_not_forwarded() {
    let (served, origin) = (served(), standin_with_the_file());
    assert_delivers(&send_request(served.node.address(), &format!("{NAME}{}\n", line(served.node.address()))));
    let over = format!("{NAME}{}{}\n", line(served.node.address()), line(origin.1.address()));
    assert_delivers(&send_request(served.node.address(), &over));
}

#[test]
fn carriage_returns_are_accepted() {
    let served = served();
    let request = format!("{NAME}{}\n", line(served.node.address())).replace('\n', "\r\n");
    assert_delivers(&send_request(served.node.address(), &request));
}

#[test]
fn words_after_a_port_are_forwarded() {
    let (served, origin) = (served(), Scripted::new());
    let own = line(served.node.address());
    let _stream =
        send_request(served.node.address(), &format!("{NAME}{own} dropped{} kept key=value", line(origin.address())));
    let (_, request) = origin.accept();
    let expected = format!("{NAME}{} kept key=value", line(origin.address()));
    assert!(request.starts_with(&expected), "{request:?}");
    assert!(!request.ends_with('\n'), "{request:?}");
}

#[test]
fn a_long_request_is_accepted() {
    let served = served();
    let request = |padding| format!("{NAME}{} {}", line(served.node.address()), "x".repeat(padding));
    assert_delivers(&send_request(served.node.address(), &request(1500)));
    assert_delivers(&send_request(served.node.address(), &request(60_000)));
}

#[test]
fn a_request_beyond_64_kib_is_rejected() {
    let served = served();
    let mut stream = connect(served.node.address());
    // The node may close before it has read all of it, so the write may fail.
    let _ = stream.write_all(format!("{NAME}{} {}", line(served.node.address()), "x".repeat(70_000)).as_bytes());
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    assert!(!reply.starts_with(b"3000"), "served all the same");
}

#[test]
fn no_more_than_1024_bytes_go_to_a_legacy_hop() {
    let (served, origin) = (served(), standin_with_the_file());
    let own = line(served.node.address());
    // Padding of our own line is not forwarded.
    let padded_here = format!("{NAME}{own} {}{}", "x".repeat(2000), line(origin.1.address()));
    assert_delivers(&send_request(served.node.address(), &padded_here));
    let padded_there = format!("{NAME}{own}{} {}", line(origin.1.address()), "x".repeat(1100));
    let reply = read_all(&send_request(served.node.address(), &padded_there));
    let text = String::from_utf8_lossy(&reply);
    assert!(text.starts_with("Address not found: ") && text.contains("1024"), "{text}");
}

#[test]
fn the_reserved_name_gets_an_immediate_reply() {
    let served = served();
    let start = Instant::now();
    let stream = send_request(served.node.address(), &format!("chainview?{}", line(served.node.address())));
    assert_eq!(read_exact(&stream, 11), b"chainview/1");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_missing_file_is_na() {
    let served = served();
    let stream = send_request(served.node.address(), &format!("nothing-here{}", line(served.node.address())));
    assert_eq!(read_all(&stream), b"NA");
    // A directory can be opened but not read; the legacy program detects that too late, we do not.
    fs::create_dir(served.folder.path().join("folder")).unwrap();
    let stream = send_request(served.node.address(), &format!("folder{}", line(served.node.address())));
    assert_eq!(read_all(&stream), b"NA");
}

#[test]
fn no_body_byte_precedes_the_go_ahead() {
    let (served, origin) = (served(), standin_with_the_file());
    let direct = send_request(served.node.address(), &format!("{NAME}{}", line(served.node.address())));
    let over = format!("{NAME}{}{}", line(served.node.address()), line(origin.1.address()));
    let relayed = send_request(served.node.address(), &over);
    for stream in [direct, relayed] {
        assert_eq!(read_exact(&stream, 4), b"3000");
        assert_silent(&stream);
        (&stream).write_all(b"a").unwrap();
        (&stream).write_all(b"ck_to_send").unwrap();
        assert!(read_exact(&stream, 3000) == content(3000), "the bytes differ");
    }
}

#[test]
fn a_body_from_an_http_hop_waits_for_the_go_ahead() {
    let (served, origin) = (served(), served());
    let native = Node::chainview(served.folder.path(), &["--protocol", "http"]);
    let request = format!("{NAME}{}{}", line(native.address()), line(origin.node.address()));
    let stream = send_request(native.address(), &request);
    assert_eq!(read_exact(&stream, 4), b"3000");
    assert_silent(&stream);
    (&stream).write_all(b"ack_to_send").unwrap();
    assert!(read_exact(&stream, 3000) == content(3000), "the bytes differ");
}

#[test]
fn exactly_4_bytes_of_the_go_ahead_are_forwarded() {
    let (served, origin) = (served(), Scripted::new());
    let own = line(served.node.address());
    let stream = send_request(served.node.address(), &format!("{NAME}{own}{}", line(origin.address())));
    let (upstream, _) = origin.accept();
    (&upstream).write_all(b"3000").unwrap();
    assert_eq!(read_exact(&stream, 4), b"3000");
    (&stream).write_all(b"ack_to_send").unwrap();
    let go_ahead = read_exact(&upstream, 4);
    assert_eq!(go_ahead, b"ack_");
    (&upstream).write_all(&content(3000)).unwrap();
    assert!(read_exact(&stream, 3000) == content(3000), "the bytes differ");
    (&stream).write_all(b"close").unwrap();
    // The relay ends by length: our side of the upstream is still open, and no further byte may arrive on it.
    assert_eq!(read_all(&upstream), b"", "more than 4 bytes went up");
    assert_eq!(read_all(&stream), b"");
}

#[test]
fn our_client_sends_exactly_4_bytes_and_ends_by_length() {
    let (folder, hop) = (tempfile::tempdir().unwrap(), Scripted::new());
    fs::write(folder.path().join("input.txt"), format!("{NAME}{}\n", line(hop.address()))).unwrap();
    let (input, output) = (folder.path().join("input.txt"), folder.path().to_owned());
    let client = thread::spawn(move || fetch_chainview(&input, &output, Pace::Fast, LEGACY));
    let (stream, request) = hop.accept();
    let expected = format!("{NAME}{}", line(hop.address()));
    assert!(request.starts_with(&expected) && !request.ends_with('\n'), "{request:?}");
    (&stream).write_all(b"3000").unwrap();
    assert_eq!(read_exact(&stream, 4), b"ack_");
    (&stream).write_all(&content(3000)).unwrap();
    // The stream is not closed here: the client must detect the end by the length.
    assert_eq!(client.join().unwrap(), Outcome::Done);
    assert!(fs::read(folder.path().join(NAME)).unwrap() == content(3000), "the bytes differ");
}

#[test]
fn a_short_body_resets_a_legacy_client() {
    let (served, origin) = (served(), Scripted::new());
    let own = line(served.node.address());
    let mut stream = send_request(served.node.address(), &format!("{NAME}{own}{}", line(origin.address())));
    let (upstream, _) = origin.accept();
    (&upstream).write_all(b"3000").unwrap();
    assert_eq!(read_exact(&stream, 4), b"3000");
    stream.write_all(b"ack_to_send").unwrap();
    read_exact(&upstream, 4);
    (&upstream).write_all(&content(1000)).unwrap();
    drop(upstream);
    // A clean end would make the legacy client read forever.
    let mut all = Vec::new();
    let error = stream.read_to_end(&mut all).expect_err("a short body must not end cleanly");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(all.len() <= 1000);
}

#[test]
fn a_short_body_is_an_error_for_our_client() {
    let (folder, hop) = (tempfile::tempdir().unwrap(), Scripted::new());
    fs::write(folder.path().join("input.txt"), format!("{NAME}{}\n", line(hop.address()))).unwrap();
    let (input, output) = (folder.path().join("input.txt"), folder.path().to_owned());
    let once = ["--protocol", "legacy", "--retries", "0"];
    let client = thread::spawn(move || fetch_chainview(&input, &output, Pace::Fast, &once));
    let (stream, _) = hop.accept();
    (&stream).write_all(b"3000").unwrap();
    read_exact(&stream, 4);
    (&stream).write_all(&content(1000)).unwrap();
    drop(stream);
    let outcome = client.join().unwrap();
    assert!(matches!(outcome, Outcome::Failed(6, _)), "{outcome}");
    assert!(!folder.path().join(NAME).exists(), "a short file stands under the final name");
}

#[test]
fn a_client_that_does_not_close_is_disconnected_after_the_linger() {
    let served = served();
    let mut stream = send_request(served.node.address(), &format!("{NAME}{}", line(served.node.address())));
    read_exact(&stream, 4);
    stream.write_all(b"ack_to_send").unwrap();
    read_exact(&stream, 3000);
    let start = Instant::now();
    // A clean end, although 7 bytes of the go-ahead were never read.
    assert_eq!(read_all(&stream), b"");
    let linger = start.elapsed();
    assert!((Duration::from_millis(1500)..Duration::from_secs(6)).contains(&linger), "{linger:?}");
    drop(stream);
    assert!(served.node.becomes_idle(0, usize::MAX, TIMEOUT), "an open socket");
}

#[test]
fn an_unreachable_next_hop_is_named() {
    let served = served();
    let unreachable = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stream =
        send_request(served.node.address(), &format!("{NAME}{}{}", line(served.node.address()), line(unreachable)));
    let reply = String::from_utf8(read_all(&stream)).unwrap();
    assert!(reply.starts_with(&format!("Address not found: {unreachable}: ")), "{reply}");
    // Our client understands it too.
    let input = served.folder.path().join("input.txt");
    fs::write(&input, format!("{NAME}{}{}\n", line(served.node.address()), line(unreachable))).unwrap();
    let outcome = fetch_chainview(&input, &served.folder.path().join("out"), Pace::Fast, LEGACY);
    assert!(matches!(&outcome, Outcome::Failed(5, text) if text.contains(&unreachable.to_string())), "{outcome}");
}

#[test]
fn a_hop_that_never_replies_is_a_timeout() {
    // The legacy relay sends nothing where its next hop cannot be reached, and keeps the connection open.
    let (folder, relay) = standin_with_the_file();
    let unreachable = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let input = folder.path().join("input.txt");
    fs::write(&input, format!("{NAME}{}{}\n", line(relay.address()), line(unreachable))).unwrap();
    let outcome = fetch_chainview(&input, &folder.path().join("out"), Pace::Fast, LEGACY);
    assert!(matches!(outcome, Outcome::Failed(8, _)), "{outcome}");
}

#[test]
fn a_missing_file_behind_a_legacy_hop_is_exit_4() {
    let (folder, origin) = standin_with_the_file();
    let input = folder.path().join("input.txt");
    fs::write(&input, format!("nothing-here{}\n", line(origin.address()))).unwrap();
    let outcome = fetch_chainview(&input, &folder.path().join("out"), Pace::Fast, LEGACY);
    assert!(matches!(outcome, Outcome::Failed(4, _)), "{outcome}");
}

#[test]
fn a_directory_behind_a_legacy_hop_is_reported() {
    let (folder, origin) = standin_with_the_file();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let input = folder.path().join("input.txt");
    fs::write(&input, format!("folder{}\n", line(origin.address()))).unwrap();
    let outcome = fetch_chainview(&input, &folder.path().join("out"), Pace::Fast, LEGACY);
    let Outcome::Failed(code, text) = &outcome else { panic!("{outcome}") };
    assert!(matches!(code, 4 | 6) && text.contains("could not open"), "{outcome}");
    assert!(!folder.path().join("out/folder").exists(), "NA stands under the final name");
}

fn standin_with_the_file() -> (TempDir, standin::Node) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(NAME), content(3000)).unwrap();
    let node = standin::Node::start(folder.path());
    (folder, node)
}
