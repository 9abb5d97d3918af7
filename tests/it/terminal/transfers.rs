//! Fetching from the dashboard: other names, missing names, twice, cancelled, and with a blocked terminal.

use std::time::Duration;

use rustix::process::Signal;

use super::free::Chain;
use super::terminal::all_ended;
use super::{quit, up};

#[test]
fn another_name_and_a_missing_file() {
    let chain = Chain::new(3, 100_000);
    let mut terminal = up(&chain, "", 120, 40);
    terminal.keys("n");
    terminal.shows(&["fetch which file?", "esc back"]);
    terminal.keys("other.bin\r");
    terminal.shows(&["#1", "other.bin", "1 done", "verified: digest equal"]);
    assert_eq!(std::fs::read(chain.fetched("other.bin")).unwrap(), chain.content[..50_000]);
    terminal.keys("n");
    terminal.shows(&["fetch which file?"]);
    terminal.keys("none.bin\r");
    let screen = terminal.shows(&["1 failed", "#2", "none.bin"]);
    let named = format!("hop 3 ({})", chain.address(3));
    assert!(screen.contains(&named), "{screen}");
    assert!(!chain.fetched("none.bin").exists() && !chain.fetched("none.bin.part").exists());
    quit(&mut terminal);
    terminal.shows(&["last failure: ", "none.bin"]);
}

#[test]
fn a_second_fetch_finds_the_file() {
    let chain = Chain::new(2, 100_000);
    let mut terminal = up(&chain, "", 120, 40);
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    terminal.keys("f");
    terminal.shows(&["2 done", "already up to date  verified: digest equal"]);
    assert_eq!(std::fs::read(chain.fetched("data.bin")).unwrap(), chain.content);
    quit(&mut terminal);
}

#[test]
fn excess_transfers_are_queued() {
    let chain = Chain::new(2, 100_000);
    let mut terminal = up(&chain, "-n 3 -j 1 --limit 1=200K", 120, 40);
    terminal.keys("f");
    terminal.shows(&["#2 data.bin: queued", "queued", "3 active"]);
    terminal.shows(&["3 done", "already up to date  verified: digest equal", "0 active\n"]);
    quit(&mut terminal);
    terminal.shows(&["3 done (300.0 KB)"]);
}

#[test]
fn a_cancelled_transfer_keeps_its_partial_file() {
    let chain = Chain::new(3, 3_000_000);
    let mut terminal = up(&chain, "--limit 2=300K", 120, 40);
    terminal.keys("f");
    terminal.shows(&["x cancel", "hop 2 is the bottleneck: rate limit 300.0 KB/s", "1 running"]);
    terminal.keys("x");
    terminal.shows(&["cancelled", "kept, resumable", "0 active\n"]);
    terminal.until("nothing is left to cancel", |screen| !screen.contents().contains("x cancel"));
    let mut left: Vec<_> =
        std::fs::read_dir(chain.fetched("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    // The partial file and its state.
    assert_eq!(left, ["data.bin.part", "data.bin.part.state"]);
    quit(&mut terminal);
}

#[test]
fn ctrl_c_cancels_first_and_then_quits() {
    let chain = Chain::new(2, 3_000_000);
    let mut terminal = up(&chain, "--limit 1=300K", 80, 24);
    let nodes = terminal.children();
    terminal.keys("f");
    terminal.shows(&["1 active", "%"]);
    terminal.keys("\x03");
    terminal.shows(&["Ctrl-C again quits", "cancelled"]);
    terminal.keys("\x03");
    assert_eq!(terminal.ends(Duration::from_secs(5)).exit_code(), 0);
    assert!(all_ended(&nodes, Duration::ZERO));
    terminal.is_given_back();
}

#[test]
fn a_blocked_terminal_delays_no_transfer_or_signal() {
    let chain = Chain::new(2, 400_000);
    let mut terminal = up(&chain, "--limit 1=200K", 120, 40);
    let nodes = terminal.children();
    terminal.block();
    terminal.keys("f");
    // More than the terminal's queue holds: whole screens, one after another.
    let end = std::time::Instant::now() + super::terminal::TIMEOUT;
    while !chain.fetched("data.bin").exists() {
        terminal.keys("\x0c");
        assert!(std::time::Instant::now() < end, "the transfer waits for the terminal");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(std::fs::read(chain.fetched("data.bin")).unwrap(), chain.content);
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.ends(Duration::from_secs(5)).signal(), Some("Terminated"));
    assert!(all_ended(&nodes, Duration::from_secs(1)), "nodes outlive the dashboard");
    terminal.unblock();
    terminal.is_given_back();
}
