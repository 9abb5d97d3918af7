//! The real binary in a real terminal: what the user sees and does, and every way in which it can end.

mod exits;
use crate::support::free;
mod alerts;
mod appearance;
mod latency;
mod memory;
mod nodes;
mod panics;
mod plain;
mod quit;
mod start;
mod suspend;
use crate::support::terminal;
mod accuracy;
mod tour;
mod transfers;
mod unusual;
mod verdict;

use std::time::{Duration, Instant};

use free::Chain;
use terminal::{Terminal, all_ended, chainview, listens_to_mouse};

/// From the start of the program to its nodes, shown as up.
const UP: Duration = Duration::from_secs(2);

/// Ends a dashboard in one way, often enough to show rare failures; `CHAINVIEW_TERMINAL=full` repeats it more often.
fn again(kind: &str, run: impl Fn()) {
    let runs = if std::env::var_os("CHAINVIEW_TERMINAL").is_some_and(|how| how == "full") { 50 } else { 3 };
    for done in 0..runs {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&run));
        assert!(ended.is_ok(), "{kind}: run {} of {runs}", done + 1);
    }
    println!("{kind}: all {runs} runs ended as they should");
}

/// The dashboard over a chain, with its nodes shown as up.
fn up(chain: &Chain, flags: &str, columns: u16, rows: u16) -> Terminal {
    let command = chainview(chain.folder.path(), &format!("-o out {flags}"));
    let terminal = Terminal::start(command, columns, rows);
    let all = format!("{0}/{0} up", chain.ports.len());
    terminal.shows(&[&all, "LIVE"]);
    // Every exit has to undo this, too.
    terminal.until("the mouse", listens_to_mouse);
    terminal
}

/// Quits with `q`, and checks that nothing remains.
fn quit(terminal: &mut Terminal) {
    let nodes = terminal.children();
    terminal.keys("q");
    assert_eq!(terminal.ends(Duration::from_secs(5)).exit_code(), 0);
    assert!(all_ended(&nodes, Duration::ZERO), "nodes outlive the dashboard");
    terminal.is_given_back();
}

/// The first steps of a user, at common sizes.
fn first_steps(columns: u16, rows: u16) {
    let chain = Chain::new(3, 3_000_000);
    let began = Instant::now();
    let mut terminal = up(&chain, "", columns, rows);
    println!("{columns}x{rows}: three nodes shown up after {:?}", began.elapsed());
    assert!(began.elapsed() < UP, "{:?}", began.elapsed());
    assert_eq!(terminal.children().len(), 3);
    terminal.shows(&["ready to fetch data.bin", "f fetch", "? help", "q quit"]);
    terminal.keys("f");
    terminal.shows(&["1 done", "#1", "verified: digest", "0 active\n"]);
    terminal.keys("3");
    terminal.shows(&["Transfers", "1 done"]);
    terminal.keys("\r");
    let screen = terminal.shows(&["Transfer #1", "blake3:"]);
    let digest = blake3::hash(&chain.content).to_hex();
    assert!(screen.contains(&format!("blake3:{}", &digest[..16])), "{screen}");
    assert_eq!(std::fs::read(chain.fetched("data.bin")).unwrap(), chain.content);
    quit(&mut terminal);
    terminal.shows(&["1 done (3.0 MB), 0 failed", "data.bin"]);
}

#[test]
fn first_steps_on_a_large_screen() {
    first_steps(120, 40);
}

#[test]
fn first_steps_on_a_usual_screen() {
    first_steps(80, 24);
}

#[test]
fn help_opens_scrolls_and_closes() {
    let chain = Chain::new(2, 10);
    let mut terminal = up(&chain, "", 80, 24);
    terminal.keys("?");
    terminal.shows(&["Keys: Hops", "restart the selected node", "esc back"]);
    // The q closes the popup, and only then quits.
    terminal.keys("q");
    terminal.shows(&["ready to fetch data.bin", "q quit"]);
    quit(&mut terminal);
}

#[test]
fn the_screen_follows_the_size_of_its_terminal() {
    let chain = Chain::new(3, 400_000);
    let mut terminal = up(&chain, "--limit 2=200K", 120, 40);
    terminal.keys("f");
    terminal.shows(&["1 active", "rate limit 200.0 KB/s"]);
    for (columns, rows) in [(80, 24), (60, 15), (20, 3), (1, 1), (140, 50)] {
        terminal.resize(columns, rows);
        terminal.until("something drawn", |screen| !screen.contents().trim().is_empty());
    }
    let screen = terminal.shows(&["chainview", "q quit", "Connections of hop 2"]);
    let width = screen.lines().map(|line| line.chars().count()).max();
    assert!(width > Some(120), "{screen}");
    terminal.shows(&["1 done", "verified"]);
    assert_eq!(std::fs::read(chain.fetched("data.bin")).unwrap(), chain.content);
    quit(&mut terminal);
}

#[test]
fn the_demo_starts_and_names_its_rate_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(chainview(folder.path(), "--demo --limit 2=6M"), 80, 24);
    terminal.shows(&["3/3 up", "1 running", "is the bottleneck: rate limit 6.0 MB/s", "x cancel"]);
    terminal.shows(&["1 done", "bottleneck", "hop 2", "rate limit 6.0 MB/s", "verified: digest"]);
    quit(&mut terminal);
    let rest = terminal.shows(&["1 done (24.0 MB), 0 failed"]);
    assert!(!rest.contains("/tmp"), "the demo's folder is removed by now:\n{rest}");
}
