//! Output of a frame as lines, which remain on the terminal after the screen has closed.

use crossterm::queue;
use crossterm::style::{ContentStyle, PrintStyledContent};
use ratatui::backend::IntoCrossterm;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier, Style};

use super::paint::drawn;

/// Returns the styled lines of a frame; trailing blanks are dropped.
pub(crate) fn lines(frame: &Buffer) -> Vec<u8> {
    let mut bytes = Vec::new();
    for cells in frame.content().chunks(usize::from(frame.area.width.max(1))) {
        let end = cells.iter().rposition(|cell| !is_blank(cell)).map_or(0, |last| last + 1);
        let mut runs: Vec<(Style, String)> = Vec::new();
        for (_, _, cell) in drawn(&cells[..end]) {
            match runs.last_mut() {
                Some((style, text)) if *style == cell.style() => text.push_str(cell.symbol()),
                _ => runs.push((cell.style(), cell.symbol().to_owned())),
            }
        }
        for (style, text) in runs {
            let style: ContentStyle = style.into_crossterm();
            // Writing to memory cannot fail.
            let _ = queue!(bytes, PrintStyledContent(style.apply(text)));
        }
        bytes.push(b'\n');
    }
    bytes
}

fn is_blank(cell: &Cell) -> bool {
    let visible = Modifier::REVERSED | Modifier::UNDERLINED;
    cell.symbol().trim().is_empty() && cell.bg == Color::Reset && !cell.modifier.intersects(visible)
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    #[test]
    fn styles_are_kept_and_trailing_blanks_dropped() {
        let mut frame = Buffer::empty(Rect::new(0, 0, 12, 3));
        frame.set_string(1, 0, "ab", Style::new());
        frame.set_string(3, 0, "cd", Style::new().add_modifier(Modifier::BOLD));
        frame.set_string(0, 2, "\u{6f22}x", Style::new());
        let text = String::from_utf8(lines(&frame)).unwrap();
        let plain: Vec<&str> = text.lines().collect();
        assert_eq!(plain.len(), 3);
        assert!(plain[0].contains(" ab") && plain[0].contains("\x1b[1mcd"), "{text:?}");
        assert_eq!(plain[1], "");
        assert!(plain[2].contains("\u{6f22}x"), "{text:?}");
    }
}
