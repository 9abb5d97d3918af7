//! Gauges: never full and never 100 % before the file is complete, and without a hole.

use chainview::snapshot::{ChainSnapshot, Phase, TransferSnapshot};

use super::script::on_every_screen;
use super::snapshots::streaming;

fn at(phase: Phase, received: u64, size: Option<u64>) -> ChainSnapshot {
    let mut chain = streaming();
    let transfer = TransferSnapshot { phase, received, size, eta: None, ..chain.transfers[0].clone() };
    chain.transfers = vec![transfer];
    chain
}

#[test]
fn a_gauge_is_full_at_the_end_only() {
    for (phase, received, size, percent) in [
        (Phase::Streaming, 9_949, Some(10_000), "99%"),
        (Phase::Streaming, 9_950, Some(10_000), "99%"),
        (Phase::Streaming, 9_999, Some(10_000), "99%"),
        (Phase::Streaming, 10_000, Some(10_000), "99%"),
        (Phase::Verifying, 10_000, Some(10_000), "99%"),
        (Phase::Streaming, 0, Some(0), "0%"),
        (Phase::Streaming, 5_000, Some(10_000), "50%"),
        (Phase::Streaming, 77, None, "-"),
    ] {
        on_every_screen(&at(phase, received, size), |script| {
            let screen = script.keys("3").screen();
            let row = screen.lines().find(|line| line.contains("#1   ")).unwrap_or_default().to_owned();
            assert!(row.contains(&format!("{percent} ")) && !screen.contains("100%"), "{percent}: {screen}");
            let full = row.chars().filter(|c| *c == '━').count();
            let rest: String = row.chars().filter(|c| matches!(c, '━' | '╸' | '╌')).collect();
            assert!(!rest.ends_with('━'), "a full gauge of a file that is not complete: {row}");
            assert_eq!(full > 0, received >= 5_000, "{row}");
            let gauge =
                row.split_whitespace().find(|word| word.contains('╌') || word.contains('╸')).unwrap_or_default();
            assert_eq!(gauge.chars().count(), rest.chars().count(), "a hole in the gauge: {row}");
        });
    }
}

#[test]
fn the_smallest_screen_rounds_down_too() {
    let mut script = super::script::Script::new(39, 7, at(Phase::Streaming, 9_999, Some(10_000)));
    let screen = script.screen();
    assert!(screen.contains("99%") && !screen.contains("100%"), "{screen}");
}
