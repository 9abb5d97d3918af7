//! Stacked bar of how a stage spent its time.

use crate::ui::paint::Row;
use crate::ui::theme::Theme;
use crate::ui::time_shares::TimeShares;

/// Draws the bar over the free columns of a row.
pub(crate) fn draw(theme: &Theme, shares: TimeShares, row: &mut Row<'_>) {
    let columns = shares.columns(row.room());
    for ((glyph, role, _), columns) in TimeShares::segments(theme).into_iter().zip(columns) {
        row.repeat(glyph, columns, theme.style(role));
    }
}

/// Returns the meaning of the glyphs.
pub(crate) fn legend(theme: &Theme) -> String {
    TimeShares::segments(theme).map(|(glyph, _, word)| format!("{glyph} {word}")).join("  ")
}
