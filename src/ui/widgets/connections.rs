//! The live connections of the marked hop, or of all hops; those that only read the node's pages come last.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::hop_table::{inner, say};
use super::{header, heading};
use crate::snapshot::{ChainSnapshot, ConnState, HopLink};
use crate::ui::columns::conn;
use crate::ui::columns::{CONN_HOLDS, CONNS, ConnColumn, texts};
use crate::ui::focus::{Panel, Tab};
use crate::ui::geometry::{connection_places, connection_rows};
use crate::ui::grid::{cell, headings};
use crate::ui::paint::{cut_middle, row_of};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;

/// Draws the heading, the column titles and as many connections as there is room for.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (theme, lists) = (&state.theme, &state.lists);
    let focused = state.focus() == Panel::Connections;
    let Some(hop) = state.hop(data) else {
        return heading::draw(theme, "Connections", "no hops", focused, area, buffer);
    };
    let all = state.tab == Tab::Connections;
    let name = if all { "Connections of all hops".to_owned() } else { format!("Connections of hop {}", hop.number) };
    let is_aged = hop.is_lost() || hop.link.is_up() && header::is_stale(hop);
    let aged = if !all && is_aged { Some(hop.age) } else { None };
    heading::draw(theme, &name, &remark(state, aged), focused, area, buffer);
    if !all && !hop.is_lost() && (!hop.link.is_up() || hop.node.is_none()) {
        return say(theme, silence(&hop.link), row_of(area, 1), buffer);
    }
    let places = connection_places(state.tab, state.hidden[1], area);
    let styles = [theme.style(StyleRole::Dim), theme.style(StyleRole::Key)];
    headings(buffer, inner(row_of(area, 1)), &CONNS, &places, lists.sort().map(|sort| sort.column), styles);
    let body = connection_rows(area);
    if lists.conns.is_empty() {
        let words = if lists.filter(Panel::Connections).is_empty() { "none" } else { "none with these words" };
        say(theme, words, row_of(body, 0), buffer);
    }
    let at = state.row_of(Panel::Connections, data);
    for (i, place) in lists.conns.iter().skip(state.tops.conns).take(usize::from(body.height)).enumerate() {
        let Some(conn) = conn(data, *place) else { continue };
        let (hop, row) = (&data.hops[place.0], row_of(body, i));
        let marked = (state.tops.conns + i == at).then_some(focused);
        heading::mark(theme, marked, row, buffer);
        let quiet = hop.is_lost() || matches!(conn.state, ConnState::Admin | ConnState::Idle);
        for (c, text) in texts(data, state.history(), hop, conn).iter().enumerate() {
            let role = match text.as_str() {
                "-" => StyleRole::Dim,
                _ if marked == Some(true) && c <= 1 => StyleRole::Mark,
                _ if quiet => StyleRole::Dim,
                _ if CONN_HOLDS[c] == ConnColumn::State && conn.state == ConnState::Streaming => StyleRole::Flow,
                _ => StyleRole::Plain,
            };
            let text = match (CONN_HOLDS[c], places[c]) {
                (ConnColumn::File, Some((_, columns))) => cut_middle(text, columns),
                _ => text.into(),
            };
            cell(buffer, inner(row), CONNS[c], places[c], &text, theme.style(role));
        }
    }
}

/// How old it is where that matters, what narrows the list, how much of it there is, how it is sorted.
fn remark(state: &UiState, aged: Option<Duration>) -> String {
    let lists = &state.lists;
    let mut words = Vec::new();
    words.extend(aged.map(|age| format!("as {} s ago", age.as_secs())));
    let filter = heading::filter_words(lists.filter(Panel::Connections));
    words.extend((!filter.is_empty()).then_some(filter));
    words.push(format!("{} of {}", lists.conns.len(), lists.conns_in_all));
    if let Some(sort) = lists.sort() {
        words.push(format!("sort {} {}", CONNS[sort.column].title, if sort.down { "v" } else { "^" }));
    }
    words.join("   ")
}

/// Why there is nothing to list.
pub(crate) fn silence(link: &HopLink) -> &'static str {
    match link {
        HopLink::Legacy => "it speaks the legacy protocol: it relays, but does not report",
        HopLink::Foreign => "it lets nobody read what it does",
        HopLink::Down { .. } => "it is down",
        HopLink::Detached => "it is not watched any more",
        HopLink::Unknown | HopLink::Starting => "it has not reported yet",
        HopLink::Spawned { .. } | HopLink::Attached => "its first report has not come yet",
    }
}
