//! The live connections of the marked hop, oldest first; those that only read the node's pages come last.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::{ChainSnapshot, ConnSnapshot, ConnState, HopLink, HopSnapshot, NodeSnapshot};
use crate::ui::grid::{Column, cell, fixed, growing, headings, place};
use crate::ui::paint::{Row, row_of};
use crate::ui::state::UiState;
use crate::ui::theme::Tone;
use crate::units::{Bytes, Eta};

const COLUMNS: [Column; 10] = [
    fixed("Xfer", 6, false, 0),
    growing("File", 12, 30, 6),
    growing("Peer", 15, 21, 0),
    growing("Upstream", 15, 21, 5),
    fixed("State", 6, false, 0),
    fixed("Wire", 9, false, 4),
    fixed("In/s", 6, true, 3),
    fixed("Out/s", 6, true, 1),
    fixed("Sent", 6, true, 0),
    fixed("Age", 6, true, 2),
];
const MARGIN: u16 = 2;

/// Draws the heading, the column titles and as many connections as there is room for.
pub fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let Some(hop) = state.hop(data) else {
        return heading::draw(theme, "Connections", "no hops", false, area, buffer);
    };
    let room = usize::from(area.height).saturating_sub(2);
    let name = format!("Connections of hop {}", hop.number);
    heading::draw(theme, &name, &remark(hop, room), false, area, buffer);
    let Some(node) = hop.node.as_ref().filter(|_| hop.link.is_up()) else {
        Row::new(buffer, row_of(area, 1)).skip(MARGIN).put(silence(&hop.link), theme.style(Tone::Dim));
        return;
    };
    let places = place(&COLUMNS, area.width.saturating_sub(MARGIN + 1));
    let inner = |offset| {
        let row = row_of(area, offset);
        Rect { x: row.x + MARGIN.min(row.width), width: row.width.saturating_sub(MARGIN), ..row }
    };
    headings(buffer, inner(1), &COLUMNS, &places, theme.style(Tone::Dim));
    for (i, conn) in in_order(node).take(room).enumerate() {
        let page = matches!(conn.state, ConnState::Page | ConnState::Idle);
        for (c, text) in texts(state, data, hop, conn).iter().enumerate() {
            let tone = match text.as_str() {
                _ if page => Tone::Dim,
                "-" => Tone::Dim,
                "stream" => Tone::Flow,
                _ => Tone::Plain,
            };
            cell(buffer, inner(2 + i), COLUMNS[c], places[c], text, theme.style(tone));
        }
    }
}

fn in_order(node: &NodeSnapshot) -> impl Iterator<Item = &ConnSnapshot> {
    let files = node.connections.iter().filter(|conn| conn.state != ConnState::Page);
    files.chain(node.connections.iter().filter(|conn| conn.state == ConnState::Page))
}

/// How many of the connections are in sight.
fn remark(hop: &HopSnapshot, room: usize) -> String {
    let Some(node) = &hop.node else { return String::new() };
    let all = node.connections.len() as u64 + node.more;
    format!("{} of {all}", node.connections.len().min(room))
}

/// Why there is nothing to list.
fn silence(link: &HopLink) -> &'static str {
    match link {
        HopLink::Original => "it speaks the original dialogue: it can relay, not report",
        HopLink::Foreign => "it lets nobody read what it does",
        HopLink::Down { .. } => "it is down",
        HopLink::Detached => "it is not watched any more",
        HopLink::Unknown | HopLink::Starting => "it has not reported yet",
        HopLink::Spawned { .. } | HopLink::Attached => "its first report has not come yet",
    }
}

fn texts(state: &UiState, data: &ChainSnapshot, hop: &HopSnapshot, conn: &ConnSnapshot) -> [String; 10] {
    let rates = state.rates.of(hop, conn).filter(|_| conn.state != ConnState::Page);
    let figure = |rate: Option<u64>| rate.filter(|r| *r > 0).map_or("-".to_owned(), |r| Bytes(r).to_string());
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    // Reports of nothing but their own reading ask for no new picture, so this time would stand still.
    let age = (conn.state != ConnState::Page).then(|| Eta(Some(Duration::from_millis(conn.age_ms / 1000 * 1000))));
    [
        or_dash(transfer(data, conn)),
        or_dash(conn.name.to_string()),
        or_dash(conn.peer.to_string()),
        or_dash(conn.upstream.to_string()),
        conn.state.word().to_owned(),
        or_dash(wire(conn)),
        figure(rates.map(|r| r.0)),
        figure(rates.map(|r| r.1)),
        Bytes(conn.flow.bytes_out).to_string(),
        age.map_or("-".to_owned(), |age| age.to_string()),
    ]
}

/// `#3` for a transfer of this client, else the first digits of its id.
fn transfer(data: &ChainSnapshot, conn: &ConnSnapshot) -> String {
    let id = conn.transfer.as_str();
    let ours = data.transfers.iter().rev().find(|t| !id.is_empty() && same_id(t.id.as_str(), id));
    ours.map_or_else(|| id.chars().take(6).collect(), |t| format!("#{}", t.number))
}

/// Ids are shortened by whoever shows them, so the shorter of the two decides.
fn same_id(a: &str, b: &str) -> bool {
    !a.is_empty() && (a.starts_with(b) || b.starts_with(a))
}

/// The wire toward the client; where the one toward the origin differs, both.
fn wire(conn: &ConnSnapshot) -> String {
    let (down, up) = (conn.wire.as_str(), conn.upstream_wire.as_str());
    if up.is_empty() || up == down { down.to_owned() } else { format!("{down}<{up}") }
}
