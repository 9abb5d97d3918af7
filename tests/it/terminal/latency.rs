//! Latency from a key to the byte that shows it: while idle, and while connections change ten thousand times a second.
//!
//! `cargo test` presses a few keys and allows for a slow build on a busy machine. The figures come from
//!
//! ```text
//! CHAINVIEW_LATENCY=full cargo test --release --test it terminal::latency -- --nocapture --test-threads=1
//! ```

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chainview::route::Protocol;
use chainview::snapshot::{ConnSnapshot, ConnState, Flow};

use super::free::Chain;
use super::terminal::{Terminal, chainview};
use super::{quit, up};

/// Limit for 99 of 100 keys.
const PROMISED: Duration = Duration::from_millis(20);
/// Limit for half of them in a build without optimization, beside other tests on two cores.
const LENIENT: Duration = Duration::from_millis(500);
/// Interval of reports, as the dashboard requests it.
const REPORT: Duration = Duration::from_millis(250);
/// Fetches a second through two hops. Each opens and closes two connections, which read, wait and send in between: ten
/// changes.
const FETCHES: u64 = 1000;
/// Clients that fetch.
const CLIENTS: u64 = 4;
/// Connections of each simulated hop; all change between two reports.
const SIMULATED: u64 = 2500;

fn is_full() -> bool {
    std::env::var_os("CHAINVIEW_LATENCY").is_some_and(|how| how == "full")
}

/// The selected row of the focused panel, whose heading is highlighted too.
fn selected(screen: &vt100::Screen) -> Option<u16> {
    (0..screen.size().0.get()).rfind(|row| screen.cell(*row, 0).is_some_and(|cell| cell.contents() == "▌"))
}

/// Presses keys one by one, and records the time from each to its effect on the screen.
struct Typist<'a> {
    terminal: &'a mut Terminal,
    times: Vec<Duration>,
}

impl Typist<'_> {
    fn press(&mut self, key: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        // At the speed of typing, and at no fixed distance from the frame before.
        thread::sleep(Duration::from_millis(self.times.len() as u64 * 7 % 31));
        let pressed = Instant::now();
        self.terminal.keys(key);
        let painted = self.terminal.painted(&format!("what {key} does"), wanted);
        self.times.push(painted.saturating_duration_since(pressed));
    }

    fn moves(&mut self, key: &str) {
        let before = self.terminal.inspect(selected);
        self.press(key, |screen| selected(screen).is_some_and(|row| Some(row) != before));
    }

    fn tab(&mut self, key: &str, title: &str) {
        self.press(key, |screen| screen.rows(0, 60).any(|row| row.starts_with(&format!("▌ {title}"))));
    }

    /// Through all tabs, up and down in the table of hops, and in the list of connections while it does not scroll.
    fn round(&mut self, steady: bool) {
        self.tab("2", "Connections of all hops");
        if steady {
            for key in ["j", "j", "j", "k", "k", "k"] {
                self.moves(key);
            }
        }
        self.tab("3", "Transfers");
        self.tab("4", "Nodes");
        self.tab("5", "Log");
        self.tab("1", "Hops");
        for key in ["j", "k"] {
            self.moves(key);
        }
        self.press("?", |screen| screen.contents().contains("Keys: Hops"));
        self.tab("q", "Hops");
    }

    fn rounds(mut self, what: &str, steady: bool) {
        let (keys, limit) = if is_full() { (600, PROMISED) } else { (12, LENIENT) };
        while self.times.len() < keys {
            self.round(steady);
        }
        self.times.sort_unstable();
        let at = |percent: usize| self.times[(self.times.len() - 1) * percent / 100];
        println!(
            "{what}: {} keys, p50 {:?}, p90 {:?}, p99 {:?}, all {:?}",
            self.times.len(),
            at(50),
            at(90),
            at(99),
            at(100)
        );
        let percentile = if is_full() { 99 } else { 50 };
        assert!(at(percentile) <= limit, "{what}: p{percentile} is {:?}", at(percentile));
    }
}

fn type_in(terminal: &mut Terminal, what: &str, steady: bool) {
    Typist { terminal, times: Vec::new() }.rounds(what, steady);
}

#[test]
fn while_idle() {
    let chain = Chain::new(2, 10);
    let mut terminal = up(&chain, "", 120, 40);
    type_in(&mut terminal, "idle", false);
    quit(&mut terminal);
}

/// Ends the clients also if a key fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client of a real chain, which opens a connection for each fetch.
fn fetch(chain: &Chain) {
    let mut stream = TcpStream::connect(chain.address(1)).unwrap();
    let request = format!(
        "GET /files/data.bin HTTP/1.1\r\nHost: {}\r\nChain-Route: {}\r\nConnection: close\r\n\r\n",
        chain.address(1),
        chain.address(2)
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(&chain.content), "a file");
}

#[test]
fn while_connections_of_a_chain_open_and_close() {
    if !is_full() {
        return println!("SKIPPED: a load for a machine that does nothing else; CHAINVIEW_LATENCY=full runs it");
    }
    let chain = Chain::new(2, 4096);
    let mut terminal = up(&chain, "", 120, 40);
    let (done, fetched, began) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (chain, done, fetched) = (&chain, &done, &fetched);
            scope.spawn(move || {
                for turn in (client..).step_by(CLIENTS as usize) {
                    let due = Duration::from_micros(turn * 1_000_000 / FETCHES);
                    thread::sleep(due.saturating_sub(began.elapsed()));
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    fetch(chain);
                    fetched.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = StopOnDrop(&done);
        type_in(&mut terminal, "a real chain under load", false);
    });
    let a_second = fetched.load(Ordering::Relaxed) as f64 * 10.0 / began.elapsed().as_secs_f64();
    println!("{a_second:.0} changes of connections a second");
    quit(&mut terminal);
}

#[test]
fn while_thousands_of_connections_change() {
    let chain = Chain::new(2, 10);
    let sent = Arc::new(AtomicU64::new(0));
    chain.ports.iter().for_each(|port| simulate_node(*port, &sent));
    let mut terminal = Terminal::start(chainview(chain.folder.path(), "-o out --no-spawn"), 120, 40);
    let began = Instant::now();
    terminal.shows(&["2/2 up", "LIVE"]);
    type_in(&mut terminal, "two full lists", true);
    let a_second = (sent.load(Ordering::Relaxed) * SIMULATED) as f64 / began.elapsed().as_secs_f64();
    println!("{a_second:.0} changes of {} connections a second", SIMULATED * 2);
    quit(&mut terminal);
}

/// A simulated node whose every connection changes between two reports, and some of which are new. It ends with the
/// process of the tests.
fn simulate_node(port: u16, sent: &Arc<AtomicU64>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let sent = Arc::clone(sent);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let sent = Arc::clone(&sent);
            thread::spawn(move || report(stream.unwrap(), &sent));
        }
    });
}

/// Sends reports until the client disconnects, as the reply to any request.
fn report(mut stream: TcpStream, count: &AtomicU64) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n";
    let mut sent = stream.write_all(head.as_bytes());
    let lists: Vec<String> = (0..4).map(list).collect();
    for (turn, list) in lists.iter().cycle().enumerate() {
        if sent.is_err() {
            return;
        }
        let mut line = String::with_capacity(list.len() + 256);
        let uptime = (turn as u128 + 1) * REPORT.as_micros();
        write!(line, "{{\"version\":\"1\",\"node\":\"crowd\",\"pid\":1,\"uptime_us\":{uptime},").unwrap();
        writeln!(line, "\"totals\":{{\"accepted\":{turn},\"open\":{SIMULATED}}},\"connections\":{list}}}").unwrap();
        sent = stream.write_all(line.as_bytes());
        count.fetch_add(1, Ordering::Relaxed);
        thread::sleep(REPORT);
    }
}

/// One of the alternating lists. A quarter of the connections opens and closes; the others stay and change.
fn list(turn: u64) -> String {
    let states = [ConnState::Idle, ConnState::Head, ConnState::Waiting, ConnState::Streaming];
    let conn = |at: u64| {
        let id = if at < SIMULATED * 3 / 4 { at } else { at + turn * SIMULATED };
        ConnSnapshot {
            id,
            state: states[((at + turn) % 4) as usize],
            peer: format!("10.{}.{}.{}:51812", turn, at / 250, at % 250).into(),
            upstream: "10.9.9.9:7001".into(),
            protocol: Some(Protocol::Http),
            upstream_protocol: Some(Protocol::Http),
            transfer: format!("{id:08x}").into(),
            name: "assets/sample.bin".into(),
            size: Some(4096),
            age_ms: at * 10 + turn,
            flow: Flow { bytes_in: turn * 4096 + at, bytes_out: turn * 4096, ..Flow::default() },
            ..ConnSnapshot::default()
        }
    };
    serde_json::to_string(&(0..SIMULATED).map(conn).collect::<Vec<_>>()).unwrap()
}
