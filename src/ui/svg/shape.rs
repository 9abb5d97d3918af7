//! Shapes of the glyphs that are drawn from edge to edge, so that lines, blocks and charts do not depend on fonts.

/// Thickness of a light and a heavy line, in units of the SVG.
const LINES: [f64; 2] = [1.2, 2.4];
/// Size of a dot of braille, in units of the SVG.
const DOT: f64 = 2.4;

/// Rectangle within a cell: left, top, width and height, as parts of the cell.
type Part = [f64; 4];

/// Shape of one glyph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    /// Rectangles, which do not overlap.
    pub(super) parts: Vec<Part>,
    /// Opacity: that of a shaded block is partial.
    pub(super) opacity: f64,
}

impl Shape {
    /// Returns the shape of a symbol in a cell of this size; `None` for one that is text.
    pub(super) fn of(symbol: &str, cell: (f64, f64)) -> Option<Self> {
        let mut chars = symbol.chars();
        let (Some(c), None) = (chars.next(), chars.next()) else { return None };
        let code = u32::from(c);
        let solid = |parts| Some(Self { parts, opacity: 1.0 });
        let eighths = |n: u32| f64::from(n) / 8.0;
        match code {
            0x2580 => solid(vec![[0.0, 0.0, 1.0, 0.5]]),
            0x2581..=0x2588 => solid(vec![[0.0, 1.0 - eighths(code - 0x2580), 1.0, eighths(code - 0x2580)]]),
            0x2589..=0x258f => solid(vec![[0.0, 0.0, eighths(0x2590 - code), 1.0]]),
            0x2590 => solid(vec![[0.5, 0.0, 0.5, 1.0]]),
            0x2591..=0x2593 => {
                Some(Self { parts: vec![[0.0, 0.0, 1.0, 1.0]], opacity: f64::from(code - 0x2590) / 4.0 })
            }
            0x2594 => solid(vec![[0.0, 0.0, 1.0, eighths(1)]]),
            0x2595 => solid(vec![[1.0 - eighths(1), 0.0, eighths(1), 1.0]]),
            0x2801..=0x28ff => solid(dots(code - 0x2800, cell)),
            _ => lines(c, cell).and_then(solid),
        }
    }
}

/// Returns the dots of a braille pattern, by its bits.
fn dots(bits: u32, cell: (f64, f64)) -> Vec<Part> {
    /// Column and row of each bit.
    const PLACES: [(f64, f64); 8] =
        [(0.0, 0.0), (0.0, 1.0), (0.0, 2.0), (1.0, 0.0), (1.0, 1.0), (1.0, 2.0), (0.0, 3.0), (1.0, 3.0)];
    let (width, height) = (DOT / cell.0, DOT / cell.1);
    let set = PLACES.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    set.map(|(_, (column, row))| {
        let center = ((column + 0.5) / 2.0, (row + 0.5) / 4.0);
        [center.0 - width / 2.0, center.1 - height / 2.0, width, height]
    })
    .collect()
}

/// Returns the lines of a box-drawing glyph; `None` for one that the screen does not use.
fn lines(c: char, cell: (f64, f64)) -> Option<Vec<Part>> {
    // Weights of the arms to the left, to the right, up and down; 0 is no arm.
    let arms: [usize; 4] = match c {
        '─' => [1, 1, 0, 0],
        '━' => [2, 2, 0, 0],
        '│' => [0, 0, 1, 1],
        '┃' => [0, 0, 2, 2],
        '╸' => [2, 0, 0, 0],
        '╺' => [0, 2, 0, 0],
        '┌' => [0, 1, 0, 1],
        '┐' => [1, 0, 0, 1],
        '└' => [0, 1, 1, 0],
        '┘' => [1, 0, 1, 0],
        '├' => [0, 1, 1, 1],
        '┤' => [1, 0, 1, 1],
        '┬' => [1, 1, 0, 1],
        '┴' => [1, 1, 1, 0],
        '┼' => [1, 1, 1, 1],
        '╌' => {
            let height = LINES[0] / cell.1;
            return Some([0.1, 0.6].map(|left| [left, 0.5 - height / 2.0, 0.3, height]).to_vec());
        }
        _ => return None,
    };
    let thick = |weight: usize, size: f64| LINES[weight - 1] / size;
    let mut parts = Vec::new();
    let weight = arms[0].max(arms[1]);
    if weight > 0 {
        let left = if arms[0] > 0 { 0.0 } else { 0.5 };
        let right = if arms[1] > 0 { 1.0 } else { 0.5 };
        let height = thick(weight, cell.1);
        parts.push([left, 0.5 - height / 2.0, right - left, height]);
    }
    let weight = arms[2].max(arms[3]);
    if weight > 0 {
        let width = thick(weight, cell.0);
        // Where it meets a horizontal line, it ends at that line's far edge, so that a corner has no notch.
        let overlap = if parts.is_empty() { 0.0 } else { thick(1, cell.1) / 2.0 };
        let top = if arms[2] > 0 { 0.0 } else { 0.5 - overlap };
        let bottom = if arms[3] > 0 { 1.0 } else { 0.5 + overlap };
        parts.push([0.5 - width / 2.0, top, width, bottom - top]);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: (f64, f64) = (8.0, 16.0);

    fn parts(symbol: &str) -> Vec<Part> {
        Shape::of(symbol, CELL).unwrap().parts
    }

    #[test]
    fn blocks_reach_the_edges_of_their_cell() {
        assert_eq!(parts("█"), [[0.0, 0.0, 1.0, 1.0]]);
        assert_eq!(parts("▂"), [[0.0, 0.75, 1.0, 0.25]]);
        assert_eq!(parts("▌"), [[0.0, 0.0, 0.5, 1.0]]);
        assert_eq!(parts("▏"), [[0.0, 0.0, 0.125, 1.0]]);
        let percent = ["░", "▒", "▓"].map(|shade| (Shape::of(shade, CELL).unwrap().opacity * 100.0).round() as u64);
        assert_eq!(percent, [25, 50, 75]);
    }

    #[test]
    fn lines_meet_at_the_edges_of_their_cells() {
        let [[left, _, width, height]] = parts("─")[..] else { panic!() };
        assert_eq!((left, width, height), (0.0, 1.0, LINES[0] / 16.0));
        let [[left, _, width, height]] = parts("╸")[..] else { panic!() };
        assert_eq!((left, width, height), (0.0, 0.5, LINES[1] / 16.0));
        let [across, down] = parts("┌")[..] else { panic!() };
        assert_eq!((across[0] + across[2], down[1] + down[3]), (1.0, 1.0));
        assert!((down[1] - across[1]).abs() < 1e-9, "no notch: {across:?} {down:?}");
    }

    #[test]
    fn braille_has_a_dot_for_each_bit() {
        assert_eq!(parts("⣿").len(), 8);
        let [[left, top, width, height]] = parts("⢀")[..] else { panic!() };
        assert_eq!((left + width / 2.0, top + height / 2.0), (0.75, 0.875));
        assert_eq!((width * CELL.0, height * CELL.1), (DOT, DOT));
    }

    #[test]
    fn letters_and_arrows_are_text() {
        for text in ["a", "◀", "文", "▪", " ", "", "ab"] {
            assert_eq!(Shape::of(text, CELL), None, "{text:?}");
        }
    }
}
