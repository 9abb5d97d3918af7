//! Popup frame: a bordered, centered rectangle for a list, clamped to its area.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::border;
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use crate::ui::geometry::popup;
use crate::ui::theme::{StyleRole, Theme};

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

/// Clears the rectangle, draws its border and title, and returns the inner one.
pub(crate) fn open(theme: &Theme, title: &str, columns: u16, rows: usize, area: Rect, buffer: &mut Buffer) -> Rect {
    let (outer, inner) = popup(area, columns, rows);
    Clear.render(outer, buffer);
    buffer.set_style(outer, theme.base());
    if inner != outer {
        let style = theme.style(StyleRole::Dim);
        let block = Block::bordered().border_style(style).title(format!(" {title} "));
        let block = if theme.glyphs.braille { block.border_type(BorderType::Plain) } else { block.border_set(ASCII) };
        block.render(outer, buffer);
    }
    inner
}
