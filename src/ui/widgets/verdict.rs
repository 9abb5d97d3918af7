//! Verdict line: what limits the chain; when idle, the verdict on the last transfer or the key to press.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::verdict::{FaultKind, Limit, Verdict};
use crate::snapshot::{ChainSnapshot, Phase};
use crate::ui::paint::Row;
use crate::ui::state::{UiState, running};
use crate::ui::theme::StyleRole;

/// Draws the verdict line.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let (text, role) = sentence(data);
    let theme = &state.theme;
    let flag = if role == StyleRole::Warn { "!" } else { " " };
    Row::new(buffer, area).skip(1).put(flag, theme.style(StyleRole::Warn)).skip(1).put(&text, theme.style(role));
}

/// Returns the sentence, with its style.
fn sentence(data: &ChainSnapshot) -> (String, StyleRole) {
    if let Some(transfer) = running(data) {
        // An injected stall takes precedence over the stall that it causes.
        let injected = matches!(data.verdict.limit, Limit::Fault { fault: FaultKind::Stall, .. });
        if let Some(stall) = transfer.stall.filter(|_| !injected) {
            let moved = stall.last_moved.map_or_else(String::new, |hop| format!("; hop {hop} moved data last"));
            let lasting = stall.lasting.as_secs_f64();
            return (format!("#{} stalled for {lasting:.1} s{moved}", transfer.number), StyleRole::Warn);
        }
        return (data.verdict.to_string(), role(&data.verdict));
    }
    if let Some(others) = &data.others {
        return (format!("other clients: {others}"), role(others));
    }
    if let Some(last) = data.transfers.last() {
        if let (Phase::Done, Some(verdict)) = (last.phase, &last.verdict)
            && verdict.limit != Limit::Measuring
        {
            return (format!("#{} finished: {verdict}", last.number), StyleRole::Plain);
        }
        return ("idle".to_owned(), StyleRole::Dim);
    }
    (format!("idle: press f to fetch {}", data.file), StyleRole::Plain)
}

fn role(verdict: &Verdict) -> StyleRole {
    match verdict.limit {
        Limit::Measuring => StyleRole::Dim,
        Limit::Balanced => StyleRole::Plain,
        _ => StyleRole::Warn,
    }
}
