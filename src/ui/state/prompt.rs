//! A line being typed: what it is for, and the list of remote files at it.

use super::faults::FAULTS;
use crate::snapshot::{ChainSnapshot, ListingEntry};
use crate::ui::action::Edit;
use crate::ui::edit::LineEdit;
use crate::ui::focus::Panel;

/// What a line is typed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptKind {
    /// The file to fetch.
    Name,
    /// What the rows of a panel must contain.
    Filter(Panel),
    /// The cap of the transfer with this number.
    Cap(u64),
    /// The node to watch.
    Attach,
    /// The value of a hop's change.
    FaultChange {
        /// The hop, from 1.
        hop: usize,
        /// The change's place in `FAULTS`.
        at: usize,
    },
}

/// A line being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What for.
    pub ask: PromptKind,
    /// The line.
    pub line: LineEdit,
    /// Why the line cannot be taken, since it was last tried.
    pub error: Option<String>,
    /// What counts: the line itself, or an entry of the list that hangs on it.
    pub(super) at: ListPosition,
}

/// Where the mark of a line with a list stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListPosition {
    /// Nobody has moved it: on the entry that fits best.
    Best,
    /// On the line itself.
    Line,
    /// On this entry.
    Row(usize),
}

/// One line of what the origin offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offer<'a> {
    /// The folder above.
    Up,
    /// A file or a folder.
    Entry(&'a ListingEntry),
}

impl Prompt {
    /// A line with a first text.
    pub fn new(ask: PromptKind, text: &str) -> Self {
        let mut line = LineEdit::default();
        text.chars().for_each(|c| line.apply(Edit::Insert(c)));
        Self { ask, line, error: None, at: ListPosition::Best }
    }

    /// The question before the line.
    pub fn question(&self) -> String {
        match self.ask {
            PromptKind::Name => "fetch which file?".to_owned(),
            PromptKind::Filter(_) => "filter".to_owned(),
            PromptKind::Cap(number) => format!("rate limit of #{number}, such as 400K or none?"),
            PromptKind::Attach => "watch which node, HOST PORT?".to_owned(),
            PromptKind::FaultChange { hop, at } => {
                let change = FAULTS.get(at).map_or("", |change| change.name());
                format!("{change} of hop {hop}?")
            }
        }
    }

    /// What the origin offers under the typed words, while a file is asked for.
    pub fn entries<'a>(&self, chain: &'a ChainSnapshot) -> Vec<Offer<'a>> {
        let (PromptKind::Name, Some(listing)) = (self.ask, &chain.listing) else { return Vec::new() };
        let typed = self.line.text().to_lowercase();
        let up = (typed.is_empty() && !listing.folder.as_str().is_empty()).then_some(Offer::Up);
        let named = listing.entries.iter().filter(|entry| entry.name.as_str().to_lowercase().contains(&typed));
        up.into_iter().chain(named.map(Offer::Entry)).collect()
    }

    /// The entry that would be taken; without one, the line itself counts.
    pub fn marked(&self, chain: &ChainSnapshot) -> Option<usize> {
        let offers = self.entries(chain);
        match self.at {
            ListPosition::Line => None,
            ListPosition::Row(at) => (at < offers.len()).then_some(at),
            ListPosition::Best => {
                let typed = self.line.text();
                let is_typed = |offer: &Offer<'_>| matches!(offer, Offer::Entry(entry) if shown_name(entry) == typed);
                let is_entry = |offer: &Offer<'_>| matches!(offer, Offer::Entry(_));
                offers.iter().position(is_typed).or_else(|| offers.iter().position(is_entry))
            }
        }
    }

    /// Moves the mark between the line, which counts as row 0, and its list.
    pub(super) fn choose(&mut self, chain: &ChainSnapshot, to: impl Fn(usize) -> usize) {
        let row = self.marked(chain).map_or(0, |at| at + 1);
        let row = to(row).min(self.entries(chain).len());
        self.at = row.checked_sub(1).map_or(ListPosition::Line, ListPosition::Row);
    }
}

/// An entry's own name, as it is typed.
pub fn shown_name(entry: &ListingEntry) -> &str {
    entry.name.as_str().trim_end_matches('/')
}
