//! Open connections of the selected hop, or of all hops; those that only request admin endpoints come last.

use std::borrow::Cow;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::hop_table::{draw_message, inner};
use super::{header, heading, locked};
use crate::snapshot::{ChainSnapshot, ConnState, HopLink, HopSnapshot};
use crate::ui::action::{Action, TransferAction, ViewAction};
use crate::ui::columns::conn;
use crate::ui::columns::{CONN_HOLDS, CONNS, ConnColumn, our_transfer, percent, texts};
use crate::ui::focus::{Panel, Tab};
use crate::ui::geometry::{connection_places, connection_rows};
use crate::ui::grid::{cell, headings};
use crate::ui::paint::{cut_middle, row_of};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;
use crate::units::Count;

/// Columns of the heading that are not for its remark.
const HEADED: u16 = 28;

/// Draws the heading, the column titles and the connections that fit.
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
    let kept = if all || hop.is_lost() { String::new() } else { kept_connections(hop) };
    let remark = remark(state, aged, kept, area);
    heading::draw(theme, &name, &remark, focused, area, buffer);
    if !all && !hop.is_lost() && (!hop.link.is_up() || hop.node.is_none()) {
        return draw_message(theme, no_data_reason(&hop.link), row_of(area, 1), buffer);
    }
    let places = connection_places(state.tab, state.hidden_conn_columns(), area);
    let styles = [theme.style(StyleRole::Dim), theme.style(StyleRole::Key)];
    headings(buffer, inner(row_of(area, 1)), &CONNS, &places, lists.sort().map(|sort| sort.column), styles);
    let body = connection_rows(area);
    if lists.conns.is_empty() {
        draw_message(theme, &no_rows_reason(state, data), row_of(body, 0), buffer);
    }
    let at = state.row_of(Panel::Connections, data);
    for (i, place) in lists.conns.iter().skip(state.scrolled.conns).take(usize::from(body.height)).enumerate() {
        let Some(conn) = conn(data, *place) else { continue };
        let (hop, row) = (&data.hops[place.0], row_of(body, i));
        let selected = (state.scrolled.conns + i == at).then_some(focused);
        heading::selection(theme, selected, row, buffer);
        let is_locked = our_transfer(data, conn).is_some_and(|transfer| !transfer.key.is_empty());
        let is_dim = hop.is_lost() || matches!(conn.state, ConnState::Admin | ConnState::Idle);
        for (c, text) in texts(data, state.history(), hop, conn).iter().enumerate() {
            let role = match text.as_str() {
                "-" => StyleRole::Dim,
                _ if selected == Some(true) && c <= 1 => StyleRole::Selected,
                _ if is_dim => StyleRole::Dim,
                _ if CONN_HOLDS[c] == ConnColumn::State && conn.state == ConnState::Streaming => StyleRole::Flow,
                _ => StyleRole::Plain,
            };
            let text = match (CONN_HOLDS[c], places[c]) {
                (ConnColumn::File, Some((_, columns))) => {
                    locked(theme, is_locked, columns, |room| cut_middle(text, room)).into()
                }
                _ => Cow::Borrowed(text.as_str()),
            };
            cell(buffer, inner(row), CONNS[c], places[c], &text, theme.style(role));
        }
    }
}

/// Returns why the list is empty, and the key that changes that.
fn no_rows_reason(state: &UiState, data: &ChainSnapshot) -> String {
    let lists = &state.lists;
    if !lists.filter(Panel::Connections).is_empty() {
        return "no matches".to_owned();
    }
    if data.transfers.iter().any(|t| t.phase.is_under_way()) {
        return "none yet".to_owned();
    }
    let key = |action| state.keymap.key_of(action);
    let fetch = format!("none: {} opens one at each hop", key(Action::Transfer(TransferAction::Fetch)));
    let admin = format!(", {} shows those of this program", key(Action::View(ViewAction::AdminConns)));
    if lists.admin_hidden > 0 { fetch + &admin } else { fetch }
}

/// Returns how many idle connections a hop keeps to the next one, and how many requests found one there; empty for a
/// hop that keeps none, and for one that relays no request to another.
fn kept_connections(hop: &HopSnapshot) -> String {
    let Some(upstream) = hop.node.as_ref().map(|node| &node.upstream).filter(|_| !hop.origin) else {
        return String::new();
    };
    match upstream.reused_share() {
        None | Some(0.0) if upstream.idle == 0 => String::new(),
        share => format!("{} idle to hop {}, {} reused", Count(upstream.idle), hop.number + 1, percent(share)),
    }
}

/// Returns the age of old data, the filter, the number of rows, what is hidden, the connections to the next hop and
/// the sorting.
fn remark(state: &UiState, aged: Option<Duration>, kept: String, area: Rect) -> String {
    let lists = &state.lists;
    let room = usize::from(connection_rows(area).height);
    let all = lists.conns.len() as u64 + lists.admin_hidden == lists.conns_in_all;
    let mut count = if all && lists.conns_idle > 0 {
        format!("{} active, {} idle", lists.conns.len() - lists.conns_idle, lists.conns_idle)
    } else {
        format!("{} of {}", lists.conns.len(), lists.conns_in_all)
    };
    let mut admin = match lists.admin_hidden {
        0 => String::new(),
        hidden => format!("{hidden} admin hidden"),
    };
    if lists.sort().is_none() && !admin.is_empty() {
        count = format!("{count}, {}", std::mem::take(&mut admin));
    }
    let sort =
        lists.sort().map(|sort| format!("sort {} {}", CONNS[sort.column].title, if sort.down { "v" } else { "^" }));
    let parts = [
        aged.map_or_else(String::new, |age| format!("{} s ago", age.as_secs())),
        heading::filter_text(lists.filter(Panel::Connections)),
        count,
        sort.unwrap_or_default(),
        admin,
        kept,
    ];
    let hidden = heading::hidden_rows(&state.theme, state.scrolled.conns, room, lists.conns.len());
    heading::joined(&parts, &hidden, "   ", area.width.saturating_sub(HEADED))
}

/// Returns why there is nothing to list.
pub(crate) fn no_data_reason(link: &HopLink) -> &str {
    match link {
        HopLink::Legacy => "legacy node: it relays, but reports no metrics",
        HopLink::Foreign => "HTTP server without metrics",
        HopLink::Down { reason } => reason.as_str(),
        HopLink::Detached => "not watched any more",
        HopLink::Unknown | HopLink::Starting => "no report yet",
        HopLink::Spawned { .. } | HopLink::Attached => "waiting for its first report",
    }
}
