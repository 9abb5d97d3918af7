//! Mouse: a click or a turn of the wheel acts on the item under the pointer, found by the layout that drew it.

use ratatui::layout::Position;

use super::action::{Action, ViewAction};
use super::focus::{Panel, Tab};
use super::geometry::{MARGIN, connection_places, connection_rows, hop_rows, log_rows, node_rows, transfer_rows};
use super::grid::column_at;
use super::input::Gesture;
use super::layout::{Regions, is_small};
use super::state::{Mode, UiState};
use super::widgets::header;
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
    if state.mode != Mode::Browse {
        // The wheel scrolls a popup; a click in it has no effect.
        return if by == 0 { None } else { state.apply(Action::View(ViewAction::Move(by)), chain) };
    }
    if is_small(state.area) {
        return None;
    }
    let regions = state.layout(state.area, chain.hops.len());
    if by == 0 && regions.header.contains(at) {
        let tab =
            header::tabs(state.area.width).into_iter().find(|tab| (tab.at..tab.at + tab.columns).contains(&at.x))?;
        return state.apply(Action::View(ViewAction::Show(tab.tab)), chain);
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
    click(state, chain, panel, &regions, at);
    state.settle(chain);
    None
}

fn click(state: &mut UiState, chain: &ChainSnapshot, panel: Panel, regions: &Regions, at: Position) {
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
        Panel::Chart | Panel::Setup => return,
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
        }
    } else if panel == Panel::Connections && at.y + 1 == body.y {
        let places = connection_places(state.tab, state.hidden[1], area);
        let column = column_at(&places, at.x.saturating_sub(area.x + MARGIN));
        if column.is_some() {
            state.sort_by(column);
        }
    }
}
