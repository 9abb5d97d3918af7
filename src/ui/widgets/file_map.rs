//! Map of a file: one column for each equal part of it, with the route that the part came by.

use crate::snapshot::ReceivedRange;
use crate::ui::paint::Row;
use crate::ui::theme::{StyleRole, Theme};

/// One column of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// None of its bytes are here.
    Missing,
    /// Some of them are.
    Begun,
    /// All of them are, most by the route of this number; 0 is an earlier run.
    Whole(u8),
}

/// Draws the map into the free columns of a row. The parts of a single route are a gauge; those of several are the
/// numbers of the routes.
pub(super) fn draw(theme: &Theme, map: &[ReceivedRange], size: u64, row: &mut Row<'_>) {
    let numbered = sources(map).len() > 1;
    for part in parts(map, size, row.room()) {
        let flow = theme.style(StyleRole::Flow);
        match part {
            Part::Missing => row.put(theme.glyphs.rest, theme.style(StyleRole::Dim)),
            Part::Begun => row.put(theme.glyphs.head, flow),
            Part::Whole(_) if !numbered => row.put(theme.glyphs.full, flow),
            Part::Whole(0) => row.put(sign(0), theme.style(StyleRole::Dim)),
            // Neighbors differ in style, too.
            Part::Whole(route) if route % 2 == 0 => row.put(sign(route), theme.style(StyleRole::Plain)),
            Part::Whole(route) => row.put(sign(route), flow),
        };
    }
}

/// Returns the explanation of the signs, if there are several.
pub(super) fn legend(map: &[ReceivedRange]) -> Option<String> {
    let sources = sources(map);
    let name = |route: &u8| match route {
        0 => format!("{} an earlier run", sign(0)),
        route => format!("{} route {route}", sign(*route)),
    };
    (sources.len() > 1).then(|| sources.iter().map(name).collect::<Vec<_>>().join("   "))
}

/// Returns the routes of the map, in ascending order.
fn sources(map: &[ReceivedRange]) -> Vec<u8> {
    let mut routes: Vec<u8> = map.iter().map(|range| range.route).collect();
    routes.sort_unstable();
    routes.dedup();
    routes
}

/// Returns the sign of a route, one column wide.
fn sign(route: u8) -> &'static str {
    const SIGNS: [&str; 17] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f", "g"];
    SIGNS.get(usize::from(route)).unwrap_or(&"+")
}

/// Divides a file into this many parts, none of them empty, and states for each what is here.
fn parts(map: &[ReceivedRange], size: u64, columns: u16) -> Vec<Part> {
    let edge = |column: u16| {
        let edge = u128::from(size) * u128::from(column) / u128::from(columns.max(1));
        u64::try_from(edge).unwrap_or(u64::MAX)
    };
    let part = |column: u16| {
        let from = edge(column).min(size.saturating_sub(1));
        let to = edge(column + 1).max(from + 1);
        let (mut here, mut most) = (0, (0, 0));
        for range in map {
            let bytes = range.to.min(to).saturating_sub(range.from.max(from));
            here += bytes;
            if bytes > most.0 {
                most = (bytes, range.route);
            }
        }
        match here {
            0 => Part::Missing,
            here if here < to - from => Part::Begun,
            _ => Part::Whole(most.1),
        }
    };
    (0..columns).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range((from, to, route): (u64, u64, u8)) -> ReceivedRange {
        ReceivedRange { from, to, route }
    }

    #[test]
    fn a_part_is_whole_once_all_of_its_bytes_are_here() {
        use Part::{Begun, Missing, Whole};
        let map = [(0, 30, 1), (30, 39, 2), (50, 70, 2)].map(range);
        let expected = [Whole(1), Whole(1), Whole(1), Begun, Missing, Whole(2), Whole(2), Missing, Missing, Missing];
        assert_eq!(parts(&map, 100, 10), expected);
        let all = [(0, 52, 0), (52, 100, 3)].map(range);
        assert_eq!(parts(&all, 100, 4), [Whole(0), Whole(0), Whole(3), Whole(3)]);
        assert_eq!(parts(&all, 100, 0), []);
    }

    #[test]
    fn sizes_at_the_limits_have_parts() {
        let whole = |size| [(0, size, 1)].map(range);
        for size in [1, 3, u64::MAX] {
            assert!(parts(&whole(size), size, 7).iter().all(|part| *part == Part::Whole(1)), "{size}");
        }
        assert_eq!(parts(&[], 0, 2), [Part::Missing; 2]);
        assert_eq!(parts(&whole(u64::MAX - 1), u64::MAX, 1), [Part::Begun]);
    }

    #[test]
    fn only_several_routes_need_an_explanation() {
        assert_eq!(legend(&[(0, 5, 1), (9, 12, 1)].map(range)), None);
        let several = [(0, 5, 0), (5, 9, 1), (9, 12, 10)].map(range);
        assert_eq!(legend(&several).as_deref(), Some("0 an earlier run   1 route 1   a route 10"));
    }
}
