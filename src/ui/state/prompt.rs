//! Prompt: a line being typed for a purpose, with the list of remote files above it.

use super::faults::FAULTS;
use crate::route::{FileName, NameError};
use crate::snapshot::{ChainSnapshot, Listing, ListingEntry};
use crate::ui::edit::LineEdit;
use crate::ui::focus::Panel;

/// Purpose of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptKind {
    /// Name of the file to fetch.
    Name,
    /// Filter of the rows of a panel.
    Filter(Panel),
    /// Rate limit of the transfer with this number.
    Limit(u64),
    /// Address of a node to watch.
    Attach,
    /// Value of a fault of a hop.
    Fault {
        /// The hop, from 1.
        hop: usize,
        /// Index of the fault in `FAULTS`.
        at: usize,
    },
}

/// Prompt with a line being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its purpose.
    pub kind: PromptKind,
    /// The line.
    pub line: LineEdit,
    /// Why the line was rejected, until it changes.
    pub error: Option<String>,
    /// What `Enter` accepts: the line itself, or an entry of its list.
    pub(super) at: ListPosition,
    /// In a prompt for a file: the listed folder; `None` is the root.
    pub folder: Option<FileName>,
    /// Files and folders that `Enter` fetches; without any, it takes the selected entry or the line.
    pub marked: Vec<ListingEntry>,
}

/// Selection of a prompt with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListPosition {
    /// Not moved yet: the best match.
    Best,
    /// The line itself.
    Line,
    /// This entry.
    Row(usize),
}

/// Entry of the list of remote files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ListItem<'a> {
    /// The listed folder itself, with all that is in it.
    Whole,
    /// The parent folder.
    Up,
    /// A file or a folder.
    Entry(&'a ListingEntry),
}

impl Prompt {
    /// Makes a prompt with a text.
    pub fn new(kind: PromptKind, text: &str) -> Self {
        Self { kind, line: LineEdit::with(text), error: None, at: ListPosition::Best, folder: None, marked: Vec::new() }
    }

    /// Returns the question before the line.
    pub fn question(&self) -> String {
        match self.kind {
            PromptKind::Name if !self.marked.is_empty() => format!("{} marked, fetch which files?", self.marked.len()),
            PromptKind::Name => "fetch which file?".to_owned(),
            PromptKind::Filter(_) => "filter".to_owned(),
            PromptKind::Limit(number) => format!("rate limit of #{number}, such as 400K or none?"),
            PromptKind::Attach => "watch which node, HOST PORT?".to_owned(),
            PromptKind::Fault { hop, at } => {
                let fault = FAULTS.get(at).map_or("", |fault| fault.name());
                format!("{fault} of hop {hop}?")
            }
        }
    }

    /// Returns the listing of the prompt's folder, once it has arrived.
    pub fn listing<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a Listing> {
        let folder = self.folder.as_ref().map(FileName::shown).unwrap_or_default();
        chain.listing.as_ref().filter(|listing| self.kind == PromptKind::Name && listing.folder == folder)
    }

    /// Returns the selected file or folder of the list.
    pub fn entry<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a ListingEntry> {
        match self.selected(chain).and_then(|at| self.entries(chain).get(at).copied())? {
            ListItem::Whole | ListItem::Up => None,
            ListItem::Entry(entry) => Some(entry),
        }
    }

    /// Returns the name of the listed folder, as it is requested whole.
    pub(super) fn whole(&self) -> Result<FileName, NameError> {
        self.folder.as_ref().map_or_else(|| FileName::new(b"/"), FileName::with_slash)
    }

    /// Returns whether an entry is marked.
    pub fn is_marked(&self, entry: &ListingEntry) -> bool {
        self.marked.iter().any(|marked| marked.path == entry.path)
    }

    /// Marks an entry, or unmarks it.
    pub(super) fn mark(&mut self, entry: &ListingEntry, marked: bool) {
        self.marked.retain(|other| other.path != entry.path);
        if marked {
            self.marked.push(entry.clone());
        }
    }

    /// Returns the remote files that match the typed text, in a prompt for a file.
    pub fn entries<'a>(&self, chain: &'a ChainSnapshot) -> Vec<ListItem<'a>> {
        let Some(listing) = self.listing(chain) else { return Vec::new() };
        let typed = self.line.text().to_lowercase();
        let whole = (typed.is_empty() && !listing.entries.is_empty()).then_some(ListItem::Whole);
        let up = (typed.is_empty() && !listing.folder.as_str().is_empty()).then_some(ListItem::Up);
        let named = listing.entries.iter().filter(|entry| entry.name.as_str().to_lowercase().contains(&typed));
        whole.into_iter().chain(up).chain(named.map(ListItem::Entry)).collect()
    }

    /// Returns the index of the entry that `Enter` accepts; `None` stands for the line itself.
    pub fn selected(&self, chain: &ChainSnapshot) -> Option<usize> {
        let items = self.entries(chain);
        match self.at {
            ListPosition::Line => None,
            ListPosition::Row(at) => (at < items.len()).then_some(at),
            ListPosition::Best => {
                let typed = self.line.text();
                let is_typed =
                    |item: &ListItem<'_>| matches!(item, ListItem::Entry(entry) if display_name(entry) == typed);
                let is_entry = |item: &ListItem<'_>| matches!(item, ListItem::Entry(_));
                items.iter().position(is_typed).or_else(|| items.iter().position(is_entry))
            }
        }
    }

    /// Moves the selection between the line, which is row 0, and its list.
    pub(super) fn select(&mut self, chain: &ChainSnapshot, to: impl Fn(usize) -> usize) {
        let row = self.selected(chain).map_or(0, |at| at + 1);
        let row = to(row).min(self.entries(chain).len());
        self.at = row.checked_sub(1).map_or(ListPosition::Line, ListPosition::Row);
    }
}

/// Returns the name of an entry, as it is typed.
pub fn display_name(entry: &ListingEntry) -> &str {
    entry.name.as_str().trim_end_matches('/')
}
