//! Node table in chain order: process, uptime, totals, faults and policy.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use super::hop_table::{draw_reason, inner, name, state_label};
use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot};
use crate::ui::columns::{NODES, dash, or_dash};
use crate::ui::geometry::{MARGIN, node_rows};
use crate::ui::grid::{cell, headings, place};
use crate::ui::paint::row_of;
use crate::ui::state::{FAULTS, UiState};
use crate::ui::theme::StyleRole;
use crate::units::{Bytes, Count, Eta};

const NODE: usize = 1;
const STATE: usize = 2;

/// Draws the table with its heading.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let theme = &state.theme;
    let room = usize::from(node_rows(area).height);
    let hidden = heading::hidden_rows(theme, state.scrolled.hops, room, data.hops.len());
    heading::draw(theme, "Nodes", &hidden, true, area, buffer);
    let places = place(&NODES, state.hidden[2], area.width.saturating_sub(MARGIN + 1));
    headings(
        buffer,
        inner(row_of(area, 1)),
        &NODES,
        &places,
        None,
        [theme.style(StyleRole::Dim), theme.style(StyleRole::Key)],
    );
    let body = node_rows(area);
    let selected = state.hop(data).map_or(0, |hop| hop.number);
    for (i, hop) in data.hops.iter().skip(state.scrolled.hops).take(usize::from(body.height)).enumerate() {
        let row = row_of(body, i);
        let is_selected = hop.number == selected;
        heading::selection(theme, is_selected.then_some(true), row, buffer);
        let (word, role) = state_label(hop);
        let plain = if is_selected { StyleRole::Selected } else { StyleRole::Plain };
        let first = [hop.number.to_string(), places[NODE].map(|(_, room)| name(hop, room)).unwrap_or_default(), word];
        for (c, (text, role)) in first.iter().zip([plain, plain, role]).enumerate() {
            cell(buffer, inner(row), NODES[c], places[c], text, theme.style(role));
        }
        if let HopLink::Down { reason } = &hop.link {
            draw_reason(theme, reason, &places, STATE, row, buffer);
            continue;
        }
        for (c, text) in figures(hop).iter().enumerate() {
            let column = STATE + 1 + c;
            let role = if matches!(text.as_str(), "-" | "0") { StyleRole::Dim } else { StyleRole::Plain };
            cell(buffer, inner(row), NODES[column], places[column], text, theme.style(role));
        }
    }
}

/// Returns the faults that are set, by name and value; a dash for none.
pub(crate) fn faults(hop: &HopSnapshot) -> String {
    let Some(node) = &hop.node else { return dash() };
    let set = FAULTS.iter().filter(|fault| fault.is_set(node));
    or_dash(set.map(|fault| format!("{} {}", fault.name(), fault.value(node))).collect::<Vec<_>>().join(", "))
}

/// Returns how long a node has run.
pub(crate) fn uptime(us: u64) -> Eta {
    Eta(Some(Duration::from_secs(us / 1_000_000)))
}

fn figures(hop: &HopSnapshot) -> [String; 11] {
    let Some(node) = &hop.node else { return std::array::from_fn(|_| dash()) };
    let totals = &node.totals;
    [
        if node.pid == 0 { dash() } else { node.pid.to_string() },
        or_dash(node.version.to_string()),
        uptime(node.uptime_us).to_string(),
        Count(totals.open).to_string(),
        Count(totals.accepted).to_string(),
        Count(totals.served).to_string(),
        Count(totals.failed).to_string(),
        Count(totals.refused).to_string(),
        Bytes(totals.flow.bytes_out).to_string(),
        faults(hop),
        or_dash(node.policy.to_string()),
    ]
}
