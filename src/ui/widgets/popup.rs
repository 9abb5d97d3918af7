//! Popup frame: a bordered, centered box for a list, clamped to its area.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::border;
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use crate::ui::theme::{Theme, Tone};

const ASCII: border::Set<'_> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// Returns the outer and the inner rectangle, which are equal where a border would leave no room.
pub(crate) fn frames(area: Rect, columns: u16, rows: usize) -> (Rect, Rect) {
    // A margin too narrow to read anything in would only distract.
    let width = if area.width < columns.saturating_add(16) { area.width } else { columns };
    let height = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 2);
    let outer = Rect { x, y, width, height };
    if width < 20 || height < 4 {
        return (outer, outer);
    }
    (outer, Rect { x: x + 2, y: y + 1, width: width - 4, height: height - 2 })
}

/// Clears the box, draws its border and title, and returns the inner rectangle.
pub(crate) fn open(theme: &Theme, title: &str, columns: u16, rows: usize, area: Rect, buffer: &mut Buffer) -> Rect {
    let (outer, inner) = frames(area, columns, rows);
    Clear.render(outer, buffer);
    buffer.set_style(outer, theme.base());
    if inner != outer {
        let style = theme.style(Tone::Dim);
        let block = Block::bordered().border_style(style).title(format!(" {title} "));
        let block = if theme.glyphs.braille { block.border_type(BorderType::Plain) } else { block.border_set(ASCII) };
        block.render(outer, buffer);
    }
    inner
}
