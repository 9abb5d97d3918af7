//! The start screen in a real terminal: recent chains come back, what cannot be opened is explained, signals end it.

use std::time::Duration;

use portable_pty::CommandBuilder;
use rustix::process::Signal;

use super::free::Chain;
use super::terminal::{Terminal, chainview};
use super::{quit, up};

/// The program in a folder without an input file, with the memory of this chain's user.
fn elsewhere(chain: &Chain) -> Terminal {
    let folder = chain.folder.path().join("elsewhere");
    std::fs::create_dir_all(&folder).unwrap();
    let mut command: CommandBuilder = chainview(chain.folder.path(), "");
    command.cwd(folder);
    Terminal::start(command, 100, 30)
}

#[test]
fn recent_chains_are_offered_and_opened() {
    let chain = Chain::new(1, 10);
    quit(&mut up(&chain, "", 80, 24));
    let mut terminal = elsewhere(&chain);
    terminal.shows(&["Recent chains", "1  /", "input.txt", "just now", "d  the demo", "10.0.0.1 9101"]);
    terminal.keys("\r");
    terminal.shows(&["1/1 up", "LIVE", "data.bin"]);
    quit(&mut terminal);
    terminal.is_given_back();

    std::fs::remove_file(chain.folder.path().join("input.txt")).unwrap();
    let mut terminal = elsewhere(&chain);
    terminal.shows(&["Recent chains"]);
    terminal.keys("1");
    terminal.shows(&["input.txt: no such file", "Recent chains"]);
    terminal.keys("q");
    assert_eq!(terminal.ends(Duration::from_secs(5)).exit_code(), 0);
    terminal.is_given_back();
}

#[test]
fn the_demo_starts_from_it() {
    let chain = Chain::new(1, 10);
    let mut terminal = elsewhere(&chain);
    terminal.shows(&["Recent chains", "d  the demo"]);
    terminal.keys("d");
    terminal.shows(&["3/3 up"]);
    terminal.keys("qq");
    assert_eq!(terminal.ends(Duration::from_secs(10)).exit_code(), 0);
    terminal.is_given_back();
}

#[test]
fn a_signal_ends_it_and_restores_the_terminal() {
    let chain = Chain::new(1, 10);
    for (signal, name) in [(Signal::TERM, "Terminated"), (Signal::INT, "Interrupt")] {
        let terminal = elsewhere(&chain);
        terminal.shows(&["Recent chains"]);
        terminal.signal(signal);
        assert_eq!(terminal.ends(Duration::from_secs(5)).signal(), Some(name));
        terminal.is_given_back();
    }
}
