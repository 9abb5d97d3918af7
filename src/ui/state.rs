//! What the screen itself knows: tab, mode, marks, the line being typed. Neither clock nor terminal nor file here.

mod apply;
mod condition;
mod faults;
mod follow;
mod lines;
mod nodes;
mod prompt;
mod select;
mod settings;
mod targets;
pub(crate) mod wrap;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ratatui::layout::Rect;

use super::action::Action;
use super::edit::LineEdit;
use super::focus::{ConnKey, Focus, Panel, Set, Tab, Tops, ViewMode};
use super::history::{ChartSpan, History};
use super::keymap::{Keymap, binding};
use super::layout::{Regions, split};
use super::lists::Lists;
use super::theme::Theme;
use crate::faults::FaultChange;
use crate::snapshot::{ChainSnapshot, HopSnapshot, Level, NodeSnapshot, Phase, TransferSnapshot};

pub use faults::FAULTS;
pub use follow::ViewStage;
pub use prompt::{Offer, Prompt, PromptKind, shown_name};
pub use settings::{SETTINGS, Setting};

/// What the keys are for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The dashboard itself.
    #[default]
    Browse,
    /// A line is being typed.
    Line(Prompt),
    /// The list of all that can be done, narrowed by a line.
    Palette {
        /// What it is narrowed by.
        line: LineEdit,
        /// The marked line of the list.
        at: usize,
    },
    /// The list of keys lies over the screen.
    Help {
        /// Rows scrolled off its top.
        top: usize,
    },
    /// The columns of the panel that has the keys can be chosen.
    Columns {
        /// The marked column.
        at: usize,
    },
    /// The faults of a hop.
    Faults {
        /// The hop, from 1.
        hop: usize,
        /// The marked change.
        at: usize,
    },
    /// How the screen looks and listens can be changed.
    Settings {
        /// The marked line.
        at: usize,
    },
    /// The person asked to leave while a transfer runs.
    Leaving,
}

/// Effect of an action that only the loop, which has terminal and view, can carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Repaint every cell.
    Repaint,
    /// Suspend the program until the shell resumes it.
    Suspend,
    /// Copy this text to the clipboard.
    Copy(String),
    /// Draw the screen as SVG, and send that as a command.
    SaveScreen,
}

/// What stays on the terminal after the screen has closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ExitOutput {
    /// A few words.
    #[default]
    Words,
    /// The last frame, and the words.
    Frame,
}

/// Snapshot and history that stay on the screen while the data changes.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// Start of the freeze.
    pub since: Duration,
    /// Frozen snapshot.
    pub chain: Arc<ChainSnapshot>,
    /// History at that time.
    pub history: History,
}

/// The whole state of the screen.
#[derive(Clone, Debug, Default)]
pub struct UiState {
    /// How things look.
    pub theme: Theme,
    /// Which keys do what.
    pub keymap: Arc<Keymap>,
    /// What is shown.
    pub tab: Tab,
    /// What the keys are for.
    pub mode: Mode,
    /// Who has the keys on the first tab.
    pub panel: Panel,
    /// How much of the tab is shown.
    pub view_mode: ViewMode,
    /// The time that the chart shows.
    pub span: ChartSpan,
    /// Log lines below this level are not shown.
    pub level: Level,
    /// Long log lines are broken, not cut.
    pub wrap: bool,
    /// Columns that are not shown, by table; a bit each.
    pub hidden: [u32; 3],
    /// A word to the person, until the next key.
    pub notice: Option<String>,
    /// Rows of the lists: filtered and sorted.
    pub lists: Lists,
    /// Rows scrolled off the tops of lists.
    pub tops: Tops,
    /// Where the last frame was drawn: how far a list can scroll depends on it.
    pub area: Rect,
    /// The time since the screen was opened, as of the last event.
    pub now: Duration,
    /// The mouse is listened to.
    pub mouse: bool,
    /// The held picture.
    pub frozen: Option<Frozen>,
    /// What was gathered from the snapshots so far.
    history: History,
    /// The mark in the hop table, from 1; kept in range where it is read.
    hop: usize,
    /// The connection that was marked by hand; without one the first is.
    conn: Option<ConnKey>,
    /// The row where it was: its neighbour gets the mark when it ends.
    conn_was: usize,
    /// The transfer that was marked by hand; without one the mark follows the newest that runs.
    transfer: Option<u64>,
    /// The marked log line; without one the log follows its end.
    line: Option<u64>,
    /// What waits for a second press of its key, and of what.
    asked: Option<(Action, String)>,
    /// The cap that was asked for last, of which transfer and when: the chain takes a moment to say the same.
    cap_asked: Option<(u64, u64, Duration)>,
    quitting: bool,
    exit_output: ExitOutput,
    /// Effects of the keys since the last frame, oldest first.
    effects: VecDeque<Effect>,
}

impl UiState {
    /// The state at the start.
    pub fn new(theme: Theme, keymap: Keymap) -> Self {
        Self { theme, keymap: Arc::new(keymap), hop: 1, ..Self::default() }
    }

    /// Takes in the newest snapshot, also while another is held.
    pub fn observe(&mut self, newest: &ChainSnapshot) {
        self.history.observe(newest, self.now);
        if self.frozen.is_none() {
            self.settle(newest);
        }
    }

    /// What is shown changes though the newest snapshot does not.
    pub fn is_fading(&self) -> bool {
        self.frozen.is_none() && self.history.is_fading()
    }

    /// The snapshot to show: the held one, or the newest.
    pub fn shown(&self, newest: &Arc<ChainSnapshot>) -> Arc<ChainSnapshot> {
        self.frozen.as_ref().map_or_else(|| Arc::clone(newest), |frozen| Arc::clone(&frozen.chain))
    }

    /// Returns the history that belongs to the shown snapshot.
    pub fn history(&self) -> &History {
        self.frozen.as_ref().map_or(&self.history, |frozen| &frozen.history)
    }

    /// The panel that has the keys.
    pub fn focus(&self) -> Panel {
        match self.tab {
            Tab::Chain => self.panel,
            Tab::Connections => Panel::Connections,
            Tab::Transfers => Panel::Transfers,
            Tab::Nodes => Panel::Nodes,
            Tab::Log => Panel::Log,
        }
    }

    /// Where each region stands in this area.
    pub(crate) fn layout(&self, area: Rect, hops: usize) -> Regions {
        split(Focus { tab: self.tab, view_mode: self.view_mode, panel: self.focus() }, area, hops)
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

    /// The transfer that was marked by hand, unless it is over.
    fn chosen<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        chain.transfers.iter().find(|t| Some(t.number) == self.transfer && !t.phase.is_over())
    }

    /// The marked log line, if the log does not follow its end.
    pub fn line(&self) -> Option<u64> {
        self.line
    }

    /// Something is open that `Back` would close.
    pub fn is_inside(&self) -> bool {
        self.view_mode != ViewMode::Overview || !self.lists.filter(self.focus()).is_empty()
    }

    /// The person has asked to leave.
    pub fn quitting(&self) -> bool {
        self.quitting
    }

    /// The person wants the last frame to stay on the terminal.
    pub fn keeps_frame(&self) -> bool {
        self.quitting && self.exit_output == ExitOutput::Frame
    }

    /// Takes the oldest effect to execute before the next frame.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Takes the request for a screenshot, which unlike other effects needs no terminal.
    pub fn take_screenshot(&mut self) -> bool {
        let newest = self.effects.back() == Some(&Effect::SaveScreen);
        newest && self.effects.pop_back().is_some()
    }

    /// Queues an effect. An equal one that waits already serves both: repaints of a repeated key cost one.
    fn queue_effect(&mut self, effect: Effect) {
        if !self.effects.contains(&effect) {
            self.effects.push_back(effect);
        }
    }

    /// The value of a change as the hop reports it, as a person would type it.
    pub fn fault_value(&self, chain: &ChainSnapshot, hop: usize, at: usize) -> Option<String> {
        Some(FAULTS.get(at)?.value(node(chain, hop)?))
    }

    /// The marked change differs from nothing.
    pub fn any_fault_set(&self, chain: &ChainSnapshot) -> bool {
        let Mode::Faults { hop, at } = self.mode else { return false };
        FAULTS.get(at).zip(node(chain, hop)).is_some_and(|(change, node)| change.is_turned(node))
    }

    /// The turn that brings the marked change back to nothing.
    fn fault_off(&self) -> Option<(usize, FaultChange)> {
        let Mode::Faults { hop, at } = self.mode else { return None };
        Some((hop, FAULTS.get(at)?.off()))
    }
}

impl Mode {
    /// The bit by which the key table names it.
    pub fn bit(&self) -> Set {
        match self {
            Self::Browse => binding::BROWSE,
            Self::Line(_) => binding::LINE,
            Self::Palette { .. } => binding::PALETTE,
            Self::Help { .. } => binding::HELP,
            Self::Columns { .. } | Self::Faults { .. } | Self::Settings { .. } => binding::PICK,
            Self::Leaving => binding::LEAVE,
        }
    }

    /// The line being typed, if one is.
    pub fn line(&self) -> Option<&LineEdit> {
        match self {
            Self::Line(prompt) => Some(&prompt.line),
            Self::Palette { line, .. } => Some(line),
            _ => None,
        }
    }
}

/// What a hop's node reports.
fn node(chain: &ChainSnapshot, hop: usize) -> Option<&NodeSnapshot> {
    chain.hops.iter().find(|h| h.number == hop)?.node.as_ref()
}

/// The newest transfer that runs; where none does, the newest that waits.
pub fn running(chain: &ChainSnapshot) -> Option<&TransferSnapshot> {
    chain.transfers.iter().filter(|t| !t.phase.is_over()).max_by_key(|t| match t.phase {
        Phase::Queued | Phase::Paused => 0,
        Phase::Locked => 1,
        _ => 2,
    })
}
