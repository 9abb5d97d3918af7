//! Text input: opening a prompt, editing its line and accepting it.

use super::faults::{FAULTS, is_none};
use super::prompt::{ListItem, ListPosition, Prompt, PromptKind, display_name};
use super::{Mode, UiState};
use crate::command::Command;
use crate::route::{FileName, Hop};
use crate::snapshot::ChainSnapshot;
use crate::ui::action::Edit;
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
        let Some(ListItem::Entry(entry)) = prompt.selected(chain).and_then(|at| prompt.entries(chain).get(at).copied())
        else {
            return;
        };
        *prompt = Prompt::new(prompt.kind, display_name(entry));
    }

    /// Accepts the line, or shows why it is invalid.
    pub(super) fn submit(&mut self, chain: &ChainSnapshot) -> Option<Command> {
        let Mode::Line(prompt) = &self.mode else { return None };
        let text = prompt.line.text();
        let text = text.trim();
        let accepted = match prompt.kind {
            PromptKind::Filter(_) => Ok(None),
            PromptKind::Name => match prompt.selected(chain).and_then(|at| prompt.entries(chain).get(at).copied()) {
                Some(item) => return Some(self.accept_item(item, chain)),
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
    fn accept_item(&mut self, item: ListItem<'_>, chain: &ChainSnapshot) -> Command {
        let folder = |path: &[u8]| FileName::new(path).ok();
        let command = match item {
            ListItem::Up => {
                let here = chain.listing.as_ref().map_or("", |listing| listing.folder.as_str()).trim_end_matches('/');
                Command::List(folder(here.rsplit_once('/').map_or("", |(above, _)| above).as_bytes()))
            }
            ListItem::Entry(entry) => {
                let name = entry.path.clone();
                if entry.is_folder { Command::List(Some(name)) } else { Command::FetchName(name) }
            }
        };
        match command {
            Command::List(_) => self.open_prompt(PromptKind::Name, ""),
            _ => self.mode = Mode::Browse,
        }
        command
    }
}

/// Parses a rate, or a word for none.
fn rate_or_none(text: &str) -> Result<Option<u64>, String> {
    if is_none(text) { Ok(None) } else { parse_bytes(text).map(Some) }
}
