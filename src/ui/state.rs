//! State of the screen: tab, mode, selections, the line being typed. It uses no clock, terminal or file.

mod apply;
mod condition;
mod control;
mod copy;
mod faults;
mod files;
mod files_view;
mod follow;
mod lines;
mod nodes;
mod prompt;
mod refusal;
mod select;
mod settings;
pub(crate) mod sort;
mod targets;
pub(crate) mod wrap;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ratatui::layout::{Position, Rect};

use super::action::Action;
use super::alerts::EndTracker;
use super::edit::LineEdit;
use super::focus::{ConnKey, Focus, Panel, ScrollOffsets, Set, Tab, ViewMode};
use super::history::{ChartSpan, History};
use super::keymap::{Keymap, binding};
use super::layout::{Regions, Wants, split};
use super::lists::{Lists, rank};
use super::theme::Theme;
use crate::faults::FaultChange;
use crate::options::Alerts;
use crate::snapshot::{ChainSnapshot, HopSnapshot, Level, TransferSnapshot};

pub use faults::FAULTS;
use files_view::FilesView;
pub use follow::ViewStage;
pub use prompt::{ListItem, Prompt, PromptKind, display_name};
pub use refusal::Refusal;
pub use settings::{SETTINGS, Setting};

/// Longest time between the clicks of a double click, as in most desktops.
const DOUBLE_CLICK: Duration = Duration::from_millis(400);

/// Mode of the screen: the target of key presses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The dashboard itself.
    #[default]
    Browse,
    /// A line is being typed.
    Line(Prompt),
    /// The command palette is open.
    Palette {
        /// Search text.
        line: LineEdit,
        /// Selected row of the list.
        at: usize,
    },
    /// The help is open.
    Help {
        /// Number of rows scrolled off its top.
        top: usize,
        /// Search text.
        line: LineEdit,
        /// The search text is being typed.
        searching: bool,
    },
    /// The list of columns to sort by is open.
    Sort {
        /// Search text.
        line: LineEdit,
        /// Selected row of the list.
        at: usize,
    },
    /// The list of columns of the focused panel is open.
    Columns {
        /// Selected column.
        at: usize,
    },
    /// The list of faults of a hop is open.
    Faults {
        /// The hop, from 1.
        hop: usize,
        /// Selected fault.
        at: usize,
    },
    /// The list of settings is open.
    Settings {
        /// Selected setting.
        at: usize,
    },
    /// The copy menu is open.
    Copy {
        /// Selected entry.
        at: usize,
    },
    /// The user must confirm quitting, as a transfer runs.
    ConfirmQuit,
}

/// Effect of an action that only the loop, which has terminal and view, can execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Repaint every cell.
    Repaint,
    /// Suspend the program until the shell resumes it.
    Suspend,
    /// Copy this text to the clipboard.
    Copy(String),
    /// Ring the bell or show a desktop notification, as far as they are on.
    Announce(String),
    /// Draw the screen as SVG, and send that as a command.
    SaveScreen,
}

/// Output that remains on the terminal after the screen has closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ExitOutput {
    /// The summary.
    #[default]
    Summary,
    /// The last frame, and the summary.
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

/// State of the screen.
#[derive(Clone, Debug, Default)]
pub struct UiState {
    /// Colors and glyphs.
    pub theme: Theme,
    /// Key bindings.
    pub keymap: Arc<Keymap>,
    /// Current tab.
    pub tab: Tab,
    /// Current mode.
    pub mode: Mode,
    /// Focused panel of the first tab.
    pub panel: Panel,
    /// How much of the tab is shown.
    pub view_mode: ViewMode,
    /// Time span of the chart.
    pub span: ChartSpan,
    /// Log lines below this level are hidden.
    pub level: Level,
    /// Long log lines are wrapped, not truncated.
    pub wrap: bool,
    /// Hidden columns, by table, one bit each.
    pub hidden: [u32; 3],
    /// Notice to the user, until the next key.
    pub notice: Option<String>,
    /// Rows of the lists: filtered and sorted.
    pub lists: Lists,
    /// Rows scrolled off the top of each list.
    pub scrolled: ScrollOffsets,
    /// Area of the last frame: how far a list can scroll depends on it.
    pub area: Rect,
    /// Time since the screen was opened, as of the last event.
    pub now: Duration,
    /// Rows of the caption above the footer.
    pub caption_rows: u16,
    /// Act of the demo that was shown last.
    act: usize,
    /// Rows scrolled off the top of a detail page.
    pub page_top: u16,
    /// The mouse is on.
    pub mouse: bool,
    /// Signs of progress and of the end of transfers.
    pub alerts: Alerts,
    /// Frozen display.
    pub frozen: Option<Frozen>,
    /// Rows of the lists: maxima since the tab or the area last changed.
    wants: Wants,
    /// The tab and the area that they belong to.
    wants_of: (Tab, Rect),
    /// Data gathered from the snapshots so far.
    history: History,
    /// Hop that the user selected, from 1; clamped where it is read. `None` selects the one that the headline is about.
    hop: Option<usize>,
    /// The last hop that the headline was about, from 1.
    hop_of_headline: usize,
    /// Connection that the user selected; `None` selects the first.
    conn: Option<ConnKey>,
    /// Its last row: when it ends, the connection there is selected.
    conn_was: usize,
    /// Transfer that the user selected; `None` selects the first that runs.
    transfer: Option<u64>,
    /// Position in the files of the folder whose details are shown.
    files: FilesView,
    /// Selected log line; `None` follows the end of the log.
    line: Option<u64>,
    /// Action that waits for a second press of its key, with its target.
    unconfirmed: Option<(Action, String)>,
    /// Last rate limit set: transfer, rate and time. Snapshots show it only after a moment.
    last_limit: Option<(u64, u64, Duration)>,
    ends: EndTracker,
    /// Place and time of the last click, for double clicks.
    last_click: Option<(Position, Duration)>,
    quitting: bool,
    exit_output: ExitOutput,
    /// Effects of the keys since the last frame, oldest first.
    effects: VecDeque<Effect>,
}

impl UiState {
    /// Returns the initial state.
    pub fn new(theme: Theme, keymap: Keymap) -> Self {
        Self { theme, keymap: Arc::new(keymap), hop_of_headline: 1, ..Self::default() }
    }

    /// Records the newest snapshot, even while the display is frozen.
    pub fn observe(&mut self, newest: &ChainSnapshot) {
        self.history.observe(newest, self.now);
        if let Some(text) = self.ends.observe(newest, self.now) {
            self.queue_effect(Effect::Announce(text));
        }
        if self.frozen.is_none() {
            self.settle(newest);
        }
    }

    /// Returns whether the display changes even without a new snapshot.
    pub fn is_fading(&self) -> bool {
        self.frozen.is_none() && self.history.is_fading()
    }

    /// Returns the snapshot to show: the frozen one, or the newest.
    pub fn shown(&self, newest: &Arc<ChainSnapshot>) -> Arc<ChainSnapshot> {
        self.frozen.as_ref().map_or_else(|| Arc::clone(newest), |frozen| Arc::clone(&frozen.chain))
    }

    /// Returns the history that belongs to the shown snapshot.
    pub fn history(&self) -> &History {
        self.frozen.as_ref().map_or(&self.history, |frozen| &frozen.history)
    }

    /// Returns the focused panel.
    pub fn focus(&self) -> Panel {
        if self.files.shown { Panel::Files } else { self.panel_of_tab() }
    }

    /// Returns the focused panel of the tab, which a page may cover.
    fn panel_of_tab(&self) -> Panel {
        match self.tab {
            Tab::Chain => self.panel,
            Tab::Connections => Panel::Connections,
            Tab::Transfers => Panel::Transfers,
            Tab::Nodes => Panel::Nodes,
            Tab::Log => Panel::Log,
        }
    }

    /// Returns the regions of the screen in this area.
    pub(crate) fn layout(&self, area: Rect, hops: usize) -> Regions {
        let focus = Focus { tab: self.tab, view_mode: self.view_mode, panel: self.focus() };
        let wants = Wants { hops: u16::try_from(hops).unwrap_or(u16::MAX), ..self.wants };
        split(focus, area, &wants, self.caption_rows)
    }

    /// Returns the selected hop: the user's choice, else the one that the headline is or was last about.
    pub fn hop<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a HopSnapshot> {
        let hop = self.hop.unwrap_or(self.hop_of_headline);
        chain.hops.get(hop.clamp(1, chain.hops.len().max(1)) - 1)
    }

    /// Returns the selected transfer: the user's choice, else the first that runs, else the newest.
    pub fn transfer<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        let by_hand = chain.transfers.iter().find(|t| Some(t.number) == self.transfer);
        by_hand.or_else(|| running(chain)).or(chain.transfers.last())
    }

    /// Returns the transfer that the user selected, unless it has ended.
    fn chosen<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        chain.transfers.iter().find(|t| Some(t.number) == self.transfer && !t.phase.is_over())
    }

    /// Returns the selected log line, unless the log follows its end.
    pub fn line(&self) -> Option<u64> {
        self.line
    }

    /// Returns whether `Back` would close something, or undo the selection of a hop.
    pub fn is_inside(&self) -> bool {
        let selected = self.hop.is_some() && matches!(self.tab, Tab::Chain | Tab::Nodes);
        self.view_mode != ViewMode::Overview || !self.lists.filter(self.focus()).is_empty() || selected
    }

    /// Records a click; returns whether it is the second of a double click.
    pub(crate) fn is_double_click(&mut self, at: Position) -> bool {
        let before = self.last_click.replace((at, self.now));
        let double = before.is_some_and(|(place, time)| place == at && self.now.saturating_sub(time) < DOUBLE_CLICK);
        if double {
            // A third click is a first one.
            self.last_click = None;
        }
        double
    }

    /// Returns whether the user has quit.
    pub fn quitting(&self) -> bool {
        self.quitting
    }

    /// Returns whether the last frame is to stay on the terminal.
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

    /// Returns the value of a fault that the hop reports, as the user would type it.
    pub fn fault_value(&self, chain: &ChainSnapshot, hop: usize, at: usize) -> Option<String> {
        Some(FAULTS.get(at)?.value(chain.hop(hop).and_then(|hop| hop.node.as_ref())?))
    }

    /// Returns whether the selected fault is set.
    pub fn any_fault_set(&self, chain: &ChainSnapshot) -> bool {
        let Mode::Faults { hop, at } = self.mode else { return false };
        FAULTS
            .get(at)
            .zip(chain.hop(hop).and_then(|hop| hop.node.as_ref()))
            .is_some_and(|(fault, node)| fault.is_set(node))
    }

    /// Returns the change that turns the selected fault off, with its hop.
    fn fault_off(&self) -> Option<(usize, FaultChange)> {
        let Mode::Faults { hop, at } = self.mode else { return None };
        Some((hop, FAULTS.get(at)?.off()))
    }
}

impl Mode {
    /// Returns its bit in the key table.
    pub fn bit(&self) -> Set {
        match self {
            Self::Browse => binding::BROWSE,
            Self::Line(prompt) if prompt.kind == PromptKind::Name => binding::FILES,
            Self::Line(_) | Self::Help { searching: true, .. } => binding::LINE,
            Self::Palette { .. } | Self::Sort { .. } => binding::PALETTE,
            Self::Help { .. } => binding::HELP,
            Self::Columns { .. } | Self::Faults { .. } | Self::Settings { .. } => binding::PICK,
            Self::Copy { .. } => binding::COPY,
            Self::ConfirmQuit => binding::CONFIRM,
        }
    }

    /// Returns the line being typed, if any.
    pub fn line(&self) -> Option<&LineEdit> {
        match self {
            Self::Line(prompt) => Some(&prompt.line),
            Self::Palette { line, .. } | Self::Sort { line, .. } | Self::Help { line, searching: true, .. } => {
                Some(line)
            }
            _ => None,
        }
    }
}

/// Returns the first transfer that runs; where none does, the first that waits.
pub fn running(chain: &ChainSnapshot) -> Option<&TransferSnapshot> {
    chain.transfers.iter().filter(|t| !t.phase.is_over()).min_by_key(|t| rank(t.phase))
}
