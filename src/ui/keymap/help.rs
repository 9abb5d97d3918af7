//! Rows of the help: first the keys of the focused panel and the meaning of its words, then all others.

use ratatui::layout::Rect;

use super::binding::{BROWSE, Binding, Topic};
use super::keys::Keymap;
use super::table::TABLE;
use crate::ui::filter::Filter;
use crate::ui::focus::Panel;
use crate::ui::geometry::{HELP_WIDTHS, help_columns, popup};
use crate::ui::glossary::{CHAPTERS, Chapter};
use crate::ui::paint::split_words;

const TOPICS: [(Topic, &str); 6] = [
    (Topic::Transfers, "Keys: transfers"),
    (Topic::Nodes, "Keys: nodes and connections"),
    (Topic::View, "Keys: view and navigation"),
    (Topic::Program, "Keys: program"),
    (Topic::Line, "Keys: text input"),
    (Topic::Popup, "Keys: dialogs"),
];

/// Columns of the key or the word before each explanation, with the gap after it.
pub(crate) const TERM: u16 = 15;
/// A binding of more panels than this belongs to none in particular.
const FEW: u32 = 3;

/// Row of the help.
pub(crate) enum HelpRow {
    /// Heading of a topic, or of the words of a panel.
    Heading(String),
    /// Names of the keys of a binding, and the first line of its description.
    Key(String, &'static Binding, String),
    /// Word of the screen, and the first line of its meaning.
    Word(&'static str, String),
    /// Further line of a description or a meaning.
    More(String),
}

/// The help in one area: rows that fill one or two columns.
pub(crate) struct HelpPage {
    /// All rows, of which `scrolled` are above the first column.
    pub rows: Vec<HelpRow>,
    /// Area of each column.
    pub columns: Vec<Rect>,
    /// Greatest number of rows that can be scrolled off the top.
    pub max_scroll: usize,
}

/// Lays the help of a panel out in the area of popups; rows that do not match `filter` are left out.
pub(crate) fn page(keymap: &Keymap, panel: Panel, filter: &str, area: Rect) -> HelpPage {
    let wide = help_columns(area);
    let inner = popup(area, HELP_WIDTHS[wide - 1], usize::MAX).1;
    // The first row has the filter.
    let below = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
    let gap = 2;
    let width = if wide == 2 { (below.width - gap) / 2 } else { below.width };
    let columns: Vec<Rect> =
        (0..wide as u16).map(|i| Rect { x: below.x + i * (width + gap), width, ..below }).collect();
    let rows = rows(keymap, panel, &Filter::new(filter), width.saturating_sub(TERM));
    let max_scroll = rows.len().saturating_sub(usize::from(below.height) * wide);
    HelpPage { rows, columns, max_scroll }
}

fn rows(keymap: &Keymap, panel: Panel, filter: &Filter, width: u16) -> Vec<HelpRow> {
    let mut rows = Vec::new();
    let own = |binding: &Binding| is_of(binding, panel);
    keys(keymap, filter, width, format!("Keys: {}", panel.name()), own, &mut rows);
    let here = |chapter: &&&Chapter| chapter.panels & panel.bit() != 0;
    for chapter in CHAPTERS.iter().filter(here) {
        words(filter, width, chapter, &mut rows);
    }
    for (topic, heading) in TOPICS {
        let of = |binding: &Binding| binding.topic == topic && !is_of(binding, panel);
        keys(keymap, filter, width, heading.to_owned(), of, &mut rows);
    }
    for chapter in CHAPTERS.iter().filter(|chapter| !here(chapter)) {
        words(filter, width, chapter, &mut rows);
    }
    rows
}

/// Returns whether a binding belongs to a panel: it acts in few others, or on what this panel lists.
fn is_of(binding: &Binding, panel: Panel) -> bool {
    let topic = match panel {
        Panel::Hops | Panel::Nodes => Topic::Nodes,
        Panel::Setup | Panel::Transfers | Panel::Files => Topic::Transfers,
        Panel::Connections | Panel::Chart | Panel::Log => Topic::View,
    };
    let few = binding.panels.count_ones() <= FEW;
    binding.modes & BROWSE != 0
        && binding.panels & panel.bit() != 0
        && (few || binding.topic == topic && topic != Topic::View)
}

fn keys(
    keymap: &Keymap,
    filter: &Filter,
    width: u16,
    heading: String,
    of: impl Fn(&Binding) -> bool,
    rows: &mut Vec<HelpRow>,
) {
    let mut found = Vec::new();
    for (index, binding) in TABLE.iter().enumerate().filter(|(_, binding)| of(binding)) {
        let names = keymap.names(index);
        let keys = names.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" ");
        // A binding without a key is left out.
        if !keys.is_empty() && filter.keeps(&[("key", &keys), ("name", binding.id), ("help", binding.help)]) {
            let mut lines = lines(binding.help, width).into_iter();
            found.push(HelpRow::Key(keys, binding, lines.next().unwrap_or_default()));
            found.extend(lines.map(HelpRow::More));
        }
    }
    section(heading, found, rows);
}

fn words(filter: &Filter, width: u16, chapter: &Chapter, rows: &mut Vec<HelpRow>) {
    let mut found = Vec::new();
    for (word, meaning) in chapter.words {
        if filter.keeps(&[("word", word), ("meaning", meaning), ("title", chapter.title)]) {
            let mut lines = lines(meaning, width).into_iter();
            found.push(HelpRow::Word(word, lines.next().unwrap_or_default()));
            found.extend(lines.map(HelpRow::More));
        }
    }
    section(chapter.title.to_owned(), found, rows);
}

fn section(heading: String, found: Vec<HelpRow>, rows: &mut Vec<HelpRow>) {
    if !found.is_empty() {
        rows.push(HelpRow::Heading(heading));
        rows.extend(found);
    }
}

fn lines(text: &str, width: u16) -> Vec<String> {
    split_words(text, usize::from(width), usize::from(width), usize::MAX)
}
