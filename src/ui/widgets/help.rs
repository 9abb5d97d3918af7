//! Help: the keys, read from their table, and the meaning of the words of the screen; in two columns where they fit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{popup, prompt};
use crate::snapshot::ChainSnapshot;
use crate::ui::geometry::{HELP_WIDTHS, help_columns};
use crate::ui::keymap::binding::BROWSE;
use crate::ui::keymap::help::{self, HelpRow, TERM};
use crate::ui::paint::{Row, row_of, width};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::StyleRole;

const NOT_NOW: &str = "  not now";

/// Draws the help over the whole area, scrolled by the offset of the mode.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let Mode::Help { top, line, searching } = &state.mode else { return };
    let theme = &state.theme;
    let page = help::page(&state.keymap, state.focus(), &line.text(), area);
    let title = if page.max_scroll > 0 { "Help (j/k scroll)" } else { "Help" };
    let inner = popup::open(theme, title, HELP_WIDTHS[help_columns(area) - 1], usize::MAX, area, buffer);
    let first = row_of(inner, 0);
    match (searching, line.text()) {
        (true, _) => prompt::line(theme, "search: ", line, None, first, buffer),
        (false, text) if text.is_empty() => {
            Row::new(buffer, first).put("/ searches keys and the meaning of words", theme.style(StyleRole::Dim));
        }
        (false, text) => {
            Row::new(buffer, first).put(&format!("search: {text}"), theme.style(StyleRole::Title));
        }
    }
    if page.rows.is_empty() {
        Row::new(buffer, row_of(inner, 1)).put("no matches", theme.style(StyleRole::Dim));
    }
    let mut rows = page.rows.iter().skip((*top).min(page.max_scroll));
    for column in page.columns {
        for (i, row) in rows.by_ref().take(usize::from(column.height)).enumerate() {
            draw_row(state, data, row, row_of(column, i), buffer);
        }
    }
}

fn draw_row(state: &UiState, data: &ChainSnapshot, help: &HelpRow, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let mut row = Row::new(buffer, area);
    match help {
        HelpRow::Heading(text) => {
            row.put(text, theme.style(StyleRole::Title));
        }
        HelpRow::Key(keys, binding, text) => {
            let inactive = binding.modes & BROWSE != 0 && state.refusal(binding, data).is_some();
            let (key, words) =
                if inactive { (StyleRole::Dim, StyleRole::Dim) } else { (StyleRole::Key, StyleRole::Plain) };
            row.cell_right(TERM - 2, keys, theme.style(key)).skip(2);
            if inactive && row.room() > width(text) + width(NOT_NOW) {
                row.put_right(NOT_NOW, theme.style(StyleRole::Dim));
            }
            row.put(text, theme.style(words));
        }
        HelpRow::Word(word, text) => {
            row.cell_right(TERM - 2, word, theme.style(StyleRole::Flow))
                .skip(2)
                .put(text, theme.style(StyleRole::Plain));
        }
        HelpRow::More(text) => {
            row.skip(TERM).put(text, theme.style(StyleRole::Plain));
        }
    }
}
