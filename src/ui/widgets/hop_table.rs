//! The hops in chain order, the client before them: never re-sorted, so that a hop keeps its place whatever happens.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{header, heading};
use crate::snapshot::verdict::{FaultKind, Limit, Resource, SetupStep};
use crate::snapshot::{ChainSnapshot, DownReason, HopLink, HopSnapshot, RATE_SAMPLES};
use crate::ui::columns::{HOPS, MainWait, cap as short_cap, dash, ms, percent, rate, waits};
use crate::ui::fill::buffered;
use crate::ui::focus::Panel;
use crate::ui::geometry::{MARGIN, hop_rows};
use crate::ui::grid::{ColumnPlaces, cell, fixed, headings, place};
use crate::ui::history::ChartSpan;
use crate::ui::paint::{Row, row_of, width};
use crate::ui::state::UiState;
use crate::ui::theme::{StyleRole, Theme};
use crate::units::{Bytes, Count};

const NODE: usize = 1;
const STATE: usize = 2;
const CONN: usize = 3;
const FILL: usize = 7;
const LIMIT: usize = 13;
const BARS: usize = 14;

/// Draws the table; `titled` gives it a heading.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, titled: bool, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let theme = &state.theme;
    let focused = state.panel == Panel::Hops;
    if titled {
        heading::draw(theme, "Hops", "chain order", focused, area, buffer);
    }
    let places = places(state, area);
    let styles = [theme.style(StyleRole::Dim), theme.style(StyleRole::Key)];
    let titles = Rect { y: area.y + u16::from(titled), height: 1, ..area };
    let mut columns = HOPS;
    columns[FILL].title = state.history().scale.title();
    headings(buffer, inner(titles), &columns, &places, None, styles);
    let body = hop_rows(area, titled, data.hops.len());
    if body.y > titles.y + 1 {
        client_row(state, data, &places, Rect { y: titles.y + 1, height: 1, ..area }, buffer);
    }
    let marked = state.hop(data).map_or(0, |hop| hop.number);
    for (i, hop) in data.hops.iter().skip(state.tops.hops).take(usize::from(body.height)).enumerate() {
        let row = row_of(body, i);
        let mark = (hop.number == marked).then_some(focused);
        heading::mark(theme, mark, row, buffer);
        hop_row(state, data, hop, mark == Some(true), &places, row, buffer);
    }
}

fn places(state: &UiState, area: Rect) -> ColumnPlaces {
    // The column at the right end stays free where there is room to spare.
    let edge = MARGIN + u16::from(area.width >= 100);
    place(&HOPS, state.hidden[0], area.width.saturating_sub(edge))
}

/// A row without the columns of the mark.
pub(crate) fn inner(row: Rect) -> Rect {
    let margin = MARGIN.min(row.width);
    Rect { x: row.x + margin, width: row.width - margin, ..row }
}

fn client_row(state: &UiState, data: &ChainSnapshot, places: &ColumnPlaces, row: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let active = data.transfers.iter().filter(|t| !t.phase.is_over());
    let mut flow = crate::snapshot::Flow::default();
    active.clone().for_each(|t| flow.add(&t.flow));
    let share = |us: u64| (flow.active_us > 0).then(|| us as f64 / flow.active_us as f64);
    let (moving, active) = (state.history().client_rate(data), active.count());
    let bytes: u64 = data.transfers.iter().map(|t| t.received).sum();
    let (read, write) = (share(flow.starved_us), share(flow.blocked_us));
    let (limit, blamed) = match data.verdict.limit {
        limit if active > 0 && limit.stage() == Some(0) => (format!("!! {}", blame(&limit)), true),
        _ => (waits(read.unwrap_or(0.0), write.unwrap_or(0.0), 0.0, false).word().to_owned(), false),
    };
    let texts = [
        "c".to_owned(),
        "client (this program)".to_owned(),
        if active == 0 { "idle" } else { "fetch" }.to_owned(),
        active.to_string(),
        rate(Some(moving)),
        if moving > 0 { "disk" } else { "-" }.to_owned(),
        held_bytes(data, 0),
        fill(state, data, 0, places),
        Bytes(bytes).to_string(),
        dash(),
        dash(),
        percent(read),
        percent(write),
        limit,
        sparkline(theme, &state.history().samples_of(data, 0, ChartSpan::Minute), places),
    ];
    for (i, text) in texts.iter().enumerate() {
        let role = if i == NODE || i == 0 { StyleRole::Plain } else { role_of(i, text, blamed) };
        cell(buffer, inner(row), HOPS[i], places[i], text, theme.style(role));
    }
}

fn hop_row(
    state: &UiState,
    data: &ChainSnapshot,
    hop: &HopSnapshot,
    marked: bool,
    places: &ColumnPlaces,
    row: Rect,
    buffer: &mut Buffer,
) {
    let theme = &state.theme;
    let name = places[NODE].map(|(_, room)| node(hop, room)).unwrap_or_default();
    let (word, word_role) = state_word(hop);
    let plain = if marked { StyleRole::Mark } else { StyleRole::Plain };
    let texts = [hop.number.to_string(), name, word];
    for (i, (text, role)) in texts.iter().zip([plain, plain, word_role]).enumerate() {
        cell(buffer, inner(row), HOPS[i], places[i], text, theme.style(role));
    }
    if let HopLink::Down { reason } = &hop.link {
        // The reason stands where figures would: all of them would be blank.
        return reason_cell(theme, reason, places, STATE, row, buffer);
    }
    let (limit, blamed) = limit(data, hop);
    for (i, text) in figures(state, data, hop, limit, places).iter().enumerate() {
        let column = CONN + i;
        cell(buffer, inner(row), HOPS[column], places[column], text, theme.style(role_of(column, text, blamed)));
    }
    let bars = sparkline(theme, &hop.history, places);
    cell(buffer, inner(row), HOPS[BARS], places[BARS], &bars, theme.style(StyleRole::Flow));
}

/// Why a hop is down, from behind its state to the end of the row.
pub(crate) fn reason_cell(
    theme: &Theme,
    reason: &DownReason,
    places: &ColumnPlaces,
    state: usize,
    row: Rect,
    buffer: &mut Buffer,
) {
    let after = places[state].map_or(0, |(x, width)| x + width + 2);
    let room = inner(row).width.saturating_sub(after + 1);
    cell(
        buffer,
        inner(row),
        fixed("", room, false, 0),
        Some((after, room)),
        reason.as_str(),
        theme.style(down_role(reason)),
    );
}

/// A node that was asked to end is no fault.
fn down_role(reason: &DownReason) -> StyleRole {
    if reason.is_requested() { StyleRole::Warn } else { StyleRole::Bad }
}

/// From the connections to the limit; dashes for a hop that does not report.
fn figures(
    state: &UiState,
    data: &ChainSnapshot,
    hop: &HopSnapshot,
    limit: String,
    places: &ColumnPlaces,
) -> [String; 11] {
    let Some(node) = &hop.node else { return std::array::from_fn(|_| dash()) };
    let way_in = if hop.origin && hop.rate_out > 0 { "disk".to_owned() } else { rate(Some(hop.rate_in)) };
    [
        node.totals.open.to_string(),
        way_in,
        rate(Some(hop.rate_out)),
        held_bytes(data, hop.number),
        fill(state, data, hop.number, places),
        Bytes(node.totals.flow.bytes_out).to_string(),
        hop.tcp.map_or_else(dash, |tcp| ms(tcp.rtt_us)),
        hop.tcp.map_or_else(dash, |tcp| Count(tcp.retransmits).to_string()),
        percent(hop.starved_share),
        percent(hop.blocked_share),
        limit,
    ]
}

/// What holds the hop up: where the verdict names it, which the answer says, else where its time goes, else its cap.
fn limit(data: &ChainSnapshot, hop: &HopSnapshot) -> (String, bool) {
    let cap = hop.node.as_ref().and_then(|node| node.faults.limit);
    let n = hop.number;
    let running = data.others.is_some() || data.transfers.iter().any(|t| !t.phase.is_over());
    let limit = &data.active_verdict().limit;
    let flagged = match *limit {
        _ if !running => None,
        Limit::Link { from, .. } if from == n => Some("!! net out".to_owned()),
        Limit::RateLimit { hop, rate } if hop == n => Some(flag_cap(rate)),
        _ if limit.stage() == Some(n) => Some(format!("!! {}", blame(limit))),
        _ => None,
    };
    let part = |share: Option<f64>| share.unwrap_or(0.0);
    let waits = waits(part(hop.starved_share), part(hop.blocked_share), part(hop.limited_share), hop.origin);
    match (flagged, cap) {
        (Some(flagged), _) => (flagged, true),
        (None, Some(cap)) if matches!(waits, MainWait::Nothing | MainWait::Cap) => {
            (format!("limit {}", short_cap(cap)), false)
        }
        _ => (waits.word().to_owned(), false),
    }
}

/// The cap that holds a hop up; its rate only where it fits the column whole.
fn flag_cap(rate: u64) -> String {
    let text = format!("!! {}", short_cap(rate));
    if width(&text) <= HOPS[LIMIT].width { text } else { "!! limit".to_owned() }
}

/// What of a stage is to blame, in a word.
fn blame(limit: &Limit) -> &'static str {
    match limit {
        Limit::Origin { resource, .. } | Limit::Client { resource } => match resource {
            Resource::Either => "itself",
            Resource::Disk => "disk",
            Resource::Processor => "cpu",
        },
        Limit::Relay { .. } => "cpu",
        Limit::RateLimit { .. } => "limit",
        Limit::Fault { fault, .. } => match fault {
            FaultKind::Delay => "delay",
            FaultKind::Stall => "stall",
            FaultKind::Fragment => "fragment",
        },
        Limit::Receiver { .. } => "not reading",
        Limit::Setup { step: SetupStep::Delay, .. } => "delay",
        Limit::Measuring | Limit::Link { .. } | Limit::Balanced | Limit::Setup { .. } | Limit::Unobserved { .. } => "-",
    }
}

fn role_of(column: usize, text: &str, blamed: bool) -> StyleRole {
    match text {
        "-" | "0" => StyleRole::Dim,
        _ if column == LIMIT && blamed => StyleRole::Warn,
        _ if column == LIMIT => StyleRole::Dim,
        _ if column == BARS || column == FILL => StyleRole::Flow,
        _ => StyleRole::Plain,
    }
}

/// How we stand to a hop, in a word.
pub(crate) fn state_word(hop: &HopSnapshot) -> (String, StyleRole) {
    if header::is_stale(hop) && hop.link.is_up() {
        let seconds = hop.age.as_secs();
        let age = if seconds < 100 { format!("{seconds}s") } else { format!("{}m", (seconds / 60).min(99)) };
        return (format!("stale {age}"), StyleRole::Warn);
    }
    let drains = hop.node.as_ref().is_some_and(|node| node.draining) && hop.link.is_up();
    if drains || matches!(hop.link, HopLink::Down { reason: DownReason::Stopping }) {
        return ("draining".to_owned(), StyleRole::Warn);
    }
    let role = match &hop.link {
        HopLink::Spawned { .. } | HopLink::Attached => StyleRole::Good,
        HopLink::Legacy | HopLink::Foreign => StyleRole::Plain,
        HopLink::Starting => StyleRole::Warn,
        HopLink::Unknown | HopLink::Detached => StyleRole::Dim,
        HopLink::Down { reason } => down_role(reason),
    };
    (hop.link.label().to_owned(), role)
}

/// The node's label, then what else there is room for: whether it serves, its address, its process.
fn node(hop: &HopSnapshot, room: u16) -> String {
    let pid = if let HopLink::Spawned { pid } = hop.link { Some(format!("pid {pid}")) } else { None };
    named(hop, room, pid)
}

/// The node's label, then what else there is room for: whether it serves, its address.
pub(crate) fn name(hop: &HopSnapshot, room: u16) -> String {
    named(hop, room, None)
}

fn named(hop: &HopSnapshot, room: u16, process: Option<String>) -> String {
    let mut text = if hop.label.as_str().is_empty() { hop.address.to_string() } else { hop.label.to_string() };
    let address = (hop.label != hop.address).then(|| hop.address.to_string());
    let extra = hop.extra.then(|| "not in the chain".to_owned());
    for more in [hop.origin.then(|| "origin".to_owned()), extra, address, process].into_iter().flatten() {
        if width(&text) + 2 + width(&more) <= room {
            text.push_str("  ");
            text.push_str(&more);
        }
    }
    text
}

/// What a stage holds, as a number.
fn held_bytes(data: &ChainSnapshot, stage: usize) -> String {
    buffered(data, stage).filter(|buffered| *buffered > 0).map_or_else(dash, |buffered| Bytes(buffered).to_string())
}

/// The same as a bar in the columns there are, on the scale that the heading says.
fn fill(state: &UiState, data: &ChainSnapshot, stage: usize, places: &ColumnPlaces) -> String {
    let columns = places[FILL].map_or(0, |(_, room)| usize::from(room));
    let Some(buffered) = buffered(data, stage) else { return String::new() };
    let full = state.history().scale.parts(buffered, columns);
    state.theme.glyphs.full.repeat(full) + &state.theme.glyphs.rest.repeat(columns - full)
}

/// The last minute in the columns there are, newest at the right, scaled to its own highest.
fn sparkline(theme: &Theme, history: &[u64], places: &ColumnPlaces) -> String {
    let bars = places[BARS].map_or(0, |(_, room)| usize::from(room));
    let highest = history.iter().copied().max().unwrap_or(0);
    if bars == 0 || highest == 0 {
        return String::new();
    }
    let per_bar = RATE_SAMPLES.div_ceil(bars);
    let newest_first: Vec<&str> = history
        .rchunks(per_bar)
        .take(bars)
        .map(|chunk| {
            let mean = chunk.iter().map(|rate| *rate as f64).sum::<f64>() / chunk.len() as f64;
            let height = (mean / highest as f64 * 8.0).ceil() as usize;
            if height == 0 { " " } else { theme.glyphs.bars[height.min(8) - 1] }
        })
        .collect();
    let blank = " ".repeat(bars.saturating_sub(newest_first.len()));
    blank + &newest_first.into_iter().rev().collect::<String>()
}

/// One row's room for a sentence.
pub(crate) fn say(theme: &Theme, text: &str, row: Rect, buffer: &mut Buffer) {
    Row::new(buffer, row).skip(MARGIN).put(text, theme.style(StyleRole::Dim));
}
