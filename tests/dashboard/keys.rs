//! What each key does, and that footer, help and dispatch tell the same story.

use chainview::command::Command;
use chainview::route::FileName;
use chainview::snapshot::Phase;
use chainview::ui::keymap::{self, Chord, Place, TABLE};
use chainview::ui::state::{Mode, Panel};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::script::{self, Script};
use crate::snapshots::{idle, mixed, streaming, transfer};

#[test]
fn f_fetches_and_n_asks_for_a_name() {
    let mut script = Script::new(80, 24, idle());
    script.keys("f");
    script.keys("n <enter>");
    assert!(script.screen().contains("the file name is empty"), "{}", script.screen());
    script.keys("b . t x t <home> d i r / <enter>");
    assert_eq!(script.sent, [Command::Fetch, Command::FetchName(FileName::new(b"dir/b.txt").unwrap())]);
    assert_eq!(script.state.mode, Mode::Browse);
}

#[test]
fn the_prompt_edits_and_can_be_left() {
    let mut script = Script::new(80, 24, idle());
    script.keys("n q f <space> x <left> <bs> <del>");
    assert!(script.screen().contains("fetch which file? qf"), "{}", script.screen());
    keymap::paste(&mut script.state, &script.chain, "naïve\r\nname");
    assert!(script.screen().contains("qfnaïvename"), "{}", script.screen());
    script.keys("<esc>");
    assert_eq!((script.sent.len(), &script.state.mode), (0, &Mode::Browse));
    keymap::paste(&mut script.state, &script.chain, "qqq");
    assert!(!script.state.quitting(), "pasted text presses no keys");
}

#[test]
fn a_long_name_scrolls_and_keeps_the_cursor_in_sight() {
    let mut script = Script::new(60, 15, idle());
    script.keys("n");
    keymap::paste(&mut script.state, &script.chain, &format!("{}END", "x".repeat(300)));
    let screen = script.screen();
    assert!(screen.lines().rev().nth(1).unwrap().ends_with("xEND"), "{screen}");
}

#[test]
fn x_cancels_what_runs_or_what_is_marked() {
    let mut script = Script::new(80, 24, streaming());
    script.chain.transfers.push(transfer(2, Phase::Streaming));
    script.keys("x <tab> k x");
    assert_eq!(script.sent, [Command::Cancel(2), Command::Cancel(1)]);
    let mut done = Script::new(80, 24, idle());
    done.chain.transfers.push(transfer(1, Phase::Done));
    assert!(done.keys("x <tab> x").sent.is_empty());
    assert!(!done.screen().contains("x cancel"));
}

#[test]
fn r_restarts_only_what_we_started() {
    let mut script = Script::new(80, 24, mixed());
    script.keys("1 r 2 r 5 r");
    assert_eq!(script.sent, [Command::RestartNode(1), Command::RestartNode(5)]);
    assert!(script.screen().contains("r restart"));
    assert!(!script.keys("2").screen().contains("r restart"), "an attached node is not ours to restart");
    script.chain.hops[4].ours = false;
    assert!(!script.keys("5").screen().contains("r restart"));
}

#[test]
fn keys_move_the_mark_and_the_connections_follow() {
    let mut script = Script::new(80, 24, streaming());
    assert!(script.screen().contains("Connections of hop 1"));
    assert!(script.keys("j <down>").screen().contains("Connections of hop 3"));
    assert!(script.keys("j").screen().contains("Connections of hop 3"), "the mark stops at the origin");
    assert!(script.keys("k").screen().contains("Connections of hop 2"));
    assert!(script.keys("g").screen().contains("Connections of hop 1"));
    assert!(script.keys("G").screen().contains("Connections of hop 3"));
    assert!(script.keys("9").screen().contains("Connections of hop 3"), "there is no hop 9");
    script.keys("<tab>");
    assert_eq!(script.state.panel, Panel::Transfers);
    script.keys("<tab>");
    assert_eq!(script.state.panel, Panel::Hops);
}

#[test]
fn q_closes_what_is_open_before_it_leaves() {
    let mut script = Script::new(80, 24, idle());
    script.keys("? q");
    assert!(script.sent.is_empty() && !script.state.quitting());
    script.keys("<f1> <esc> <esc>");
    assert!(!script.state.quitting(), "esc never leaves");
    script.keys("q");
    assert!(script.state.quitting());
    assert_eq!(script.sent, [Command::Quit { leave_nodes: false }]);
}

#[test]
fn ctrl_c_cancels_first_and_leaves_when_pressed_again() {
    let mut script = Script::new(80, 24, streaming());
    script.keys("<c-c>");
    assert_eq!(script.sent, [Command::Cancel(1)]);
    assert!(script.screen().contains("cancelling #1; Ctrl-C again leaves"), "{}", script.screen());
    script.keys("j <c-c>");
    assert_eq!(script.sent.len(), 2, "another key in between starts over");
    script.keys("<c-c>");
    assert_eq!(script.sent.last(), Some(&Command::Quit { leave_nodes: false }));
    let mut idle = Script::new(80, 24, idle());
    idle.keys("<c-c>");
    assert!(idle.state.quitting());
}

#[test]
fn every_key_in_the_footer_does_something() {
    for (chain, keys) in [
        (idle(), ""),
        (streaming(), "2"),
        (streaming(), "<tab>"),
        (mixed(), "5"),
        (idle(), "n"),
        (idle(), "n a b"),
        (idle(), "?"),
    ] {
        let mut script = Script::new(200, 20, chain);
        script.keys(keys);
        let footer = script.screen().lines().last().unwrap().to_owned();
        let shown: Vec<_> = keymap::live(&script.state, &script.chain).filter(|b| b.place != Place::Nowhere).collect();
        assert!(!shown.is_empty());
        for binding in shown {
            let label = match binding.place {
                Place::Left(label, _) | Place::Right(label) => label,
                Place::Nowhere => unreachable!(),
            };
            assert!(
                footer.contains(&format!("{} {label}", binding.name)),
                "{} {label} not in {footer:?}",
                binding.name
            );
            assert!(pressing_changes_something(&script, binding.keys[0]), "{} does nothing", binding.name);
        }
    }
}

fn pressing_changes_something(script: &Script, chord: Chord) -> bool {
    let mut state = script.state.clone();
    if state.mode == Mode::Browse {
        // From the first row, so that moving down has somewhere to go.
        keymap::press(&mut state, &script.chain, script::key("g"));
    }
    let before = format!("{:?}", (&state.mode, state.panel, state.hop(&script.chain), state.transfer(&script.chain)));
    let command = keymap::press(&mut state, &script.chain, press_of(chord));
    let after = format!("{:?}", (&state.mode, state.panel, state.hop(&script.chain), state.transfer(&script.chain)));
    command.is_some() || before != after || state.take_errand().is_some()
}

fn press_of(chord: Chord) -> KeyEvent {
    match chord {
        Chord::Key(code) => KeyEvent::new(code, KeyModifiers::NONE),
        Chord::Ctrl(c) => KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL),
        Chord::Digit => KeyEvent::new(KeyCode::Char('2'), KeyModifiers::NONE),
        Chord::Text => KeyEvent::new(KeyCode::Char('t'), KeyModifiers::NONE),
    }
}

#[test]
fn no_key_means_two_things_in_one_mode() {
    for (i, a) in TABLE.iter().enumerate() {
        for b in &TABLE[i + 1..] {
            let shared = a.keys.iter().find(|chord| b.keys.contains(chord));
            assert!(a.mode != b.mode || shared.is_none(), "{:?} is bound twice in {:?}", shared, a.mode);
        }
    }
}

#[test]
fn help_and_quit_keep_their_place_at_every_width() {
    for columns in 40..=200 {
        let screen = Script::new(columns, 24, mixed()).screen();
        let footer = screen.lines().last().unwrap();
        assert!(footer.ends_with("? help  q quit"), "{columns}: {footer:?}");
        assert!(footer.trim_start().starts_with('f'), "{columns}: {footer:?}");
    }
}
