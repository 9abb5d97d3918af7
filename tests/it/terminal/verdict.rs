//! A change of faults on a running chain: how soon the screen, the lines and the document of another client, and the
//! node's own metrics show it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::free::Chain;
use super::terminal::{TIMEOUT, Terminal};
use super::{quit, up};

/// Maximum time for any of them.
const SOON: Duration = Duration::from_secs(3);
/// Longer than the test, at the rates that the faults allow.
const SIZE: u64 = 400_000_000;

/// Another client of the same chain, without a screen.
struct Other(Child);

impl Other {
    fn start(chain: &Chain) -> (Self, BufReader<ChildStderr>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chainview"));
        command.env_clear().current_dir(chain.folder.path());
        command.args(["--fetch", "--json", "--no-verify", "-o", "other"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        (Self(child), lines)
    }

    /// Stops it, and returns the verdict of its document.
    fn stopped(self) -> serde_json::Value {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        self.verdict()
    }

    /// Waits until it ends, and returns the verdict of its document.
    fn verdict(mut self) -> serde_json::Value {
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        report["transfers"][0]["verdict"].clone()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads lines until one contains this; returns when. There is at least one a second.
fn wait_for_line(lines: &mut BufReader<ChildStderr>, wanted: &str) -> Instant {
    let end = Instant::now() + TIMEOUT;
    let mut line = String::new();
    while !line.contains(wanted) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended without {wanted:?}");
        assert!(Instant::now() < end, "no {wanted:?}, but {line:?}");
        // No request waits for a delay while a body is under way.
        assert!(!line.contains("injected delay"), "{line}");
    }
    Instant::now()
}

/// Reads a node's metrics until they report this limit; returns when.
fn limited(address: &str, by: &str) -> Instant {
    let wanted = format!("chainview_limit{{limit=\"{by}\"}} 1\n");
    let end = Instant::now() + TIMEOUT;
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).unwrap();
        if metrics.contains(&wanted) {
            return Instant::now();
        }
        assert!(Instant::now() < end, "{metrics}");
        // There is no event for a change of the metrics.
        thread::sleep(Duration::from_millis(20));
    }
}

/// Types the keys of a change, and waits until all three show its effect: the screen this headline, the lines this
/// sentence, the metrics of the node this word.
fn change(
    terminal: &mut Terminal,
    keys: &str,
    lines: &mut BufReader<ChildStderr>,
    (headline, sentence): (&str, &str),
    metrics: (&str, &str),
) {
    terminal.keys(keys);
    let changed_at = Instant::now();
    let (screen, line, metrics) = thread::scope(|scope| {
        let metrics = scope.spawn(|| limited(metrics.0, metrics.1));
        let line = scope.spawn(|| wait_for_line(lines, sentence));
        terminal.shows(&[headline]);
        (changed_at.elapsed(), line.join().unwrap() - changed_at, metrics.join().unwrap() - changed_at)
    });
    println!(
        "{sentence:?}: the screen after {screen:?}, another client's line {line:?}, the node's metrics {metrics:?}"
    );
    assert!([screen, line, metrics].iter().all(|delay| *delay < SOON), "{screen:?} {line:?} {metrics:?}");
}

#[test]
fn a_new_fault_changes_the_verdict_everywhere() {
    let chain = Chain::new(3, 10);
    // The file is sparse.
    fs::File::create(chain.folder.path().join("data.bin")).unwrap().set_len(SIZE).unwrap();
    let mut terminal = up(&chain, "--limit 1=20M --delay 2=300ms --no-verify", 120, 40);
    terminal.keys("f");
    let (other, mut lines) = Other::start(&chain);
    terminal.shows(&["✖ hop 1 is the bottleneck: rate limit 20.0 MB/s"]);
    wait_for_line(&mut lines, "slowest: hop 1, rate-limited to 20.0 MB/s");
    terminal.keys("jj!");
    terminal.shows(&["Faults of hop 3"]);
    terminal.keys("\r1M");
    terminal.shows(&["limit of hop 3? 1M"]);
    let hop = chain.address(3);
    let limited = ("✖ hop 3 is the bottleneck: rate limit 1.0 MB/s", "slowest: hop 3, rate-limited to 1.0 MB/s");
    change(&mut terminal, "\r", &mut lines, limited, (&hop, "rate-limit"));
    terminal.keys("jjj");
    let stalled = ("✖ stalled: hop 3 (fault: stall)", "slowest: hop 3, injected stall: it sends nothing");
    change(&mut terminal, "\r", &mut lines, stalled, (&hop, "fault"));
    let verdict = other.stopped();
    let named = (&verdict["limit"], &verdict["hop"], &verdict["fault"]);
    assert_eq!(named, (&"fault".into(), &3.into(), &"stall".into()), "{verdict}");
}

#[test]
fn a_dominant_delay_is_named() {
    let chain = Chain::new(3, 100_000);
    let mut terminal = up(&chain, "--delay 2=4s --fault 2=jitter=100ms --no-verify", 80, 24);
    terminal.keys("f");
    terminal.shows(&["✖ hop 2 is the bottleneck: injected delay", "1 active", "injected delay"]);
    terminal.shows(&["1 done", "bottleneck", "injected delay"]);
    let (other, _lines) = Other::start(&chain);
    let verdict = other.verdict();
    let named = (&verdict["limit"], &verdict["hop"], &verdict["fault"]);
    assert_eq!(named, (&"fault".into(), &2.into(), &"delay".into()), "{verdict}");
    quit(&mut terminal);
}
