//! Column picker: shows or hides columns of the focused table, except those that identify the row.

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
        heading::selection(theme, (line == *at).then_some(true), row, buffer);
        let is_shown = state.hidden[table] & (1 << i) == 0;
        let (sign, note) = if is_shown { ("[x]", "shown where it fits") } else { ("[ ]", "hidden") };
        let mut cells = Row::new(buffer, row);
        cells.skip(2).put_right(note, theme.style(StyleRole::Dim));
        cells.put(sign, theme.style(StyleRole::Key)).skip(1).put(column.title, theme.style(StyleRole::Plain));
    }
}
