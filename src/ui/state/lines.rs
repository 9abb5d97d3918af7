//! Lines being typed: what each asks for, and what becomes of it.

use super::faults::{FAULTS, is_none};
use super::prompt::{ListPosition, Offer, Prompt, PromptKind, shown_name};
use super::{Mode, UiState};
use crate::command::Command;
use crate::route::{FileName, Hop};
use crate::snapshot::ChainSnapshot;
use crate::ui::action::Edit;
use crate::units::parse_bytes;

impl UiState {
    /// Opens a line.
    pub(super) fn ask(&mut self, ask: PromptKind, text: &str) {
        self.mode = Mode::Line(Prompt::new(ask, text));
    }

    /// Makes one change to the line being typed.
    pub(super) fn edit(&mut self, edit: Edit) {
        match &mut self.mode {
            Mode::Line(prompt) => {
                prompt.line.apply(edit);
                (prompt.error, prompt.at) = (None, ListPosition::Best);
                if let PromptKind::Filter(panel) = prompt.ask {
                    let text = prompt.line.text();
                    self.lists.set_filter(panel, text);
                }
            }
            Mode::Palette { line, at } => {
                line.apply(edit);
                *at = 0;
            }
            _ => {}
        }
    }

    /// Types the rest of the marked entry's name.
    pub(super) fn complete(&mut self, chain: &ChainSnapshot) {
        let Mode::Line(prompt) = &mut self.mode else { return };
        let Some(Offer::Entry(entry)) = prompt.marked(chain).and_then(|at| prompt.entries(chain).get(at).copied())
        else {
            return;
        };
        *prompt = Prompt::new(prompt.ask, shown_name(entry));
    }

    /// Takes the line, or says why it cannot be taken.
    pub(super) fn submit(&mut self, chain: &ChainSnapshot) -> Option<Command> {
        let Mode::Line(prompt) = &self.mode else { return None };
        let text = prompt.line.text();
        let text = text.trim();
        let taken = match prompt.ask {
            PromptKind::Filter(_) => Ok(None),
            PromptKind::Name => match prompt.marked(chain).and_then(|at| prompt.entries(chain).get(at).copied()) {
                Some(offer) => return Some(self.take_offer(offer, chain)),
                None => FileName::new(prompt.line.text().as_bytes())
                    .map_err(|e| e.to_string())
                    .map(|name| Some(Command::FetchName(name))),
            },
            PromptKind::Cap(number) => rate_or_none(text).map(|rate| Some(Command::LimitTransfer { number, rate })),
            PromptKind::Attach => Hop::parse_line(text).map(|hop| Some(Command::Attach(hop))),
            PromptKind::FaultChange { hop, at } => {
                FAULTS[at].parse(text).map(|change| Some(Command::SetFault { hop, change }))
            }
        };
        match taken {
            Ok(command) => {
                self.mode = match prompt.ask {
                    PromptKind::FaultChange { hop, at } => Mode::Faults { hop, at },
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

    /// Goes into a folder, or fetches a file.
    fn take_offer(&mut self, offer: Offer<'_>, chain: &ChainSnapshot) -> Command {
        let folder = |path: &[u8]| FileName::new(path).ok();
        let command = match offer {
            Offer::Up => {
                let here = chain.listing.as_ref().map_or("", |listing| listing.folder.as_str()).trim_end_matches('/');
                Command::List(folder(here.rsplit_once('/').map_or("", |(above, _)| above).as_bytes()))
            }
            Offer::Entry(entry) => {
                let name = entry.path.clone();
                if entry.is_folder { Command::List(Some(name)) } else { Command::FetchName(name) }
            }
        };
        match command {
            Command::List(_) => self.ask(PromptKind::Name, ""),
            _ => self.mode = Mode::Browse,
        }
        command
    }
}

/// A rate, or a word for none.
fn rate_or_none(text: &str) -> Result<Option<u64>, String> {
    if is_none(text) { Ok(None) } else { parse_bytes(text).map(Some) }
}
