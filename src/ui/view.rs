//! Splits the screen into regions and calls the widget of each: a pure function of state, snapshot and area.
//!
//! ```text
//!  chainview   demo                        LIVE   3/3 up   1 active     header
//!  client ◀━━━ 41.2M/s ━━━ 1 :7001 ◀━━━ 41.3M/s ━━━ 2 origin            chain
//!  ! slowest: …                                                         verdict
//! ▎ Hops ────────────────────────────────────────────── chain order ──  hop_table
//!   #  Node                  State     Conn    In/s   Out/s   60 s
//! ▎ Connections of hop 1 ──────────────────────────────── 3 of 3 ─────  connections
//! ▎ Transfers ────────────────────────────────────────────────────────  transfers
//! ▎ Log ──────────────────────────────────────────────────────────────  log
//!  which file? name█                                                    prompt, while one is open
//!  f fetch  n fetch a name                            ? help  q quit    footer
//! ```
//!
//! Heights depend on the terminal's height and the number of hops alone, so that rows never jump while data flows.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::state::{Mode, UiState};
use super::widgets::{chain, connections, footer, header, help, hop_table, log, prompt, short, transfers, verdict};
use crate::snapshot::ChainSnapshot;

/// Below this size one line says all.
const SMALLEST: (u16, u16) = (40, 8);
/// From this height every panel has its heading.
const TALL: u16 = 28;
/// From this height the chain line and the connections have room.
const MEDIUM: u16 = 18;

/// Where each region stands; one without height is not drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regions {
    header: Rect,
    chain: Rect,
    verdict: Rect,
    hops: Rect,
    connections: Rect,
    transfers: Rect,
    log: Rect,
    footer: Rect,
}

/// Draws the whole screen.
pub fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    if area.is_empty() {
        return;
    }
    if is_small(area) {
        let line = Rect { height: 1, ..area };
        return match state.mode {
            Mode::Prompt { .. } => prompt::draw(state, line, buffer),
            Mode::Help { .. } => help::draw(state, data, help_area(area), buffer),
            Mode::Browse => short::draw(state, data, line, buffer),
        };
    }
    let tall = area.height >= TALL;
    let regions = split(area, data.hops.len());
    header::draw(state, data, regions.header, buffer);
    chain::draw(state, data, regions.chain, buffer);
    verdict::draw(state, data, regions.verdict, buffer);
    hop_table::draw(state, data, regions.hops, tall, buffer);
    connections::draw(state, data, regions.connections, buffer);
    transfers::draw(state, data, regions.transfers, buffer);
    log::draw(state, data, regions.log, tall, buffer);
    footer::draw(state, data, regions.footer, buffer);
    match state.mode {
        Mode::Help { .. } => help::draw(state, data, help_area(area), buffer),
        Mode::Prompt { .. } => prompt::draw(state, Rect { y: area.bottom() - 2, height: 1, ..area }, buffer),
        Mode::Browse => {}
    }
}

/// Where the list of keys may lie: over all but the footer, which goes on telling the keys.
pub fn help_area(area: Rect) -> Rect {
    if is_small(area) { area } else { Rect { height: area.height - 1, ..area } }
}

fn is_small(area: Rect) -> bool {
    area.width < SMALLEST.0 || area.height < SMALLEST.1
}

/// Hands out the rows, from the top. What a region cannot do without comes first; what is left over is shared.
fn split(area: Rect, hops: usize) -> Regions {
    let tall = area.height >= TALL;
    let medium = area.height >= MEDIUM;
    let one = |wanted: bool| u16::from(wanted);
    let bars = 3 + one(medium);
    let room = area.height - bars;
    // Heading, column titles, the client and the hops; a longer chain scrolls rather than push the rest out.
    let table = u16::try_from(hops).unwrap_or(u16::MAX).saturating_add(2 + one(tall));
    let least_rest = if medium { room.div_ceil(2) } else { 3.min(room - 3) };
    let table = table.min(room - least_rest);
    let rest = room - table;
    let (connections, transfers, log) = if medium {
        let connections = (rest * 2 / 5).max(4);
        let transfers = ((rest - connections) / 2).max(2);
        (connections, transfers, rest - connections - transfers)
    } else {
        let log = rest * 2 / 5;
        (0, rest - log, log)
    };
    let mut y = area.y;
    let mut take = |height: u16| {
        let region = Rect { y, height, ..area };
        y += height;
        region
    };
    Regions {
        header: take(1),
        chain: take(one(medium)),
        verdict: take(1),
        hops: take(table),
        connections: take(connections),
        transfers: take(transfers),
        log: take(log),
        footer: take(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_belongs_to_exactly_one_region() {
        for height in SMALLEST.1..=100 {
            for hops in [0, 1, 3, 10, 32] {
                let r = split(Rect::new(0, 0, 80, height), hops);
                let all = [r.header, r.chain, r.verdict, r.hops, r.connections, r.transfers, r.log, r.footer];
                let mut y = 0;
                for region in all {
                    assert_eq!(region.y, y, "{height} rows, {hops} hops");
                    y += region.height;
                }
                assert_eq!(y, height, "{hops} hops");
                assert!(r.hops.height >= 2 && r.transfers.height >= 2, "{height} rows, {hops} hops: {r:?}");
            }
        }
    }
}
