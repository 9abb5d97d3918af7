//! List of the faults of one hop, with values and help.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{heading, popup};
use crate::snapshot::ChainSnapshot;
use crate::ui::geometry::{self, first_row};
use crate::ui::paint::{Row, row_of};
use crate::ui::state::{FAULTS, Mode, UiState};
use crate::ui::theme::StyleRole;

const WIDTH: u16 = 78;

/// Returns the rows of the list.
pub(crate) fn list(area: Rect) -> Rect {
    geometry::popup(area, WIDTH, FAULTS.len()).1
}

/// Draws the panel over the middle of the area.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let Mode::Faults { hop, at } = state.mode else { return };
    let theme = &state.theme;
    let inner = popup::open(theme, &format!("Faults of hop {hop}"), WIDTH, FAULTS.len(), area, buffer);
    let first = first_row(inner, at);
    for (i, fault) in FAULTS.iter().enumerate().skip(first).take(usize::from(inner.height)) {
        let row = row_of(inner, i - first);
        heading::selection(theme, (i == at).then_some(true), row, buffer);
        let value = state.fault_value(data, hop, i).unwrap_or_else(|| "-".to_owned());
        let role = if matches!(value.as_str(), "off" | "-") { StyleRole::Dim } else { StyleRole::Warn };
        let mut cells = Row::new(buffer, row);
        cells.skip(2).cell(8, fault.name(), theme.style(StyleRole::Plain)).cell_right(10, &value, theme.style(role));
        cells.skip(2).put(fault.help(), theme.style(StyleRole::Dim));
    }
}
