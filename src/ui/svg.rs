//! Screenshots: the cells of a frame as SVG, with a background of its own, so that it looks the same on any page.

mod shape;

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::paint::drawn;
use super::theme::Theme;
use shape::Shape;

/// The sixteen terminal colors for a dark background.
const PALETTE: [&str; 16] = [
    "#24272e", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#c8ccd4", "#6b7280", "#f08a92",
    "#b1d894", "#f2d399", "#82c3f7", "#d79bea", "#7ccfd9", "#ffffff",
];
const FOREGROUND: &str = "#d4d7dd";
const BACKGROUND: &str = "#16181d";
/// Size of a cell, and of the margin around all of them, in units of the SVG.
const CELL: (f64, f64) = (8.4, 17.0);
const MARGIN: f64 = 12.0;
/// Distance from the top of a cell to the baseline.
const BASELINE: f64 = 13.0;

/// Distance from the top of a cell to the underline, and its thickness.
const UNDERLINE: (f64, f64) = (14.5, 1.0);
/// Opacity of dim text.
const DIM: f64 = 0.6;
/// Braille pattern without dots.
const EMPTY_BRAILLE: &str = "\u{2800}";

/// Adjacent cells of one style.
struct CellRun<'a> {
    column: usize,
    columns: usize,
    /// The cells, each with its column and width.
    cells: Vec<(usize, usize, &'a str)>,
    front: String,
    back: String,
    modifier: Modifier,
}

/// Part of a run with its own position and no blanks. Some renderers ignore the given length of a text, and would let a
/// longer one drift by as much as its font is off the grid.
struct TextRun {
    column: usize,
    columns: usize,
    text: String,
}

/// Renders a frame as SVG.
pub(crate) fn render(buffer: &Buffer, theme: &Theme) -> String {
    let (columns, rows) = (f64::from(buffer.area.width), f64::from(buffer.area.height));
    let (wide, high) = (columns * CELL.0 + 2.0 * MARGIN, rows * CELL.1 + 2.0 * MARGIN);
    let base = theme.base();
    let ground = color(base.bg.unwrap_or(Color::Reset), BACKGROUND);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.1} {high:.1}\" width=\"{wide:.1}\" \
         height=\"{high:.1}\"\n  font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', \
         monospace\" font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{ground}\"/>\n"
    );
    let mut texts = String::new();
    for (row, cells) in buffer.content().chunks(usize::from(buffer.area.width.max(1))).enumerate() {
        for run in runs(cells, &ground) {
            let top = MARGIN + row as f64 * CELL.1;
            let (left, long) = (MARGIN + run.column as f64 * CELL.0, run.columns as f64 * CELL.0);
            if run.back != ground {
                let (back, high) = (&run.back, CELL.1);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{long:.1}\" height=\"{high}\" fill=\"{back}\"/>"
                );
            }
            if run.modifier.contains(Modifier::UNDERLINED) {
                let (front, high) = (&run.front, UNDERLINE.1);
                let _ = writeln!(
                    texts,
                    "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{long:.1}\" height=\"{high}\" fill=\"{front}\"/>",
                    top + UNDERLINE.0
                );
            }
            for word in text_runs(&run.cells) {
                let (left, long) = (MARGIN + word.column as f64 * CELL.0, word.columns as f64 * CELL.0);
                // With the length, a narrower font keeps the grid where it is respected.
                let _ = writeln!(
                    texts,
                    "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{long:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
                     fill=\"{}\"{}>{}</text>",
                    top + BASELINE,
                    run.front,
                    attributes(run.modifier),
                    escape(&word.text)
                );
            }
            for (opacity, path) in paths(&run.cells, top) {
                let dim = if run.modifier.contains(Modifier::DIM) { DIM } else { 1.0 };
                let opacity = opacity * dim;
                let _ = writeln!(texts, "<path d=\"{path}\" fill=\"{}\" opacity=\"{opacity:.2}\"/>", run.front);
            }
        }
    }
    svg + &texts + "</svg>\n"
}

fn runs<'a>(cells: &'a [Cell], ground: &str) -> Vec<CellRun<'a>> {
    let mut runs: Vec<CellRun<'a>> = Vec::new();
    for (column, columns, cell) in drawn(cells) {
        let (mut front, mut back) = (color(cell.fg, FOREGROUND), color(cell.bg, ground));
        if cell.modifier.contains(Modifier::REVERSED) {
            std::mem::swap(&mut front, &mut back);
        }
        match runs.last_mut() {
            Some(run) if run.front == front && run.back == back && run.modifier == cell.modifier => {
                run.columns += columns;
                run.cells.push((column, columns, cell.symbol()));
            }
            _ => {
                let cells = vec![(column, columns, cell.symbol())];
                runs.push(CellRun { column, columns, cells, front, back, modifier: cell.modifier });
            }
        }
    }
    runs
}

/// Returns the words of a run: its letters, broken at blanks and at glyphs that have a shape of their own.
fn text_runs(cells: &[(usize, usize, &str)]) -> Vec<TextRun> {
    let mut words: Vec<TextRun> = Vec::new();
    let mut joins = false;
    for (column, columns, symbol) in cells {
        if symbol.trim().is_empty() || *symbol == EMPTY_BRAILLE || Shape::of(symbol, CELL).is_some() {
            joins = false;
            continue;
        }
        // Anything but plain letters may come from another font, with a width of its own.
        let is_letter = symbol.bytes().all(|byte| byte.is_ascii_graphic());
        match words.last_mut().filter(|_| joins && is_letter) {
            Some(word) => {
                word.columns += columns;
                word.text.push_str(symbol);
            }
            None => words.push(TextRun { column: *column, columns: *columns, text: (*symbol).to_owned() }),
        }
        joins = is_letter;
    }
    words
}

/// Returns the glyphs of a run that have shapes, as one path for each opacity; equal neighbors that touch become one
/// rectangle, so that no seam is visible between them.
fn paths(cells: &[(usize, usize, &str)], top: f64) -> Vec<(f64, String)> {
    let mut paths: Vec<(f64, String)> = Vec::new();
    let mut at = 0;
    while let Some((column, _, symbol)) = cells.get(at).copied() {
        let same = cells[at..].iter().take_while(|(_, _, other)| *other == symbol).count();
        let Some(Shape { parts, opacity }) = Shape::of(symbol, CELL) else {
            at += same;
            continue;
        };
        let is_wide = |part: &[f64; 4]| part[0] <= 0.0 && part[2] >= 1.0;
        let together = if parts.iter().all(is_wide) { same } else { 1 };
        let known = paths.iter().position(|(other, _)| (other - opacity).abs() < f64::EPSILON);
        let at_path = known.unwrap_or_else(|| {
            paths.push((opacity, String::new()));
            paths.len() - 1
        });
        let path = &mut paths[at_path].1;
        for [left, upper, width, height] in parts {
            let x = MARGIN + (column as f64 + left) * CELL.0;
            let wide = (width + (together - 1) as f64) * CELL.0;
            let (y, high) = (top + upper * CELL.1, height * CELL.1);
            let _ = write!(path, "M{x:.2} {y:.2}h{wide:.2}v{high:.2}h-{wide:.2}z");
        }
        at += together;
    }
    paths
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
            // A cube of six levels a side, then grays.
            16..232 => {
                let level = |part: u8| [0, 95, 135, 175, 215, 255][usize::from(part % 6)];
                let n = n - 16;
                format!("#{:02x}{:02x}{:02x}", level(n / 36), level(n / 6), level(n))
            }
            232.. => format!("#{0:02x}{0:02x}{0:02x}", 8 + (n - 232) * 10),
        },
    }
}

fn attributes(modifier: Modifier) -> String {
    let looks = [
        (Modifier::BOLD, " font-weight=\"bold\""),
        (Modifier::DIM, " opacity=\"0.6\""),
        (Modifier::ITALIC, " font-style=\"italic\""),
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

    /// Position and length in columns, and the text, of every text of an SVG.
    fn texts(svg: &str) -> Vec<(f64, f64, &str)> {
        let number = |rest: &str, name: &str| -> f64 {
            let (_, rest) = rest.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        let line = |line| {
            let (attributes, text) = str::strip_suffix(line, "</text>")?.split_once('>')?;
            let column = (number(attributes, " x") - MARGIN) / CELL.0;
            Some((column, number(attributes, "textLength") / CELL.0, text))
        };
        // Positions are rounded to a tenth of a unit.
        let rounded = |(column, columns, text): (f64, f64, _)| {
            assert!((column - column.round()).abs() < 0.01 && (columns - columns.round()).abs() < 0.01, "{column}");
            (column.round(), columns.round(), text)
        };
        svg.lines().filter_map(line).map(rounded).collect()
    }

    #[test]
    fn every_word_is_at_its_column_and_shapes_are_paths() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 3));
        buffer.set_string(0, 0, "── to  ⣿⣿ 文a━", Style::new());
        buffer.set_string(0, 1, "under  it", Style::new().add_modifier(Modifier::UNDERLINED));
        buffer.set_string(2, 2, "x░░█◀b", Style::new());
        let svg = render(&buffer, &Theme::default());
        let wanted = [
            (3.0, 2.0, "to"),
            (10.0, 2.0, "文"),
            (12.0, 1.0, "a"),
            (0.0, 5.0, "under"),
            (7.0, 2.0, "it"),
            (2.0, 1.0, "x"),
            (6.0, 1.0, "◀"),
            (7.0, 1.0, "b"),
        ];
        assert_eq!(texts(&svg), wanted, "{svg}");
        // The underline continues below the blanks.
        let long = 9.0 * CELL.0;
        assert!(svg.contains(&format!("width=\"{long:.1}\" height=\"1\" fill=\"{FOREGROUND}\"")), "{svg}");
        let paths: Vec<&str> = svg.lines().filter(|line| line.starts_with("<path")).collect();
        assert_eq!(paths.len(), 3, "{svg}");
        // Two dashes are one rectangle, 16 dots and another dash follow.
        let rectangles: Vec<&str> = paths[0].split('M').skip(1).collect();
        assert_eq!(rectangles.len(), 18, "{}", paths[0]);
        assert!(rectangles[0].starts_with(&format!("{MARGIN:.2} ")), "{}", rectangles[0]);
        assert!(rectangles[0].contains(&format!("h{:.2}v", 2.0 * CELL.0)), "{}", rectangles[0]);
        let shaded = format!("M{:.2} {:.2}h{:.2}v", MARGIN + 3.0 * CELL.0, MARGIN + 2.0 * CELL.1, 2.0 * CELL.0);
        assert!(paths[1].contains(&shaded) && paths[1].contains("opacity=\"0.25\""), "{}", paths[1]);
        let full = format!("M{:.2} ", MARGIN + 5.0 * CELL.0);
        assert!(paths[2].contains(&full) && paths[2].contains("opacity=\"1.00\""), "{}", paths[2]);
    }

    #[test]
    fn markup_is_escaped() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 2));
        buffer.set_string(0, 0, "a<b> & 文", Style::new());
        buffer.set_string(0, 1, "red", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        buffer.set_string(4, 1, "cursor", Style::new().add_modifier(Modifier::REVERSED));
        let svg = render(&buffer, &Theme::default());
        assert!(svg.contains(">a&lt;b&gt;</text>") && svg.contains(">&amp;</text>"), "{svg}");
        assert!(svg.contains("fill=\"#e06c75\" font-weight=\"bold\">red</text>"), "{svg}");
        assert!(svg.contains(&format!("fill=\"{BACKGROUND}\">cursor</text>")), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn every_color_has_six_digits() {
        for n in 0..=255 {
            let text = color(Color::Indexed(n), BACKGROUND);
            assert!(text.len() == 7 && text.starts_with('#'), "{n}: {text}");
        }
        assert_eq!(color(Color::Indexed(25), BACKGROUND), "#005faf");
    }
}
