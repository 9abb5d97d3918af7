//! The columns of the table that has the keys, to be shown or not; those that name the row always are.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{heading, popup};
use crate::ui::paint::{Row, row_of};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::StyleRole;

const WIDTH: u16 = 44;

/// Draws the list over the middle of the area.
pub(crate) fn draw(state: &UiState, area: Rect, buffer: &mut Buffer) {
    let (Mode::Columns { at }, Some((table, columns))) = (&state.mode, state.table()) else { return };
    let theme = &state.theme;
    let columns: Vec<_> = columns.iter().enumerate().filter(|(_, column)| column.drop > 0).collect();
    let inner = popup::open(theme, "Columns", WIDTH, columns.len(), area, buffer);
    let room = usize::from(inner.height);
    let first = (at + 1).saturating_sub(room);
    for (line, (i, column)) in columns.iter().enumerate().skip(first).take(room) {
        let row = row_of(inner, line - first);
        heading::mark(theme, (line == *at).then_some(true), row, buffer);
        let is_shown = state.hidden[table] & (1 << i) == 0;
        let (sign, note) = if is_shown { ("[x]", "where there is room") } else { ("[ ]", "not shown") };
        let mut cells = Row::new(buffer, row);
        cells.skip(2).put_right(note, theme.style(StyleRole::Dim));
        cells.put(sign, theme.style(StyleRole::Key)).skip(1).put(column.title, theme.style(StyleRole::Plain));
    }
}
