//! Throughput chart of the selected hop: dots, four to a row and two to a column, the newest at the right.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::{ChainSnapshot, HopLink};
use crate::ui::focus::Panel;
use crate::ui::history::ChartSpan;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::UiState;
use crate::ui::theme::{StyleRole, Theme};
use crate::units::Rate;

/// From this height the chart has a heading.
const TITLED: u16 = 3;
/// From this height the last row shows the times.
const TIMED: u16 = 8;
/// Dots of one braille character, by column, from the bottom up.
const DOTS: [[u32; 4]; 2] = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];
/// Dots in the height of a character.
const HIGH: usize = 4;

/// Draws the send rate of the selected hop.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let (theme, number) = (&state.theme, state.hop(data).map_or(0, |hop| hop.number));
    let samples = state.history().samples_of(data, number, state.span);
    let top = scale(samples.iter().copied().max().unwrap_or(0));
    let titled = u16::from(area.height >= TITLED);
    if titled > 0 {
        let focused = state.focus() == Panel::Chart;
        let name = format!("Throughput out of hop {number}, {}", state.span.name());
        let remark = if top > 0 { Rate(top).to_string() } else { String::new() };
        heading::draw(theme, &name, &remark, focused, area, buffer);
    }
    let timed = u16::from(area.height >= TIMED);
    let rows = area.height.saturating_sub(titled + timed);
    let plot =
        Rect { x: area.x + 1.min(area.width), y: area.y + titled, width: area.width.saturating_sub(2), height: rows };
    if top > 0 {
        plot_area(theme, &samples, state.span, top, plot, buffer);
    } else if rows > 0 {
        let no_metrics = state.hop(data).is_some_and(|hop| matches!(hop.link, HopLink::Legacy | HopLink::Foreign));
        let words = if no_metrics { "no metrics" } else { "no traffic yet" };
        Row::new(buffer, row_of(plot, usize::from(rows / 2))).skip(1).put(words, theme.style(StyleRole::Dim));
    }
    if timed > 0 {
        times(theme, state.span, Rect { y: area.bottom() - 1, height: 1, ..plot }, buffer);
    }
}

/// Returns the rate of the full height: a round number, so that it seldom changes.
fn scale(highest: u64) -> u64 {
    let mut step: u64 = 1;
    while step.saturating_mul(10) < highest {
        step = step.saturating_mul(10);
    }
    let round = [1, 2, 3, 4, 5, 6, 8, 10].into_iter().map(|n| step.saturating_mul(n)).find(|top| *top >= highest);
    if highest == 0 { 0 } else { round.unwrap_or(highest) }
}

/// Returns the height in dots, at most `most`, of each of `columns`, the newest at the right; 0 before the first
/// sample.
fn heights(samples: &[u64], window: usize, columns: usize, top: u64, most: usize) -> Vec<usize> {
    let missing = window.saturating_sub(samples.len());
    let mean = |from: usize, to: usize| {
        let part =
            &samples[from.saturating_sub(missing).min(samples.len())..to.saturating_sub(missing).min(samples.len())];
        part.iter().map(|rate| *rate as f64).sum::<f64>() / part.len().max(1) as f64
    };
    let height = |column: usize| {
        let from = column * window / columns;
        let to = ((column + 1) * window / columns).max(from + 1);
        (mean(from, to) / top as f64 * most as f64).ceil() as usize
    };
    (0..columns).map(|column| height(column).min(most)).collect()
}

fn plot_area(theme: &Theme, samples: &[u64], span: ChartSpan, top: u64, area: Rect, buffer: &mut Buffer) {
    let (columns, rows) = (usize::from(area.width), usize::from(area.height));
    let style = theme.style(StyleRole::Flow);
    let wide = if theme.glyphs.braille { 2 } else { 1 };
    let high = if theme.glyphs.braille { HIGH } else { theme.glyphs.bars.len() };
    let heights = heights(samples, span.samples(), columns * wide, top, rows * high);
    let mut text = String::with_capacity(columns * 3);
    for row in 0..rows {
        let below = (rows - 1 - row) * high;
        let inside = |height: usize| height.saturating_sub(below).min(high);
        text.clear();
        for cell in heights.chunks(wide) {
            if theme.glyphs.braille {
                let dots = |side: usize| DOTS[side][..inside(cell[side])].iter().sum::<u32>();
                let bits = dots(0) + dots(1);
                text.push(if bits == 0 { ' ' } else { char::from_u32(0x2800 + bits).unwrap_or(' ') });
            } else {
                text.push_str(inside(cell[0]).checked_sub(1).map_or(" ", |bar| theme.glyphs.bars[bar]));
            }
        }
        Row::new(buffer, row_of(area, row)).put(&text, style);
    }
}

fn times(theme: &Theme, span: ChartSpan, area: Rect, buffer: &mut Buffer) {
    let (start, middle) = match span {
        ChartSpan::Second => ("-1 s", "-0.5 s"),
        ChartSpan::Ten => ("-10 s", "-5 s"),
        ChartSpan::Minute => ("-60 s", "-30 s"),
        ChartSpan::TenMinutes => ("-10 min", "-5 min"),
    };
    let dim = theme.style(StyleRole::Dim);
    Row::new(buffer, area).put(start, dim).put_right("now", dim);
    if area.width >= 40 {
        Row::new(buffer, area).skip(area.width / 2 - 2).put(middle, dim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_round_and_fits_the_maximum() {
        assert_eq!([0, 1, 9, 10, 41_300_000, 6_000_001].map(scale), [0, 1, 10, 10, 50_000_000, 8_000_000]);
        assert!(scale(u64::MAX) == u64::MAX);
    }

    #[test]
    fn samples_are_right_aligned() {
        assert_eq!(heights(&[1, 2, 4], 6, 6, 4, 8), [0, 0, 0, 2, 4, 8]);
        assert_eq!(heights(&[4, 4, 0, 0], 4, 2, 4, 8), [8, 0]);
        assert_eq!(heights(&[4, 0], 2, 4, 4, 8), [8, 8, 0, 0], "a sample may be wider than a column");
        assert_eq!(heights(&[1], 1, 3, 1000, 8), [1, 1, 1], "small values are visible");
        assert_eq!(heights(&[], 240, 0, 1, 8), [] as [usize; 0]);
    }
}
