//! The screen without a terminal: key strings in, pictures and commands out, at every size and with hostile text.

#[path = "support/script.rs"]
mod script;
#[path = "support/snapshots.rs"]
mod snapshots;

use std::path::PathBuf;

use chainview::command::Command;
use chainview::route::FileName;
use chainview::snapshot::{HopLink, Level, LogLine, Phase, Proof};
use chainview::ui::keymap::{self, Chord, Place, TABLE};
use chainview::ui::state::{Mode, Panel};
use chainview::verdict::{Limit, Verdict};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;
use ratatui::style::Color;
use script::Script;
use snapshots::{idle, mixed, streaming, transfer};

/// Compares a screen with the picture kept under this name; `UPDATE_PICTURES=1` takes the new one instead.
fn expect(name: &str, screen: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        std::fs::write(&path, screen).expect("the pictures can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == screen, "{name} looks different now:\n{screen}\nbut the picture was:\n{kept}");
}

#[test]
fn pictures_at_the_sizes_people_have() {
    expect("streaming-120x40", &Script::new(120, 40, streaming()).screen());
    expect("streaming-80x24", &Script::new(80, 24, streaming()).screen());
    expect("streaming-60x15", &Script::new(60, 15, streaming()).screen());
    expect("streaming-40x8", &Script::new(40, 8, streaming()).screen());
    expect("streaming-39x7", &Script::new(39, 7, streaming()).screen());
    expect("idle-80x24", &Script::new(80, 24, idle()).screen());
    expect("mixed-120x40", &Script::new(120, 40, mixed()).screen());
    expect("mixed-80x24", &Script::new(80, 24, mixed()).screen());
}

#[test]
fn pictures_of_what_lies_over_the_screen() {
    expect("help-80x24", &Script::new(80, 24, streaming()).keys("?").screen());
    expect("help-120x40", &Script::new(120, 40, streaming()).keys("?").screen());
    expect("prompt-80x24", &Script::new(80, 24, streaming()).keys("n a . t x t <left>").screen());
}

#[test]
fn picture_in_ascii_without_colour() {
    let mut plain = Script::new(80, 24, streaming()).themed(true, false);
    let screen = plain.keys("j").screen();
    assert!(screen.is_ascii(), "{screen}");
    expect("ascii-80x24", &screen);
    let mut help = Script::new(80, 24, streaming()).themed(true, false);
    assert!(help.keys("?").screen().is_ascii());
}

#[test]
fn without_colour_nothing_is_coloured_and_states_are_words() {
    let mut plain = Script::new(120, 40, mixed()).themed(false, false);
    let buffer = plain.buffer();
    assert!(buffer.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let screen = plain.screen();
    for word in ["stale 4s", "original", "foreign", "down", "starting", "draining", "failed", "cancelled", "WARN"] {
        assert!(screen.contains(word), "{word} is missing:\n{screen}");
    }
    let mut colored = Script::new(120, 40, mixed());
    assert!(colored.buffer().content().iter().any(|cell| cell.fg == Color::Red));
    assert_eq!(colored.screen(), screen, "colour changes no character");
}

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
    assert_eq!(script.sent, [Command::Quit]);
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
    assert_eq!(script.sent.last(), Some(&Command::Quit));
    let mut idle = Script::new(80, 24, idle());
    idle.keys("<c-c>");
    assert!(idle.state.quitting());
}

#[test]
fn rates_of_connections_come_from_two_snapshots() {
    let mut script = Script::new(120, 40, streaming());
    let mut next = streaming();
    next.generation = 3;
    let node = next.hops[0].node.as_mut().unwrap();
    node.uptime_us += 1_000_000;
    node.connections[0].flow.bytes_in += 40_500_000;
    node.connections[0].flow.bytes_out += 39_900_000;
    script.see(next);
    let screen = script.screen();
    let line = screen.lines().find(|line| line.contains("127.0.0.1:51812")).unwrap();
    assert!(line.contains("40.5M   39.9M"), "{line}");
}

#[test]
fn transfers_say_how_they_ended() {
    let mut script = Script::new(120, 40, idle());
    script.chain.transfers = vec![transfer(1, Phase::Done), transfer(2, Phase::Failed), transfer(3, Phase::Cancelled)];
    let mut plain = transfer(4, Phase::Done);
    plain.proof = Proof::LengthOnly { digest: "blake3:00".to_owned(), reason: "the origin offers no digest".into() };
    script.chain.transfers.push(plain);
    let screen = script.screen();
    for words in [
        "intact: digest equal  blake3:6f1c9a206f1c9a20",
        "hop 2 (127.0.0.1:7002): connection refused, reported by hop 1 after 0.8 ms",
        "1.31G of it arrived and are kept",
        "length only: the origin offers no digest",
    ] {
        assert!(screen.contains(words), "{words:?} is missing:\n{screen}");
    }
}

#[test]
fn the_slow_link_is_flagged_and_named() {
    let mut script = Script::new(120, 40, streaming());
    script.chain.verdict = Verdict { limit: Limit::Link { from: 3, to: 2 }, share: 0.88 };
    let screen = script.screen();
    assert!(screen.contains("2 :7002 ◀╌╌╌  41.3M/s!╌╌╌ 3 origin"), "{screen}");
    assert!(screen.lines().nth(2).unwrap().starts_with(" ! "), "{screen}");
    script.chain.verdict = Verdict::default();
    assert!(!script.screen().contains('!'), "nothing is flagged before it can be judged");
}

#[test]
fn leaving_is_said_and_offers_no_new_work() {
    let mut script = Script::new(80, 24, streaming());
    script.chain.leaving = true;
    let screen = script.keys("f n x r").screen();
    assert!(screen.contains("LEAVING") && screen.contains("q quit"), "{screen}");
    assert!(!screen.contains("f fetch") && !screen.contains("x cancel"), "{screen}");
    assert!(script.sent.is_empty());
}

#[test]
fn the_marked_transfer_shows_its_whole_sentence() {
    let mut script = Script::new(60, 24, idle());
    script.chain.transfers = vec![transfer(1, Phase::Done), transfer(2, Phase::Failed)];
    let screen = script.screen();
    let lines: Vec<&str> = screen.lines().skip_while(|line| !line.contains("failed  hop 2")).take(3).collect();
    let sentence = lines.join(" ").replace('▏', "").split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted = "hop 2 (127.0.0.1:7002): connection refused, reported by hop 1 after 0.8 ms: is a node running there?";
    assert!(sentence.ends_with(wanted), "{screen}");
}

#[test]
fn help_scrolls_no_further_than_its_end() {
    let mut script = Script::new(80, 24, idle());
    script.keys("? G j j j");
    let bottom = script.screen();
    assert!(bottom.contains("esc  close"), "{bottom}");
    assert_ne!(script.keys("k").screen(), bottom, "one step back is one row");
    assert!(script.keys("g").screen().contains("fetch the route's own file"));
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
    command.is_some() || before != after || state.take_repaint()
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

#[test]
fn no_size_panics_and_no_line_is_wider_than_the_screen() {
    let sizes = |most: u16| (1..=most).filter(|n| *n <= 12 || n % 13 == 0 || [40, 60, 80, 120].contains(n));
    for chain in [mixed(), chainview::snapshot::ChainSnapshot::default()] {
        for rows in sizes(60) {
            for columns in sizes(200) {
                for keys in ["", "n x", "?", "<tab>"] {
                    let mut script = Script::new(columns, rows, chain.clone());
                    let screen = script.keys(keys).screen();
                    assert_eq!(screen.lines().count(), usize::from(rows));
                }
            }
        }
    }
}

#[test]
fn hostile_text_never_reaches_the_terminal() {
    let evil = "\x1b[2J\x1b]0;owned\x07\u{202e}gpj\u{200b}\r\n\u{9b}31m";
    let mut chain = streaming();
    chain.source = evil.into();
    chain.file = evil.into();
    chain.hops[0].label = evil.into();
    chain.hops[1].link = HopLink::Down { reason: evil.into() };
    let node = chain.hops[0].node.as_mut().unwrap();
    node.connections[0].name = evil.into();
    node.connections[0].peer = evil.into();
    node.connections[0].wire = evil.into();
    chain.transfers[0].name = evil.into();
    let mut done = transfer(2, Phase::Done);
    done.proof = Proof::Intact { digest: format!("{evil}:{evil}") };
    let mut failed = transfer(3, Phase::Failed);
    failed.error = Some(evil.into());
    chain.transfers.extend([done, failed]);
    chain.log.push(LogLine { level: Level::Error, text: evil.into(), ..LogLine::default() });
    let mut script = Script::new(120, 40, chain);
    let clean = |screen: &str| {
        assert!(screen.chars().all(|c| c == '\n' || !c.is_control()), "{screen:?}");
        assert!(!screen.contains(['\u{202e}', '\u{200b}']), "{screen:?}");
    };
    let screen = script.screen();
    clean(&screen);
    assert!(screen.contains("\\u{1b}[2J"), "what was escaped is visible:\n{screen}");
    script.keys("n");
    for c in evil.chars() {
        keymap::press(&mut script.state, &script.chain, KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
    }
    keymap::paste(&mut script.state, &script.chain, evil);
    clean(&script.screen());
}

fn any_key() -> impl Strategy<Value = KeyEvent> {
    let codes = prop_oneof![
        6 => prop::char::range(' ', '~').prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
        3 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::BackTab, KeyCode::Up, KeyCode::Down, KeyCode::Left,
            KeyCode::Right, KeyCode::Home, KeyCode::End, KeyCode::Backspace, KeyCode::Delete, KeyCode::F(1),
        ]),
    ];
    let modifiers = prop::sample::select(vec![
        KeyModifiers::NONE,
        KeyModifiers::NONE,
        KeyModifiers::SHIFT,
        KeyModifiers::CONTROL,
        KeyModifiers::ALT,
    ]);
    (codes, modifiers).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    /// Whatever is pressed while the chain changes underneath: no panic, and no command that the chain rules out.
    #[test]
    fn random_keys_ask_only_for_what_can_be_done(
        presses in prop::collection::vec((any_key(), 0..4_usize), 0..60),
        columns in 1..140_u16,
        rows in 1..50_u16,
    ) {
        let chains = [idle(), streaming(), mixed(), chainview::snapshot::ChainSnapshot::default()];
        let mut script = Script::new(columns, rows, idle());
        for (key, chain) in presses {
            script.see(chains[chain].clone());
            let runs: Vec<u64> =
                script.chain.transfers.iter().filter(|t| !t.phase.is_over()).map(|t| t.number).collect();
            match keymap::press(&mut script.state, &script.chain, key) {
                Some(Command::Cancel(number)) => prop_assert!(runs.contains(&number)),
                Some(Command::RestartNode(hop)) => prop_assert!(script.chain.hops[hop - 1].ours),
                Some(Command::Quit) => prop_assert!(script.state.quitting()),
                Some(Command::Fetch) => prop_assert!(!script.chain.hops.is_empty()),
                Some(Command::FetchName(_)) | None => {}
            }
            if let Some(hop) = script.state.hop(&script.chain) {
                prop_assert!(hop.number <= script.chain.hops.len());
            }
        }
        script.screen();
    }
}
