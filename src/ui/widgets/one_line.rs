//! One-line mode of the dashboard, for small terminals: progress, rate, time left, and the headline.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::header;
use crate::snapshot::{ChainSnapshot, Phase};
use crate::ui::finding::{Finding, Severity, sentences};
use crate::ui::paint::{Row, width};
use crate::ui::state::{UiState, running};
use crate::ui::theme::StyleRole;
use crate::units::{Eta, Rate};

/// Draws the line.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if let Some(notice) = &state.notice {
        Row::new(buffer, area).put(notice, state.theme.style(StyleRole::Warn));
        return;
    }
    let finding = Finding::of(data);
    let (all, figures) = (sentences(&finding, data), figures(state, data));
    let fits = |figures: &str, sentence: &String| width(figures) + width(sentence) <= area.width;
    // The figures leave room for the shortest sentence, and the longest that fits beside them is used.
    let shortest = all.last().cloned().unwrap_or_default();
    let figures = figures.iter().find(|figures| fits(figures, &shortest)).map_or("", String::as_str);
    let sentence = all.iter().find(|sentence| fits(figures, sentence)).unwrap_or(&shortest);
    let role = match finding.severity() {
        Severity::Calm => StyleRole::Plain,
        Severity::Warn => StyleRole::Warn,
        Severity::Bad => StyleRole::Bad,
    };
    let mut row = Row::new(buffer, area);
    row.put(figures, state.theme.style(StyleRole::Flow)).put(sentence, state.theme.style(role));
}

/// Returns the figures before the sentence, from all of them to few.
fn figures(state: &UiState, data: &ChainSnapshot) -> Vec<String> {
    let (up, hops) = header::up(data);
    if let Some(transfer) = running(data) {
        let percent = transfer.percent();
        if transfer.phase != Phase::Streaming {
            return vec![format!("{percent}% {up}/{hops} up "), format!("{percent}% ")];
        }
        let rate = format!("{percent}% {} ", Rate(transfer.rate));
        return vec![format!("{rate}ETA {} ", Eta(transfer.eta)), rate, format!("{percent}% ")];
    }
    let (word, _) = header::freshness(state, data);
    vec![format!("{word} {up}/{hops} up "), format!("{up}/{hops} up ")]
}
