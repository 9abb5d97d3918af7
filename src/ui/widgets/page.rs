//! Detail page of the selected row: its title, and its content, which scrolls where it does not fit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{detail, heading, why};
use crate::snapshot::{ChainSnapshot, MAX_RECENT};
use crate::ui::action::{Action, ViewAction};
use crate::ui::focus::ViewMode;
use crate::ui::paint::{cut_middle, width};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;

/// Columns of the title that are neither the name nor the remark.
const FRAME: u16 = 6;
/// Rows that the fields of a page take at most.
const FIELDS: usize = 80;

/// Draws the page. `beside` panels that show chart and setup, it has neither.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, beside: bool, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let theme = &state.theme;
    let room = area.height - 1;
    let (page, rows) = page(state, data, Rect { height: room, ..area }, beside);
    let whole = state.view_mode.is_page();
    let top = if whole { state.page_top.min(rows.saturating_sub(room)) } else { 0 };
    let mut hidden = heading::hidden_rows(theme, usize::from(top), usize::from(room), usize::from(rows));
    if !hidden.is_empty() && whole {
        let key = |by| state.keymap.key_of(Action::View(ViewAction::Page(by)));
        hidden = format!("{hidden} {} {}", key(1), key(-1));
    }
    let (name, position) = if state.view_mode == ViewMode::Why {
        ("Why".to_owned(), String::new())
    } else {
        let (name, at, of) = detail::title(state, data, area.width);
        (name, format!("{} of {of}", (at + 1).min(of)))
    };
    let remark = heading::joined(&[position], &hidden, "   ", area.width);
    let name = cut_middle(&name, area.width.saturating_sub(width(&remark) + FRAME));
    heading::draw(theme, &name, &remark, whole, area, buffer);
    for y in 0..room.min(rows - top) {
        for x in 0..area.width {
            buffer[(area.x + x, area.y + 1 + y)] = page[(x, top + y)].clone();
        }
    }
}

/// Returns how far the page in this area can scroll.
pub(crate) fn max_top(state: &UiState, data: &ChainSnapshot, area: Rect) -> u16 {
    let room = area.height.saturating_sub(1);
    page(state, data, Rect { height: room, ..area }, false).1.saturating_sub(room)
}

/// Returns how far the page is scrolled for the selected file of a folder to be visible; `None` if none is selected.
pub(crate) fn top_for_file(state: &UiState, data: &ChainSnapshot, area: Rect) -> Option<u16> {
    let room = area.height.saturating_sub(1);
    let whole = Rect { x: 0, y: 0, width: area.width, height: height(data, area.height) };
    let (row, heading) = detail::selected_file(state, data, whole)?;
    let is_visible = (state.page_top..state.page_top.saturating_add(room)).contains(&row);
    // Where the page has to scroll, the list gets as much of it as possible.
    Some(if is_visible { state.page_top } else { heading.max((row + 1).saturating_sub(room)).min(row) })
}

/// Draws the whole content, and returns it with its number of rows.
fn page(state: &UiState, data: &ChainSnapshot, area: Rect, beside: bool) -> (Buffer, u16) {
    let most = height(data, area.height);
    let whole = Rect { x: 0, y: 0, width: area.width, height: most };
    let mut page = Buffer::empty(whole);
    page.set_style(whole, state.theme.base());
    page.set_style(whole, state.theme.style(StyleRole::Plain));
    let rows = match state.view_mode {
        ViewMode::Why => why::draw(state, data, whole, &mut page),
        _ => detail::content(state, data, whole, area.height, beside, &mut page),
    };
    (page, rows.min(most))
}

/// Returns the number of rows that a page takes at most.
fn height(data: &ChainSnapshot, visible: u16) -> u16 {
    u16::try_from(FIELDS + MAX_RECENT + 2 * data.hops.len()).unwrap_or(u16::MAX).max(visible)
}
