//! Appearance in a real terminal: themes, time zoom, the clipboard, the last screen, and stale figures.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Signal, kill_process};
use vt100::Color;

use super::free::Chain;
use super::nodes::Other;
use super::terminal::{Terminal, chainview};
use super::{quit, up};

/// The background colors of and on the screen.
fn colors(screen: &vt100::Screen) -> (Color, Vec<Color>) {
    let (rows, columns) = screen.size();
    let cells = (0..rows.get()).flat_map(|row| (0..columns.get()).filter_map(move |column| screen.cell(row, column)));
    let mut fronts: Vec<Color> = Vec::new();
    cells.map(vt100::Cell::fgcolor).for_each(|color| {
        if !fronts.contains(&color) {
            fronts.push(color);
        }
    });
    (screen.cell(0, 0).unwrap().bgcolor(), fronts)
}

#[test]
fn every_theme_by_its_flag_and_by_its_key() {
    let chain = Chain::new(1, 10);
    let looks_like = |terminal: &Terminal, name: &str| {
        let (back, colored) = match name {
            "terminal" => (Color::Default, true),
            "dark" => (Color::Rgb(0x1c, 0x1c, 0x1c), true),
            "light" => (Color::Idx(231), true),
            "contrast" => (Color::Idx(16), true),
            _ => (Color::Default, false),
        };
        terminal.until(&format!("the theme {name}"), |screen| {
            let (ground, fronts) = colors(screen);
            ground == back && fronts.iter().any(|color| *color != Color::Default) == colored
        });
    };
    for name in ["terminal", "dark", "light", "contrast", "mono"] {
        let mut terminal = up(&chain, &format!("--theme {name}"), 80, 24);
        looks_like(&terminal, name);
        if name == "terminal" {
            for next in ["dark", "light", "contrast", "mono"] {
                terminal.keys("t");
                terminal.shows(&[&format!("theme: {next}")]);
                looks_like(&terminal, next);
            }
        }
        quit(&mut terminal);
    }
}

#[test]
fn themes_of_the_user_are_files_and_invalid_ones_are_named() {
    let chain = Chain::new(1, 10);
    let folder = chain.folder.path().join(".config/chainview/themes");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("mine.toml"), "base = \"white on #102030\"\nflow = \"magenta\"\n").unwrap();
    std::fs::write(folder.join("bad.toml"), "warn = \"yelow\"\n").unwrap();
    let mut terminal = up(&chain, "--theme mine", 120, 40);
    terminal.until("the theme of the file", |screen| colors(screen).0 == Color::Rgb(0x10, 0x20, 0x30));
    terminal.keys("t");
    terminal.shows(&["theme: terminal"]);
    terminal.keys("5");
    terminal.shows(&["theme ignored: ", "bad.toml: warn: \"yelow\" is neither a color"]);
    quit(&mut terminal);
    for (name, words) in [
        ("bad", "themes/bad.toml: warn: \"yelow\" is neither a color nor a modifier"),
        (
            "none",
            "--theme: \"none\" is not a theme: there are terminal, dark, light, contrast, mono, frost, ember, dusk,",
        ),
    ] {
        let terminal = Terminal::start(chainview(chain.folder.path(), &format!("--theme {name}")), 200, 24);
        assert_eq!(terminal.ends(Duration::from_secs(5)).exit_code(), 2);
        terminal.shows(&[words]);
    }
}

#[test]
fn keys_change_the_time_span_of_charts() {
    let chain = Chain::new(1, 10);
    let mut terminal = up(&chain, "", 120, 40);
    for (key, shown) in [("=", "10 s"), ("+", "1 s"), ("-", "10 s")] {
        terminal.keys(key);
        terminal.shows(&[&format!("Throughput out of hop 1, {shown} ─")]);
    }
    // Of longer spans, a young chain has only a part to show.
    terminal.keys("--,");
    terminal.shows(&["Settings", "charts      10 min"]);
    terminal.keys("q");
    quit(&mut terminal);
}

#[test]
fn copies_reach_the_terminal_and_tmux() {
    let chain = Chain::new(1, 10);
    let address = chain.address(1);
    let sequence = format!("\x1b]52;c;{}\x07", STANDARD.encode(&address));
    let wrapped = format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b"));
    for (tmux, wanted) in [(false, sequence), (true, wrapped)] {
        let mut command = chainview(chain.folder.path(), "-o out");
        if tmux {
            command.env("TMUX", "/tmp/none,1,0");
        }
        let mut terminal = Terminal::start(command, 80, 24);
        terminal.shows(&["1/1 up", "LIVE"]);
        terminal.keys("y");
        terminal.shows(&["Copy", "address of the hop", &address, "curl command"]);
        terminal.keys("a");
        terminal.shows(&[&format!("copied: {address}")]);
        quit(&mut terminal);
        let sent = terminal.sent();
        assert!(sent.windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes()), "tmux: {tmux}");
    }
}

#[test]
fn capital_q_leaves_the_last_screen_on_the_terminal() {
    let chain = Chain::new(2, 100_000);
    let mut terminal = up(&chain, "", 80, 24);
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    terminal.keys("Q");
    assert_eq!(terminal.ends(Duration::from_secs(5)).exit_code(), 0);
    terminal.is_given_back();
    let screen = terminal.shows(&["▎ Transfers", "verified", "1 done (100.0 KB), 0 failed"]);
    assert!(!screen.contains("q quit"), "keys that mean nothing any more:\n{screen}");
}

#[test]
fn the_last_report_of_a_silent_node_stays_readable() {
    let chain = Chain::new(2, 100_000);
    let other = Other::start(&chain, 1);
    let mut terminal = up(&chain, "", 120, 40);
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    // The client detects its end before the node's next report does.
    terminal.keys("\r");
    terminal.shows(&["Hop 1 ", "1 served, 0 failed"]);
    kill_process(other.pid(), Signal::STOP).unwrap();
    // Its figures remain, with their age.
    terminal.shows(&["STALE ", "stale "]);
    terminal.shows(&["Hop 1 ", " s ago", "1 served, 0 failed"]);
    terminal.keys("\x1b");
    terminal.shows(&["Connections of hop 1", " s ago"]);
    kill_process(other.pid(), Signal::CONT).unwrap();
    terminal.until("responding again", |screen| {
        let text = screen.contents();
        text.contains("LIVE") && !text.contains("STALE") && text.contains("Connections of hop 1")
    });
    drop(other);
    terminal.shows(&["RECONNECTING 1", "1/2 up", " s ago"]);
    terminal.keys("\r");
    terminal.shows(&["Hop 1 ", "down", " s ago", "1 served, 0 failed"]);
    let back = Other::start(&chain, 1);
    terminal.shows(&["LIVE", "2/2 up"]);
    quit(&mut terminal);
    drop(back);
}
