//! The last row: the keys that would do something now, read from the table; help and quit keep their place.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::ChainSnapshot;
use crate::ui::keymap::{Binding, Place, live};
use crate::ui::paint::{Row, width};
use crate::ui::state::UiState;
use crate::ui::theme::Tone;

const GAP: u16 = 2;

/// Draws the footer. A notice takes the place of the keys at the left until the next key.
pub fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let mut row = Row::new(buffer, area);
    row.skip(1).put_right(" ", theme.style(Tone::Plain));
    let pinned: Vec<_> = live(state, data).filter_map(|b| pinned_label(b).map(|label| (b.name, label))).collect();
    for (name, label) in pinned.iter().rev() {
        row.put_right(&format!(" {label}"), theme.style(Tone::Dim)).put_right(name, theme.style(Tone::Key));
        row.put_right("  ", theme.style(Tone::Plain));
    }
    if let Some(notice) = &state.notice {
        row.put(notice, theme.style(Tone::Warn));
        return;
    }
    for (name, label) in fitting(state, data, row.room()) {
        row.put(name, theme.style(Tone::Key)).skip(1).put(label, theme.style(Tone::Dim)).skip(GAP);
    }
}

/// The keys at the left that this width has room for: labels shrink first, the last first; then keys go.
fn fitting(state: &UiState, data: &ChainSnapshot, room: u16) -> Vec<(&'static str, &'static str)> {
    let mut keys: Vec<(&str, &str, &str)> = live(state, data)
        .filter_map(|binding| match binding.place {
            Place::Left(label, short) => Some((binding.name, label, short)),
            Place::Right(_) | Place::Nowhere => None,
        })
        .collect();
    let needed = |keys: &[(&str, &str, &str)]| -> u16 {
        keys.iter().map(|(name, label, _)| width(name) + 1 + width(label) + GAP).sum::<u16>().saturating_sub(GAP)
    };
    let mut shrunk = keys.len();
    while needed(&keys) > room && !keys.is_empty() {
        if shrunk > 0 {
            shrunk -= 1;
            keys[shrunk].1 = keys[shrunk].2;
        } else {
            keys.pop();
        }
    }
    keys.into_iter().map(|(name, label, _)| (name, label)).collect()
}

fn pinned_label(binding: &Binding) -> Option<&'static str> {
    if let Place::Right(label) = binding.place { Some(label) } else { None }
}
