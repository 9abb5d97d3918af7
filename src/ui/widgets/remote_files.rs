//! List of the origin's files, above the prompt for a file name.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget};

use super::heading;
use crate::snapshot::ChainSnapshot;
use crate::ui::paint::{Row, cut_middle, row_of};
use crate::ui::state::{ListItem, Mode, PromptKind, UiState, display_name};
use crate::ui::theme::StyleRole;
use crate::units::Bytes;

/// Maximum number of rows of the list; the rest of the screen stays visible.
const ROWS: usize = 12;

/// Returns the rows of the list, below its heading; empty where none is shown.
pub(crate) fn list(state: &UiState, data: &ChainSnapshot, area: Rect) -> Rect {
    let shown = match &state.mode {
        Mode::Line(prompt) if prompt.kind == PromptKind::Name && data.listing.is_some() => {
            ROWS.min(prompt.entries(data).len())
        }
        _ => 0,
    };
    let rows = u16::try_from(shown).unwrap_or(u16::MAX).min(area.height.saturating_sub(1));
    Rect { y: area.bottom() - rows, height: rows, ..area }
}

/// Draws the list at the bottom of the area, while a file name is typed and a listing has arrived or failed.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let Mode::Line(prompt) = &state.mode else { return };
    let (PromptKind::Name, Some(listing)) = (prompt.kind, &data.listing) else { return };
    let theme = &state.theme;
    let items = prompt.entries(data);
    let rows = ROWS.min(items.len().max(1)).min(usize::from(area.height).saturating_sub(1));
    if rows == 0 {
        return;
    }
    let height = u16::try_from(rows + 1).unwrap_or(area.height);
    let area = Rect { y: area.bottom() - height, height, ..area };
    Clear.render(area, buffer);
    buffer.set_style(area, theme.base());
    let folder = if listing.folder.as_str().is_empty() { "/" } else { listing.folder.as_str() };
    let more = if listing.omitted > 0 { format!(", {} more not listed", listing.omitted) } else { String::new() };
    let found = items.iter().filter(|item| matches!(item, ListItem::Entry(_))).count();
    let remark = format!("{found} of {}{more}", listing.entries.len());
    heading::draw(theme, &format!("Files at the origin: {folder}"), &remark, false, area, buffer);
    if let Some(error) = &listing.error {
        Row::new(buffer, row_of(area, 1)).skip(2).put(error.as_str(), theme.style(StyleRole::Warn));
        return;
    }
    if items.is_empty() {
        Row::new(buffer, row_of(area, 1)).skip(2).put("no matches", theme.style(StyleRole::Dim));
    }
    let selected = prompt.selected(data);
    let at = selected.unwrap_or(0);
    let first = (at + 1).saturating_sub(rows);
    for (i, item) in items.iter().enumerate().skip(first).take(rows) {
        let row = row_of(area, 1 + i - first);
        heading::selection(theme, (selected == Some(i)).then_some(true), row, buffer);
        let mut cells = Row::new(buffer, row);
        cells.skip(2);
        match item {
            ListItem::Up => cells.put("../", theme.style(StyleRole::Flow)),
            ListItem::Entry(entry) if entry.is_folder => {
                let name = format!("{}/", display_name(entry));
                cells.put(&cut_middle(&name, cells.room()), theme.style(StyleRole::Flow))
            }
            ListItem::Entry(entry) => {
                let size = Bytes(entry.size).to_string();
                cells.put_right(&format!("  {size:>6} "), theme.style(StyleRole::Dim));
                cells.put(&cut_middle(entry.name.as_str(), cells.room()), theme.style(StyleRole::Plain))
            }
        };
    }
}
