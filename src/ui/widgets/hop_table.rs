//! Hop table: the client and the hops in chain order, never re-sorted, so that a hop keeps its position.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{header, heading};
use crate::snapshot::verdict::{FaultKind, Limit, Resource, SetupStep};
use crate::snapshot::{ChainSnapshot, DownReason, HopLink, HopSnapshot, RATE_SAMPLES};
use crate::ui::columns::{HOPS, MainWait, dash, main_wait, ms, percent, rate, short_rate};
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
        heading::draw(theme, "Hops", "", focused, area, buffer);
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
    let selected = state.hop(data).map_or(0, |hop| hop.number);
    for (i, hop) in data.hops.iter().skip(state.scrolled.hops).take(usize::from(body.height)).enumerate() {
        let row = row_of(body, i);
        let selection = (hop.number == selected).then_some(focused);
        heading::selection(theme, selection, row, buffer);
        hop_row(state, data, hop, selection == Some(true), &places, row, buffer);
    }
}

fn places(state: &UiState, area: Rect) -> ColumnPlaces {
    // With room to spare, the last column stays free.
    let edge = MARGIN + u16::from(area.width >= 100);
    place(&HOPS, state.hidden[0], area.width.saturating_sub(edge))
}

/// Returns a row without its margin.
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
    let (starved, blocked) = (share(flow.starved_us), share(flow.blocked_us));
    let (limit, is_verdict) = match data.verdict.limit {
        limit if active > 0 && limit.stage() == Some(0) => (format!("!! {}", cause(&limit)), true),
        _ => (main_wait(starved.unwrap_or(0.0), blocked.unwrap_or(0.0), 0.0, false).label().to_owned(), false),
    };
    let texts = [
        "c".to_owned(),
        "client (this program)".to_owned(),
        if active == 0 { "idle" } else { "fetch" }.to_owned(),
        active.to_string(),
        rate(Some(moving)),
        if moving > 0 { "disk" } else { "-" }.to_owned(),
        buffered_text(data, 0),
        fill(state, data, 0, places),
        Bytes(bytes).to_string(),
        dash(),
        dash(),
        percent(starved),
        percent(blocked),
        limit,
        sparkline(theme, &state.history().samples_of(data, 0, ChartSpan::Minute), places),
    ];
    for (i, text) in texts.iter().enumerate() {
        let role = if i == NODE || i == 0 { StyleRole::Plain } else { role_of(i, text, is_verdict) };
        cell(buffer, inner(row), HOPS[i], places[i], text, theme.style(role));
    }
}

fn hop_row(
    state: &UiState,
    data: &ChainSnapshot,
    hop: &HopSnapshot,
    selected: bool,
    places: &ColumnPlaces,
    row: Rect,
    buffer: &mut Buffer,
) {
    let theme = &state.theme;
    let name = places[NODE].map(|(_, room)| node(hop, room)).unwrap_or_default();
    let (word, word_role) = state_label(hop);
    let plain = if selected { StyleRole::Selected } else { StyleRole::Plain };
    let texts = [hop.number.to_string(), name, word];
    for (i, (text, role)) in texts.iter().zip([plain, plain, word_role]).enumerate() {
        cell(buffer, inner(row), HOPS[i], places[i], text, theme.style(role));
    }
    if let HopLink::Down { reason } = &hop.link {
        // The reason replaces the figures, which are unknown.
        return draw_reason(theme, reason, places, STATE, row, buffer);
    }
    let (limit, is_verdict) = limit(data, hop);
    for (i, text) in figures(state, data, hop, limit, places).iter().enumerate() {
        let column = CONN + i;
        cell(buffer, inner(row), HOPS[column], places[column], text, theme.style(role_of(column, text, is_verdict)));
    }
    let bars = sparkline(theme, &hop.history, places);
    cell(buffer, inner(row), HOPS[BARS], places[BARS], &bars, theme.style(StyleRole::Flow));
}

/// Draws why a hop is down, from after its state to the end of the row.
pub(crate) fn draw_reason(
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

/// Returns the style of a reason: a requested stop is not a failure.
fn down_role(reason: &DownReason) -> StyleRole {
    if reason.is_requested() { StyleRole::Warn } else { StyleRole::Bad }
}

/// Returns the columns from the connections to the limit; dashes for a hop that does not report.
fn figures(
    state: &UiState,
    data: &ChainSnapshot,
    hop: &HopSnapshot,
    limit: String,
    places: &ColumnPlaces,
) -> [String; 11] {
    let Some(node) = &hop.node else { return std::array::from_fn(|_| dash()) };
    let input = if hop.origin && hop.rate_out > 0 { "disk".to_owned() } else { rate(Some(hop.rate_in)) };
    [
        node.totals.open.to_string(),
        input,
        rate(Some(hop.rate_out)),
        buffered_text(data, hop.number),
        fill(state, data, hop.number, places),
        Bytes(node.totals.flow.bytes_out).to_string(),
        hop.tcp.map_or_else(dash, |tcp| ms(tcp.rtt_us)),
        hop.tcp.map_or_else(dash, |tcp| Count(tcp.retransmits).to_string()),
        percent(hop.starved_share),
        percent(hop.blocked_share),
        limit,
    ]
}

/// Returns what limits the hop: its cause if the verdict names it, else its main wait, else its rate limit. The flag
fn limit(data: &ChainSnapshot, hop: &HopSnapshot) -> (String, bool) {
    let rate_limit = hop.node.as_ref().and_then(|node| node.faults.limit);
    let n = hop.number;
    let running = data.others.is_some() || data.transfers.iter().any(|t| !t.phase.is_over());
    let limit = &data.active_verdict().limit;
    let flagged = match *limit {
        _ if !running => None,
        Limit::Link { from, .. } if from == n => Some("!! link".to_owned()),
        Limit::RateLimit { hop, rate } if hop == n => Some(flagged_rate(rate)),
        _ if limit.stage() == Some(n) => Some(format!("!! {}", cause(limit))),
        _ => None,
    };
    let part = |share: Option<f64>| share.unwrap_or(0.0);
    let wait = main_wait(part(hop.starved_share), part(hop.blocked_share), part(hop.limited_share), hop.origin);
    match (flagged, rate_limit) {
        (Some(flagged), _) => (flagged, true),
        (None, Some(rate)) if matches!(wait, MainWait::Nothing | MainWait::Limited) => {
            (format!("limit {}", short_rate(rate)), false)
        }
        _ => (wait.label().to_owned(), false),
    }
}

/// Returns the rate limit that the verdict names; the rate only where it fits the column.
fn flagged_rate(rate: u64) -> String {
    let text = format!("!! {}", short_rate(rate));
    if width(&text) <= HOPS[LIMIT].width { text } else { "!! limit".to_owned() }
}

/// Returns the cause of a limit, in a word.
fn cause(limit: &Limit) -> &'static str {
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

fn role_of(column: usize, text: &str, is_verdict: bool) -> StyleRole {
    match text {
        "-" | "0" => StyleRole::Dim,
        _ if column == LIMIT && is_verdict => StyleRole::Warn,
        _ if column == LIMIT => StyleRole::Dim,
        _ if column == BARS || column == FILL => StyleRole::Flow,
        _ => StyleRole::Plain,
    }
}

/// Returns the state of a hop, in a word.
pub(crate) fn state_label(hop: &HopSnapshot) -> (String, StyleRole) {
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

/// Returns the label of a node, and where there is room, whether it is the origin, its address and its process.
fn node(hop: &HopSnapshot, room: u16) -> String {
    let pid = if let HopLink::Spawned { pid } = hop.link { Some(format!("pid {pid}")) } else { None };
    named(hop, room, pid)
}

/// Returns the label of a node, and where there is room, whether it is the origin and its address.
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

/// Returns the bytes buffered at a stage.
fn buffered_text(data: &ChainSnapshot, stage: usize) -> String {
    buffered(data, stage).filter(|buffered| *buffered > 0).map_or_else(dash, |buffered| Bytes(buffered).to_string())
}

/// Returns the bytes buffered at a stage as a bar, on the scale in the heading.
fn fill(state: &UiState, data: &ChainSnapshot, stage: usize, places: &ColumnPlaces) -> String {
    let columns = places[FILL].map_or(0, |(_, room)| usize::from(room));
    let Some(buffered) = buffered(data, stage) else { return String::new() };
    let full = state.history().scale.parts(buffered, columns);
    state.theme.glyphs.full.repeat(full) + &state.theme.glyphs.rest.repeat(columns - full)
}

/// Returns the last minute as bars, the newest at the right, scaled to the maximum.
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

/// Draws a message in place of rows.
pub(crate) fn draw_message(theme: &Theme, text: &str, row: Rect, buffer: &mut Buffer) {
    Row::new(buffer, row).skip(MARGIN).put(text, theme.style(StyleRole::Dim));
}
