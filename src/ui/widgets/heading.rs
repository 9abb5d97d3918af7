//! Parts shared by panels: the heading with its rule and remark, and the sign of the selected row.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::text::SafeText;
use crate::ui::paint::{Row, width};
use crate::ui::theme::{StyleRole, Theme};

/// Draws a heading on the first row of the area, highlighted in the focused panel.
pub(crate) fn draw(theme: &Theme, name: &str, remark: &str, focused: bool, area: Rect, buffer: &mut Buffer) {
    let dim = theme.style(StyleRole::Dim);
    let (glyph, role) =
        if focused { (theme.glyphs.selected, StyleRole::Selected) } else { (theme.glyphs.title, StyleRole::Dim) };
    let mut row = Row::new(buffer, area);
    row.put(glyph, theme.style(role)).skip(1).put(name, theme.style(StyleRole::Title)).skip(1);
    if !remark.is_empty() {
        row.put_right(&format!(" {remark}"), dim);
    }
    row.fill(theme.glyphs.rule, dim);
}

/// Returns how many rows of a list are above and below the visible ones; empty where all are visible.
pub(crate) fn hidden_rows(theme: &Theme, top: usize, room: usize, rows: usize) -> String {
    let below = rows.saturating_sub(top + room);
    let parts = [(theme.glyphs.above, top.min(rows)), (theme.glyphs.below, below)];
    let parts = parts.iter().filter(|(_, count)| *count > 0).map(|(glyph, count)| format!("{glyph}{count}"));
    parts.collect::<Vec<_>>().join(" ")
}

/// Joins the parts of a remark that fit this width, and what is always shown at its end: the last parts are dropped
/// first, empty ones always.
pub(crate) fn joined(parts: &[String], always: &str, between: &str, room: u16) -> String {
    let room = room.saturating_sub(width(between) + width(always));
    let mut text = String::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let gap = if text.is_empty() { "" } else { between };
        if width(&text) + width(gap) + width(part) > room {
            break;
        }
        text.push_str(gap);
        text.push_str(part);
    }
    if !text.is_empty() && !always.is_empty() {
        text.push_str(between);
    }
    text + always
}

/// Draws the sign of the selected row: strong in the focused panel, pale in another, none (`None`) for other rows.
pub(crate) fn selection(theme: &Theme, selected: Option<bool>, row: Rect, buffer: &mut Buffer) {
    let (glyph, role) = match selected {
        Some(true) => (theme.glyphs.selected, StyleRole::Selected),
        Some(false) => (theme.glyphs.unfocused, StyleRole::Dim),
        None => return,
    };
    Row::new(buffer, row).put(glyph, theme.style(role));
}

/// Returns the filter of a list, for its heading.
pub(crate) fn filter_text(filter: &str) -> String {
    if filter.trim().is_empty() { String::new() } else { format!("filter {}", SafeText::new(filter)) }
}
