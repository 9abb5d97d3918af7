//! Following: a transfer from hop to hop, matches in the log, the records of a hop; and the settings.

use chainview::command::Command;
use chainview::snapshot::{
    BodyError, ChainSnapshot, ConnectionProgress, ConnectionsProgress, Flow, HopRecord, Level, LogLine, Phase,
};
use chainview::ui::focus::{Panel, Tab, ViewMode};
use chainview::ui::state::Mode;

use super::script::Script;
use super::snapshots::{idle, streaming, transfer};

fn selected(script: &Script) -> Option<(usize, u64)> {
    script.state.selected_conn(&script.chain).map(|(hop, conn)| (hop.number, conn.id))
}

#[test]
fn a_transfer_is_followed_from_hop_to_hop_and_back_to_the_client() {
    let mut script = Script::new(120, 40, streaming());
    assert!(script.keys("3").screen().contains("> hop"), "{}", script.screen());
    script.keys("> >");
    assert_eq!((script.state.tab, selected(&script)), (Tab::Connections, Some((2, 4))));
    script.keys("> >");
    assert_eq!(selected(&script), Some((3, 4)), "behind the origin there is nothing");
    assert!(script.screen().contains(">: no further hop reports this transfer"), "{}", script.screen());
    script.keys("<enter> <");
    assert_eq!((script.state.view_mode, selected(&script)), (ViewMode::Detail, Some((2, 4))), "as deep as one is");
    script.keys("< <");
    assert_eq!((script.state.tab, script.state.view_mode), (Tab::Transfers, ViewMode::Detail));
    assert!(script.screen().contains("Transfer #1"), "{}", script.screen());
}

#[test]
fn following_skips_silent_hops_and_passes_filters() {
    let mut chain = streaming();
    chain.hops[1].node.as_mut().unwrap().connections.clear();
    let mut script = Script::new(120, 40, chain);
    script.keys("2 / h o p : 1 <enter> >");
    assert_eq!((selected(&script), script.state.lists.filter(Panel::Connections)), (Some((3, 4)), ""));
    // On the first tab the selection of the table of hops follows.
    script.keys("1 g <tab> <tab> >");
    assert_eq!(
        (script.state.tab, script.state.panel, selected(&script)),
        (Tab::Chain, Panel::Connections, Some((3, 4)))
    );
    assert!(script.screen().contains("Connections of hop 3"), "{}", script.screen());
    script.keys("<");
    assert!(script.screen().contains("Connections of hop 1"), "{}", script.screen());
    // Where the first tab has no space for connections, they have a tab of their own.
    let mut small = Script::new(60, 15, streaming());
    small.keys("<tab> >");
    assert_eq!((small.state.tab, selected(&small)), (Tab::Connections, Some((1, 4))));
}

#[test]
fn one_of_several_encrypted_connections_is_followed_to_the_end_of_its_tunnel() {
    let mut chain = streaming();
    for hop in &mut chain.hops {
        let id = if hop.origin { "cd120001" } else { "ef120001" };
        hop.node.as_mut().unwrap().connections[0].transfer = id.into();
    }
    let own = ConnectionProgress { id: "cd120001".into(), tunnel: "ef120001".into(), ..ConnectionProgress::default() };
    let other =
        ConnectionProgress { id: "cd120002".into(), tunnel: "ef120002".into(), ..ConnectionProgress::default() };
    let connections = vec![other, own];
    chain.transfers[0].connections = Some(ConnectionsProgress { connections, ..ConnectionsProgress::default() });
    let mut script = Script::new(120, 40, chain);
    script.keys("2 / h o p : 1 <enter> > >");
    assert_eq!(selected(&script), Some((3, 4)));
    script.keys("<");
    assert_eq!(selected(&script), Some((2, 4)));
}

#[test]
fn a_foreign_connection_is_followed_to_other_hops_only() {
    let mut chain = streaming();
    chain.transfers.clear();
    let mut script = Script::new(120, 40, chain);
    script.keys("2 <");
    assert_eq!(script.state.tab, Tab::Connections);
    script.keys("> < <");
    assert_eq!(selected(&script), Some((1, 4)));
}

fn logged(texts: &[&str]) -> ChainSnapshot {
    let line = |(number, text): (u64, &&str)| LogLine {
        number,
        second_of_day: 1,
        level: Level::Info,
        hop: None,
        text: (*text).into(),
    };
    ChainSnapshot { log: (1..).zip(texts).map(line).collect(), ..idle() }
}

#[test]
fn n_moves_from_match_to_match() {
    let mut script = Script::new(80, 24, logged(&["one", "a hit", "two", "three", "b hit", "four", "c hit", "five"]));
    let row = |script: &mut Script| {
        let screen = script.screen();
        screen.lines().skip(3).find(|line| line.starts_with('▌')).map(ToOwned::to_owned)
    };
    assert!(!script.keys("5 n").screen().contains("n next"), "without a filter there are no matches");
    script.keys("/ h i t <enter>");
    let narrowed = script.screen();
    assert!(!narrowed.contains("three") && narrowed.contains("n next  N prev"), "{narrowed}");
    let around = script.keys("N").screen();
    assert!(around.contains("three") && around.contains("match 2 of 3"), "{around}");
    assert_eq!(around.lines().filter(|line| line.contains(" *")).count(), 3, "{around}");
    assert!(row(&mut script).is_some_and(|row| row.ends_with("b hit")), "{}", script.screen());
    script.keys("N");
    assert!(row(&mut script).is_some_and(|row| row.ends_with("a hit")), "{}", script.screen());
    script.keys("N");
    assert!(row(&mut script).is_some_and(|row| row.ends_with("c hit")), "before the first comes the last");
    script.keys("n");
    assert!(row(&mut script).is_some_and(|row| row.ends_with("a hit")), "{}", script.screen());
    script.keys("/ <enter>");
    assert!(!script.screen().contains("three"), "the filter narrows again: {}", script.screen());
    script.keys("n <esc>");
    assert!(script.screen().contains("three") && !script.screen().contains(" *a"), "{}", script.screen());
    assert!(script.keys("n").sent.is_empty() && script.state.mode == Mode::Browse);
}

#[test]
fn hop_records_of_a_finished_transfer_are_shown() {
    let mut chain = idle();
    let mut done = transfer(1, Phase::Failed);
    let flow = Flow { bytes_in: 40_000_000, bytes_out: 20_000_000, active_us: 2_000_000, ..Flow::default() };
    let whole = HopRecord { status: 200, flow: Flow { limited_us: 1_900_000, ..flow }, ..HopRecord::default() };
    done.hop_records = vec![Some(whole), Some(HopRecord { body_error: Some(BodyError::SourceFailed), ..whole }), None];
    chain.transfers.push(done);
    for (columns, waited) in [(120, "time 0% starved, 0% blocked, 95% limited"), (80, "limited")] {
        let screen = Script::new(columns, 40, chain.clone()).keys("3 <enter>").screen();
        let rows: Vec<&str> = screen.lines().skip_while(|line| !line.contains("Path ──")).skip(1).collect();
        assert_eq!(
            rows[0].trim(),
            format!("1  done     in  20.0 MB/s  out  10.0 MB/s  sent  20.0 MB   {waited}"),
            "{screen}"
        );
        assert_eq!(
            rows[1].trim(),
            "2  failed   in  20.0 MB/s  out  10.0 MB/s  sent  20.0 MB   its source failed",
            "{screen}"
        );
        assert_eq!(rows[2].trim(), "3  -", "{screen}");
    }
}

#[test]
fn settings_are_shown_and_changed_in_one_list() {
    let mut script = Script::new(80, 24, streaming());
    let screen = script.keys(",").screen();
    for words in ["Settings", "theme       terminal", "mouse       off", "charts      60 s", "log from    info"] {
        assert!(screen.contains(words), "{words:?} is missing:\n{screen}");
    }
    let screen = script.keys("<enter> j <enter> j <space> <space> j <enter> j <enter>").screen();
    for words in
        ["theme       dark", "mouse       on", "charts      1 s", "log from    warnings", "long lines  wrapped"]
    {
        assert!(screen.contains(words), "{words:?} is missing:\n{screen}");
    }
    assert!(script.state.notice.is_none(), "the list shows the new value");
    assert_eq!(script.keys(",").state.mode, Mode::Browse);
    assert!(script.screen().contains("Throughput hop 1 out, 1 s") || script.screen().contains(", 1 s"));
}

#[test]
fn capital_q_quits_and_keeps_the_last_screen() {
    let mut script = Script::new(80, 24, idle());
    script.keys("Q");
    assert!(script.state.keeps_frame());
    assert_eq!(script.sent, [Command::Quit { keep_nodes: false }]);
    let mut script = Script::new(80, 24, streaming());
    assert!(script.keys("Q").screen().contains("1 transfer is running"), "{}", script.screen());
    assert!(!script.keys("<esc> q q").state.keeps_frame() && script.state.quitting(), "quitting was cancelled before");
    let mut script = Script::new(80, 24, streaming());
    assert!(script.keys("Q Q").state.keeps_frame());
}
