//! A screen as a picture: the cells of a frame as SVG, on a background of its own, so that it looks the same on any page.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::paint::drawn;
use super::theme::Theme;

/// The sixteen colours of a palette on a dark background.
const PALETTE: [&str; 16] = [
    "#24272e", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#c8ccd4", "#6b7280", "#f08a92",
    "#b1d894", "#f2d399", "#82c3f7", "#d79bea", "#7ccfd9", "#ffffff",
];
const FRONT: &str = "#d4d7dd";
const BACK: &str = "#16181d";
/// A cell, and the free edge around all of them, in the picture's own units.
const CELL: (f64, f64) = (8.4, 17.0);
const EDGE: f64 = 12.0;
/// From the top of a cell to the line that letters stand on.
const BASE: f64 = 13.0;

/// Neighbouring cells of one look.
struct Run {
    column: usize,
    columns: usize,
    text: String,
    front: String,
    back: String,
    modifier: Modifier,
}

/// Makes the picture of a frame.
pub fn picture(buffer: &Buffer, theme: &Theme) -> String {
    let (columns, rows) = (f64::from(buffer.area.width), f64::from(buffer.area.height));
    let (wide, high) = (columns * CELL.0 + 2.0 * EDGE, rows * CELL.1 + 2.0 * EDGE);
    let base = theme.base();
    let ground = color(base.bg.unwrap_or(Color::Reset), BACK);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.1} {high:.1}\" width=\"{wide:.1}\" \
         height=\"{high:.1}\"\n  font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', \
         monospace\" font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{ground}\"/>\n"
    );
    let mut texts = String::new();
    for (row, cells) in buffer.content().chunks(usize::from(buffer.area.width.max(1))).enumerate() {
        for run in runs(cells, &ground) {
            let top = EDGE + row as f64 * CELL.1;
            let (left, long) = (EDGE + run.column as f64 * CELL.0, run.columns as f64 * CELL.0);
            if run.back != ground {
                let (back, high) = (&run.back, CELL.1);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{long:.1}\" height=\"{high}\" fill=\"{back}\"/>"
                );
            }
            if !run.text.trim().is_empty() || run.modifier.contains(Modifier::UNDERLINED) {
                // The length is given, so that the grid holds in whatever font the reader has.
                let _ = writeln!(
                    texts,
                    "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{long:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
                     xml:space=\"preserve\" fill=\"{}\"{}>{}</text>",
                    top + BASE,
                    run.front,
                    more(run.modifier),
                    escape(&run.text)
                );
            }
        }
    }
    svg + &texts + "</svg>\n"
}

fn runs(cells: &[Cell], ground: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (column, columns, cell) in drawn(cells) {
        let (mut front, mut back) = (color(cell.fg, FRONT), color(cell.bg, ground));
        if cell.modifier.contains(Modifier::REVERSED) {
            std::mem::swap(&mut front, &mut back);
        }
        match runs.last_mut() {
            Some(run) if run.front == front && run.back == back && run.modifier == cell.modifier => {
                run.columns += columns;
                run.text.push_str(cell.symbol());
            }
            _ => {
                let text = cell.symbol().to_owned();
                runs.push(Run { column, columns, text, front, back, modifier: cell.modifier });
            }
        }
    }
    runs
}

fn color(color: Color, unset: &str) -> String {
    let named = |at: usize| PALETTE[at].to_owned();
    match color {
        Color::Reset => unset.to_owned(),
        Color::Black => named(0),
        Color::Red => named(1),
        Color::Green => named(2),
        Color::Yellow => named(3),
        Color::Blue => named(4),
        Color::Magenta => named(5),
        Color::Cyan => named(6),
        Color::Gray => named(7),
        Color::DarkGray => named(8),
        Color::LightRed => named(9),
        Color::LightGreen => named(10),
        Color::LightYellow => named(11),
        Color::LightBlue => named(12),
        Color::LightMagenta => named(13),
        Color::LightCyan => named(14),
        Color::White => named(15),
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        Color::Indexed(n) => match n {
            0..16 => named(usize::from(n)),
            // A cube of six levels a side, then greys.
            16..232 => {
                let level = |part: u8| [0, 95, 135, 175, 215, 255][usize::from(part % 6)];
                let n = n - 16;
                format!("#{:02x}{:02x}{:02x}", level(n / 36), level(n / 6), level(n))
            }
            232.. => format!("#{0:02x}{0:02x}{0:02x}", 8 + (n - 232) * 10),
        },
    }
}

fn more(modifier: Modifier) -> String {
    let looks = [
        (Modifier::BOLD, " font-weight=\"bold\""),
        (Modifier::DIM, " opacity=\"0.6\""),
        (Modifier::ITALIC, " font-style=\"italic\""),
        (Modifier::UNDERLINED, " text-decoration=\"underline\""),
    ];
    looks.iter().filter(|(look, _)| modifier.contains(*look)).map(|(_, text)| *text).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn cells_of_one_look_are_one_text_and_markup_stays_text() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 2));
        buffer.set_string(0, 0, "a<b> & 文", Style::new());
        buffer.set_string(0, 1, "red", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        buffer.set_string(4, 1, "cursor", Style::new().add_modifier(Modifier::REVERSED));
        let svg = picture(&buffer, &Theme::default());
        assert!(svg.contains(">a&lt;b&gt; &amp; 文 "), "{svg}");
        assert!(svg.contains("fill=\"#e06c75\" font-weight=\"bold\">red</text>"), "{svg}");
        assert!(svg.contains(&format!("fill=\"{BACK}\">cursor</text>")), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn every_colour_has_six_digits() {
        for n in 0..=255 {
            let text = color(Color::Indexed(n), BACK);
            assert!(text.len() == 7 && text.starts_with('#'), "{n}: {text}");
        }
        assert_eq!(color(Color::Indexed(25), BACK), "#005faf");
    }
}
