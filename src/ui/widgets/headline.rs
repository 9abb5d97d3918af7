//! Headline: a bar over the whole width while something limits the flow or is broken; a plain line while all is well.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::ChainSnapshot;
use crate::ui::action::Action;
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
        Severity::Warn => {
            (theme.glyphs.cause, theme.bar(StyleRole::Warn), theme.bar(StyleRole::Warn), theme.bar(StyleRole::Warn))
        }
        Severity::Bad => {
            (theme.glyphs.cause, theme.bar(StyleRole::Bad), theme.bar(StyleRole::Bad), theme.bar(StyleRole::Bad))
        }
    };
    let (sentence, hints) = fitting(&headline, area.width.saturating_sub(MARGIN + 1));
    Row::new(buffer, area).fill(" ", text);
    let places = places(hints, area);
    for (hint, place) in hints.iter().zip(&places) {
        Row::new(buffer, *place).put(&hint.key, key).put(" ", text).put(hint.label, label);
    }
    let end = places.first().map_or(area.right(), |first| first.x).saturating_sub(1);
    let left = Rect { width: end.saturating_sub(area.x), ..area };
    Row::new(buffer, left).skip(1).put(flag, text).skip(1).put(sentence, text);
}

/// Returns the action of the key at this column.
pub(crate) fn action_at(state: &UiState, data: &ChainSnapshot, area: Rect, column: u16) -> Option<Action> {
    let headline = of(state, data);
    let (_, hints) = fitting(&headline, area.width.saturating_sub(MARGIN + 1));
    let places = places(hints, area);
    let at = places.iter().position(|place| (place.x..place.right()).contains(&column))?;
    Some(hints[at].action)
}

/// Returns where the keys are, the last of them at the right end.
fn places(hints: &[Hint], area: Rect) -> Vec<Rect> {
    let mut end = area.right().saturating_sub(1);
    let mut places = Vec::new();
    for hint in hints.iter().rev() {
        let columns = width(&hint.key) + 1 + width(hint.label);
        let x = end.saturating_sub(columns).max(area.x);
        places.insert(0, Rect { x, width: end - x, ..area });
        end = x.saturating_sub(GAP);
    }
    places
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
