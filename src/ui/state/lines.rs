//! Text input: opening a prompt, editing its line and accepting it.

use super::faults::{FAULTS, is_none};
use super::prompt::{ListItem, ListPosition, Prompt, PromptKind, display_name};
use super::{Mode, UiState};
use crate::command::Command;
use crate::route::{FileName, Hop, NameError};
use crate::snapshot::{ChainSnapshot, ListingEntry};
use crate::ui::action::Edit;
use crate::ui::edit::LineEdit;
use crate::units::parse_bytes;

impl UiState {
    /// Opens a prompt with a text.
    pub(super) fn open_prompt(&mut self, kind: PromptKind, text: &str) {
        self.mode = Mode::Line(Prompt::new(kind, text));
    }

    /// Edits the line being typed.
    pub(super) fn edit(&mut self, edit: Edit) {
        match &mut self.mode {
            Mode::Line(prompt) => {
                prompt.line.apply(edit);
                (prompt.error, prompt.at) = (None, ListPosition::Best);
                if let PromptKind::Filter(panel) = prompt.kind {
                    let text = prompt.line.text();
                    self.lists.set_filter(panel, text);
                }
            }
            Mode::Palette { line, at } | Mode::Sort { line, at } | Mode::Help { line, top: at, .. } => {
                line.apply(edit);
                *at = 0;
            }
            _ => {}
        }
    }

    /// Completes the name of the selected entry.
    pub(super) fn complete(&mut self, chain: &ChainSnapshot) {
        let Mode::Line(prompt) = &mut self.mode else { return };
        if let Some(entry) = prompt.entry(chain) {
            prompt.line = LineEdit::with(display_name(entry));
            prompt.at = ListPosition::Best;
        }
    }

    /// Marks the selected file or folder, or unmarks it, and selects the next.
    pub(super) fn mark(&mut self, chain: &ChainSnapshot) {
        let Mode::Line(prompt) = &mut self.mode else { return };
        if let Some(entry) = prompt.entry(chain) {
            prompt.mark(entry, !prompt.is_marked(entry));
            prompt.select(chain, |row| row + 1);
        }
    }

    /// Marks all listed files and folders; unmarks them where all are marked.
    pub(super) fn mark_all(&mut self, chain: &ChainSnapshot) {
        let Mode::Line(prompt) = &mut self.mode else { return };
        let items = prompt.entries(chain);
        let entries = items.iter().filter_map(|item| match item {
            ListItem::Entry(entry) => Some(*entry),
            ListItem::Whole | ListItem::Up => None,
        });
        let unmarked = entries.clone().any(|entry| !prompt.is_marked(entry));
        entries.for_each(|entry| prompt.mark(entry, unmarked));
    }

    /// Returns whether the selected file or folder can be marked with a blank, as nothing is typed; `None` without one.
    pub(super) fn marks_by_blank(&self, chain: &ChainSnapshot) -> Option<bool> {
        let Mode::Line(prompt) = &self.mode else { return None };
        prompt.entry(chain).map(|_| prompt.line.text().is_empty())
    }

    /// Accepts the line, or shows why it is invalid.
    pub(super) fn submit(&mut self, chain: &ChainSnapshot) -> Option<Command> {
        let Mode::Line(prompt) = &self.mode else { return None };
        let text = prompt.line.text();
        let text = text.trim();
        let accepted = match prompt.kind {
            PromptKind::Filter(_) => Ok(None),
            PromptKind::Name if !prompt.marked.is_empty() => {
                let names: Result<Vec<FileName>, NameError> = prompt.marked.iter().map(name).collect();
                names.map(|names| Some(Command::FetchAll(names))).map_err(|error| error.to_string())
            }
            PromptKind::Name => match prompt.selected(chain).and_then(|at| prompt.entries(chain).get(at).copied()) {
                Some(ListItem::Whole) => {
                    prompt.whole().map(|name| Some(Command::FetchName(name))).map_err(|error| error.to_string())
                }
                Some(item) => return self.accept_item(item),
                None => FileName::new(prompt.line.text().as_bytes())
                    .map_err(|e| e.to_string())
                    .map(|name| Some(Command::FetchName(name))),
            },
            PromptKind::Limit(number) => rate_or_none(text).map(|rate| Some(Command::LimitTransfer { number, rate })),
            PromptKind::Attach => Hop::parse_line(text).map(|hop| Some(Command::Attach(hop))),
            PromptKind::Fault { hop, at } => {
                FAULTS[at].parse(text).map(|change| Some(Command::SetFault { hop, change }))
            }
        };
        match accepted {
            Ok(command) => {
                self.mode = match prompt.kind {
                    PromptKind::Fault { hop, at } => Mode::Faults { hop, at },
                    _ => Mode::Browse,
                };
                command
            }
            Err(reason) => {
                if let Mode::Line(prompt) = &mut self.mode {
                    prompt.error = Some(reason);
                }
                None
            }
        }
    }

    /// Opens a folder, or fetches a file.
    fn accept_item(&mut self, item: ListItem<'_>) -> Option<Command> {
        let folder = match item {
            ListItem::Whole => return None,
            ListItem::Up => {
                let Mode::Line(Prompt { folder: Some(here), .. }) = &self.mode else { return None };
                let end = here.as_bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                FileName::new(&here.as_bytes()[..end]).ok()
            }
            ListItem::Entry(entry) if entry.is_folder => Some(entry.path.clone()),
            ListItem::Entry(entry) => {
                self.mode = Mode::Browse;
                return Some(Command::FetchName(entry.path.clone()));
            }
        };
        self.mode = Mode::Line(Prompt { folder: folder.clone(), ..Prompt::new(PromptKind::Name, "") });
        Some(Command::List(folder))
    }
}

/// Returns the name by which an entry is fetched: a folder whole.
fn name(entry: &ListingEntry) -> Result<FileName, NameError> {
    if entry.is_folder { entry.path.with_slash() } else { Ok(entry.path.clone()) }
}

/// Parses a rate, or a word for none.
fn rate_or_none(text: &str) -> Result<Option<u64>, String> {
    if is_none(text) { Ok(None) } else { parse_bytes(text).map(Some) }
}
