//! The list of keys as rows: by topic, without the bindings that have no key.

use ratatui::layout::Rect;

use super::binding::{Binding, Topic};
use super::keys::Keymap;
use super::table::TABLE;
use crate::ui::geometry::{HELP_WIDTH, popup};

const TOPICS: [(Topic, &str); 6] = [
    (Topic::Transfers, "Transfers"),
    (Topic::Nodes, "Nodes and connections"),
    (Topic::Look, "Looking"),
    (Topic::Program, "Program"),
    (Topic::Line, "While a line is typed"),
    (Topic::Over, "In lists that lie over the screen"),
];

/// How far the list can be scrolled in this area.
pub(crate) fn furthest(keymap: &Keymap, area: Rect) -> usize {
    let rows = lines(keymap).len();
    rows.saturating_sub(usize::from(popup(area, HELP_WIDTH, rows).1.height))
}

/// Rows of the list: headings, and the bindings that have a key.
pub(crate) enum Line {
    /// The heading of a topic.
    Heading(&'static str),
    /// The names of the keys, and their binding.
    Key(String, &'static Binding),
}

/// The rows of the list.
pub(crate) fn lines(keymap: &Keymap) -> Vec<Line> {
    let mut lines = Vec::new();
    for (topic, heading) in TOPICS {
        lines.push(Line::Heading(heading));
        let of = TABLE.iter().enumerate().filter(|(_, binding)| binding.topic == topic);
        lines.extend(of.filter_map(|(index, binding)| {
            let names = keymap.names(index);
            let keys = names.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" ");
            (!names.is_empty()).then_some(Line::Key(keys, binding))
        }));
    }
    lines
}
