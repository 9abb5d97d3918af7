//! Popup frame: a bordered, centered rectangle for a list, clamped to its area.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::border;
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use crate::ui::geometry::popup;
use crate::ui::paint::{Row, row_of, split_words};
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

/// Lines of the meaning below a list.
const MEANING: u16 = 2;

/// Returns the number of rows for the meaning of the selected entry: none where the popup shows all of them in full.
pub(crate) fn meaning_rows(columns: u16, area: Rect) -> usize {
    if area.width < columns { usize::from(MEANING) } else { 0 }
}

/// Returns the area of the list above the meaning of the selected entry.
pub(crate) fn above_meaning(columns: u16, inner: Rect) -> Rect {
    // A border takes four columns; on very low screens the list needs all rows.
    let all = inner.width + 4 >= columns || inner.height < 3 * MEANING;
    Rect { height: if all { inner.height } else { inner.height - MEANING }, ..inner }
}

/// Draws the meaning of the selected entry below the list where the popup is narrower than `columns`; returns the area
/// of the list.
pub(crate) fn meaning(theme: &Theme, text: &str, columns: u16, inner: Rect, buffer: &mut Buffer) -> Rect {
    let list = above_meaning(columns, inner);
    if list == inner {
        return inner;
    }
    let width = usize::from(inner.width.saturating_sub(2));
    for (i, line) in split_words(text, width, width, usize::from(MEANING)).iter().enumerate() {
        Row::new(buffer, row_of(inner, usize::from(list.height) + i)).skip(2).put(line, theme.style(StyleRole::Flow));
    }
    list
}

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
