//! The list of keys, read from the table; those that would do nothing now are dim and say so.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::popup;
use crate::snapshot::ChainSnapshot;
use crate::ui::keymap::table::{BROWSE, TABLE};
use crate::ui::keymap::{Binding, Topic};
use crate::ui::paint::{Row, row_of};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::Tone;

/// Wide enough for the longest line of help, with its key and a border.
const WIDTH: u16 = 96;
/// Columns for the keys.
const KEYS: u16 = 12;

const TOPICS: [(Topic, &str); 6] = [
    (Topic::Transfers, "Transfers"),
    (Topic::Nodes, "Nodes and connections"),
    (Topic::Look, "Looking"),
    (Topic::Program, "Program"),
    (Topic::Line, "While a line is typed"),
    (Topic::Over, "In lists that lie over the screen"),
];

/// Draws the list over the middle of the area, scrolled as the mode says; below a usable size without a border.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let Mode::Help { top } = state.mode else { return };
    let lines = lines(state);
    let longer = lines.len() > usize::from(popup::frames(area, WIDTH, lines.len()).1.height);
    let title = if longer { "Keys (j/k scroll)" } else { "Keys" };
    let inner = popup::open(&state.theme, title, WIDTH, lines.len(), area, buffer);
    let room = usize::from(inner.height);
    let first = top.min(lines.len().saturating_sub(room));
    for (i, line) in lines[first..].iter().take(room).enumerate() {
        draw_line(state, data, line, row_of(inner, i), buffer);
    }
}

/// How far the list can be scrolled in this area.
pub(crate) fn furthest(state: &UiState, area: Rect) -> usize {
    let rows = lines(state).len();
    rows.saturating_sub(usize::from(popup::frames(area, WIDTH, rows).1.height))
}

/// Rows of the list: headings, and the bindings that have a key.
enum Line {
    Heading(&'static str),
    Key(String, &'static Binding),
}

fn lines(state: &UiState) -> Vec<Line> {
    let mut lines = Vec::new();
    for (topic, heading) in TOPICS {
        lines.push(Line::Heading(heading));
        let of = TABLE.iter().enumerate().filter(|(_, binding)| binding.topic == topic);
        lines.extend(of.filter_map(|(index, binding)| {
            let names = state.keymap.names(index);
            let keys = names.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" ");
            (!names.is_empty()).then_some(Line::Key(keys, binding))
        }));
    }
    lines
}

fn draw_line(state: &UiState, data: &ChainSnapshot, line: &Line, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let mut row = Row::new(buffer, area);
    match line {
        Line::Heading(text) => {
            row.put(text, theme.style(Tone::Title));
        }
        Line::Key(keys, binding) => {
            let here = binding.panels & state.focus().bit() != 0 && (binding.applies)(state, data);
            let idle = binding.modes & BROWSE != 0 && !here;
            let (key, words) = if idle { (Tone::Dim, Tone::Dim) } else { (Tone::Key, Tone::Plain) };
            row.cell_right(KEYS, keys, theme.style(key)).skip(2);
            if idle && row.room() > 50 {
                row.put_right(" not now", theme.style(Tone::Dim));
            }
            row.put(binding.help, theme.style(words));
        }
    }
}
