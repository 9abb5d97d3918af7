//! List of the origin's files, above the prompt for a file name.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget};

use super::heading;
use crate::route::FileName;
use crate::snapshot::{ChainSnapshot, Listing};
use crate::text::SafeText;
use crate::ui::paint::{Row, cut_middle, row_of};
use crate::ui::state::{ListItem, Mode, Prompt, PromptKind, UiState, display_name};
use crate::ui::theme::{StyleRole, Theme};
use crate::units::Bytes;

/// Maximum number of rows of the list; the rest of the screen stays visible.
const ROWS: usize = 12;

/// Returns the rows of the list, below its heading; empty where none is shown.
pub(crate) fn list(state: &UiState, data: &ChainSnapshot, area: Rect) -> Rect {
    let shown = match &state.mode {
        Mode::Line(prompt) if prompt.kind == PromptKind::Name => ROWS.min(prompt.entries(data).len()),
        _ => 0,
    };
    let rows = u16::try_from(shown).unwrap_or(u16::MAX).min(area.height.saturating_sub(1));
    Rect { y: area.bottom() - rows, height: rows, ..area }
}

/// Draws the list at the bottom of the area, while a file name is typed.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let Mode::Line(prompt) = &state.mode else { return };
    if prompt.kind != PromptKind::Name {
        return;
    }
    let theme = &state.theme;
    let listing = prompt.listing(data);
    let items = prompt.entries(data);
    let hint = hint(prompt, listing, items.is_empty());
    let rows = ROWS.min(items.len() + usize::from(hint.is_some())).min(usize::from(area.height).saturating_sub(1));
    if rows == 0 {
        return;
    }
    let height = u16::try_from(rows + 1).unwrap_or(area.height);
    let area = Rect { y: area.bottom() - height, height, ..area };
    Clear.render(area, buffer);
    buffer.set_style(area, theme.base());
    let folder = prompt.folder.as_ref().map_or_else(|| "/".into(), FileName::shown);
    let remark = listing.map(|listing| remark(prompt, listing, &items)).unwrap_or_default();
    heading::draw(theme, &format!("Files at the origin: {folder}"), &remark, false, area, buffer);
    if let Some((text, role)) = hint {
        Row::new(buffer, row_of(area, 1)).skip(2).put(&text, theme.style(role));
        return;
    }
    let selected = prompt.selected(data);
    let at = selected.unwrap_or(0);
    let first = (at + 1).saturating_sub(rows);
    for (i, item) in items.iter().enumerate().skip(first).take(rows) {
        let row = row_of(area, 1 + i - first);
        heading::selection(theme, (selected == Some(i)).then_some(true), row, buffer);
        draw_item(theme, prompt, *item, row, buffer);
    }
}

/// Returns how many entries match, how many there are, and how many are marked.
fn remark(prompt: &Prompt, listing: &Listing, items: &[ListItem<'_>]) -> String {
    let found = items.iter().filter(|item| matches!(item, ListItem::Entry(_))).count();
    let more = if listing.omitted > 0 { format!(", {} more not listed", listing.omitted) } else { String::new() };
    let marked = if prompt.marked.is_empty() { String::new() } else { format!("{} marked   ", prompt.marked.len()) };
    format!("{marked}{found} of {}{more}", listing.entries.len())
}

/// Returns what is shown in place of the list: that it has not arrived, why there is none, or what `Enter` does without
/// a match.
fn hint(prompt: &Prompt, listing: Option<&Listing>, is_empty: bool) -> Option<(String, StyleRole)> {
    let Some(listing) = listing else { return Some(("requesting the list".to_owned(), StyleRole::Dim)) };
    let typed = prompt.line.text();
    let takes = |why: &str| format!("enter fetches {:?}: {why}", SafeText::new(&typed).as_str());
    match &listing.error {
        Some(error) => Some((error.to_string(), StyleRole::Warn)),
        None if !is_empty => None,
        None if typed.is_empty() => Some(("no files here".to_owned(), StyleRole::Dim)),
        None if typed.ends_with('/') => {
            Some((format!("enter fetches the whole folder {:?}", SafeText::new(&typed).as_str()), StyleRole::Dim))
        }
        None if listing.omitted > 0 => Some((takes("not among the listed files"), StyleRole::Warn)),
        None => Some((takes("not in the listing"), StyleRole::Warn)),
    }
}

fn draw_item(theme: &Theme, prompt: &Prompt, item: ListItem<'_>, row: Rect, buffer: &mut Buffer) {
    let mut cells = Row::new(buffer, row);
    cells.skip(1);
    let entry = match item {
        ListItem::Entry(entry) => entry,
        ListItem::Whole => {
            cells.skip(1).put("./", theme.style(StyleRole::Flow)).skip(2);
            cells.put("this whole folder, as one transfer", theme.style(StyleRole::Dim));
            return;
        }
        ListItem::Up => {
            cells.skip(1).put("../", theme.style(StyleRole::Flow));
            return;
        }
    };
    let mark = if prompt.is_marked(entry) { "*" } else { "" };
    cells.cell(1, mark, theme.style(StyleRole::Selected));
    if entry.is_folder {
        let name = format!("{}/", display_name(entry));
        cells.put(&cut_middle(&name, cells.room()), theme.style(StyleRole::Flow));
    } else {
        let size = Bytes(entry.size).to_string();
        cells.put_right(&format!("  {size:>8} "), theme.style(StyleRole::Dim));
        cells.put(&cut_middle(entry.name.as_str(), cells.room()), theme.style(StyleRole::Plain));
    }
}
