//! What the terminal shows outside the screen: title, progress, bell and notification, and that all of it is undone.

use std::time::Duration;

use rustix::process::Signal;

use super::free::Chain;
use super::terminal::{Terminal, chainview, find_all};
use super::{quit, up};
use crate::support::at_once;

fn count(sent: &[u8], sequence: &str) -> usize {
    find_all(sent, sequence.as_bytes()).len()
}

#[test]
fn title_and_progress_follow_a_transfer_and_are_undone() {
    let chain = Chain::new(2, 600_000);
    let mut terminal = up(&chain, "--limit 2=300K", 80, 24);
    terminal.sends("\x1b[22;2t\x1b]2;input.txt · chainview\x1b\\");
    terminal.keys("f");
    terminal.sends("% data.bin · hop 2: rate limit 300.0 KB/s\x1b\\");
    terminal.sends("\x1b]9;4;1;");
    terminal.sends("\x1b]2;done data.bin · chainview\x1b\\");
    quit(&mut terminal);
    terminal.is_given_back();
    let sent = terminal.sent();
    assert_eq!(count(&sent, "\x1b]2;100%"), 0, "100% while it was not verified");
    assert_eq!((count(&sent, "\x1b]9;chainview"), count(&sent, "\x1b]777")), (0, 0), "an announcement of a short one");
    assert!(!sent.contains(&0x07), "a bell of a short one");
}

#[test]
fn a_signal_and_a_lost_screen_restore_the_title() {
    let chain = Chain::new(1, 3_000_000);
    let mut terminal = up(&chain, "--limit 300K", 80, 24);
    terminal.keys("f");
    terminal.sends("\x1b]9;4;1;");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.ends(Duration::from_secs(5)).signal(), Some("Terminated"));
    terminal.is_given_back();
}

#[test]
fn alerts_can_be_turned_off() {
    let chain = Chain::new(1, 10);
    let mut terminal = up(&chain, "--alert none", 80, 24);
    terminal.keys("f");
    terminal.shows(&["1 done"]);
    terminal.keys(",");
    terminal.shows(&["title       off", "bell        off", "notify      off"]);
    terminal.keys("q");
    quit(&mut terminal);
    assert_eq!(count(&terminal.sent(), "\x1b]2;"), 0);
}

#[test]
fn the_end_of_a_long_transfer_is_announced() {
    let announcements = [("NONE", "\x1b]9;chainview: data.bin done: 2.2 MB"), ("VTE_VERSION", "\x1b]777;notify;")];
    at_once(announcements, |(variable, sequence)| {
        let chain = Chain::new(1, 2_200_000);
        let mut command = chainview(chain.folder.path(), "-o out --limit 200K --force -n 1");
        command.env(variable, "7000");
        let mut terminal = Terminal::start(command, 80, 24);
        terminal.shows(&["1/1 up", "LIVE"]);
        terminal.keys("f");
        terminal.sends(sequence);
        terminal.sends("\x07");
        terminal.shows(&["verified"]);
        quit(&mut terminal);
    });
}
