//! List of settings with their values, and the keys that change them directly.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{heading, popup};
use crate::ui::action::Action;
use crate::ui::geometry::{self, first_row};
use crate::ui::paint::{Row, row_of};
use crate::ui::state::{Mode, SETTINGS, UiState};
use crate::ui::theme::StyleRole;

const WIDTH: u16 = 44;

/// Returns the rows of the list.
pub(crate) fn list(area: Rect) -> Rect {
    let rows = SETTINGS.len() + popup::meaning_rows(u16::MAX, area);
    popup::above_meaning(u16::MAX, geometry::popup(area, WIDTH, rows).1)
}

/// Draws the list over the middle of the area.
pub(crate) fn draw(state: &UiState, area: Rect, buffer: &mut Buffer) {
    let Mode::Settings { at } = state.mode else { return };
    let theme = &state.theme;
    let rows = SETTINGS.len() + popup::meaning_rows(u16::MAX, area);
    let inner = popup::open(theme, "Settings", WIDTH, rows, area, buffer);
    let meaning = SETTINGS.get(at).map_or("", |setting| setting.meaning());
    let inner = popup::meaning(theme, meaning, u16::MAX, inner, buffer);
    let first = first_row(inner, at);
    for (i, setting) in SETTINGS.iter().enumerate().skip(first).take(usize::from(inner.height)) {
        let row = row_of(inner, i - first);
        heading::selection(theme, (i == at).then_some(true), row, buffer);
        let mut cells = Row::new(buffer, row);
        cells.skip(2).put_right(&state.keymap.key_of(Action::View(setting.action())), theme.style(StyleRole::Key));
        cells.cell(12, setting.name(), theme.style(StyleRole::Dim));
        cells.put(setting.value(state), theme.style(StyleRole::Plain));
    }
}
