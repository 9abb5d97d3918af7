//! Ctrl-Z, `bg` and `fg`: the dashboard as a job of a shell, and without one.

use std::cell::RefCell;
use std::time::Duration;

use portable_pty::CommandBuilder;
use rustix::process::Signal;

use super::free::Chain;
use super::terminal::{TIMEOUT, Terminal, all_ended, children_of, is_running, listens_to_mouse, settle};
use super::{again, quit, up};

/// A shell on a terminal without line editing: an editing shell sets modes of its own for every line.
pub(super) fn shell(chain: &Chain) -> Terminal {
    let mut command = CommandBuilder::new("/bin/sh");
    command.args(["+o", "emacs", "+o", "vi", "-i"]);
    settle(&mut command, chain.folder.path());
    command.env("PATH", "/usr/bin:/bin");
    command.env("PS1", "ready> ");
    let terminal = Terminal::start(command, 100, 30);
    terminal.shows(&["ready>"]);
    terminal
}

/// The dashboard as a job of that shell, with all its hops up.
fn job(chain: &Chain, flags: &str) -> Terminal {
    let mut terminal = shell(chain);
    terminal.keys(&format!("{} -o out {flags}\r", env!("CARGO_BIN_EXE_chainview")));
    terminal.shows(&["2/2 up", "LIVE"]);
    terminal
}

fn stopped(terminal: &Terminal) {
    terminal.until("the shell, with the terminal as it was", |screen| {
        !screen.alternate_screen()
            && !screen.hide_cursor()
            && !listens_to_mouse(screen)
            && screen.contents().contains("Stopped")
    });
    terminal.has_its_modes();
}

pub(super) fn back(terminal: &Terminal, texts: &[&str]) {
    terminal.until(&format!("the dashboard with {texts:?}"), |screen| {
        screen.alternate_screen()
            && listens_to_mouse(screen)
            && texts.iter().all(|text| screen.contents().contains(text))
    });
}

pub(super) fn leave_to_shell(terminal: &mut Terminal) {
    let nodes: Vec<_> = terminal.children().into_iter().flat_map(children_of).collect();
    assert_eq!(nodes.len(), 2);
    terminal.keys("q");
    terminal.until("the shell", |screen| !screen.alternate_screen() && screen.contents().ends_with("ready> "));
    terminal.has_its_modes();
    assert!(all_ended(&nodes, Duration::ZERO), "nodes outlive the dashboard");
}

#[test]
fn ctrl_z_restores_the_terminal_and_fg_the_screen() {
    let chain = Chain::new(2, 100_000);
    let mut terminal = job(&chain, "");
    let nodes: Vec<_> = terminal.children().into_iter().flat_map(children_of).collect();
    let cycle = RefCell::new(&mut terminal);
    again("Ctrl-Z", || {
        let mut terminal = cycle.borrow_mut();
        terminal.keys("\x1a");
        stopped(&terminal);
        assert!(nodes.iter().all(|node| is_running(*node)), "the nodes are no part of the job");
        terminal.keys("fg\n");
        back(&terminal, &["2/2 up", "q quit"]);
    });
    terminal.keys("f");
    back(&terminal, &["1 done", "verified"]);
    leave_to_shell(&mut terminal);
}

#[test]
fn a_sigstop_ends_with_a_full_redraw() {
    let chain = Chain::new(2, 100_000);
    let mut terminal = job(&chain, "");
    let dashboard = terminal.children()[0];
    for signal in [Signal::TSTP, Signal::STOP] {
        rustix::process::kill_process(dashboard, signal).unwrap();
        terminal.until("the shell", |screen| screen.contents().contains("Stopped"));
        terminal.keys("fg\n");
        back(&terminal, &["2/2 up", "q quit"]);
        terminal.until("no trace of the shell", |screen| !screen.contents().contains("Stopped"));
    }
    leave_to_shell(&mut terminal);
}

#[test]
fn background_transfers_continue_without_a_screen() {
    let chain = Chain::new(2, 1_000_000);
    let mut terminal = job(&chain, "--limit 1=500K");
    terminal.keys("f");
    back(&terminal, &["1 active", "%"]);
    terminal.keys("\x1a");
    stopped(&terminal);
    assert!(!chain.fetched("data.bin").exists());
    terminal.keys("bg\r");
    // The shell gets what is typed now. The quotes distinguish the command's output from its echo, which the prompt may
    // precede or follow.
    terminal.keys("while ! test -e out/data.bin; do sleep 0.1; done; echo 'it is' there\r");
    terminal.until("the file", |screen| screen.contents().contains("it is there"));
    assert_eq!(std::fs::read(chain.fetched("data.bin")).unwrap(), chain.content);
    terminal.keys("fg\n");
    back(&terminal, &["1 done", "verified"]);
    leave_to_shell(&mut terminal);
}

#[test]
fn without_a_shell_suspend_is_disabled() {
    let chain = Chain::new(2, 100_000);
    let mut terminal = up(&chain, "", 80, 24);
    terminal.keys("\x1a");
    terminal.within(TIMEOUT, "why not", |screen| screen.contents().contains("no shell could resume it"));
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    quit(&mut terminal);
}
