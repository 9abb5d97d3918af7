//! What panels share: the heading with its rule and remark, the mark of a row, and which rows of a list are shown.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::text::SafeText;
use crate::ui::paint::Row;
use crate::ui::theme::{StyleRole, Theme};

/// Draws a heading on the first row of the area. The panel that has the arrow keys shows the mark of its rows.
pub(crate) fn draw(theme: &Theme, name: &str, remark: &str, focused: bool, area: Rect, buffer: &mut Buffer) {
    let dim = theme.style(StyleRole::Dim);
    let (glyph, role) =
        if focused { (theme.glyphs.mark, StyleRole::Mark) } else { (theme.glyphs.title, StyleRole::Dim) };
    let mut row = Row::new(buffer, area);
    row.put(glyph, theme.style(role)).skip(1).put(name, theme.style(StyleRole::Title)).skip(1);
    if !remark.is_empty() {
        row.put_right(&format!(" {remark}"), dim);
    }
    row.fill(theme.glyphs.rule, dim);
}

/// Draws the mark of a row: strong in the panel that has the arrow keys, pale in another, none for other rows.
pub(crate) fn mark(theme: &Theme, marked: Option<bool>, row: Rect, buffer: &mut Buffer) {
    let (glyph, role) = match marked {
        Some(true) => (theme.glyphs.mark, StyleRole::Mark),
        Some(false) => (theme.glyphs.pale, StyleRole::Dim),
        None => return,
    };
    Row::new(buffer, row).put(glyph, theme.style(role));
}

/// What narrows a list, as its heading says it.
pub(crate) fn filter_words(filter: &str) -> String {
    if filter.trim().is_empty() { String::new() } else { format!("filter {}", SafeText::new(filter)) }
}
