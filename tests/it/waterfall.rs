//! The setup of a transfer as a waterfall, compared with an independent clock: a tap between client and hop 1.

use crate::support;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use chainview::snapshot::timing::{Step, WaterfallRow};
use chainview::waterfall::to_first_byte;
use support::process::{Node, chainview};
use support::{TIMEOUT, content, standin};

/// The delay of each hop's reply, in ms, hop 1 first: no two alike, so that legs in a wrong order show.
const DELAYS_MS: [f64; 4] = [150.0, 220.0, 100.0, 180.0];
/// How often load of the machine may interfere; what is certain has to hold every time.
const ATTEMPTS: usize = 30;
/// Maximum rounding error of all legs together, written with three decimals, in ms.
const ROUNDED_MS: f64 = 0.02;

/// Whether two times of this many hops may differ by this: by 5 %, or by 0.2 ms a hop, whichever is more.
fn is_close(one_ms: f64, other_ms: f64, hops: usize) -> bool {
    (one_ms - other_ms).abs() <= (other_ms * 0.05).max(0.2 * hops as f64)
}

/// Forwards connections to a node, and reports for each that fetches a file how long that file's first byte took, in
/// ms.
fn tap(node: SocketAddr) -> (SocketAddr, Receiver<f64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (times, measured) = mpsc::channel();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (started, client, times) = (Instant::now(), client.unwrap(), times.clone());
            thread::spawn(move || forward(started, &client, &TcpStream::connect(node).unwrap(), &times));
        }
    });
    (address, measured)
}

fn forward(started: Instant, client: &TcpStream, node: &TcpStream, times: &Sender<f64>) {
    client.set_nodelay(true).unwrap();
    node.set_nodelay(true).unwrap();
    let mut question = [0; 10];
    let is_for_a_file = client.peek(&mut question).is_ok() && question.starts_with(b"GET /files");
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (client, node);
            let _ = io::copy(&mut from, &mut to);
            let _ = node.shutdown(Shutdown::Write);
        });
        let (mut from, mut to, mut buffer) = (node, client, [0; 16_384]);
        // The client also requests records from the hops.
        let mut head = is_for_a_file.then(Vec::new);
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if let Some(so_far) = &mut head {
                so_far.extend_from_slice(&buffer[..read]);
                let end = so_far.windows(4).position(|four| four == b"\r\n\r\n");
                if end.is_some_and(|end| end + 4 < so_far.len()) {
                    let _ = times.send(started.elapsed().as_secs_f64() * 1000.0);
                    head = None;
                }
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Write);
    });
}

/// What each hop added to the wait of the stage before it, in ms, hop 1 first.
fn waits(rows: &[WaterfallRow]) -> Vec<f64> {
    rows.iter().filter(|row| row.step == Step::Wait).map(|row| row.own_ms).collect()
}

#[test]
fn legs_add_up_to_the_time_to_first_byte() {
    let served = tempfile::tempdir().unwrap();
    std::fs::write(served.path().join("f"), content(50_000)).unwrap();
    let start = |ms: &f64| Node::chainview(served.path(), &["--delay", &format!("{ms}ms")]);
    let nodes: Vec<Node> = DELAYS_MS.iter().map(start).collect();
    let (tapped, measured) = tap(nodes[0].address());
    let addresses = [tapped].into_iter().chain(nodes[1..].iter().map(Node::address));
    let lines: Vec<String> = addresses.map(|address| format!("{address} protocol=http\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input.txt");
    std::fs::write(&input, format!("f\n{}", lines.concat())).unwrap();

    let mut attempts = Vec::new();
    for number in 0..ATTEMPTS {
        let out = folder.path().join(format!("out{number}"));
        std::fs::create_dir(&out).unwrap();
        let mut client = chainview();
        client.arg("--fetch").arg(&input).args(["--json", "--no-verify", "--output"]).arg(&out);
        let ended = client.output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let report: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        let rows: Vec<WaterfallRow> = serde_json::from_value(report["transfers"][0]["waterfall"].clone()).unwrap();
        let (sum, waits) = (to_first_byte(&rows), waits(&rows));
        let measured = measured.recv_timeout(TIMEOUT).unwrap();
        // The client begins before the tap sees it and has the byte after the tap forwarded it.
        assert!(sum + ROUNDED_MS >= measured, "{sum} ms of {measured} ms: {rows:?}");
        assert_eq!(waits.len(), DELAYS_MS.len(), "{rows:?}");
        let moments = |step| rows.iter().filter(|row| row.step == step).map(|row| row.stage).collect::<BTreeSet<_>>();
        assert_eq!(moments(Step::FirstByte), (0..=DELAYS_MS.len()).collect(), "every stage reports: {rows:?}");
        assert_eq!(moments(Step::LastByte), (0..=DELAYS_MS.len()).collect(), "{rows:?}");
        attempts.push((sum, measured, waits));
        // Load occurs at any moment, and so at a different hop each time.
        let is_measured = |hop: usize| attempts.iter().any(|(.., waits)| is_close(waits[hop], DELAYS_MS[hop], 1));
        let adds_up = attempts.iter().any(|(sum, measured, _)| is_close(*sum, *measured, DELAYS_MS.len()));
        if adds_up && (0..DELAYS_MS.len()).all(is_measured) {
            println!("{attempts:?}");
            return;
        }
    }
    panic!("never within 5 % or 0.2 ms a hop; the sum, what the tap measured, what each hop added: {attempts:#?}");
}

#[test]
fn protocol_detection_is_part_of_the_wait() {
    let served = tempfile::tempdir().unwrap();
    std::fs::write(served.path().join("f"), content(50_000)).unwrap();
    let node = standin::Node::start(served.path());
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input.txt");
    std::fs::write(&input, format!("f\n{}\n", node.address())).unwrap();
    let ended = chainview().arg("--fetch").arg(&input).arg("--json").arg("-o").arg(folder.path()).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    let rows: Vec<WaterfallRow> = serde_json::from_value(report["transfers"][0]["waterfall"].clone()).unwrap();
    // It gets an HTTP request first, and is silent for the 300 ms that it is given.
    assert!(waits(&rows).iter().sum::<f64>() >= 300.0, "{rows:?}");
}
