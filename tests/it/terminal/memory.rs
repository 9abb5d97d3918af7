//! Memory across runs: what was chosen on the screen comes back, flags take precedence, and broken content is ignored.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use vt100::Color;

use super::free::Chain;
use super::{quit, up};

fn file(chain: &Chain, name: &str) -> PathBuf {
    chain.folder.path().join(".local/state/chainview").join(name)
}

/// The background of the screen: that of the light theme, or the terminal's.
fn ground(screen: &vt100::Screen) -> Color {
    screen.cell(0, 0).unwrap().bgcolor()
}

#[test]
fn choices_come_back_and_flags_take_precedence() {
    let chain = Chain::new(1, 10);
    let mut terminal = up(&chain, "", 120, 40);
    terminal.keys("tt-");
    terminal.shows(&["10 min"]);
    quit(&mut terminal);
    assert_eq!(file(&chain, "screen.json").metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let mut terminal = up(&chain, "", 120, 40);
    terminal.until("the light theme", |screen| ground(screen) == Color::Idx(231));
    terminal.shows(&["10 min"]);
    quit(&mut terminal);

    let mut terminal = up(&chain, "--theme terminal", 120, 40);
    terminal.until("the theme of the flag", |screen| ground(screen) == Color::Default);
    terminal.keys("=");
    terminal.shows(&["60 s"]);
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.ends(Duration::from_secs(5)).signal(), Some("Terminated"));
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(file(&chain, "screen.json")).unwrap()).unwrap();
    assert_eq!((&kept["theme"], &kept["span"]), (&"light".into(), &"60 s".into()), "the flag is not remembered");
}

#[test]
fn broken_memory_is_ignored_with_a_note() {
    let chain = Chain::new(1, 10);
    fs::create_dir_all(file(&chain, "")).unwrap();
    fs::write(file(&chain, "screen.json"), "{{{").unwrap();
    let mut terminal = up(&chain, "", 120, 40);
    terminal.keys("5");
    terminal.shows(&["screen.json: ignored: "]);
    quit(&mut terminal);
}
