//! Headline: a bar over the whole width while something limits the flow or is broken; a plain line while all is well.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::ChainSnapshot;
use crate::ui::finding::Severity;
use crate::ui::headline::{Headline, Hint, of};
use crate::ui::paint::{Row, width};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;

/// Columns before the sentence, with the sign of a problem.
const MARGIN: u16 = 3;
/// Columns between two keys.
const GAP: u16 = 2;

/// Draws the headline.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let theme = &state.theme;
    let headline = of(state, data);
    let (flag, text, key, label) = match headline.finding.severity() {
        Severity::Calm => {
            let [plain, key, dim] = [StyleRole::Plain, StyleRole::Key, StyleRole::Dim].map(|role| theme.style(role));
            (" ", plain, key, dim)
        }
        Severity::Warn => ("!", theme.bar(StyleRole::Warn), theme.bar(StyleRole::Warn), theme.bar(StyleRole::Warn)),
        Severity::Bad => ("!", theme.bar(StyleRole::Bad), theme.bar(StyleRole::Bad), theme.bar(StyleRole::Bad)),
    };
    let (sentence, hints) = fitting(&headline, area.width.saturating_sub(MARGIN + 1));
    Row::new(buffer, area).fill(" ", text);
    let mut row = Row::new(buffer, area);
    row.put_right(" ", text);
    for (at, hint) in hints.iter().enumerate().rev() {
        row.put_right(&format!(" {}", hint.label), label).put_right(&hint.key, key);
        row.put_right(&" ".repeat(usize::from(if at > 0 { GAP } else { 1 })), text);
    }
    row.skip(1).put(flag, text).skip(1).put(sentence, text);
}

/// Returns the longest sentence that fits with all keys; where even the shortest does not, fewer keys.
fn fitting(headline: &Headline, room: u16) -> (&str, &[Hint]) {
    let shortest = headline.sentences.last().map_or("", String::as_str);
    for count in (0..=headline.hints.len()).rev() {
        let hints = &headline.hints[..count];
        let keys: u16 = hints.iter().map(|hint| width(&hint.key) + 1 + width(hint.label) + GAP).sum();
        let fits = |text: &&String| width(text) + keys <= room;
        if let Some(text) = headline.sentences.iter().find(fits) {
            return (text, hints);
        }
    }
    (shortest, &[])
}
