//! Command palette: all commands by name, filtered by the typed text; those that cannot be run now come last.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{heading, popup, prompt};
use crate::snapshot::ChainSnapshot;
use crate::ui::geometry::{below_line, first_row, popup};
use crate::ui::keymap::binding::BROWSE;
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
    let found = state.commands(&line.text(), data);
    let inner = popup::open(theme, "Commands", WIDTH, entries(), area, buffer);
    prompt::line(theme, ":", line, None, row_of(inner, 0), buffer);
    let list = list(area);
    let first = first_row(list, *at);
    if found.is_empty() {
        Row::new(buffer, row_of(list, 0)).skip(2).put("no command matches", theme.style(StyleRole::Dim));
    }
    for (i, (binding, refusal)) in found.iter().enumerate().skip(first).take(usize::from(list.height)) {
        let row = row_of(list, i - first);
        heading::selection(theme, (i == *at).then_some(true), row, buffer);
        let mut cells = Row::new(buffer, row);
        let index = TABLE.iter().position(|other| other.id == binding.id);
        let key = format!("  {}", index.map_or_else(String::new, |index| state.keymap.name(index)));
        let (role, key_role, text) = match refusal {
            None => (StyleRole::Plain, StyleRole::Key, binding.help.to_owned()),
            Some(refusal) => (StyleRole::Dim, StyleRole::Dim, format!("not now: {refusal}")),
        };
        cells.skip(2).put_right(&key, theme.style(key_role));
        cells.cell(NAMES, binding.id, theme.style(role)).skip(1).put(&text, theme.style(role));
    }
}
