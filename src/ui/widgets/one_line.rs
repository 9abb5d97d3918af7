//! One-line mode of the dashboard, for small terminals: progress, rate, time left, verdict.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::header;
use crate::snapshot::{ChainSnapshot, Phase};
use crate::ui::paint::Row;
use crate::ui::state::{UiState, running};
use crate::ui::theme::StyleRole;
use crate::units::{Eta, Rate};

/// Draws the line.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let (text, role) = match &state.notice {
        Some(notice) => (notice.clone(), StyleRole::Warn),
        None => line(state, data),
    };
    Row::new(buffer, area).put(&text, state.theme.style(role));
}

fn line(state: &UiState, data: &ChainSnapshot) -> (String, StyleRole) {
    let (up, hops) = header::up(data);
    if let Some(transfer) = running(data) {
        let percent = (transfer.share() * 100.0).floor();
        if transfer.phase != Phase::Streaming {
            return (format!("{percent}% {} {up}/{hops} up", transfer.phase.label()), StyleRole::Plain);
        }
        let (rate, eta) = (Rate(transfer.rate), Eta(transfer.eta));
        return (format!("{percent}% {rate} ETA {eta} {}", data.verdict), StyleRole::Flow);
    }
    let (word, role) = header::freshness(state, data);
    let last = data.transfers.last().map_or(String::new(), |t| format!(" #{} {}", t.number, t.phase.label()));
    (format!("{word} {up}/{hops} up{last}"), role)
}
