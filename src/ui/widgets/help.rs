//! The list of keys, read from the table; those that would do nothing now are dim and say so.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use crate::snapshot::ChainSnapshot;
use crate::ui::keymap::{Binding, TABLE, When};
use crate::ui::paint::{Row, row_of};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::Tone;

/// Wide enough for the longest line of help, with its key and a border.
const WIDTH: u16 = 78;

/// Draws the list over the middle of the area, scrolled as the mode says; below a usable size without a border.
pub fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let Mode::Help { top } = state.mode else { return };
    let lines = lines();
    let (outer, inner) = frames(area, lines.len());
    Clear.render(outer, buffer);
    if inner != outer {
        border(state, lines.len() > usize::from(inner.height), outer, buffer);
    }
    let room = usize::from(inner.height);
    let first = top.min(lines.len().saturating_sub(room));
    for (i, line) in lines[first..].iter().take(room).enumerate() {
        draw_line(state, data, line, row_of(inner, i), buffer);
    }
}

/// How far the list can be scrolled in this area.
pub fn furthest(area: Rect) -> usize {
    let rows = lines().len();
    rows.saturating_sub(usize::from(frames(area, rows).1.height))
}

/// The list with its border, and the list alone; the same where there is no room for a border.
fn frames(area: Rect, rows: usize) -> (Rect, Rect) {
    // A margin too narrow to read anything in would only distract.
    let width = if area.width < WIDTH + 16 { area.width } else { WIDTH };
    let height = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 2);
    let outer = Rect { x, y, width, height };
    if width < 20 || height < 4 {
        return (outer, outer);
    }
    (outer, Rect { x: x + 2, y: y + 1, width: width - 4, height: height - 2 })
}

/// Rows of the list: headings, and the bindings that have words of their own.
enum Line {
    Heading(&'static str),
    Key(&'static Binding),
}

fn lines() -> Vec<Line> {
    let of = |mode| TABLE.iter().filter(move |b| b.mode == mode && !b.name.is_empty()).map(Line::Key);
    let mut lines: Vec<Line> = of(When::Browse).collect();
    lines.push(Line::Heading("While a name is typed"));
    lines.extend(of(When::Prompt));
    lines.push(Line::Heading("In this list"));
    lines.extend(of(When::Help));
    lines
}

fn draw_line(state: &UiState, data: &ChainSnapshot, line: &Line, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let mut row = Row::new(buffer, area);
    match line {
        Line::Heading(text) => {
            row.put(text, theme.style(Tone::Title));
        }
        Line::Key(binding) => {
            let idle = binding.mode == When::Browse && !(binding.applies)(state, data);
            let (key, words) = if idle { (Tone::Dim, Tone::Dim) } else { (Tone::Key, Tone::Plain) };
            row.cell_right(9, binding.name, theme.style(key)).skip(2);
            if idle && row.room() > 50 {
                row.put_right(" not now", theme.style(Tone::Dim));
            }
            row.put(binding.help, theme.style(words));
        }
    }
}

fn border(state: &UiState, longer: bool, area: Rect, buffer: &mut Buffer) {
    let title = if longer { " Keys (j/k scroll) " } else { " Keys " };
    let style = state.theme.style(Tone::Dim);
    if state.theme.glyphs.rule.is_ascii() {
        let set = ratatui::symbols::border::Set {
            top_left: "+",
            top_right: "+",
            bottom_left: "+",
            bottom_right: "+",
            vertical_left: "|",
            vertical_right: "|",
            horizontal_top: "-",
            horizontal_bottom: "-",
        };
        Block::bordered().border_set(set).border_style(style).title(title).render(area, buffer);
    } else {
        Block::bordered().border_type(BorderType::Plain).border_style(style).title(title).render(area, buffer);
    }
}
