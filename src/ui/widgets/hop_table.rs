//! Hop table: the client and the hops in chain order, never re-sorted, so that a hop keeps its position.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{header, heading, locked, time_bar};
use crate::snapshot::{ChainSnapshot, DownReason, HopLink, HopSnapshot, RATE_SAMPLES};
use crate::ui::columns::{HOPS, MainWait, dash, ms, rate};
use crate::ui::fill::buffered;
use crate::ui::finding::{Finding, Place, cause_word};
use crate::ui::focus::Panel;
use crate::ui::geometry::{MARGIN, hop_rows};
use crate::ui::grid::{Column, ColumnPlaces, cell, fixed, headings, place};
use crate::ui::history::ChartSpan;
use crate::ui::paint::{Row, row_of, width};
use crate::ui::state::UiState;
use crate::ui::theme::{StyleRole, Theme};
use crate::ui::time_shares::TimeShares;
use crate::units::{Bytes, Count, short_rate};

const NODE: usize = 1;
const STATE: usize = 2;
const CONN: usize = 3;
const FILL: usize = 7;
const TIME: usize = 11;
const MOSTLY: usize = 12;
const BARS: usize = 13;

/// Columns of the heading that are not for its remark.
const HEADED: u16 = 10;

/// Draws the table; `titled` gives it a heading.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, titled: bool, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let theme = &state.theme;
    let focused = state.panel == Panel::Hops;
    let body = hop_rows(area, titled, data.hops.len());
    let visible = state.visible_hops(data, usize::from(body.height));
    let above = (0..state.row_of(Panel::Hops, data)).filter(|row| !visible.contains(row)).count();
    let hidden = heading::hidden_rows(theme, above, visible.len(), data.hops.len());
    if titled {
        let legend = time_bar::legend(theme);
        let remark = heading::joined(&[legend], &hidden, "   ", area.width.saturating_sub(HEADED));
        heading::draw(theme, "Hops", &remark, focused, area, buffer);
    }
    let finding = Finding::of(data);
    let columns = columns(state, area.width);
    let places = places(state, &columns, area);
    let styles = [theme.style(StyleRole::Dim), theme.style(StyleRole::Key)];
    let titles = Rect { y: area.y + u16::from(titled), height: 1, ..area };
    headings(buffer, inner(titles), &columns, &places, None, styles);
    if !titled && !hidden.is_empty() {
        Row::new(buffer, titles).put_right(&format!(" {hidden}"), theme.style(StyleRole::Key));
    }
    if body.y > titles.y + 1 {
        let row = Rect { y: titles.y + 1, height: 1, ..area };
        client_row(state, data, &finding, &places, row, buffer);
    }
    let selected = state.hop(data).map_or(0, |hop| hop.number);
    for (i, hop) in visible.iter().filter_map(|at| data.hops.get(*at)).enumerate() {
        let row = row_of(body, i);
        let selection = (hop.number == selected).then_some(focused);
        heading::selection(theme, selection, row, buffer);
        hop_row(state, data, hop, &finding, selection == Some(true), &places, row, buffer);
    }
}

/// Returns the columns at this width: the share of time has more room on a wider screen.
fn columns(state: &UiState, width: u16) -> [Column; HOPS.len()] {
    let mut columns = HOPS;
    columns[FILL].title = state.history().scale.title();
    let (bar, title) = match width {
        ..60 => (4, "Time"),
        60..100 => (8, "Time"),
        100..160 => (12, "Time spent"),
        160.. => (24, "Time spent, last second"),
    };
    (columns[TIME].width, columns[TIME].max_width, columns[TIME].title) = (bar, bar, title);
    (columns[MOSTLY].width, columns[MOSTLY].max_width) = if width < 60 { (14, 14) } else { (16, 16) };
    columns
}

fn places(state: &UiState, columns: &[Column], area: Rect) -> ColumnPlaces {
    // With room to spare, the last column stays free.
    let edge = MARGIN + u16::from(area.width >= 100);
    place(columns, state.hidden[0], area.width.saturating_sub(edge))
}

/// Returns a row without its margin.
pub(crate) fn inner(row: Rect) -> Rect {
    let margin = MARGIN.min(row.width);
    Rect { x: row.x + margin, width: row.width - margin, ..row }
}

fn client_row(
    state: &UiState,
    data: &ChainSnapshot,
    finding: &Finding,
    places: &ColumnPlaces,
    row: Rect,
    buffer: &mut Buffer,
) {
    let theme = &state.theme;
    let active = data.transfers.iter().filter(|t| !t.phase.is_over()).count();
    let moving = state.history().client_rate(data);
    let bytes: u64 = data.transfers.iter().map(|t| t.received).sum();
    let is_cause = finding.place() == Some(Place::Stage(0));
    let texts = [
        "c".to_owned(),
        "client".to_owned(),
        if active == 0 { "idle" } else { "fetch" }.to_owned(),
        active.to_string(),
        rate(Some(moving)),
        if moving > 0 { "disk" } else { "-" }.to_owned(),
        buffered_text(data, 0),
        fill(state, data, 0, places),
        Bytes(bytes).to_string(),
        dash(),
        dash(),
    ];
    for (i, text) in texts.iter().enumerate() {
        let role = if i <= NODE { name_role(is_cause, false) } else { role_of(i, text) };
        cell(buffer, inner(row), HOPS[i], places[i], text, theme.style(role));
    }
    mark(theme, is_cause, row, buffer);
    let shares = client_shares(state);
    let word = match shares {
        _ if is_cause => cause_word(finding, data),
        None => dash(),
        Some(shares) => match shares.main() {
            MainWait::Starved => waits_for(1),
            MainWait::Blocked => "disk".to_owned(),
            MainWait::Limited => "own rate limit".to_owned(),
            MainWait::Disk | MainWait::Nothing => "busy".to_owned(),
        },
    };
    time(state, shares, &word, is_cause, places, row, buffer);
    let bars = sparkline(theme, &state.history().samples_of(data, 0, ChartSpan::Minute), places);
    cell(buffer, inner(row), HOPS[BARS], places[BARS], &bars, theme.style(StyleRole::Flow));
}

/// Returns how the client spent the last second.
pub(crate) fn client_shares(state: &UiState) -> Option<TimeShares> {
    let flow = state.history().client_flow()?;
    let share = |us: u64| Some(us as f64 / flow.active_us as f64);
    TimeShares::of(share(flow.starved_us), share(flow.blocked_us), share(flow.limited_us))
}

#[expect(clippy::too_many_arguments, reason = "a row is drawn from all of these")]
fn hop_row(
    state: &UiState,
    data: &ChainSnapshot,
    hop: &HopSnapshot,
    finding: &Finding,
    selected: bool,
    places: &ColumnPlaces,
    row: Rect,
    buffer: &mut Buffer,
) {
    let theme = &state.theme;
    let is_cause = !hop.extra
        && match finding.place() {
            Some(Place::Stage(stage)) => stage == hop.number,
            Some(Place::Link { from, .. }) => from == hop.number,
            None => false,
        };
    let name = places[NODE].map(|(_, columns)| locked(theme, !hop.key.is_empty(), columns, |room| node(hop, room)));
    let name = name.unwrap_or_default();
    let (word, word_role) = state_label(hop);
    let plain = name_role(is_cause, selected);
    let texts = [hop.number.to_string(), name, word.clone()];
    for (i, (text, role)) in texts.iter().zip([plain, plain, word_role]).enumerate() {
        cell(buffer, inner(row), HOPS[i], places[i], text, theme.style(role));
    }
    mark(theme, is_cause, row, buffer);
    if let HopLink::Down { reason } = &hop.link {
        // The reason replaces the figures, which are unknown.
        return draw_reason(theme, reason, places, STATE, row, buffer);
    }
    for (i, text) in figures(state, data, hop, places).iter().enumerate() {
        let column = CONN + i;
        cell(buffer, inner(row), HOPS[column], places[column], text, theme.style(role_of(column, text)));
    }
    let shares = TimeShares::of(hop.starved_share, hop.blocked_share, hop.limited_share);
    // Where the column of the state has no room, a state that differs from the usual one is shown here.
    let unusual = (places[STATE].is_none() && word_role != StyleRole::Good).then_some(word);
    let word = if is_cause { cause_word(finding, data) } else { unusual.unwrap_or_else(|| main_word(hop, shares)) };
    time(state, shares, &word, is_cause, places, row, buffer);
    let bars = sparkline(theme, &hop.history, places);
    cell(buffer, inner(row), HOPS[BARS], places[BARS], &bars, theme.style(StyleRole::Flow));
}

/// Draws the mark of the row that is the cause of the headline, beside the sign of the selection.
fn mark(theme: &Theme, is_cause: bool, row: Rect, buffer: &mut Buffer) {
    if is_cause {
        Row::new(buffer, row).skip(1).put(theme.glyphs.cause, theme.style(StyleRole::Cause));
    }
}

/// Returns the style of a number and a name: the cause of the headline stands out by color and weight.
fn name_role(is_cause: bool, selected: bool) -> StyleRole {
    match () {
        () if is_cause => StyleRole::Cause,
        () if selected => StyleRole::Selected,
        () => StyleRole::Plain,
    }
}

/// Returns what a hop mostly waits for, in words.
fn main_word(hop: &HopSnapshot, shares: Option<TimeShares>) -> String {
    let rate_limit = hop.node.as_ref().and_then(|node| node.faults.limit);
    let wait = shares.map(TimeShares::main);
    match (wait, rate_limit) {
        (Some(MainWait::Limited | MainWait::Nothing), Some(rate)) => format!("limit {}", short_rate(rate)),
        // No traffic: it limits nothing now.
        (None, Some(rate)) => format!("(limit {})", short_rate(rate)),
        (Some(MainWait::Limited), None) => "own rate limit".to_owned(),
        (Some(MainWait::Starved), _) if hop.origin => "disk".to_owned(),
        (Some(MainWait::Starved), _) => waits_for(hop.number + 1),
        (Some(MainWait::Blocked), _) if hop.number == 1 => "blocked by client".to_owned(),
        (Some(MainWait::Blocked), _) => format!("blocked by hop {}", hop.number - 1),
        (Some(MainWait::Disk), _) => "disk".to_owned(),
        (Some(MainWait::Nothing), None) => "busy".to_owned(),
        (None, None) => dash(),
    }
}

/// Returns that a stage waits for the input from a hop.
fn waits_for(hop: usize) -> String {
    format!("waits for hop {hop}")
}

/// Draws how a stage spent its time, as a bar and in words; dashes where that is unknown.
fn time(
    state: &UiState,
    shares: Option<TimeShares>,
    word: &str,
    is_cause: bool,
    places: &ColumnPlaces,
    row: Rect,
    buffer: &mut Buffer,
) {
    let theme = &state.theme;
    if let Some((x, width)) = places[TIME] {
        let area = inner(row);
        let bar = Rect { x: area.x + x, width: width.min(area.width.saturating_sub(x)), ..area };
        match shares {
            Some(shares) => time_bar::draw(theme, shares, &mut Row::new(buffer, bar)),
            None => {
                Row::new(buffer, bar).put("-", theme.style(StyleRole::Dim));
            }
        }
    }
    let role = if is_cause { StyleRole::Cause } else { StyleRole::Dim };
    let room = places[MOSTLY].map_or(0, |(_, room)| room);
    let short = [word.replace(" hop ", " "), word.replace("blocked by ", "by "), word.replace("limit ", "")];
    let word =
        short.iter().map(String::as_str).find(|short| width(word) > room && width(short) <= room).unwrap_or(word);
    cell(buffer, inner(row), fixed("", room, false, 0), places[MOSTLY], word, theme.style(role));
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
    let after = places[state].or(places[NODE]).map_or(0, |(x, width)| x + width + 2);
    let room = inner(row).width.saturating_sub(after + 1);
    // The state is a column of its own where that has room.
    let text = if places[state].is_some() { reason.to_string() } else { format!("down: {reason}") };
    cell(buffer, inner(row), fixed("", room, false, 0), Some((after, room)), &text, theme.style(down_role(reason)));
}

/// Returns the style of a reason: a requested stop is not a failure.
fn down_role(reason: &DownReason) -> StyleRole {
    if reason.is_requested() { StyleRole::Warn } else { StyleRole::Bad }
}

/// Returns the columns from the connections to the retransmits; dashes for a hop that does not report.
fn figures(state: &UiState, data: &ChainSnapshot, hop: &HopSnapshot, places: &ColumnPlaces) -> [String; TIME - CONN] {
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
    ]
}

fn role_of(column: usize, text: &str) -> StyleRole {
    match text {
        "-" | "0" => StyleRole::Dim,
        _ if column == FILL => StyleRole::Flow,
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
