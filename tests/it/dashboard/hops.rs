//! The hop table: how each stage spends its time, and which one is the cause.

use chainview::options::ColorScheme;
use chainview::snapshot::verdict::{Limit, Resource};
use chainview::snapshot::{ChainSnapshot, DownReason, HopLink};
use ratatui::style::{Color, Modifier};

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, idle, mixed, streaming};

/// The row that begins with this number or letter, after its marks.
fn row(screen: &str, number: &str) -> String {
    let is_row = |line: &&str| {
        let plain = line.trim_start_matches(['▌', '▏', '>', '|']).trim_start_matches(['✖', '*', ' ']);
        plain.strip_prefix(number).is_some_and(|rest| rest.starts_with("  "))
    };
    screen.lines().filter(|line| !line.contains('◀')).find(is_row).unwrap_or_default().to_owned()
}

/// How often a glyph occurs.
fn count(line: &str, glyph: char) -> usize {
    line.chars().filter(|c| *c == glyph).count()
}

#[test]
fn a_bar_and_words_show_how_each_hop_spends_its_time() {
    on_every_screen(&busy(), |script| {
        let screen = script.screen();
        let rows = ["1", "2", "3"].map(|number| row(&screen, number));
        let bars: Vec<_> = rows.iter().map(|row| ['░', '▒'].map(|glyph| count(row, glyph))).collect();
        assert!(bars[0][0] >= 8 && bars[0][1] == 0, "hop 1 starves: {screen}");
        assert!(bars[2][1] >= 8 && bars[2][0] == 0, "hop 3 is blocked: {screen}");
        assert!(rows[0].contains("waits for") && rows[2].contains("blocked by"), "{screen}");
        assert!(rows[1].contains("███████") && rows[1].contains("limit 50 MB/s"), "its own rate limit: {screen}");
        assert!(screen.contains("mostly") && screen.contains("Time"), "{screen}");
    });
}

#[test]
fn the_words_fit_the_narrowest_screen() {
    let screen = Script::new(40, 16, busy()).screen();
    let rows = ["1", "2", "3"].map(|number| row(&screen, number));
    assert!(rows[0].contains("░░░░  waits for 2") && rows[1].contains("████  limit 50 MB/s"), "{screen}");
    assert!(rows[2].contains("▒▒▒▒  blocked by 2"), "{screen}");
}

#[test]
fn the_glyphs_are_explained_where_there_is_room_for_a_heading() {
    for (ascii, legend) in
        [(false, "░ starved  ▒ blocked  █ limited  ▪ busy"), (true, ". starved  : blocked  # limited  = busy")]
    {
        let screen = Script::new(120, 40, busy()).themed(ascii, ColorScheme::Mono).screen();
        assert!(screen.contains(legend), "{screen}");
    }
    let ascii = Script::new(80, 24, busy()).themed(true, ColorScheme::Mono).screen();
    assert!(row(&ascii, "1").contains("........  waits for hop 2"), "{ascii}");
    assert!(row(&ascii, "2").contains(":#######  limit 50 MB/s") && row(&ascii, "3").contains("::::::::"), "{ascii}");
}

#[test]
fn the_client_has_a_bar_of_its_own() {
    let mut chain = streaming();
    let flow = &mut chain.transfers[0].flow;
    (flow.starved_us, flow.blocked_us, flow.active_us) = (9_000_000, 500_000, 10_000_000);
    on_every_screen(&chain, |script| {
        let line = row(&script.screen(), "c");
        assert!(count(&line, '░') >= 7 && line.contains("waits for"), "{line}");
    });
    let flow = &mut chain.transfers[0].flow;
    (flow.starved_us, flow.blocked_us) = (500_000, 9_000_000);
    chain.verdict.limit = Limit::Client { resource: Resource::Disk };
    on_every_screen(&chain, |script| {
        let line = row(&script.screen(), "c");
        assert!(count(&line, '▒') >= 7 && line.contains("✖ c") && line.contains("its disk"), "{line}");
    });
}

#[test]
fn the_row_of_the_cause_has_a_mark_and_a_weight_of_its_own() {
    for colors in [ColorScheme::Terminal, ColorScheme::Mono] {
        let mut script = Script::new(80, 24, busy()).themed(false, colors);
        script.keys("g");
        let screen = script.screen();
        let y = screen.lines().position(|line| line.starts_with(" ✖ 2  ")).expect("marked, and not selected");
        let buffer = script.buffer();
        let name = &buffer[(6, y as u16)];
        assert!(name.modifier.contains(Modifier::BOLD), "{colors:?}");
        assert_eq!(name.fg == Color::Yellow, colors == ColorScheme::Terminal);
        let marked = screen.lines().filter(|line| line.starts_with(" ✖ ")).count();
        assert_eq!(marked, 2, "this row and the headline: {screen}");
    }
    let mut link = busy();
    link.verdict.limit = Limit::Link { from: 3, to: 2, cause: chainview::snapshot::verdict::LinkCause::Loss };
    on_every_screen(&link, |script| {
        let line = row(&script.screen(), "3");
        assert!(line.contains("✖ 3") && line.contains("packet loss"), "the sending hop: {line}");
    });
}

#[test]
fn hops_without_reports_have_dashes_and_down_hops_their_reason() {
    on_every_screen(&mixed(), |script| {
        let screen = script.keys("g j j j j").screen();
        let foreign = row(&screen, "4");
        assert!(foreign.contains("foreign") && count(&foreign, '░') == 0, "{screen}");
        assert!(row(&screen, "5").contains("connection refused"), "{screen}");
        assert!(row(&screen, "5").contains("down"), "{screen}");
    });
    let mut killed = idle();
    killed.hops[1].link = HopLink::Down { reason: DownReason::Killed };
    on_every_screen(&killed, |script| {
        let line = row(&script.screen(), "2");
        assert!(line.contains("✖ 2") && line.contains("down") && line.contains("killed"), "{line}");
    });
}

#[test]
fn nothing_is_marked_while_all_is_well() {
    let plain = |chain: ChainSnapshot| {
        on_every_screen(&chain, |script| {
            let screen = script.screen();
            assert!(!screen.lines().any(|line| line.trim_start_matches(['▌', '▏']).starts_with("✖ ")), "{screen}");
        });
    };
    plain(idle());
    let mut balanced = busy();
    balanced.verdict.limit = Limit::Balanced;
    plain(balanced);
}
