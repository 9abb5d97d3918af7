//! Mouse: a click or a turn of the wheel acts on the item under the pointer, found by the layout that drew it.

use ratatui::layout::{Position, Rect};

use super::action::{Action, ViewAction};
use super::focus::{Panel, Tab, ViewMode};
use super::geometry::{
    MARGIN, connection_places, connection_rows, first_row, hop_rows, log_rows, node_rows, popup_area, transfer_rows,
};
use super::grid::column_at;
use super::input::Gesture;
use super::layout::{Regions, is_small};
use super::state::{Mode, UiState};
use super::widgets::chain as chain_line;
use super::widgets::{caption, copy_menu, faults, footer, header, headline, palette, picker, remote_files, settings};
use crate::command::Command;
use crate::snapshot::ChainSnapshot;

/// Rows that one turn of the wheel moves.
const WHEEL: isize = 3;

/// Handles one gesture; returns the command that it results in.
pub fn gesture(state: &mut UiState, chain: &ChainSnapshot, gesture: Gesture, column: u16, row: u16) -> Option<Command> {
    let at = Position { x: column, y: row };
    let by = match gesture {
        Gesture::Click => 0,
        Gesture::WheelUp => -WHEEL,
        Gesture::WheelDown => WHEEL,
    };
    if is_small(state.area) {
        let in_popup = by != 0 && state.mode != Mode::Browse;
        return if in_popup { state.apply(Action::View(ViewAction::Move(by)), chain) } else { None };
    }
    let regions = state.layout(state.area, chain.hops.len());
    if by == 0 && regions.footer.contains(at) {
        return footer::action_at(state, chain, regions.footer, at.x).and_then(|action| state.apply(action, chain));
    }
    if state.mode != Mode::Browse {
        return match by {
            0 => click_in_popup(state, chain, at),
            by => state.apply(Action::View(ViewAction::Move(by)), chain),
        };
    }
    if by == 0 && regions.header.contains(at) {
        let tab =
            header::tabs(state.area.width).into_iter().find(|tab| (tab.at..tab.at + tab.columns).contains(&at.x))?;
        return state.apply(Action::View(ViewAction::Show(tab.tab)), chain);
    }
    if by == 0 && regions.headline.contains(at) {
        return headline::action_at(state, chain, regions.headline, at.x).and_then(|action| state.apply(action, chain));
    }
    if by == 0 && regions.caption.contains(at) {
        return caption::action_at(state, chain, regions.caption, at).and_then(|action| state.apply(action, chain));
    }
    if by == 0 && regions.chain.contains(at) {
        let hop = chain_line::hop_at(state, chain, regions.chain, at.x)?;
        state.select(Panel::Hops, hop - 1, chain);
        state.settle(chain);
        return None;
    }
    let scrolls = state.view_mode == ViewMode::Why || state.focus() == Panel::Files;
    if by != 0 && scrolls && regions.detail.contains(at) {
        return state.apply(Action::View(ViewAction::Move(by)), chain);
    }
    let panel = regions.panel_at(at)?;
    if by != 0 {
        let row = state.row_of(panel, chain).saturating_add_signed(by);
        state.select(panel, row, chain);
        state.settle(chain);
        return None;
    }
    if state.tab == Tab::Chain {
        state.panel = panel;
    }
    let is_row = click(state, chain, panel, &regions, at);
    let is_double = state.is_double_click(at) && is_row;
    state.settle(chain);
    if is_double { state.apply(Action::Enter, chain) } else { None }
}

/// Selects the entry of a popup; one that is selected already is run. A click beside the popup closes it.
fn click_in_popup(state: &mut UiState, chain: &ChainSnapshot, at: Position) -> Option<Command> {
    let area = popup_area(state.area);
    let list = match &state.mode {
        Mode::Palette { .. } => palette::list(area),
        Mode::Columns { .. } | Mode::Sort { .. } => picker::list(state, area),
        Mode::Faults { .. } => faults::list(area),
        Mode::Settings { .. } => settings::list(area),
        Mode::Copy { .. } => copy_menu::list(state, chain, area),
        // The prompt is on the row above the footer.
        Mode::Line(_) => remote_files::list(state, chain, Rect { height: area.height.saturating_sub(1), ..area }),
        Mode::Help { .. } | Mode::Browse | Mode::ConfirmQuit => return None,
    };
    if !list.contains(at) {
        // A border takes two columns and one row at each side.
        let popup = Rect {
            x: list.x.saturating_sub(2),
            y: list.y.saturating_sub(2),
            width: list.width + 4,
            height: list.height + 5,
        };
        let beside = !popup.contains(at) && !matches!(state.mode, Mode::Line(_));
        return if beside { state.apply(Action::View(ViewAction::Close), chain) } else { None };
    }
    let selected = state.chosen_entry(chain);
    let entry = first_row(list, selected.unwrap_or(0)) + usize::from(at.y - list.y);
    if entry >= state.choices(chain) {
        return None;
    }
    if selected == Some(entry) {
        return state.apply(Action::Enter, chain);
    }
    state.choose_entry(entry, chain);
    None
}

/// Selects the row under the pointer, or sorts by its column; returns whether it is a row.
fn click(state: &mut UiState, chain: &ChainSnapshot, panel: Panel, regions: &Regions, at: Position) -> bool {
    let mut area = regions.of(panel);
    let transfers = state.transfer_panels(regions).into_iter().find(|part| part.area.contains(at));
    if let (Panel::Transfers, Some(part)) = (panel, &transfers) {
        area = part.area;
    }
    let (body, top) = match panel {
        Panel::Hops => (hop_rows(area, regions.hops_titled, chain.hops.len()), state.scrolled.hops),
        Panel::Nodes => (node_rows(area), state.scrolled.hops),
        Panel::Connections => (connection_rows(area), state.scrolled.conns),
        Panel::Transfers => (transfer_rows(area), 0),
        Panel::Log => (log_rows(state.tab, area), state.scrolled.log),
        Panel::Chart | Panel::Setup | Panel::Files => return false,
    };
    if body.contains(at) {
        let line = usize::from(at.y - body.y);
        let row = match panel {
            Panel::Transfers => transfers.and_then(|part| state.transfer_at(chain, &part, line)),
            Panel::Hops => state.visible_hops(chain, usize::from(body.height)).get(line).copied(),
            _ => Some(top + line),
        };
        let rows = state.rows(chain);
        if let Some(row) = row.filter(|row| *row < rows) {
            state.select(panel, row, chain);
            return true;
        }
    } else if panel == Panel::Connections && at.y + 1 == body.y {
        let places = connection_places(state.tab, state.hidden_conn_columns(), area);
        let column = column_at(&places, at.x.saturating_sub(area.x + MARGIN));
        if column.is_some() {
            state.sort_by(column);
        }
    }
    false
}
