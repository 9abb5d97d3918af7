//! Draws the screen: a pure function of state, snapshot and area that calls the widget of each region.
//!
//! ```text
//!  chainview   1 Chain   2 Connections   …      demo   LIVE   3/3 up    header
//!  ! hop 2 is the bottleneck: …                        ! change it      headline
//!  client ◀━━━ 41.2 MB/s ━━━ 1 :7001 ◀━━━ 41.3 MB/s ━━━ 2 origin            chain
//! ▎ Hops ─────────────────────────────────────────────────────────────  hop_table
//!   #  Node                  State     Conn    In/s   Out/s   60 s
//! ▎ Transfers ────────────────────────── 4 running, 8 queued · 31% ────  transfers
//! ▎ Connections of hop 1 ──────────────────────────────── 3 of 3 ─────  connections
//! ▎ Throughput out of hop 1, 60 s ───────  ▎ #3 setup, ms ────────────  chart, setup
//! ▎ Finished ─────────────────────────────────────────────────────────  transfers
//! ▎ Log ──────────────────────────────────────────────────────────────  log
//! ▎Demo 1/4 Rate limit: hop 2 sends at most 4.0 MB/s              0:09  caption, in the demo
//!  which file? name█                                                    prompt, while a line is typed
//!  f fetch  n fetch a name                            ? help  q quit    footer
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::geometry::popup_area;
use super::layout::is_small;
use super::state::{Mode, UiState};
use super::svg;
use super::widgets::{
    caption, chain, chart, connections, copy_menu, faults, footer, header, headline, heat, help, hop_table, log, nodes,
    one_line, page, palette, picker, prompt, remote_files, settings, setup, transfers,
};
use crate::snapshot::ChainSnapshot;

/// Draws the whole screen.
pub fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    if area.is_empty() {
        return;
    }
    buffer.set_style(area, state.theme.base());
    if is_small(area) {
        let line = Rect { height: 1, ..area };
        match state.mode {
            Mode::Browse => one_line::draw(state, data, line, buffer),
            Mode::ConfirmQuit => footer::draw(state, data, line, buffer),
            _ => popup(state, data, line, area, buffer),
        }
        return;
    }
    let r = state.layout(area, data.hops.len());
    header::draw(state, data, r.header, buffer);
    headline::draw(state, data, r.headline, buffer);
    chain::draw(state, data, r.chain, buffer);
    hop_table::draw(state, data, r.hops, r.hops_titled, buffer);
    connections::draw(state, data, r.connections, buffer);
    if r.in_columns {
        chart::draw_all(state, data, r.chart, buffer);
    } else {
        chart::draw(state, data, r.chart, buffer);
    }
    heat::draw(state, data, r.waits, buffer);
    setup::draw(state, data, r.setup, buffer);
    transfers::draw(state, data, &r, buffer);
    nodes::draw(state, data, r.nodes, buffer);
    log::draw(state, data, r.log, buffer);
    page::draw(state, data, r.detail, r.in_columns, buffer);
    caption::draw(state, data, r.caption, buffer);
    footer::draw(state, data, r.footer, buffer);
    popup(state, data, Rect { y: area.bottom() - 2, height: 1, ..area }, popup_area(area), buffer);
}

/// Scrolls a detail page to a file that was selected, back as far as it has become shorter, and not past its end.
pub fn limit_scroll(state: &mut UiState, data: &ChainSnapshot) {
    if state.take_file_to_follow() {
        let area = state.layout(state.area, data.hops.len()).detail;
        state.page_top = page::top_for_file(state, data, area).unwrap_or(state.page_top);
    }
    if state.page_top > 0 {
        let area = state.layout(state.area, data.hops.len()).detail;
        state.page_top = state.page_top.min(page::max_top(state, data, area));
    }
}

/// Returns the current screen as SVG.
pub fn screenshot(state: &UiState, data: &ChainSnapshot) -> String {
    let mut buffer = Buffer::empty(state.area);
    draw(state, data, state.area, &mut buffer);
    svg::render(&buffer, &state.theme)
}

/// Draws the open popup, if any: a prompt on one row, lists above it.
fn popup(state: &UiState, data: &ChainSnapshot, line: Rect, area: Rect, buffer: &mut Buffer) {
    match &state.mode {
        Mode::Help { .. } => help::draw(state, data, area, buffer),
        Mode::Line(_) => {
            remote_files::draw(state, data, Rect { height: line.y.saturating_sub(area.y), ..area }, buffer);
            prompt::draw(state, line, buffer);
        }
        Mode::Palette { .. } => palette::draw(state, data, area, buffer),
        Mode::Columns { .. } => picker::draw_columns(state, area, buffer),
        Mode::Sort { .. } => picker::draw_sort(state, area, buffer),
        Mode::Faults { .. } => faults::draw(state, data, area, buffer),
        Mode::Settings { .. } => settings::draw(state, area, buffer),
        Mode::Copy { .. } => copy_menu::draw(state, data, area, buffer),
        Mode::Browse | Mode::ConfirmQuit => {}
    }
}
