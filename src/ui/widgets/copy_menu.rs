//! Copy menu: what can be copied of the selected row, each with its key and the text.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{heading, popup};
use crate::snapshot::ChainSnapshot;
use crate::ui::action::{Action, ViewAction};
use crate::ui::geometry::{self, first_row};
use crate::ui::paint::{Row, row_of};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::StyleRole;

/// Width of the menu: a name and the beginning of its text.
const WIDTH: u16 = 76;
/// Width of the longest name but that of the picture, which has no text.
const NAME: u16 = 22;

/// Returns the rows of the menu.
pub(crate) fn list(state: &UiState, data: &ChainSnapshot, area: Rect) -> Rect {
    geometry::popup(area, WIDTH, state.copy_items(data).len()).1
}

/// Draws the menu over the middle of the area.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let Mode::Copy { at } = state.mode else { return };
    let theme = &state.theme;
    let items = state.copy_items(data);
    let inner = popup::open(theme, "Copy", WIDTH, items.len(), area, buffer);
    let first = first_row(inner, at);
    for (i, (item, text)) in items.iter().enumerate().skip(first).take(usize::from(inner.height)) {
        let row = row_of(inner, i - first);
        heading::selection(theme, (i == at).then_some(true), row, buffer);
        let mut cells = Row::new(buffer, row);
        let key = state.keymap.key_of(Action::View(ViewAction::CopyItem(*item)));
        cells.skip(2).cell(2, &key, theme.style(StyleRole::Key));
        match text {
            Some(text) => {
                cells.cell(NAME, item.name(), theme.style(StyleRole::Plain)).skip(1);
                cells.put(&text.replace('\n', "; "), theme.style(StyleRole::Dim));
            }
            None => {
                cells.put(item.name(), theme.style(StyleRole::Plain));
            }
        }
    }
}
