//! Panels: what is in front, which rows they lend to each other, and the marks of rows out of view.

use chainview::command::Command;
use chainview::options::ColorScheme;
use chainview::snapshot::{Integrity, Phase};
use chainview::waterfall;
use chainview::wire::Leg;

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
    let rows = rows_below(&Script::new(160, 40, chain).keys("3").screen(), "Finished ─");
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

/// The share of cells with a visible symbol.
fn ink(script: &mut Script) -> f64 {
    let buffer = script.buffer();
    let inked = buffer.content().iter().filter(|cell| !cell.symbol().trim().is_empty()).count();
    inked as f64 / buffer.content().len() as f64
}

#[test]
fn a_busy_screen_is_full_of_information() {
    for (columns, rows, least) in [(120, 40, 0.40), (200, 60, 0.35)] {
        let mut script = Script::new(columns, rows, busy()).watched();
        let share = ink(&mut script);
        println!("ink at {columns}x{rows}: {:.1} %", share * 100.0);
        assert!(share >= least, "{share}: {}", script.screen());
        let right = |line: &str| line.chars().skip(usize::from(columns) / 2).any(|glyph| !glyph.is_whitespace());
        let blank = script.screen().lines().filter(|line| !right(line)).count();
        assert!(columns == 120 || blank <= usize::from(rows) / 4, "the right half is used: {}", script.screen());
    }
}

#[test]
fn wide_screens_show_all_stages_on_one_scale() {
    let mut script = Script::new(200, 60, busy()).watched();
    let screen = script.screen();
    for words in ["Throughput of all stages", "c client", "1 127.0.0.1:7001", "2 127.0.0.1:7002", "3 127.0.0.1:7003"] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    for heading in ["Time spent, 60 s ─", "#3 setup", "Hop 2  127.0.0.1:7002 ─", "Log ─"] {
        let line = screen.lines().find(|line| line.contains(heading)).unwrap();
        let at = line[..line.find(heading).unwrap()].chars().count();
        assert!(at > 100, "{heading} is at the right: {line}");
    }
    let strip =
        |name: &str| screen.lines().rfind(|line| line.contains(name) && !line.contains("──")).unwrap().to_owned();
    let strips: String = screen.lines().skip_while(|line| !line.contains("Time spent, 60 s")).take(6).collect();
    assert!(["░░░░", "▒▒▒▒", "████"].iter().all(|kind| strips.contains(kind)), "{}: {screen}", strip("Log"));
    let mono = Script::new(200, 60, busy()).watched().themed(true, ColorScheme::Mono).screen();
    assert!(mono.is_ascii() && mono.contains("####"), "{mono}");
    // Focus elsewhere: the details are those of the transfer.
    let screen = script.keys("<tab>").screen();
    assert!(screen.contains("Transfer #3  assets/sample.bin ─"), "{screen}");
}

#[test]
fn the_selected_stage_of_a_long_chain_is_always_among_the_charts() {
    let mut chain = mixed();
    chain.transfers = busy().transfers;
    chain.hops.iter_mut().for_each(|hop| hop.history = vec![1_000_000; 240]);
    let mut script = Script::new(160, 36, chain).watched();
    for (keys, name) in [("g", "1 127.0.0.1:7001"), ("G", "10 127.0.0.1:7010"), ("k k", "8 dmz-jump-host")] {
        let screen = script.keys(keys).screen();
        let charts: Vec<&str> = screen.lines().skip_while(|line| !line.contains("all stages")).collect();
        assert!(charts[0].contains(" more"), "{screen}");
        for name in [name, "9 127.0.0.1:7009"] {
            let found = charts[1..].iter().any(|line| line.trim_start().starts_with(name));
            assert!(found, "the selected hop and that of the headline, {name}: {screen}");
        }
    }
}

#[test]
fn the_rate_limit_is_a_line_in_the_chart() {
    let mut chain = busy();
    for hop in &mut chain.hops {
        hop.history.fill(41_000_000);
    }
    for (colors, ascii, line) in [(ColorScheme::Terminal, false, '╌'), (ColorScheme::Mono, true, '-')] {
        let mut script = Script::new(120, 40, chain.clone()).watched().themed(ascii, colors);
        let screen = script.screen();
        let rows = rows_below(&screen, "Throughput out of hop 2");
        let rows = if rows.is_empty() { screen.lines().skip(25).map(str::to_owned).collect() } else { rows };
        assert!(rows.iter().any(|row| row.chars().filter(|glyph| *glyph == line).count() > 40), "{screen}");
        assert!(screen.contains("limit 50.0 MB/s"), "{screen}");
    }
}

#[test]
fn the_chart_of_a_young_chain_is_not_almost_empty() {
    let mut chain = busy();
    for (samples, name) in [(8, "10 s"), (60, "20 s"), (100, "30 s"), (200, "60 s")] {
        chain.hops.iter_mut().for_each(|hop| hop.history = vec![40_000_000; samples]);
        let screen = Script::new(120, 40, chain.clone()).screen();
        let words = format!("Throughput out of hop 2, {name} ");
        assert!(screen.contains(&words) && screen.contains(&format!("-{name} ")), "{words}: {screen}");
    }
}

#[test]
fn a_burst_is_clipped_and_marked() {
    let mut chain = busy();
    for hop in &mut chain.hops {
        hop.history.fill(5_000_000);
        hop.history[100] = 200_000_000;
        hop.node.as_mut().unwrap().faults.limit = None;
    }
    for (columns, rows) in [(120, 40), (200, 60)] {
        let mut script = Script::new(columns, rows, chain.clone());
        let screen = script.screen();
        let heading = screen.lines().find(|line| line.contains("Throughput")).unwrap();
        assert!(heading.contains(", peak "), "{heading}");
        assert!(rows_below(&screen, "Throughput").iter().any(|row| row.contains('▲')), "{screen}");
    }
}

#[test]
fn the_setup_shows_the_slowest_stage_of_a_long_chain() {
    let mut chain = busy();
    let leg = |at: u32| match at {
        10 => Leg { connect_ms: 40.0, wait_ms: 50.0, ..Leg::default() },
        11 => Leg { connect_ms: 0.5, wait_ms: 30.0, ..Leg::default() },
        _ => Leg { connect_ms: 0.5, wait_ms: 120.0 - f64::from(at), ..Leg::default() },
    };
    chain.transfers[2].waterfall = waterfall::rows(&(0..12).map(leg).collect::<Vec<_>>(), &[], (None, None));
    for (columns, rows) in [(120, 40), (200, 60)] {
        let screen = Script::new(columns, rows, chain.clone()).screen();
        let heading = screen.lines().find(|line| line.contains("#3 setup")).unwrap();
        assert!(heading.contains('▲'), "{screen}");
        let bars: Vec<&str> = screen.lines().skip_while(|line| !line.contains("#3 setup")).collect();
        assert!(bars.iter().any(|line| line.contains("40.0 +")), "{screen}");
        assert!(screen.contains("is connect 11>10"), "{screen}");
    }
}

#[test]
fn a_detail_page_scrolls() {
    let mut chain = mixed();
    chain.transfers = busy().transfers;
    chain.transfers[2].error = Some("an error ".repeat(30).as_str().into());
    for (columns, rows) in [(80, 24), (60, 15)] {
        for colors in [ColorScheme::Terminal, ColorScheme::Mono] {
            let mut script = Script::new(columns, rows, chain.clone()).themed(false, colors);
            let screen = script.keys("3 g <enter>").screen();
            assert!(screen.contains("▼") && screen.contains("phase") && screen.contains("ctrl-d"), "{screen}");
            let mut before = screen;
            let mut pages = 0;
            while before.contains('▼') {
                let screen = script.keys("<pgdn>").screen();
                assert_ne!(screen, before, "each page shows more");
                (before, pages) = (screen, pages + 1);
            }
            assert!(before.contains(" 10  ") && before.contains('▲') && pages > 0, "the path ends the page: {before}");
            assert_eq!(script.keys("<pgdn> <pgdn>").screen(), before, "the end stays at the bottom");
            assert_ne!(script.keys("<c-u>").screen(), before, "and one key scrolls back");
            let next = script.keys("j").screen();
            assert!(next.contains("Transfer #4") && !next.contains('▲'), "the next row starts at its top: {next}");
        }
    }
}
