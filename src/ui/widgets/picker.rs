//! Lists of columns with their meaning: which are shown, and which one the connections are sorted by.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{heading, popup, prompt};
use crate::ui::geometry::{self, below_line, first_row};
use crate::ui::glossary::TABLES;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::sort::sort_texts;
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::StyleRole;

/// Width that fits the longest meaning.
const WIDTH: u16 = 110;
/// Width of the titles; the longest has eight letters.
const TITLES: u16 = 10;

/// Row of a list: sign, title and meaning.
type Entry = (&'static str, &'static str, &'static str);

/// Draws the columns of the focused table that can be hidden over the middle of the area.
pub(crate) fn draw_columns(state: &UiState, area: Rect, buffer: &mut Buffer) {
    let (Mode::Columns { at }, Some((table, columns))) = (&state.mode, state.table()) else { return };
    let entry = |(i, title): (usize, &'static str)| {
        let is_shown = state.hidden[table] & (1 << i) == 0;
        (if is_shown { "[x]" } else { "[ ]" }, title, TABLES[table].meaning(title))
    };
    let optional = columns.iter().enumerate().filter(|(_, column)| column.drop > 0);
    let entries: Vec<Entry> = optional.map(|(i, column)| entry((i, column.title))).collect();
    let inner = open(state, "Columns: shown where they fit", entries.len(), area, buffer);
    rows(state, &entries, *at, inner, buffer);
}

/// Draws the columns that the connections can be sorted by, with the search text above.
pub(crate) fn draw_sort(state: &UiState, area: Rect, buffer: &mut Buffer) {
    let Mode::Sort { line, at } = &state.mode else { return };
    let all = state.sort_entries("").len();
    let inner = open(state, "Sort by", all + 1, area, buffer);
    prompt::line(&state.theme, "column: ", line, None, row_of(inner, 0), buffer);
    let sorted = state.lists.sort();
    let entry = |column: Option<usize>| {
        let sign = match sorted.filter(|sort| Some(sort.column) == column) {
            Some(sort) if sort.down => "v",
            Some(_) => "^",
            None => "",
        };
        let (title, meaning) = sort_texts(column);
        (sign, title, meaning)
    };
    let entries: Vec<Entry> = state.sort_entries(&line.text()).into_iter().map(entry).collect();
    let below = below_line(inner);
    if entries.is_empty() {
        Row::new(buffer, row_of(below, 0)).skip(2).put("no column matches", state.theme.style(StyleRole::Dim));
    }
    rows(state, &entries, *at, below, buffer);
}

/// Returns the rows of the open list.
pub(crate) fn list(state: &UiState, area: Rect) -> Rect {
    let inner = |rows| geometry::popup(area, WIDTH, rows + popup::meaning_rows(WIDTH, area)).1;
    let rows = if matches!(state.mode, Mode::Sort { .. }) {
        below_line(inner(state.sort_entries("").len() + 1))
    } else {
        let columns = state.table().map_or(&[][..], |(_, columns)| columns);
        inner(columns.iter().filter(|column| column.drop > 0).count())
    };
    popup::above_meaning(WIDTH, rows)
}

fn open(state: &UiState, title: &str, rows: usize, area: Rect, buffer: &mut Buffer) -> Rect {
    popup::open(&state.theme, title, WIDTH, rows + popup::meaning_rows(WIDTH, area), area, buffer)
}

/// Draws the rows that fit; where meanings are cut, that of the selected row is below them in full.
fn rows(state: &UiState, entries: &[Entry], at: usize, inner: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let meaning = entries.get(at).map_or("", |(_, _, meaning)| *meaning);
    let inner = popup::meaning(theme, meaning, WIDTH, inner, buffer);
    let room = usize::from(inner.height);
    let first = first_row(inner, at);
    for (i, (sign, title, meaning)) in entries.iter().enumerate().skip(first).take(room) {
        let row = row_of(inner, i - first);
        heading::selection(theme, (i == at).then_some(true), row, buffer);
        let mut cells = Row::new(buffer, row);
        cells.skip(2).cell(4, sign, theme.style(StyleRole::Key));
        cells.cell(TITLES, title, theme.style(StyleRole::Plain)).put(meaning, theme.style(StyleRole::Dim));
    }
}
