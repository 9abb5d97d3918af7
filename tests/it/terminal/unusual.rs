//! Terminals in unusual states: in the background, without a size, or unable to move a cursor.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::free::Chain;
use super::suspend::{back, leave_to_shell, shell};
use super::terminal::{TIMEOUT, Terminal, all_ended, chainview, children_of};
use super::{quit, up};

#[test]
fn a_background_start_has_no_screen_until_fg() {
    let chain = Chain::new(2, 100_000);
    let mut terminal = shell(&chain);
    terminal.keys(&format!("{} -o out &\r", env!("CARGO_BIN_EXE_chainview")));
    let end = Instant::now() + TIMEOUT;
    while terminal.children().into_iter().flat_map(children_of).count() < 2 {
        assert!(Instant::now() < end, "its nodes are not started");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The shell gets what is typed, and the job is not stopped.
    terminal.keys("echo $((40 + 2)); jobs\r");
    terminal.shows(&["\n42", "Running"]);
    terminal.until("the screen of the shell", |screen| !screen.alternate_screen());
    terminal.has_its_modes();
    terminal.keys("fg\n");
    back(&terminal, &["2/2 up", "q quit"]);
    leave_to_shell(&mut terminal);
}

#[test]
fn a_terminal_without_a_size_uses_the_environment_or_a_default() {
    let chain = Chain::new(2, 100_000);
    for (columns, rows) in [(80, 24), (100, 30)] {
        let mut command = chainview(chain.folder.path(), "-o out");
        if columns != 80 {
            command.env("COLUMNS", columns.to_string());
            command.env("LINES", rows.to_string());
        }
        let mut terminal = Terminal::start_without_size(command, columns, rows);
        terminal.until("the whole screen, up to its last cell", |screen| {
            let last = screen.contents_between(rows - 1, 0, rows - 1, columns);
            screen.contents().contains("2/2 up") && last.contains("q quit")
        });
        // A later size is used from then on.
        terminal.resize(90, 20);
        terminal.until("another size", |screen| screen.contents_between(19, 0, 19, 90).contains("q quit"));
        quit(&mut terminal);
    }
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let chain = Chain::new(2, 100_000);
    let mut command = chainview(chain.folder.path(), "-o out");
    command.env("TERM", "dumb");
    let terminal = Terminal::start(command, 100, 30);
    assert!(terminal.ends(TIMEOUT).success());
    terminal.shows(&["hop 1 (127.0.0.1:", "verified"]);
    assert!(!terminal.sent().contains(&0x1b), "something that a dumb terminal does not understand");
    assert_eq!(std::fs::read(chain.fetched("data.bin")).unwrap(), chain.content);
}

#[test]
fn under_nohup_a_hangup_ends_nothing() {
    let chain = Chain::new(2, 100_000);
    let mut command = portable_pty::CommandBuilder::new("/bin/sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" -o out", env!("CARGO_BIN_EXE_chainview")]);
    super::terminal::settle(&mut command, chain.folder.path());
    let mut terminal = Terminal::start(command, 80, 24);
    terminal.shows(&["2/2 up"]);
    terminal.signal(Signal::HUP);
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    quit(&mut terminal);
}

#[test]
fn a_locale_without_box_drawing_characters_gets_ascii() {
    let chain = Chain::new(2, 100_000);
    for (locale, ascii) in [("C", true), ("C.UTF-8", false)] {
        let mut command = chainview(chain.folder.path(), "-o out");
        command.env("LANG", locale);
        let mut terminal = Terminal::start(command, 80, 24);
        let screen = terminal.shows(&["2/2 up", "q quit"]);
        assert_eq!(screen.is_ascii(), ascii, "{locale}:\n{screen}");
        quit(&mut terminal);
    }
}

#[test]
fn endless_input_starves_neither_screen_nor_signals() {
    let chain = Chain::new(2, 1_000_000);
    let mut terminal = up(&chain, "--limit 1=500K", 80, 24);
    terminal.keys("f");
    terminal.shows(&["1 active"]);
    // The selection moves down and up.
    terminal.flood("jk");
    terminal.shows(&["1 done", "verified"]);
    let nodes = terminal.children();
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.ends(TIMEOUT).signal(), Some("Terminated"));
    assert!(all_ended(&nodes, Duration::ZERO), "the nodes are stopped in order");
}

#[test]
fn an_unterminated_paste_is_bounded_and_times_out() {
    let chain = Chain::new(2, 100_000);
    let mut terminal = up(&chain, "", 80, 24);
    terminal.keys("n");
    terminal.shows(&["which file?"]);
    let before = terminal.peak_memory();
    terminal.keys("\x1b[200~other.bin");
    let chunk = "\n".repeat(1 << 20);
    for _ in 0..100 {
        terminal.keys(&chunk);
    }
    // The paste is shown when no more of it arrives; keys are keys again.
    terminal.shows(&["which file? other.bin"]);
    let took = terminal.peak_memory() - before;
    assert!(took < 8 << 10, "{took} KiB more");
    terminal.keys("\r");
    terminal.shows(&["1 done", "other.bin"]);
    // A terminated paste, and an unterminated sequence.
    terminal.keys("n\x1b[200~data.bin");
    for _ in 0..10 {
        terminal.keys(&chunk);
    }
    terminal.keys("\x1b[201~\r\x1b[");
    // The totals say "1 of 2 done" before.
    terminal.shows(&["2 done", "0 active\n"]);
    terminal.keys(&"1;".repeat(1 << 20));
    terminal.keys("A");
    assert!(terminal.peak_memory() - before < 8 << 10);
    quit(&mut terminal);
}
