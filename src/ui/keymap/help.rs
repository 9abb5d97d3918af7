//! The list of keys as rows, by topic; bindings without a key are left out.

use ratatui::layout::Rect;

use super::binding::{Binding, Topic};
use super::keys::Keymap;
use super::table::TABLE;
use crate::ui::geometry::{HELP_WIDTH, popup};

const TOPICS: [(Topic, &str); 6] = [
    (Topic::Transfers, "Transfers"),
    (Topic::Nodes, "Nodes and connections"),
    (Topic::View, "View and navigation"),
    (Topic::Program, "Program"),
    (Topic::Line, "Text input"),
    (Topic::Popup, "Dialogs"),
];

/// Returns the greatest scroll offset of the list in this area.
pub(crate) fn max_scroll(keymap: &Keymap, area: Rect) -> usize {
    let rows = lines(keymap).len();
    rows.saturating_sub(usize::from(popup(area, HELP_WIDTH, rows).1.height))
}

/// Row of the list.
pub(crate) enum HelpRow {
    /// Heading of a topic.
    Heading(&'static str),
    /// Names of the keys, and their binding.
    Key(String, &'static Binding),
}

/// Returns the rows of the list.
pub(crate) fn lines(keymap: &Keymap) -> Vec<HelpRow> {
    let mut lines = Vec::new();
    for (topic, heading) in TOPICS {
        lines.push(HelpRow::Heading(heading));
        let of = TABLE.iter().enumerate().filter(|(_, binding)| binding.topic == topic);
        lines.extend(of.filter_map(|(index, binding)| {
            let names = keymap.names(index);
            let keys = names.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" ");
            (!names.is_empty()).then_some(HelpRow::Key(keys, binding))
        }));
    }
    lines
}
