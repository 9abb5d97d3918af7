//! Every way in which the dashboard can end, except panics: no node outlives it, and the terminal is restored.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::free::Chain;
use super::terminal::{Terminal, all_ended, chainview};
use super::{again, quit, up};

#[test]
fn input_errors_precede_the_screen() {
    let chain = Chain::new(1, 10);
    std::fs::write(chain.folder.path().join("input.txt"), "data.bin\n127.0.0.1 99x\n").unwrap();
    again("an error", || {
        let terminal = Terminal::start(chainview(chain.folder.path(), ""), 80, 24);
        assert_eq!(terminal.ends(Duration::from_secs(5)).exit_code(), 3);
        terminal.shows(&["chainview: input.txt:2: port \"99x\" is not a number"]);
        terminal.is_given_back();
    });
}

#[test]
fn q() {
    let chain = Chain::new(2, 10);
    again("q", || quit(&mut up(&chain, "", 80, 24)));
}

/// Ends it during a transfer.
fn ended_by(signal: Signal, name: &str) {
    let chain = Chain::new(3, 3_000_000);
    again(&format!("{signal:?}"), || {
        let mut terminal = up(&chain, "--limit 2=300K", 80, 24);
        let nodes = terminal.children();
        terminal.keys("f");
        terminal.shows(&["1 active", "%"]);
        let sent = Instant::now();
        terminal.signal(signal);
        assert_eq!(terminal.ends(Duration::from_secs(5)).signal(), Some(name));
        println!("{signal:?} with a transfer under way: ended after {:?}", sent.elapsed());
        assert!(all_ended(&nodes, Duration::ZERO), "nodes outlive the dashboard");
        terminal.is_given_back();
    });
}

#[test]
fn sigterm() {
    ended_by(Signal::TERM, "Terminated");
}

#[test]
fn sighup() {
    ended_by(Signal::HUP, "Hangup");
}

#[test]
fn sigint() {
    ended_by(Signal::INT, "Interrupt");
}

#[test]
fn closed_terminal() {
    let chain = Chain::new(3, 3_000_000);
    again("a closed terminal", || {
        let mut terminal = up(&chain, "--limit 2=300K", 80, 24);
        let nodes = terminal.children();
        terminal.keys("f");
        terminal.shows(&["1 active", "%"]);
        terminal.close();
        let closed = Instant::now();
        terminal.ends(Duration::from_secs(2));
        println!("with its terminal closed: ended after {:?}", closed.elapsed());
        assert!(all_ended(&nodes, Duration::from_secs(1)), "nodes outlive the dashboard");
    });
}

/// Raw mode and the alternate screen remain after this: a killed program cannot restore them.
#[test]
fn sigkill_ends_the_nodes() {
    let chain = Chain::new(3, 3_000_000);
    again("SIGKILL", || {
        let mut terminal = up(&chain, "--limit 2=300K", 80, 24);
        let nodes = terminal.children();
        assert_eq!(nodes.len(), 3);
        terminal.keys("f");
        terminal.shows(&["1 active", "%"]);
        terminal.signal(Signal::KILL);
        let killed = Instant::now();
        assert!(all_ended(&nodes, Duration::from_secs(1)), "nodes outlive a killed dashboard");
        println!("nodes of a killed dashboard ended after {:?}", killed.elapsed());
    });
}
