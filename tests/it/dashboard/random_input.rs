//! Invariants for every size, every key, any text.

use chainview::command::Command;
use chainview::snapshot::{ChainSnapshot, HopLink, Integrity, Level, LogLine, Phase};
use chainview::ui::dispatch;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;

use super::script::Script;
use super::snapshots::{folders, idle, mixed, sharing, streaming, transfer};

/// All sizes up to this one; without optimization, which makes a frame ten times as slow, only those where something
/// changes.
fn sizes(most: u16, edges: &[u16]) -> impl Iterator<Item = u16> {
    let near = |n: u16| n < 4 || edges.iter().any(|edge| n.abs_diff(*edge) <= 1);
    (1..=most).filter(move |n| !cfg!(debug_assertions) || near(*n) || n % 29 == 0)
}

#[test]
fn no_size_panics() {
    let chain = mixed();
    for rows in sizes(60, &[8, 18, 28, 60]) {
        for columns in sizes(200, &[40, 60, 76, 100, 200]) {
            // The open popup alternates, so that each is drawn at every few sizes.
            let keys = ["", "2", "3 <enter>", "4", "5 w", "n x", "?", ":", "c", "!", "z", "q"];
            let keys = keys[usize::from(rows + columns) % keys.len()];
            let mut script = Script::new(columns, rows, chain.clone());
            assert_eq!(script.keys(keys).screen().lines().count(), usize::from(rows));
        }
    }
    for (columns, rows) in [(1, 1), (40, 8), (41, 9), (60, 15), (70, 12), (99, 18), (140, 28), (200, 60)] {
        Script::new(columns, rows, folders()).keys("3 g <enter> j G / x <enter> <esc> k g y").screen();
        Script::new(columns, rows, sharing()).keys("2 G <enter>").screen();
    }
    for columns in [1, 39, 40, 80, 200] {
        Script::new(columns, 24, ChainSnapshot::default()).keys("3 <enter> 4 <enter> 2 s").screen();
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
    chain.transfers[0].name = evil.into();
    let mut done = transfer(2, Phase::Done);
    done.integrity = Integrity::Verified { digest: format!("{evil}:{evil}") };
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
        dispatch::press(&mut script.state, &script.chain, KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
    }
    dispatch::paste(&mut script.state, &script.chain, evil);
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
    fn random_keys_send_only_valid_commands(
        presses in prop::collection::vec((any_key(), 0..4_usize), 0..60),
        columns in 1..140_u16,
        rows in 1..50_u16,
    ) {
        let chains = [idle(), streaming(), mixed(), folders(), sharing(), ChainSnapshot::default()];
        let mut script = Script::new(columns, rows, idle());
        for (key, chain) in presses {
            script.see(chains[chain].clone());
            let runs: Vec<u64> =
                script.chain.transfers.iter().filter(|t| !t.phase.is_over()).map(|t| t.number).collect();
            let shown = script.state.shown(&std::sync::Arc::new(script.chain.clone()));
            if script.state.frozen.is_some() {
                // A frozen screen may show things that no longer exist; the controller handles that.
                dispatch::press(&mut script.state, &shown, key);
                continue;
            }
            match dispatch::press(&mut script.state, &shown, key) {
                Some(Command::Cancel(number)) => prop_assert!(runs.contains(&number)),
                Some(Command::RestartNode(hop)) => prop_assert!(script.chain.hops[hop - 1].ours),
                Some(Command::Quit { .. }) => prop_assert!(script.state.quitting()),
                Some(Command::Fetch) => prop_assert!(!script.chain.hops.is_empty()),
                Some(_) | None => {}
            }
            if let Some(hop) = script.state.hop(&script.chain) {
                prop_assert!(hop.number <= script.chain.hops.len());
            }
        }
        script.screen();
    }
}
