//! Area plot: dots, four to a row and two to a column, or bars where only ASCII can be drawn; the newest at the right.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::ui::paint::{Row, row_of};
use crate::ui::theme::{StyleRole, Theme};

/// Dots of one braille character, by column, from the bottom up.
const DOTS: [[u32; 4]; 2] = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];
/// Dots in the height of a character.
const HIGH: usize = 4;
/// Columns from which one that exceeds twice the rest is clipped: a chart of fewer has just begun.
const ENOUGH: usize = 10;

/// A plot of one series, with a fainter one behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plot<'a> {
    /// Value of each column, the newest last.
    pub values: &'a [f64],
    /// Values of the series behind, of which only the top is drawn; may be empty.
    pub behind: &'a [f64],
    /// Value of the full height.
    pub top: u64,
    /// Value at which a line is drawn.
    pub line: Option<u64>,
}

/// Returns the number of values that a plot of this width shows.
pub(crate) fn columns(theme: &Theme, width: u16) -> usize {
    usize::from(width) * if theme.glyphs.braille { 2 } else { 1 }
}

/// Returns the mean of the samples in each of `columns`, the newest at the right; 0 before the first sample.
pub(crate) fn means(samples: &[u64], window: usize, columns: usize) -> Vec<f64> {
    let missing = window.saturating_sub(samples.len());
    let index = |at: usize| at.saturating_sub(missing).min(samples.len());
    let mean = |column: usize| {
        let from = column * window / columns;
        let to = ((column + 1) * window / columns).max(from + 1);
        let part = &samples[index(from)..index(to)];
        part.iter().map(|rate| *rate as f64).sum::<f64>() / part.len().max(1) as f64
    };
    (0..columns).map(mean).collect()
}

/// Returns the value of the full height for the values that are drawn: a round number, so that it seldom changes. A
/// burst more than twice as high as nine tenths of the rest is clipped, as it would squeeze that. A limit slightly
/// above the values is included.
pub(crate) fn scale<'a>(values: impl Iterator<Item = &'a f64>, limit: Option<u64>) -> u64 {
    let mut drawn: Vec<f64> = values.copied().filter(|value| *value > 0.0).collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let Some(highest) = drawn.last().copied() else { return 0 };
    let usual = drawn[(drawn.len() - 1) * 9 / 10];
    let burst = drawn.len() >= ENOUGH && highest > usual * 2.0;
    let wanted = if burst { usual * 1.25 } else { highest };
    let limit = limit.filter(|limit| *limit as f64 <= wanted * 2.0).unwrap_or(0);
    round_up((wanted.ceil() as u64).max(limit))
}

/// Returns the next round number.
fn round_up(value: u64) -> u64 {
    let mut step: u64 = 1;
    while step.saturating_mul(10) < value {
        step = step.saturating_mul(10);
    }
    let round = [1, 2, 3, 4, 5, 6, 8, 10].into_iter().map(|n| step.saturating_mul(n)).find(|top| *top >= value);
    if value == 0 { 0 } else { round.unwrap_or(value) }
}

/// Draws the plot over an area; the tops of clipped columns have a mark.
pub(crate) fn draw(theme: &Theme, plot: &Plot<'_>, style: Style, area: Rect, buffer: &mut Buffer) {
    let rows = usize::from(area.height);
    if plot.top == 0 || rows == 0 {
        return;
    }
    let (wide, high) = if theme.glyphs.braille { (2, HIGH) } else { (1, theme.glyphs.bars.len()) };
    let heights =
        |values: &[f64]| -> Vec<usize> { values.iter().map(|value| height(*value, plot.top, rows * high)).collect() };
    let (front, behind) = (heights(plot.values), heights(plot.behind));
    let line = plot.line.filter(|line| *line <= plot.top).map(|line| height(line as f64, plot.top, rows * high));
    let faint = theme.style(StyleRole::Dim);
    for row in 0..rows {
        let below = (rows - 1 - row) * high;
        let on_line = line.is_some_and(|line| (below + 1..=below + high).contains(&line.max(1)));
        let area = row_of(area, row);
        for (at, cell) in front.chunks(wide).enumerate() {
            let place = Rect { x: area.x + at as u16, width: 1, ..area };
            let inside = |height: usize| height.saturating_sub(below).min(high);
            let clipped = row == 0 && plot.values[at * wide..].iter().take(wide).any(|value| *value > plot.top as f64);
            let full = cell.iter().any(|height| inside(*height) > 0);
            let glyph = if theme.glyphs.braille {
                let outline = |side: usize| {
                    let top = behind.get(at * wide + side).copied().unwrap_or(0);
                    let is_here = top > below && top <= below + high && top > cell[side];
                    if is_here { DOTS[side][top - below - 1] } else { 0 }
                };
                let dots = |side: usize| DOTS[side][..inside(cell[side])].iter().sum::<u32>() | outline(side);
                let bits = (0..cell.len()).map(dots).sum::<u32>();
                if bits == 0 { None } else { char::from_u32(0x2800 + bits) }
            } else {
                inside(cell[0]).checked_sub(1).and_then(|bar| theme.glyphs.bars[bar].chars().next())
            };
            let (glyph, style) = match glyph {
                _ if clipped => (theme.glyphs.above.chars().next(), theme.style(StyleRole::Warn)),
                None if on_line => (theme.glyphs.rest.chars().next(), theme.style(StyleRole::Warn)),
                glyph if full => (glyph, style),
                glyph => (glyph, faint),
            };
            if let Some(glyph) = glyph {
                Row::new(buffer, place).put(glyph.encode_utf8(&mut [0; 4]), style);
            }
        }
    }
}

/// Returns the height of a value, at most `most`; a value above 0 is visible.
fn height(value: f64, top: u64, most: usize) -> usize {
    ((value / top as f64 * most as f64).ceil() as usize).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(theme: &Theme, plot: &Plot<'_>, columns: u16, rows: u16) -> Vec<String> {
        let area = Rect::new(0, 0, columns, rows);
        let mut buffer = Buffer::empty(area);
        draw(theme, plot, Style::new(), area, &mut buffer);
        let rows = buffer.content().chunks(usize::from(columns));
        rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect()).collect()
    }

    #[test]
    fn the_scale_is_round_and_fits_what_is_drawn() {
        let scale = |values: &[f64], limit| scale(values.iter(), limit);
        assert_eq!([0.0, 1.0, 9.0, 10.0, 41_300_000.0].map(|n| scale(&[n], None)), [0, 1, 10, 10, 50_000_000]);
        assert_eq!(scale(&[6_000_001.0], None), 8_000_000);
        assert_eq!(scale(&[39.0], Some(50)), 50, "a limit slightly above");
        assert_eq!(scale(&[9.0], Some(50)), 10, "a limit far above");
        assert_eq!(scale(&[u64::MAX as f64], None), u64::MAX);
    }

    #[test]
    fn a_burst_does_not_squeeze_the_rest() {
        let mut values = vec![5.0e6; 100];
        assert_eq!(scale(values.iter(), None), 5_000_000);
        values[40] = 40.0e6;
        assert_eq!(scale(values.iter(), None), 8_000_000, "a quarter above the rest, rounded up");
        values[30..60].fill(40.0e6);
        assert_eq!(scale(values.iter(), None), 40_000_000, "no burst any more");
        assert_eq!(scale([1.0, 40.0].iter(), None), 40, "too few to tell");
    }

    #[test]
    fn samples_are_right_aligned() {
        let heights = |samples: &[u64], window, columns, top| -> Vec<usize> {
            means(samples, window, columns).iter().map(|mean| height(*mean, top, 8)).collect()
        };
        assert_eq!(heights(&[1, 2, 4], 6, 6, 4), [0, 0, 0, 2, 4, 8]);
        assert_eq!(heights(&[4, 4, 0, 0], 4, 2, 4), [8, 0]);
        assert_eq!(heights(&[4, 0], 2, 4, 4), [8, 8, 0, 0], "a sample may be wider than a column");
        assert_eq!(heights(&[1], 1, 3, 1000), [1, 1, 1], "small values are visible");
        assert_eq!(heights(&[], 240, 0, 1), [] as [usize; 0]);
    }

    #[test]
    fn lines_bursts_and_the_series_behind_are_drawn() {
        let ascii = Theme::new(true, crate::options::ColorScheme::Mono);
        let plot = Plot { values: &[5.0, 10.0, 40.0, 0.0], behind: &[], top: 10, line: Some(10) };
        assert_eq!(drawn(&ascii, &plot, 4, 2), ["-#^-", "### "]);
        let braille = Theme::default();
        let plot = Plot { values: &[2.0, 2.0, 0.0, 0.0], behind: &[8.0, 8.0, 8.0, 1.0], top: 8, line: None };
        assert_eq!(drawn(&braille, &plot, 2, 2), ["⠉⠁", "⣤⢀"]);
    }
}
