//! Panels: what is in front, which rows they lend to each other, and the marks of rows out of view.

use chainview::command::Command;
use chainview::snapshot::{Integrity, Phase};

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, idle, mixed, streaming, transfer};

/// The rows of the list below a heading.
fn rows_below(screen: &str, heading: &str) -> Vec<String> {
    let lines = screen.lines().skip_while(|line| !line.contains(heading)).skip(1);
    lines.take_while(|line| !line.contains("──")).map(str::to_owned).collect()
}

/// The numbers of the transfers in these rows.
fn numbers(rows: &[String]) -> Vec<u64> {
    let number = |row: &String| row.split_whitespace().find_map(|word| word.strip_prefix('#')?.parse().ok());
    rows.iter().filter_map(number).collect()
}

#[test]
fn running_transfers_are_in_front_of_queued_ones() {
    on_every_screen(&busy(), |script| {
        let screen = script.screen();
        let shown = numbers(&rows_below(&screen, "Transfers ─"));
        assert!(shown.starts_with(&[3, 4, 5, 6]), "{shown:?}:\n{screen}");
        assert!(screen.contains("4 running, 8 queued"), "{screen}");
        let next = rows_below(&script.keys("3").screen(), "Transfers ─");
        assert!(next.iter().any(|row| row.contains("#7") && row.contains("starts next")), "{next:#?}");
    });
}

#[test]
fn every_phase_has_its_place_in_the_list() {
    let mut chain = idle();
    let phases = [
        Phase::Done,
        Phase::Queued,
        Phase::Paused,
        Phase::Streaming,
        Phase::Failed,
        Phase::Queued,
        Phase::Locked,
        Phase::Verifying,
        Phase::Cancelled,
        Phase::Retrying,
    ];
    chain.transfers = phases.into_iter().zip(1..).map(|(phase, number)| transfer(number, phase)).collect();
    let screen = Script::new(120, 60, chain).keys("3").screen();
    assert_eq!(numbers(&rows_below(&screen, "Transfers ─")), [4, 8, 3, 7, 10, 2, 6], "{screen}");
    assert_eq!(numbers(&rows_below(&screen, "Finished ─")), [9, 5, 1], "{screen}");
    for words in ["2 running, 1 retrying, 1 locked, 1 paused, 2 queued", "1 done, 1 failed, 1 cancelled"] {
        assert!(screen.contains(words), "{words}:\n{screen}");
    }
}

#[test]
fn the_transfer_that_ended_last_is_the_first_finished_one() {
    let mut script = Script::new(120, 40, busy());
    let mut next = busy();
    for (turn, number) in [5, 3].into_iter().enumerate() {
        next.transfers[number - 1].phase = Phase::Done;
        next.generation += 1;
        script.state.now += std::time::Duration::from_secs(1 + turn as u64);
        script.see(next.clone());
    }
    let screen = script.keys("3").screen();
    assert!(numbers(&rows_below(&screen, "Finished ─")).starts_with(&[3, 5, 2]), "{screen}");
}

#[test]
fn the_heading_has_honest_totals() {
    let screen = Script::new(120, 40, busy()).screen();
    let heading = screen.lines().find(|line| line.contains("Transfers ─")).unwrap();
    for words in ["4 running, 8 queued", "54%", "41.2 MB/s", "ETA 3:02", "8 of unknown size", "2 of 14 done"] {
        assert!(heading.contains(words), "{words}: {heading}");
    }
    let idle = Script::new(120, 40, idle()).screen();
    let heading = idle.lines().find(|line| line.contains("Transfers ─")).unwrap();
    assert!(!heading.contains("ETA") && !heading.contains('%'), "{heading}");
}

#[test]
fn the_selection_follows_what_runs_until_the_user_selects() {
    let mut script = Script::new(80, 24, busy());
    let mut next = busy();
    for number in [3, 4] {
        next.generation += 1;
        next.transfers[number - 1].phase = Phase::Failed;
        next.transfers[number - 1].error = Some("hop 2: connection refused".into());
        script.see(next.clone());
        assert_eq!(script.state.transfer(&script.chain).map(|t| t.number), Some(number as u64 + 1));
    }
    script.keys("<tab> j x");
    assert_eq!(script.sent, [Command::Cancel(6)]);
    next.generation += 1;
    next.transfers[5].phase = Phase::Done;
    script.see(next);
    assert_eq!(script.state.transfer(&script.chain).map(|t| t.number), Some(6), "also when it has ended");
}

#[test]
fn the_cursor_moves_from_what_runs_to_what_has_ended() {
    let mut script = Script::new(120, 40, busy());
    let screen = script.keys("<tab> G").screen();
    let selected = screen.lines().find(|line| line.starts_with("▌ #")).unwrap();
    assert!(selected.contains("#1 ") && selected.contains("done"), "{screen}");
    assert_eq!(script.keys("r").sent, [Command::Retry(1)]);
}

#[test]
fn a_finished_row_has_rate_duration_verification_and_verdict() {
    let mut chain = busy();
    chain.transfers[0].verdict = Some(chain.verdict);
    chain.transfers[1].integrity =
        Integrity::SizeChecked { digest: "blake3:00".to_owned(), reason: "the origin offers no digest".into() };
    let rows = rows_below(&Script::new(160, 40, chain).screen(), "Finished ─");
    for (row, words) in [
        (0, "2.73 GB in  32.0 s at  41.2 MB/s  size-checked: the origin offers no digest"),
        (1, "2.73 GB in  32.0 s at  41.2 MB/s  verified: digest equal  slowest: hop 2, rate-limited to 50.0 MB/s"),
    ] {
        assert!(rows[row].contains(words), "{words}: {rows:#?}");
    }
}

#[test]
fn panels_grow_when_they_need_rows_and_shrink_only_on_another_tab() {
    let heights = |script: &mut Script| {
        let screen = script.screen();
        ["Transfers ─", "Connections of"].map(|heading| rows_below(&screen, heading).len())
    };
    let mut script = Script::new(120, 40, streaming());
    let before = heights(&mut script);
    assert!(before[0] <= 3, "one transfer runs: {before:?}");
    let mut next = busy();
    next.generation += 1;
    script.see(next.clone());
    let grown = heights(&mut script);
    assert!(grown[0] >= 9 && grown[1] >= 5, "{grown:?}");
    next.generation += 1;
    next.transfers.retain(|t| t.phase == Phase::Done);
    script.see(next);
    assert_eq!(heights(&mut script), grown, "nothing jumps");
    assert!(heights(script.keys("2 1"))[0] <= 3, "another tab, and back");
}

#[test]
fn own_admin_connections_are_hidden_until_asked_for() {
    on_every_screen(&busy(), |script| {
        let screen = script.keys("2").screen();
        assert!(screen.contains("12 of 15, 3 admin hidden") && !screen.contains("51790"), "{screen}");
        let screen = script.keys("A G").screen();
        assert!(screen.contains("15 of 15") && screen.contains("51790"), "{screen}");
    });
    let mut script = Script::new(120, 40, busy());
    let screen = script.keys("2 / s t a t e : a d m i n <enter>").screen();
    assert!(screen.contains("3 of 15"), "a filter asks for them: {screen}");
}

#[test]
fn empty_panels_offer_a_key() {
    let screen = Script::new(120, 40, idle()).screen();
    let rows = rows_below(&screen, "Transfers ─");
    assert!(rows[0].contains("f fetch assets/sample.bin") && rows[0].contains("n another file"), "{screen}");
    assert!(rows_below(&screen, "Connections of hop 1")[1].contains("f opens one at each hop"), "{screen}");
}

#[test]
fn rows_out_of_view_are_counted_in_every_list() {
    let mut chain = mixed();
    chain.transfers = busy().transfers;
    on_every_screen(&chain, |script| {
        let rows = script.state.area.height;
        let screen = script.keys("g").screen();
        let first = screen.lines().find(|line| line.contains("Hops ─"));
        assert_eq!(first.is_some_and(|line| line.contains('▼')), rows <= 24, "{screen}");
        let screen = script.keys("G").screen();
        let last = screen.lines().find(|line| line.contains("Hops ─"));
        assert_eq!(last.is_some_and(|line| line.contains('▲')), rows <= 24, "{screen}");
        if rows <= 24 {
            let screen = script.keys("3").screen();
            let heading = screen.lines().find(|line| line.contains("Transfers ─")).unwrap();
            assert!(heading.contains('▼'), "{screen}");
        }
    });
    let mut small = Script::new(40, 8, mixed());
    assert!(small.keys("g").screen().lines().nth(2).unwrap().ends_with("▼8"), "{}", small.screen());
}
