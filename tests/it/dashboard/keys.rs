//! The effect of each key, and that footer, help and dispatch agree.

use std::sync::Arc;

use chainview::command::Command;
use chainview::route::FileName;
use chainview::snapshot::Phase;
use chainview::ui::Keymap;
use chainview::ui::action::Action;
use chainview::ui::dispatch;
use chainview::ui::focus::Panel;
use chainview::ui::keymap::FooterSlot;
use chainview::ui::state::Mode;

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, idle, mixed, streaming, transfer};

#[test]
fn f_fetches_and_n_prompts_for_a_name() {
    let mut script = Script::new(80, 24, idle());
    script.keys("f");
    script.keys("n <enter>");
    assert!(script.screen().contains("the file name is empty"), "{}", script.screen());
    script.keys("b . t x t <home> d i r / <enter>");
    let named = Command::FetchName(FileName::new(b"dir/b.txt").unwrap());
    assert_eq!(script.sent, [Command::Fetch, Command::List(None), named]);
    assert_eq!(script.state.mode, Mode::Browse);
}

#[test]
fn the_prompt_edits_and_can_be_cancelled() {
    let mut script = Script::new(80, 24, idle());
    script.keys("n q f <space> x <left> <bs> <del>");
    assert!(script.screen().contains("fetch which file? qf"), "{}", script.screen());
    dispatch::paste(&mut script.state, &script.chain, "naïve\r\nname");
    assert!(script.screen().contains("qfnaïvename"), "{}", script.screen());
    script.keys("<esc>");
    assert_eq!((script.sent.as_slice(), &script.state.mode), ([Command::List(None)].as_slice(), &Mode::Browse));
    dispatch::paste(&mut script.state, &script.chain, "qqq");
    assert!(!script.state.quitting(), "pasted text presses no keys");
}

#[test]
fn a_long_name_scrolls_with_the_cursor() {
    let mut script = Script::new(60, 15, idle());
    script.keys("n");
    dispatch::paste(&mut script.state, &script.chain, &format!("{}END", "x".repeat(300)));
    let screen = script.screen();
    assert!(screen.lines().rev().nth(1).unwrap().ends_with("xEND"), "{screen}");
}

#[test]
fn x_cancels_the_running_or_selected_transfer() {
    let mut script = Script::new(80, 24, streaming());
    script.chain.transfers.push(transfer(2, Phase::Streaming));
    script.keys("x <tab> j x");
    assert_eq!(script.sent, [Command::Cancel(1), Command::Cancel(2)]);
    let mut done = Script::new(80, 24, idle());
    done.chain.transfers.push(transfer(1, Phase::Done));
    assert!(done.keys("x <tab> x").sent.is_empty());
    assert!(!done.screen().contains("x cancel"));
}

#[test]
fn cancelling_prefers_running_transfers_to_queued_ones() {
    let mut script = Script::new(120, 40, streaming());
    script.chain.transfers.extend([transfer(2, Phase::Streaming), transfer(3, Phase::Locked)]);
    script.chain.transfers.extend((4..=6).map(|number| transfer(number, Phase::Queued)));
    let press = |script: &mut Script, keys: &str| {
        script.sent.clear();
        script.keys(keys);
        std::mem::take(&mut script.sent)
    };
    assert_eq!(press(&mut script, "x"), [Command::Cancel(1)], "with the focus elsewhere");
    assert_eq!(press(&mut script, "<c-c>"), [Command::Cancel(1)]);
    assert!(script.screen().contains("cancelling #1"), "{}", script.screen());
    assert_eq!(press(&mut script, "3 x"), [Command::Cancel(1)], "nothing was selected by the user");
    assert_eq!(press(&mut script, "j x"), [Command::Cancel(2)]);
    assert_eq!(press(&mut script, "1 x"), [Command::Cancel(2)], "the selection holds in all panels");
    assert_eq!(press(&mut script, "<c-c>"), [Command::Cancel(2)]);
    assert_eq!(press(&mut script, "3 G x"), [Command::Cancel(6)], "a queued one that the user selected");
    assert_eq!(press(&mut script, "<c-c>"), [Command::Cancel(1)], "Ctrl-C is for what runs");
    script.chain.transfers.retain(|t| matches!(t.phase, Phase::Locked | Phase::Queued));
    script.see(script.chain.clone());
    assert_eq!(press(&mut script, "t <c-c>"), [Command::Cancel(3)], "a running one");
}

#[test]
fn cancelled_transfers_are_counted() {
    let mut script = Script::new(120, 40, streaming());
    script.chain.transfers.extend([transfer(2, Phase::Cancelled), transfer(3, Phase::Cancelled)]);
    script.chain.transfers[2].received = 0;
    let screen = script.screen();
    assert!(screen.contains("2 cancelled"), "{screen}");
    assert!(!screen.contains(" 0 of it"), "{screen}");
}

#[test]
fn destructive_keys_need_confirmation() {
    let mut script = Script::new(120, 24, mixed());
    script.keys("g R");
    assert!(script.sent.is_empty());
    assert!(script.screen().contains("R again to restart hop 1"), "{}", script.screen());
    assert!(script.keys("t R").sent.is_empty(), "another key in between starts over");
    assert!(script.keys("j R").sent.is_empty(), "hop 2 is not ours to restart");
    script.keys("k R R");
    assert_eq!(script.sent, [Command::RestartNode(1)]);
    script.sent.clear();
    script.keys("X j k X X d d");
    assert_eq!(script.sent, [Command::KillNode(1), Command::DrainNode(1)]);
    script.sent.clear();
    script.keys("j j j j R");
    assert_eq!(script.sent, [Command::RestartNode(5)], "a node that is down has nothing to lose");
}

#[test]
fn nodes_are_started_stopped_and_detached_where_possible() {
    let mut script = Script::new(120, 24, mixed());
    script.keys("4 g x x j x x D D u j j j u");
    assert_eq!(script.sent, [Command::StopNode(1), Command::Detach(2), Command::StartNode(5)]);
    script.sent.clear();
    script.keys("a 1 0 . 0 . 0 . 9 : 7 0 0 1 <enter>");
    assert!(matches!(script.sent.as_slice(), [Command::Attach(_)]), "{:?}", script.sent);
    script.sent.clear();
    script.keys("a n o p e <enter>");
    assert!(script.sent.is_empty() && script.screen().contains("nope"), "{}", script.screen());
}

#[test]
fn keys_move_the_selection_and_connections_follow() {
    let mut script = Script::new(80, 24, streaming());
    assert!(script.screen().contains("Connections of hop 2"), "the bottleneck");
    assert!(script.keys("g j <down>").screen().contains("Connections of hop 3"));
    assert!(script.keys("j").screen().contains("Connections of hop 3"), "the selection stops at the origin");
    assert!(script.keys("k").screen().contains("Connections of hop 2"));
    assert!(script.keys("g").screen().contains("Connections of hop 1"));
    assert!(script.keys("G").screen().contains("Connections of hop 3"));
    for panel in [Panel::Transfers, Panel::Connections, Panel::Chart, Panel::Log, Panel::Hops] {
        script.keys("<tab>");
        assert_eq!(script.state.panel, panel);
    }
    script.keys("<s-tab>");
    assert_eq!(script.state.panel, Panel::Log);
}

#[test]
fn q_closes_popups_before_it_quits() {
    let mut script = Script::new(80, 24, idle());
    script.keys("? q");
    assert!(script.sent.is_empty() && !script.state.quitting());
    script.keys("<f1> <esc> <esc> c q ! q");
    assert!(!script.state.quitting(), "esc never quits");
    script.keys("q");
    assert!(script.state.quitting());
    assert_eq!(script.sent, [Command::Quit { keep_nodes: false }]);
}

#[test]
fn quitting_during_a_transfer_needs_confirmation() {
    let mut script = Script::new(80, 24, streaming());
    let screen = script.keys("q").screen();
    assert!(screen.contains("1 transfer is running: q quit  d quit, keep the nodes running"), "{screen}");
    assert!(screen.contains("esc stay") && !script.state.quitting(), "{screen}");
    script.keys("<esc> q d");
    assert_eq!(script.sent, [Command::Quit { keep_nodes: true }]);
    let mut script = Script::new(80, 24, streaming());
    script.keys("q q");
    assert_eq!(script.sent, [Command::Quit { keep_nodes: false }]);
}

#[test]
fn ctrl_c_cancels_first_and_quits_when_repeated() {
    let mut script = Script::new(80, 24, streaming());
    script.keys("<c-c>");
    assert_eq!(script.sent, [Command::Cancel(1)]);
    assert!(script.screen().contains("cancelling #1; Ctrl-C again quits"), "{}", script.screen());
    script.keys("j <c-c>");
    assert_eq!(script.sent.len(), 2, "another key in between starts over");
    script.keys("<c-c>");
    assert_eq!(script.sent.last(), Some(&Command::Quit { keep_nodes: false }));
    let mut idle = Script::new(80, 24, idle());
    idle.keys("<c-c>");
    assert!(idle.state.quitting());
}

#[test]
fn every_key_in_the_footer_does_something() {
    for (chain, keys) in [
        (idle(), ""),
        (streaming(), "j"),
        (streaming(), "<tab>"),
        (streaming(), "<tab> <tab>"),
        (streaming(), "2"),
        (streaming(), "3"),
        (mixed(), "3 j j"),
        (mixed(), "4"),
        (mixed(), "4 G"),
        (mixed(), "j j j j"),
        (mixed(), "5"),
        (streaming(), "2 s"),
        (streaming(), "<enter>"),
        (streaming(), "z"),
        (idle(), "n"),
        (idle(), "n a b"),
        (idle(), "?"),
        (idle(), ":"),
        (idle(), "c"),
        (streaming(), "!"),
        (streaming(), "q"),
        (idle(), ","),
        (idle(), "5 / l i s t e n <enter>"),
        (streaming(), "5 / # 1 <enter> n"),
        (streaming(), "5 / o <enter> n"),
        (streaming(), "2 > <enter>"),
        (streaming(), "3 <enter>"),
        (streaming(), "<space>"),
        (streaming(), "1 <tab> <tab> <tab>"),
    ] {
        let mut script = Script::new(400, 24, chain);
        script.keys(keys);
        let footer = script.screen().lines().last().unwrap().to_owned();
        let shown: Vec<_> =
            dispatch::active(&script.state, &script.chain).filter(|(_, b)| b.place != FooterSlot::Nowhere).collect();
        assert!(!shown.is_empty());
        for (index, binding) in shown {
            let label = match binding.place {
                FooterSlot::Left(label, _) | FooterSlot::Right(label) => label,
                FooterSlot::Nowhere => unreachable!(),
            };
            let name = script.state.keymap.name(index);
            assert!(footer.contains(&format!("{name} {label}")), "{name} {label} not in {footer:?}");
            assert!(changes_something(&mut script, binding.action), "{name} {label} does nothing after {keys:?}");
        }
    }
}

/// A command, an effect, or a different screen.
fn changes_something(script: &mut Script, action: Action) -> bool {
    let (state, before) = (script.state.clone(), script.buffer());
    let sent = script.state.apply(action, &script.chain).is_some();
    let done = sent || script.state.next_effect().is_some() || script.buffer() != before;
    script.state = state;
    done
}

#[test]
fn help_and_quit_keep_their_position_at_every_width() {
    for columns in 40..=200 {
        let screen = Script::new(columns, 24, mixed()).screen();
        let footer = screen.lines().last().unwrap();
        assert!(footer.ends_with("? help  q quit"), "{columns}: {footer:?}");
        assert!(footer.trim_start().starts_with('f'), "{columns}: {footer:?}");
    }
}

#[test]
fn footer_and_help_show_custom_keys() {
    let mut script = Script::new(120, 40, idle());
    script.state.keymap = Arc::new(Keymap::with(&[("fetch".to_owned(), vec!["F5".to_owned()])]).unwrap());
    let screen = script.screen();
    assert!(screen.contains("f5 fetch") && !screen.contains(" f fetch"), "{screen}");
    assert!(script.keys("f").sent.is_empty());
    assert!(script.keys("3 ?").screen().contains("f5  fetch the file of the route"), "{}", script.screen());
}

#[test]
fn the_question_before_quitting_counts_what_runs_and_what_waits() {
    on_every_screen(&busy(), |script| {
        let screen = script.keys("q").screen();
        assert!(screen.contains("4 transfers are running, 8 queued: "), "{screen}");
    });
    let mut chain = idle();
    chain.transfers = vec![transfer(1, Phase::Paused)];
    on_every_screen(&chain, |script| {
        let screen = script.keys("q").screen();
        assert!(screen.contains("1 paused: "), "{screen}");
        script.see(idle());
        assert!(script.screen().contains("no transfer is running any more: q quit"), "{}", script.screen());
    });
}
