//! Results of the files of a folder, on the detail page of its transfer: a sign, a word, the size, and the path with
//! the reason of a failure.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::{FileOutcome, FileResult, FolderProgress, TransferSnapshot};
use crate::text::SafeText;
use crate::ui::focus::Panel;
use crate::ui::paint::{Row, cut_middle, row_of, split_words, width};
use crate::ui::state::UiState;
use crate::ui::theme::{Glyphs, StyleRole};
use crate::units::{Bytes, Grouped};

/// From this width there is room for the words of the outcomes.
const WORDS: u16 = 70;
/// Columns of such a word, and of a size.
const WORD: u16 = 12;
const SIZE: u16 = 8;
/// Columns of the heading that are not for its remark.
const HEADED: u16 = 10;
/// Most lines of the selected file, whose whole error is shown.
const MAX_LINES: usize = 4;

/// Draws the heading and all rows, and returns the number of rows used.
pub(super) fn draw(
    state: &UiState,
    (transfer, folder): (&TransferSnapshot, &FolderProgress),
    selected: Option<usize>,
    area: Rect,
    buffer: &mut Buffer,
) -> u16 {
    let theme = &state.theme;
    let listed = state.lists.files.len();
    let focused = state.focus() == Panel::Files;
    let parts = [heading::filter_text(state.lists.filter(Panel::Files)), shown(folder, listed)];
    let remark = heading::joined(&parts, "", "   ", area.width.saturating_sub(HEADED));
    heading::draw(theme, "Files", &remark, focused && selected.is_some(), area, buffer);
    if listed == 0 {
        let why = if folder.recent.is_empty() { "none yet" } else { "no matches" };
        Row::new(buffer, row_of(area, 1)).skip(2).put(why, theme.style(StyleRole::Dim));
        return 2;
    }
    let mut y = 1;
    for (at, result) in state.lists.files.iter().enumerate().filter_map(|(at, i)| Some((at, folder.recent.get(*i)?))) {
        let row = row_of(area, y);
        let is_selected = selected == Some(at);
        heading::selection(theme, is_selected.then_some(focused), row, buffer);
        let lines = lines(result, &transfer.path, area.width, is_selected);
        let (glyph, role) = sign(&theme.glyphs, result.outcome);
        let mut cells = Row::new(buffer, row);
        cells.skip(2).put(glyph, theme.style(role)).skip(1);
        if area.width >= WORDS {
            cells.cell(WORD, result.outcome.label(), theme.style(role)).skip(1);
        }
        cells.cell_right(SIZE, &Bytes(result.size).to_string(), theme.style(StyleRole::Dim)).skip(2);
        let style = theme.style(if result.outcome == FileOutcome::Failed { StyleRole::Bad } else { StyleRole::Plain });
        cells.put(&lines[0], style);
        for (i, line) in lines.iter().enumerate().skip(1) {
            Row::new(buffer, row_of(area, y + i)).skip(indent(area.width)).put(line, style);
        }
        y += lines.len();
    }
    u16::try_from(y).unwrap_or(u16::MAX)
}

/// Returns how many results are listed, of how many.
fn shown(folder: &FolderProgress, listed: usize) -> String {
    let all = folder.done + folder.present + folder.failed;
    match u64::try_from(listed) {
        Ok(listed) if listed == all => Grouped(all).to_string(),
        _ => format!("{listed} of {}", Grouped(all)),
    }
}

/// Returns the path and the error of a file: in one line, or for the selected file in as many as they need.
fn lines(result: &FileResult, output: &SafeText, columns: u16, selected: bool) -> Vec<String> {
    let room = columns.saturating_sub(indent(columns) + 1);
    let path = result.path.as_str();
    let Some(error) = result.reason(output) else { return vec![cut_middle(path, room).into()] };
    if selected {
        return split_words(&format!("{path}: {error}"), room.into(), room.into(), MAX_LINES);
    }
    // The error has at least half of the line.
    let path = cut_middle(path, (room / 2).max(room.saturating_sub(width(error) + 2)));
    vec![format!("{path}: {error}")]
}

/// Returns the number of columns before the path.
fn indent(columns: u16) -> u16 {
    let word = if columns >= WORDS { WORD + 1 } else { 0 };
    2 + 2 + word + SIZE + 2
}

/// Returns the sign of an outcome: all differ without color.
fn sign(glyphs: &Glyphs, outcome: FileOutcome) -> (&'static str, StyleRole) {
    match outcome {
        FileOutcome::Verified => (glyphs.verified, StyleRole::Good),
        FileOutcome::SizeChecked => ("~", StyleRole::Warn),
        FileOutcome::Present => ("=", StyleRole::Dim),
        FileOutcome::Planned => ("?", StyleRole::Dim),
        FileOutcome::Failed => (glyphs.failed, StyleRole::Bad),
    }
}
