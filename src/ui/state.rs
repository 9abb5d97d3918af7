//! What the screen itself knows: mode, marks, the line being typed. `apply` is pure; neither clock nor terminal here.

use ratatui::layout::Rect;

use super::action::Action;
use super::edit::LineEdit;
use super::rates::ConnRates;
use super::theme::Theme;
use super::view;
use super::widgets::help;
use crate::command::Command;
use crate::route::FileName;
use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot, TransferSnapshot};

/// What the keys are for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The dashboard itself.
    #[default]
    Browse,
    /// A name is being typed.
    Prompt {
        /// The line.
        line: LineEdit,
        /// Why the line cannot be taken, since it was last tried.
        error: Option<String>,
    },
    /// The list of keys lies over the screen.
    Help {
        /// Rows scrolled off its top.
        top: usize,
    },
}

/// The panel that has the arrow keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    /// The hop table.
    #[default]
    Hops,
    /// The transfers.
    Transfers,
}

/// What was asked for and only the loop, which has the terminal, can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Paint every cell again.
    Repaint,
    /// Stop until the shell sends the program on.
    Suspend,
}

/// The whole state of the screen.
#[derive(Clone, Debug, Default)]
pub struct UiState {
    /// How things look.
    pub theme: Theme,
    /// What the keys are for.
    pub mode: Mode,
    /// Who has the arrow keys.
    pub panel: Panel,
    /// A word to the person, until the next key.
    pub notice: Option<String>,
    /// Rates of single connections.
    pub rates: ConnRates,
    /// Where the last frame was drawn: how far a list can scroll depends on it.
    pub area: Rect,
    /// The mark in the hop table, from 1; kept in range where it is read.
    hop: usize,
    /// The transfer that was marked by hand; without one the mark follows the newest that runs.
    transfer: Option<u64>,
    /// The last key was a Ctrl-C that cancelled something.
    interrupted: bool,
    quitting: bool,
    errand: Option<Errand>,
}

impl UiState {
    /// The state at the start.
    pub fn new(theme: Theme) -> Self {
        Self { theme, hop: 1, ..Self::default() }
    }

    /// Takes in a new snapshot.
    pub fn observe(&mut self, chain: &ChainSnapshot) {
        self.rates.observe(chain);
    }

    /// The marked hop.
    pub fn hop<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a HopSnapshot> {
        chain.hops.get(self.hop.clamp(1, chain.hops.len().max(1)) - 1)
    }

    /// The marked transfer: the one marked by hand, else the newest that runs, else the newest.
    pub fn transfer<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        let by_hand = chain.transfers.iter().find(|t| Some(t.number) == self.transfer);
        by_hand.or_else(|| running(chain)).or(chain.transfers.last())
    }

    /// The transfer that `x` would cancel: the marked one while its panel has the keys, else the newest that runs.
    pub fn cancellable(&self, chain: &ChainSnapshot) -> Option<u64> {
        let target = match self.panel {
            Panel::Transfers => self.transfer(chain).filter(|t| !t.phase.is_over()),
            Panel::Hops => running(chain),
        };
        target.map(|t| t.number)
    }

    /// The hop whose node `r` would start anew: one that this program started, also where it has died since.
    pub fn restartable(&self, chain: &ChainSnapshot) -> Option<usize> {
        let hop = self.hop(chain).filter(|_| !chain.leaving)?;
        let ours = match hop.link {
            HopLink::Spawned { .. } => true,
            HopLink::Down { .. } => hop.ours,
            _ => false,
        };
        ours.then_some(hop.number)
    }

    /// The person has asked to leave.
    pub fn quitting(&self) -> bool {
        self.quitting
    }

    /// What the loop is to do before the next frame, told once.
    pub fn take_errand(&mut self) -> Option<Errand> {
        self.errand.take()
    }

    /// Carries out one action. What it asks of the chain is returned; all else is a change to this state.
    pub fn apply(&mut self, action: Action, chain: &ChainSnapshot) -> Option<Command> {
        self.notice = None;
        let interrupted = std::mem::take(&mut self.interrupted);
        match action {
            Action::Fetch => return Some(Command::Fetch),
            Action::AskName => self.mode = Mode::Prompt { line: LineEdit::default(), error: None },
            Action::Cancel => return self.cancellable(chain).map(Command::Cancel),
            Action::Restart => return self.restartable(chain).map(Command::RestartNode),
            Action::Move(by) => self.go(chain, |row| row.saturating_add_signed(by)),
            Action::First => self.go(chain, |_| 0),
            Action::Last => self.go(chain, |_| usize::MAX),
            Action::SelectHop(number) if number <= chain.hops.len() => {
                self.panel = Panel::Hops;
                self.hop = number.max(1);
            }
            Action::SelectHop(_) => {}
            Action::NextPanel => self.next_panel(chain),
            Action::Help => self.mode = Mode::Help { top: 0 },
            Action::Close => self.mode = Mode::Browse,
            Action::Quit => return self.close_or_leave(),
            Action::Interrupt => return self.interrupt(interrupted, chain),
            Action::Repaint => self.errand = Some(Errand::Repaint),
            Action::Suspend => self.errand = Some(Errand::Suspend),
            Action::Edit(edit) => {
                if let Mode::Prompt { line, error } = &mut self.mode {
                    line.apply(edit);
                    *error = None;
                }
            }
            Action::Submit => return self.submit(),
        }
        None
    }

    fn go(&mut self, chain: &ChainSnapshot, to: impl Fn(usize) -> usize) {
        if let Mode::Help { top } = &mut self.mode {
            *top = to(*top).min(help::furthest(view::help_area(self.area)));
            return;
        }
        match self.panel {
            Panel::Hops => {
                let row = self.hop(chain).map_or(0, |hop| hop.number.saturating_sub(1));
                self.hop = to(row).min(chain.hops.len().saturating_sub(1)) + 1;
            }
            Panel::Transfers => {
                let marked = self.transfer(chain).map(|t| t.number);
                let row = chain.transfers.iter().position(|t| Some(t.number) == marked).unwrap_or(0);
                let row = to(row).min(chain.transfers.len().saturating_sub(1));
                self.transfer = chain.transfers.get(row).map(|t| t.number);
            }
        }
    }

    fn next_panel(&mut self, chain: &ChainSnapshot) {
        match self.panel {
            Panel::Hops if !chain.transfers.is_empty() => {
                self.panel = Panel::Transfers;
                self.transfer = self.transfer(chain).map(|t| t.number);
            }
            _ => {
                self.panel = Panel::Hops;
                // Without the keys the mark goes back to what runs.
                self.transfer = None;
            }
        }
    }

    fn close_or_leave(&mut self) -> Option<Command> {
        if self.mode != Mode::Browse {
            self.mode = Mode::Browse;
            return None;
        }
        self.quitting = true;
        Some(Command::Quit { leave_nodes: false })
    }

    /// A second Ctrl-C in a row leaves at once, whatever the first has achieved so far.
    fn interrupt(&mut self, again: bool, chain: &ChainSnapshot) -> Option<Command> {
        match running(chain) {
            Some(transfer) if self.mode == Mode::Browse && !again => {
                self.interrupted = true;
                self.notice = Some(format!("cancelling #{}; Ctrl-C again leaves", transfer.number));
                Some(Command::Cancel(transfer.number))
            }
            _ => self.close_or_leave(),
        }
    }

    fn submit(&mut self) -> Option<Command> {
        let Mode::Prompt { line, error } = &mut self.mode else { return None };
        match FileName::new(line.text().as_bytes()) {
            Ok(name) => {
                self.mode = Mode::Browse;
                Some(Command::FetchName(name))
            }
            Err(reason) => {
                *error = Some(reason.to_string());
                None
            }
        }
    }
}

/// The newest transfer that runs.
pub fn running(chain: &ChainSnapshot) -> Option<&TransferSnapshot> {
    chain.transfers.iter().rev().find(|t| !t.phase.is_over())
}
