//! Command palette: all commands by name, filtered by the typed text.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{heading, popup, prompt};
use crate::snapshot::ChainSnapshot;
use crate::ui::geometry::{below_line, first_row, popup};
use crate::ui::keymap::binding::BROWSE;
use crate::ui::keymap::search::matches;
use crate::ui::keymap::table::TABLE;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::StyleRole;

const WIDTH: u16 = 84;
/// Width of the names; the longest has sixteen letters.
const NAMES: u16 = 17;

/// Returns the rows of the list.
pub(crate) fn list(area: Rect) -> Rect {
    below_line(popup(area, WIDTH, entries()).1)
}

/// Returns the number of all commands.
fn entries() -> usize {
    TABLE.iter().filter(|binding| binding.modes & BROWSE != 0).count()
}

/// Draws the line and the list below it.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let Mode::Palette { line, at } = &state.mode else { return };
    let theme = &state.theme;
    let found = matches(&line.text());
    let inner = popup::open(theme, "Commands", WIDTH, entries(), area, buffer);
    prompt::line(theme, ":", line, None, row_of(inner, 0), buffer);
    let list = list(area);
    let first = first_row(list, *at);
    for (i, binding) in found.iter().enumerate().skip(first).take(usize::from(list.height)) {
        let row = row_of(list, i - first);
        let here = state.refusal(binding, data).is_none();
        heading::selection(theme, (i == *at).then_some(true), row, buffer);
        let role = if here { StyleRole::Plain } else { StyleRole::Dim };
        let mut cells = Row::new(buffer, row);
        let key =
            TABLE.iter().position(|other| other.id == binding.id).map_or_else(String::new, |at| state.keymap.name(at));
        cells.skip(2).put_right(&format!("  {key}"), theme.style(if here { StyleRole::Key } else { StyleRole::Dim }));
        cells.cell(NAMES, binding.id, theme.style(role)).skip(1).put(binding.help, theme.style(role));
    }
}
