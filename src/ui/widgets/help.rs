//! List of keys, read from the table; inactive bindings are dim and marked as such.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::popup;
use crate::snapshot::ChainSnapshot;
use crate::ui::geometry::{self, HELP_WIDTH};
use crate::ui::keymap::binding::BROWSE;
use crate::ui::keymap::help;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::StyleRole;

/// Width of the keys.
const KEYS: u16 = 12;

/// Draws the list over the middle of the area, scrolled by the offset of the mode; without a border on a small screen.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let Mode::Help { top } = state.mode else { return };
    let lines = help::lines(&state.keymap);
    let longer = lines.len() > usize::from(geometry::popup(area, HELP_WIDTH, lines.len()).1.height);
    let title = if longer { "Keys (j/k scroll)" } else { "Keys" };
    let inner = popup::open(&state.theme, title, HELP_WIDTH, lines.len(), area, buffer);
    let room = usize::from(inner.height);
    let first = top.min(lines.len().saturating_sub(room));
    for (i, line) in lines[first..].iter().take(room).enumerate() {
        draw_line(state, data, line, row_of(inner, i), buffer);
    }
}

fn draw_line(state: &UiState, data: &ChainSnapshot, line: &help::HelpRow, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let mut row = Row::new(buffer, area);
    match line {
        help::HelpRow::Heading(text) => {
            row.put(text, theme.style(StyleRole::Title));
        }
        help::HelpRow::Key(keys, binding) => {
            let here = state.refusal(binding, data).is_none();
            let inactive = binding.modes & BROWSE != 0 && !here;
            let (key, words) =
                if inactive { (StyleRole::Dim, StyleRole::Dim) } else { (StyleRole::Key, StyleRole::Plain) };
            row.cell_right(KEYS, keys, theme.style(key)).skip(2);
            if inactive && row.room() > 50 {
                row.put_right(" not now", theme.style(StyleRole::Dim));
            }
            row.put(binding.help, theme.style(words));
        }
    }
}
