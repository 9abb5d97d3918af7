//! Chain line: the client at the left, the origin at the right, and the rate of every link.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot};
use crate::ui::fill::buffered;
use crate::ui::paint::{Row, width};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;
use crate::units::{Bytes, Rate};

/// Level of detail; the first that fits is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// Long links, rates with their unit, names.
    Full,
    /// Short links, names.
    Names,
    /// Short links, numbers.
    Numbers,
    /// No links, rates and numbers.
    Rates,
    /// Numbers only.
    Bare,
}

/// Maximum width of a hop's name in this line.
const NAME: usize = 16;

/// Draws the chain line.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let details = [Detail::Full, Detail::Names, Detail::Numbers, Detail::Rates];
    let detail = details.into_iter().find(|d| needed(data, *d) <= area.width).unwrap_or(Detail::Bare);
    let mut row = Row::new(buffer, area);
    row.skip(1).put(client_name(detail), theme.style(StyleRole::Title));
    fill(state, data, 0, detail, &mut row);
    for (i, hop) in chain_hops(data).enumerate() {
        link(state, data, i, detail, &mut row);
        let is_limit = data.active_verdict().limit.stage() == Some(hop.number);
        let role = match &hop.link {
            HopLink::Down { .. } => StyleRole::Bad,
            _ if is_limit => StyleRole::Warn,
            _ => StyleRole::Title,
        };
        row.put(if is_limit { "!" } else { " " }, theme.style(StyleRole::Warn));
        row.put(&hop_name(hop, detail), theme.style(role));
        fill(state, data, i + 1, detail, &mut row);
    }
    if detail != Detail::Bare {
        let full = theme.glyphs.bars[theme.glyphs.bars.len() - 1];
        row.put_right(&format!(" {full}={} ", state.history().scale.name()), theme.style(StyleRole::Dim));
    }
}

/// Returns the hops of the chain, without the watched nodes, which follow them in the list.
fn chain_hops(data: &ChainSnapshot) -> impl Iterator<Item = &HopSnapshot> {
    data.hops.iter().take_while(|hop| !hop.extra)
}

/// Draws the buffered bytes of a stage as one column after its name.
fn fill(state: &UiState, data: &ChainSnapshot, stage: usize, detail: Detail, row: &mut Row<'_>) {
    if detail == Detail::Bare {
        return;
    }
    let bars = &state.theme.glyphs.bars;
    let height = buffered(data, stage).map_or(0, |buffered| state.history().scale.parts(buffered, bars.len()));
    row.put(height.checked_sub(1).map_or(" ", |at| bars[at]), state.theme.style(StyleRole::Flow));
}

/// Returns the bytes per second from the hop with this index to the stage before it, preferably as the receiver counts.
fn link_rate(state: &UiState, data: &ChainSnapshot, index: usize) -> Option<u64> {
    if index == 0 {
        return Some(state.history().client_rate(data));
    }
    let receiver = &data.hops[index - 1];
    let sender = &data.hops[index];
    receiver.node.as_ref().map(|_| receiver.rate_in).or(sender.node.as_ref().map(|_| sender.rate_out))
}

fn link(state: &UiState, data: &ChainSnapshot, index: usize, detail: Detail, row: &mut Row<'_>) {
    let (theme, g) = (&state.theme, &state.theme.glyphs);
    let rate = link_rate(state, data, index);
    let down = matches!(data.hops[index].link, HopLink::Down { .. });
    let is_limit = data.active_verdict().limit.link() == Some(index + 1);
    let flows = rate.is_some_and(|r| r > 0) && !down;
    let role = match flows {
        _ if down => StyleRole::Bad,
        _ if is_limit => StyleRole::Warn,
        true => StyleRole::Flow,
        false => StyleRole::Dim,
    };
    let style = theme.style(role);
    let line = if flows && !is_limit { g.line } else { g.idle };
    let flag = if is_limit { "!" } else { " " };
    let figure = match rate {
        _ if down => "down".to_owned(),
        Some(0) => "-".to_owned(),
        None => "?".to_owned(),
        Some(rate) if detail == Detail::Full => Rate(rate).to_string(),
        Some(rate) => Bytes(rate).to_string(),
    };
    row.skip(1).put(g.arrow, style);
    match detail {
        Detail::Full => {
            row.repeat(line, 3, style).skip(1).cell_right(10, &figure, style);
            row.put(flag, theme.style(StyleRole::Warn)).repeat(line, 3, style);
        }
        Detail::Names | Detail::Numbers => {
            row.put(line, style).cell_right(8, &figure, style).put(if is_limit { "!" } else { line }, style);
        }
        Detail::Rates => {
            row.cell_right(8, &figure, style);
        }
        Detail::Bare => {}
    }
}

fn client_name(detail: Detail) -> &'static str {
    match detail {
        Detail::Full | Detail::Names => "client",
        Detail::Numbers | Detail::Rates | Detail::Bare => "c",
    }
}

fn hop_name(hop: &HopSnapshot, detail: Detail) -> String {
    match detail {
        Detail::Full | Detail::Names => format!("{} {}", hop.number, short_name(hop)),
        Detail::Numbers | Detail::Rates | Detail::Bare => hop.number.to_string(),
    }
}

/// Returns a short name of a hop: its label, `origin`, its port on this machine, or its host.
fn short_name(hop: &HopSnapshot) -> String {
    if hop.label != hop.address && !hop.label.as_str().is_empty() {
        return hop.label.as_str().chars().take(NAME).collect();
    }
    if hop.origin {
        return "origin".to_owned();
    }
    let address = hop.address.as_str();
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    if host.starts_with("127.") || host == "localhost" || host == "[::1]" {
        return format!(":{port}");
    }
    host.chars().take(NAME).collect()
}

fn needed(data: &ChainSnapshot, detail: Detail) -> u16 {
    let link = match detail {
        Detail::Full => 20,
        Detail::Names | Detail::Numbers => 12,
        Detail::Rates => 10,
        Detail::Bare => 2,
    };
    let fill = u16::from(detail != Detail::Bare);
    let hops = chain_hops(data).map(|hop| link + 1 + width(&hop_name(hop, detail)) + fill);
    // One column is free at either end.
    2 + fill + width(client_name(detail)) + hops.sum::<u16>()
}
