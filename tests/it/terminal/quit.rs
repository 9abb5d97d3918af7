//! Quitting during a transfer: one confirmation, and the nodes can be kept running.

use std::time::Duration;

use super::free::{Chain, Survivors};
use super::terminal::all_ended;
use super::{quit, up};

#[test]
fn q_needs_confirmation_during_a_transfer() {
    let chain = Chain::new(2, 3_000_000);
    let mut terminal = up(&chain, "--limit 1=300K", 120, 40);
    let nodes = terminal.children();
    terminal.keys("f");
    terminal.shows(&["1 active", "%"]);
    terminal.keys("q");
    terminal.shows(&["1 transfer is running:", "keep the nodes running"]);
    terminal.keys("n");
    terminal.shows(&["q quit", "1 active"]);
    terminal.keys("qq");
    assert_eq!(terminal.ends(Duration::from_secs(5)).exit_code(), 0);
    assert!(all_ended(&nodes, Duration::ZERO), "nodes outlive the dashboard");
    terminal.is_given_back();
}

#[test]
fn kept_nodes_outlive_the_dashboard_and_its_terminal() {
    let chain = Chain::new(2, 1_000_000);
    let mut terminal = up(&chain, "--limit 1=500K", 120, 40);
    let nodes = Survivors(terminal.children());
    terminal.keys("f");
    terminal.shows(&["1 active", "%"]);
    terminal.keys("q");
    terminal.shows(&["1 transfer is running:"]);
    terminal.keys("d");
    assert_eq!(terminal.ends(Duration::from_secs(5)).exit_code(), 0);
    let message = terminal.shows(&["still running: ", "kill ends them"]).replace('\n', "");
    assert!((1..=2).all(|hop| message.contains(&format!("{} (process ", chain.address(hop)))), "{message}");
    assert!(nodes.0.iter().all(|node| message.contains(&format!("(process {})", node.as_raw_nonzero()))), "{message}");
    // Only the program held the terminal open, or it would not be closed.
    terminal.is_given_back();
    terminal.close();
    let mut terminal = up(&chain, "", 120, 40);
    assert_eq!(terminal.children().len(), 0, "the nodes are there already");
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    quit(&mut terminal);
    assert!(nodes.all_run());
}
