//! Key binding: keys, modes and panels, topic, help and footer, condition and action.

use crate::ui::action::{Action, CopyItem};
use crate::ui::focus::{Set, Tab};

/// Mode without a popup or a prompt.
pub(crate) const BROWSE: Set = 1;
/// Mode in which a line is being typed.
pub(crate) const LINE: Set = 1 << 1;
/// Mode of the command palette.
pub(crate) const PALETTE: Set = 1 << 2;
/// Mode of the list of keys.
pub(crate) const HELP: Set = 1 << 3;
/// Mode of a list to choose from: columns, faults, settings.
pub(crate) const PICK: Set = 1 << 4;
/// Mode of the confirmation before quitting.
pub(crate) const CONFIRM: Set = 1 << 5;

/// Mode of the copy menu.
pub(crate) const COPY: Set = 1 << 6;
/// Mode in which the name of a file is typed, below the list of the origin's files.
pub(crate) const FILES: Set = 1 << 7;
/// Modes in which text is typed.
pub(crate) const TEXT: Set = LINE | PALETTE | FILES;

/// Topic of a binding; the help is sorted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// View and navigation.
    View,
    /// Fetches and transfers.
    Transfers,
    /// Nodes and their connections.
    Nodes,
    /// The program.
    Program,
    /// Text input.
    Line,
    /// Dialogs.
    Popup,
}

/// Position of a key in the footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FooterSlot {
    /// At the left, in the order of the table, with this label and its short form.
    Left(&'static str, &'static str),
    /// At the right, placed before all others.
    Right(&'static str),
    /// In the help only.
    Nowhere,
}

/// Condition under which a binding is active; [`crate::ui::state::UiState::refusal`] evaluates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// At any time.
    Always,
    /// There is a hop to fetch through.
    Fetchable,
    /// A transfer can be canceled.
    Cancellable,
    /// The selected transfer can be paused or resumed.
    Pausable,
    /// The selected transfer can be fetched again.
    Retryable,
    /// The rate of the selected transfer can be limited.
    Limitable,
    /// The rate of the selected transfer is limited.
    Limited,
    /// The selected transfer can move in the queue by this many positions.
    Reorderable(isize),
    /// The selected connection can be closed.
    Closable,
    /// The selected node can be started.
    Startable,
    /// The selected node can be stopped or killed.
    Stoppable,
    /// The selected node can be restarted.
    Restartable,
    /// The selected node can be drained.
    Drainable,
    /// The faults of the selected node can be set.
    FaultsSettable,
    /// The selected fault is not at its neutral value.
    FaultSet,
    /// The demo's tour can go on, or be started.
    HasTour,
    /// The demo's tour or its summary is shown.
    TourShown,
    /// Another node can be watched.
    Attachable,
    /// The selected node need not be watched.
    Detachable,
    /// This program started nodes.
    OwnsNodes,
    /// The selected row has details.
    HasDetail,
    /// `Back` would close something.
    CanGoBack,
    /// The list has more than one row.
    HasRows,
    /// The same, and the connections are sorted.
    IsSorted,
    /// The log has lines that match its filter.
    HasMatches,
    /// More than one panel can have the focus.
    HasPanels,
    /// The transfer is known this many hops toward the origin.
    HasStage(isize),
    /// This tab is shown.
    OnTab(Tab),
    /// The chart can show another span of time, this many steps longer.
    HasSpan(isize),
    /// This entry of the copy menu applies.
    Copyable(CopyItem),
    /// There is text before the cursor.
    HasTyped,
    /// The popup, or the list at the line being typed, has entries.
    HasChoices,
    /// A file or a folder of the origin's list is selected.
    Markable,
    /// The same, and nothing is typed: a blank may be part of a name.
    MarkableByBlank,
}

/// One binding of the table.
#[derive(Clone, Copy)]
pub struct Binding {
    /// Its id in the configuration file.
    pub id: &'static str,
    /// The modes it belongs to.
    pub modes: Set,
    /// The panels that must have the focus.
    pub panels: Set,
    /// Its default keys.
    pub keys: &'static [&'static str],
    /// Its topic.
    pub topic: Topic,
    /// Description for the help.
    pub help: &'static str,
    /// Its position in the footer.
    pub place: FooterSlot,
    /// Its condition.
    pub when: Condition,
    /// Its action.
    pub action: Action,
}
