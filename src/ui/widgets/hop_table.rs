//! The hop table: the client, then every hop in chain order, never re-sorted.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{header, heading};
use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot, Phase, RATE_SAMPLES};
use crate::ui::grid::{Column, Places, cell, fixed, growing, headings, place};
use crate::ui::paint::{row_of, width};
use crate::ui::state::{Panel, UiState};
use crate::ui::theme::{Theme, Tone};
use crate::units::Bytes;

const COLUMNS: [Column; 9] = [
    fixed("#", 2, true, 0),
    growing("Node", 15, 40, 0),
    fixed("State", 9, false, 0),
    fixed("Conn", 4, true, 2),
    fixed("In/s", 6, true, 1),
    fixed("Out/s", 6, true, 0),
    fixed("Bytes", 6, true, 4),
    fixed("Cap", 6, true, 5),
    growing("60 s", 8, 60, 3),
];
const NODE: usize = 1;
const STATE: usize = 2;
const CONN: usize = 3;
const BARS: usize = 8;
/// Columns before the first, for the mark.
const MARGIN: u16 = 2;

/// Draws the table; `titled` gives it a heading.
pub fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, titled: bool, buffer: &mut Buffer) {
    let theme = &state.theme;
    let focused = state.panel == Panel::Hops;
    if titled {
        heading::draw(theme, "Hops", "chain order", focused, area, buffer);
    }
    let skip = usize::from(titled);
    // The column at the right end stays free where there is room to spare.
    let edge = MARGIN + u16::from(area.width >= 60);
    let places = place(&COLUMNS, area.width.saturating_sub(edge));
    headings(buffer, inner(row_of(area, skip)), &COLUMNS, &places, theme.style(Tone::Dim));
    let marked = state.hop(data).map_or(0, |hop| hop.number);
    let rows = usize::from(area.height).saturating_sub(skip + 1);
    // Where the chain has to scroll, the client gives up its row to a hop.
    let client = rows > data.hops.len();
    if client {
        client_row(theme, data, &places, row_of(area, skip + 1), buffer);
    }
    let above = skip + 1 + usize::from(client);
    let room = rows - usize::from(client);
    let first = heading::first_shown(data.hops.len(), room, marked.saturating_sub(1));
    for (i, hop) in data.hops.iter().skip(first).take(room).enumerate() {
        let row = row_of(area, above + i);
        let mark = (hop.number == marked).then_some(focused);
        heading::mark(theme, mark, row, buffer);
        hop_row(theme, hop, mark == Some(true), &places, row, buffer);
    }
}

fn inner(row: Rect) -> Rect {
    let margin = MARGIN.min(row.width);
    Rect { x: row.x + margin, width: row.width - margin, ..row }
}

fn client_row(theme: &Theme, data: &ChainSnapshot, places: &Places<9>, row: Rect, buffer: &mut Buffer) {
    let active: Vec<_> = data.transfers.iter().filter(|t| !t.phase.is_over()).collect();
    let rate: u64 = active.iter().filter(|t| t.phase == Phase::Streaming).map(|t| t.rate).sum();
    let bytes: u64 = data.transfers.iter().map(|t| t.received).sum();
    let texts = [
        "c".to_owned(),
        "client (this program)".to_owned(),
        if active.is_empty() { "idle" } else { "fetch" }.to_owned(),
        active.len().to_string(),
        figure(rate),
        if rate > 0 { "disk" } else { "-" }.to_owned(),
        Bytes(bytes).to_string(),
        "-".to_owned(),
        String::new(),
    ];
    for (i, text) in texts.iter().enumerate() {
        let tone = if i == NODE || i == 0 { Tone::Plain } else { number_tone(text) };
        cell(buffer, inner(row), COLUMNS[i], places[i], text, theme.style(tone));
    }
}

fn hop_row(theme: &Theme, hop: &HopSnapshot, marked: bool, places: &Places<9>, row: Rect, buffer: &mut Buffer) {
    let name = places[NODE].map(|(_, room)| node(hop, room)).unwrap_or_default();
    let (word, word_tone) = state_word(hop);
    let plain = if marked { Tone::Mark } else { Tone::Plain };
    let texts = [hop.number.to_string(), name, word];
    for (i, (text, tone)) in texts.iter().zip([plain, plain, word_tone]).enumerate() {
        cell(buffer, inner(row), COLUMNS[i], places[i], text, theme.style(tone));
    }
    if let HopLink::Down { reason } = &hop.link {
        // The reason stands where figures would: all of them would be blank.
        let after = places[STATE].map_or(0, |(x, width)| x + width + 2);
        let room = inner(row).width.saturating_sub(after + 1);
        let column = fixed("", room, false, 0);
        return cell(buffer, inner(row), column, Some((after, room)), reason.as_str(), theme.style(Tone::Bad));
    }
    for (i, text) in figures(hop).iter().enumerate() {
        let column = CONN + i;
        cell(buffer, inner(row), COLUMNS[column], places[column], text, theme.style(number_tone(text)));
    }
    if let Some((_, room)) = places[BARS] {
        let bars = sparkline(theme, &hop.history, usize::from(room));
        cell(buffer, inner(row), COLUMNS[BARS], places[BARS], &bars, theme.style(Tone::Flow));
    }
}

/// Connections, in, out, bytes, cap; dashes for a hop that does not report.
fn figures(hop: &HopSnapshot) -> [String; 5] {
    let Some(node) = &hop.node else { return ["-"; 5].map(str::to_owned) };
    let way_in = if hop.origin && hop.rate_out > 0 { "disk".to_owned() } else { figure(hop.rate_in) };
    let cap = node.dials.limit.map_or("-".to_owned(), |limit| Bytes(limit).to_string());
    [node.totals.open.to_string(), way_in, figure(hop.rate_out), Bytes(node.totals.flow.bytes_out).to_string(), cap]
}

fn figure(rate: u64) -> String {
    if rate == 0 { "-".to_owned() } else { Bytes(rate).to_string() }
}

fn number_tone(text: &str) -> Tone {
    if matches!(text, "-" | "0") { Tone::Dim } else { Tone::Plain }
}

fn state_word(hop: &HopSnapshot) -> (String, Tone) {
    if header::is_stale(hop) && hop.link.is_up() {
        let seconds = hop.age.as_secs();
        let age = if seconds < 100 { format!("{seconds}s") } else { format!("{}m", (seconds / 60).min(99)) };
        return (format!("stale {age}"), Tone::Warn);
    }
    if hop.node.as_ref().is_some_and(|node| node.draining) {
        return ("draining".to_owned(), Tone::Warn);
    }
    let tone = match hop.link {
        HopLink::Spawned { .. } | HopLink::Attached => Tone::Good,
        HopLink::Original | HopLink::Foreign => Tone::Plain,
        HopLink::Starting => Tone::Warn,
        HopLink::Unknown | HopLink::Detached => Tone::Dim,
        HopLink::Down { .. } => Tone::Bad,
    };
    (hop.link.word().to_owned(), tone)
}

/// The node's label, then what else there is room for: whether it serves, its address, its process.
fn node(hop: &HopSnapshot, room: u16) -> String {
    let mut text = if hop.label.as_str().is_empty() { hop.address.to_string() } else { hop.label.to_string() };
    let address = (hop.label != hop.address).then(|| hop.address.to_string());
    let pid = if let HopLink::Spawned { pid } = hop.link { Some(format!("pid {pid}")) } else { None };
    for more in [hop.origin.then(|| "origin".to_owned()), address, pid].into_iter().flatten() {
        if width(&text) + 2 + width(&more) <= room {
            text.push_str("  ");
            text.push_str(&more);
        }
    }
    text
}

/// The last minute in so many bars, newest at the right, scaled to its own highest.
fn sparkline(theme: &Theme, history: &[u64], bars: usize) -> String {
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
