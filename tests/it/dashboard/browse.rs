//! Browsing: tabs, filter, sort, selections that stay, a frozen screen, faults, listed files, the mouse.

use std::time::Duration;

use chainview::command::Command;
use chainview::faults::FaultChange;
use chainview::route::FileName;
use chainview::snapshot::{ChainSnapshot, ConnSnapshot, ConnState, Flow, Listing, ListingEntry, Phase};
use chainview::ui::focus::{Panel, Tab};
use chainview::ui::input::Gesture;
use chainview::ui::state::Effect;

use super::script::Script;
use super::snapshots::{idle, mixed, streaming, transfer};

/// Hop 1 with these connections: number, state, bytes sent.
fn with_conns(conns: &[(u64, ConnState, u64)]) -> ChainSnapshot {
    let mut chain = streaming();
    let conn = |(id, state, sent): &(u64, ConnState, u64)| ConnSnapshot {
        id: *id,
        state: *state,
        peer: format!("10.0.0.{id}:5000").into(),
        flow: Flow { bytes_out: *sent, ..Flow::default() },
        ..ConnSnapshot::default()
    };
    chain.hops[0].node.as_mut().expect("hop 1 reports").connections = conns.iter().map(conn).collect();
    chain
}

/// The peers of the visible connections, top down.
fn peers(script: &mut Script) -> Vec<String> {
    let screen = script.screen();
    let list = screen.lines().take_while(|line| !line.contains("▎ Connection "));
    let words = list.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("10.0.0.")));
    words.map(|peer| peer.trim_start_matches("10.0.0.").trim_end_matches(":5000").to_owned()).collect()
}

/// The selected connection's number.
fn selected(script: &Script) -> Option<u64> {
    script.state.selected_conn(&script.chain).map(|(_, conn)| conn.id)
}

#[test]
fn every_tab_is_highlighted_and_shows_its_panels() {
    let mut script = Script::new(120, 40, mixed());
    for (key, wanted) in [
        ("2", "Connections of all hops"),
        ("3", "Transfer #2"),
        ("4", "Refused"),
        ("5", "hop 2"),
        ("1", "Throughput out of hop 9"),
    ] {
        let screen = script.keys(key).screen();
        assert!(key == "5" || screen.contains(wanted), "{key}: {screen}");
    }
    assert_eq!(script.state.tab, Tab::Chain);
}

#[test]
fn a_filter_applies_while_typed_and_ends_with_esc() {
    let mut script = Script::new(120, 40, streaming());
    assert!(script.keys("2").screen().contains("3 of 6, 3 admin hidden"), "{}", script.screen());
    let screen = script.keys("/ s t a t e : s").screen();
    assert!(screen.contains("filter state:s   3 of 6"), "{screen}");
    script.keys("t r <enter> j");
    assert!(script.screen().contains("filter state:str   3 of 6"), "{}", script.screen());
    let screen = script.keys("/ x x <enter>").screen();
    assert!(screen.contains("no matches"), "{screen}");
    assert!(script.keys("<esc>").screen().contains("3 of 6, 3 admin hidden"), "{}", script.screen());
    assert!(script.keys("/ h o p : 2 <esc>").screen().contains("3 of 6, 3 admin hidden"), "{}", script.screen());
}

#[test]
fn rows_sort_on_request_and_stay_in_place() {
    use ConnState::Streaming;
    let mut script = Script::new(120, 40, with_conns(&[(1, Streaming, 10), (2, Streaming, 30), (3, Streaming, 20)]));
    script.keys("2 / h o p : 1 <enter>");
    assert_eq!(peers(&mut script), ["1", "2", "3"], "in the order of arrival");
    script.keys("s s e n t <enter>");
    assert!(script.screen().contains("sort Sent v"), "{}", script.screen());
    assert_eq!(peers(&mut script), ["2", "3", "1"]);
    script.see(with_conns(&[(1, Streaming, 99), (2, Streaming, 31), (3, Streaming, 20), (4, Streaming, 50)]));
    assert_eq!(peers(&mut script), ["2", "3", "1", "4"], "a row stays where it is, a new one comes last");
    assert_eq!(peers(script.keys("o")), ["1", "4", "2", "3"]);
    assert_eq!(peers(script.keys("S")), ["3", "2", "4", "1"]);
}

#[test]
fn the_selection_follows_its_row() {
    use ConnState::Streaming;
    let mut script = Script::new(120, 40, with_conns(&[(1, Streaming, 1), (2, Streaming, 2), (3, Streaming, 3)]));
    script.keys("g <tab> <tab> j");
    assert_eq!(selected(&script), Some(2));
    script.see(with_conns(&[(9, Streaming, 1), (8, Streaming, 1), (1, Streaming, 1), (2, Streaming, 2)]));
    assert_eq!(selected(&script), Some(2), "three rows further down");
    script.see(with_conns(&[(9, Streaming, 1), (8, Streaming, 1), (1, Streaming, 1), (3, Streaming, 3)]));
    assert_eq!(selected(&script), Some(3), "the next row, once it has ended");
    script.keys("x x");
    assert_eq!(script.sent, [Command::CloseConnection { hop: 1, id: 3 }]);
}

#[test]
fn a_frozen_screen_shows_its_age() {
    let mut script = Script::new(120, 40, streaming());
    script.keys("<space>");
    script.state.now = Duration::from_millis(12_400);
    script.see(idle());
    let screen = script.screen();
    assert!(screen.contains("FROZEN 12 s") && screen.contains("41.2 MB/s"), "{screen}");
    let screen = script.keys("<space>").screen();
    assert!(screen.contains("LIVE") && screen.contains("idle: ready to fetch"), "{screen}");
}

#[test]
fn details_move_to_the_next_row_and_back() {
    let mut script = Script::new(120, 40, streaming());
    let screen = script.keys("g <enter>").screen();
    assert!(screen.contains("Hop 1  127.0.0.1:7001") && screen.contains("1 of 3"), "{screen}");
    assert!(script.keys("j").screen().contains("Hop 2  127.0.0.1:7002"), "{}", script.screen());
    let screen = script.keys("<esc> <tab> <tab> <enter>").screen();
    assert!(screen.contains("Connection 4 of hop 2") && screen.contains(" Path "), "{screen}");
    let screen = script.keys("<esc> <s-tab> <enter>").screen();
    assert!(screen.contains("Transfer #1") && screen.contains("setup, ms"), "{screen}");
    assert!(script.keys("<esc>").screen().contains("Hops"), "{}", script.screen());
}

#[test]
fn transfers_are_paused_limited_retried_and_moved() {
    let mut script = Script::new(120, 40, streaming());
    script.keys("p [ b 4 0 0 K <enter>");
    script.chain.transfers[0].rate_limit = Some(400_000);
    script.chain.transfers[0].phase = Phase::Paused;
    script.keys("p ] 0 b n o n e <enter> b x <enter>");
    assert!(script.screen().contains("is not a unit of bytes"), "{}", script.screen());
    let cap = |rate| Command::LimitTransfer { number: 1, rate };
    let wanted = [
        Command::Pause(1),
        cap(Some(37_080_000)),
        cap(Some(400_000)),
        Command::Resume(1),
        cap(Some(440_000)),
        cap(None),
        cap(None),
    ];
    assert_eq!(script.sent, wanted);
    // A second press continues from the first, though no snapshot has shown it yet.
    script.sent.clear();
    script.keys("<esc> ] ] [");
    assert_eq!(script.sent, [440_000, 484_000, 435_600].map(|rate| cap(Some(rate))));
    let mut script = Script::new(120, 40, idle());
    script.chain.transfers = vec![transfer(1, Phase::Failed), transfer(2, Phase::Queued), transfer(3, Phase::Queued)];
    script.keys("3 G r g K J j K J");
    let moved = |number, by| Command::Reorder { number, by };
    assert_eq!(script.sent, [Command::Retry(1), moved(2, 1), moved(3, -1)]);
}

#[test]
fn faults_are_set_by_value_or_by_one_press() {
    let mut script = Script::new(80, 24, streaming());
    let screen = script.keys("!").screen();
    assert!(screen.contains("Faults of hop 2") && screen.contains("50.0 MB/s"), "{screen}");
    script.keys("<enter> 6 M <enter> j <enter> 2 0 m s <enter>");
    script.keys("j j <enter> k k k 0 <esc>");
    let turn = |change| Command::SetFault { hop: 2, change };
    let wanted = [
        FaultChange::Limit(Some(6_000_000)),
        FaultChange::Delay(20),
        FaultChange::Stall(true),
        FaultChange::Limit(None),
    ]
    .map(turn);
    assert_eq!(script.sent, wanted);
}

#[test]
fn listed_files_can_be_selected() {
    let mut script = Script::new(80, 24, idle());
    let named = |name: &[u8]| FileName::new(name).unwrap();
    let entry = |name: &str, is_folder| {
        let path = named(name.as_bytes());
        ListingEntry::new(name.into(), path, 2_730_000, is_folder)
    };
    let listing = Listing { entries: vec![entry("docs", true), entry("a b.txt", false)], ..Listing::default() };
    script.keys("n");
    script.chain.listing = Some(listing.clone());
    let screen = script.screen();
    assert!(
        screen.contains("Files at the origin: /") && screen.contains("docs/") && screen.contains("2.7 MB"),
        "{screen}"
    );
    assert!(screen.contains("2 of 2") && screen.contains("▌ docs/"), "{screen}");
    script.keys("<enter>");
    script.chain.listing = Some(Listing { folder: "docs".into(), ..listing.clone() });
    assert!(script.screen().contains("Files at the origin: docs"), "{}", script.screen());
    assert!(script.screen().contains("2 of 2"), "the parent folder is not counted: {}", script.screen());
    script.keys("<up> <enter>");
    script.chain.listing = Some(listing);
    script.keys("t x t <enter>");
    let wanted = [
        Command::List(None),
        Command::List(Some(named(b"docs"))),
        Command::List(None),
        Command::FetchName(named(b"a b.txt")),
    ];
    assert_eq!(script.sent, wanted);
}

#[test]
fn enter_accepts_the_match_and_tab_completes_it() {
    let named = |name: &str| FileName::new(name.as_bytes()).unwrap();
    let long = format!("very-{}-2.4.1.tar.gz", "long-".repeat(30));
    let entry = |name: &str| ListingEntry::new(name.into(), named(name), 1, false);
    let entries = ["a.bin", "other-very.txt", &long, "very"].map(entry).to_vec();
    let mut script = Script::new(80, 24, idle());
    script.chain.listing = Some(Listing { entries, ..Listing::default() });
    let mut fetches = |keys: &str| {
        script.sent.clear();
        let screen = script.keys("n").keys(keys).screen();
        let sent = script.keys("<enter>").sent.pop();
        (screen, sent.unwrap())
    };
    let name = |name: &str| Command::FetchName(named(name));
    assert_eq!(fetches("o t h").1, name("other-very.txt"));
    assert_eq!(fetches("v e r y").1, name("very"), "the one that is typed whole goes first");
    assert_eq!(fetches("v e r").1, name("other-very.txt"));
    assert_eq!(fetches("v e r <down>").1, name(&long));
    assert_eq!(fetches("v e r <up>").1, name("ver"), "the line itself can be chosen");
    assert_eq!(fetches("n o n e").1, name("none"));
    let (screen, command) = fetches("b i <tab>");
    assert!(screen.contains("fetch which file? a.bin"), "{screen}");
    assert_eq!(command, name("a.bin"));
    let (screen, _) = fetches("y - l");
    assert!(screen.contains("very-long-") && screen.contains("-2.4.1.tar.gz "), "both ends are seen: {screen}");
}

#[test]
fn the_palette_finds_and_runs_actions_by_name() {
    let mut script = Script::new(80, 24, idle());
    let screen = script.keys(": s n a p").screen();
    assert!(!screen.contains("fetch the file of the route"), "{screen}");
    script.keys("<esc> : J S O N <enter>");
    assert_eq!(script.sent, [Command::Export]);
    assert!(
        script.keys(": p a u s e <enter>").screen().contains("pause: no transfer is selected"),
        "{}",
        script.screen()
    );
}

#[test]
fn columns_can_be_hidden() {
    let mut script = Script::new(120, 40, streaming());
    assert!(script.screen().contains("Buffered"));
    let screen = script.keys("c").screen();
    assert!(screen.contains("[x] Conn"), "{screen}");
    while !script.screen().lines().any(|line| line.contains('▌') && line.contains("Buffered") && line.contains('│'))
    {
        script.keys("j");
    }
    let screen = script.keys("<space> <esc>").screen();
    assert!(!screen.contains("Buffered") && screen.contains("Rexmit"), "{screen}");
}

#[test]
fn the_mouse_selects_scrolls_sorts_and_changes_tabs() {
    let mut script = Script::new(120, 40, mixed());
    let row_of = |script: &mut Script, text: &str| {
        u16::try_from(script.screen().lines().position(|line| line.contains(text)).unwrap()).unwrap()
    };
    let row = row_of(&mut script, "127.0.0.1:7004");
    script.mouse(Gesture::Click, 10, row);
    assert_eq!(script.state.hop(&script.chain).unwrap().number, 4);
    script.mouse(Gesture::WheelDown, 10, row);
    assert_eq!(script.state.hop(&script.chain).unwrap().number, 7);
    let row = row_of(&mut script, "Transfers ─") + 1;
    script.mouse(Gesture::Click, 10, row);
    assert_eq!(script.state.panel, Panel::Transfers);
    let x = u16::try_from(script.screen().lines().next().unwrap().find("2 Connections").unwrap()).unwrap();
    script.mouse(Gesture::Click, x + 3, 0);
    assert_eq!(script.state.tab, Tab::Connections);
    let heading = row_of(&mut script, "Out peer");
    let x = script.screen().lines().nth(usize::from(heading)).unwrap().find("Out/s").unwrap();
    script.mouse(Gesture::Click, u16::try_from(x).unwrap() + 2, heading);
    assert!(script.screen().contains("sort Out/s v"), "{}", script.screen());
    script.mouse(Gesture::Click, u16::try_from(x).unwrap() + 2, heading);
    assert!(script.screen().contains("sort Out/s ^"), "{}", script.screen());
    assert!(script.sent.is_empty());
}

#[test]
fn copy_takes_the_selected_row() {
    let mut script = Script::new(120, 40, streaming());
    script.keys("y y");
    assert_eq!(script.state.next_effect(), Some(Effect::Copy("127.0.0.1:7002".to_owned())));
    script.keys("3 y y");
    assert_eq!(script.state.next_effect(), Some(Effect::Copy("/tmp/demo/sample.bin".to_owned())));
}

#[test]
fn effects_of_keys_in_one_batch_are_all_kept() {
    let mut script = Script::new(120, 40, streaming());
    script.keys("y a <c-l> E");
    let effects: Vec<_> = std::iter::from_fn(|| script.state.next_effect()).collect();
    assert_eq!(effects, [Effect::Copy("127.0.0.1:7002".to_owned()), Effect::Repaint]);
    assert!(matches!(script.sent[..], [Command::SaveScreen(_)]));
}

#[test]
fn the_log_follows_while_its_last_line_is_selected() {
    let mut script = Script::new(80, 24, streaming());
    assert!(script.keys("5").screen().contains("following"));
    assert!(script.keys("k").screen().contains("paused, G to follow"), "{}", script.screen());
    assert!(script.keys("G").screen().contains("following"));
    let screen = script.keys("l").screen();
    assert!(screen.contains("warnings and errors") && !screen.contains("INFO"), "{screen}");
}

#[test]
fn the_screen_can_be_saved_as_svg() {
    let mut script = Script::new(80, 24, streaming());
    script.keys("E");
    let [Command::SaveScreen(svg)] = script.sent.as_slice() else { panic!("{:?}", script.sent) };
    assert!(svg.starts_with("<svg ") && svg.contains(">chainview<") && svg.ends_with("</svg>\n"), "{svg}");
}
