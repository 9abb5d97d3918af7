//! One line of the key table: keys, modes and panels, topic, help and footer, condition and action.

use crate::ui::action::Action;
use crate::ui::focus::{Set, Tab};

/// The dashboard itself.
pub(crate) const BROWSE: Set = 1;
/// A line is being typed.
pub(crate) const LINE: Set = 1 << 1;
/// The palette is open.
pub(crate) const PALETTE: Set = 1 << 2;
/// The list of keys is open.
pub(crate) const HELP: Set = 1 << 3;
/// A list to choose from is open: columns, faults, settings.
pub(crate) const PICK: Set = 1 << 4;
/// The person is asked whether to leave.
pub(crate) const LEAVE: Set = 1 << 5;

/// What a key is about; the help is sorted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Moving about and looking.
    Look,
    /// Fetching, and transfers.
    Transfers,
    /// Nodes and their connections.
    Nodes,
    /// The program.
    Program,
    /// A line being typed.
    Line,
    /// What lies over the screen.
    Over,
}

/// Where the footer shows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FooterSlot {
    /// At the left, in the order of the table, with this label and its short form.
    Left(&'static str, &'static str),
    /// At the right, where it is shown before all others.
    Right(&'static str),
    /// In the help only.
    Nowhere,
}

/// When a key would do something; [`crate::ui::state::UiState::meets`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// At any time.
    Always,
    /// There is a hop to fetch through.
    Fetchable,
    /// A transfer can be cancelled.
    Cancellable,
    /// The selected transfer can be paused or resumed.
    Pausable,
    /// The selected transfer can be fetched again.
    Retryable,
    /// The rate of the selected transfer can be limited.
    Cappable,
    /// The rate of the selected transfer is limited.
    Capped,
    /// The selected transfer can move in the queue by this many places.
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
    /// Another node can be watched.
    Attachable,
    /// The selected node need not be watched.
    Detachable,
    /// This program started nodes.
    OwnsNodes,
    /// The selected row has details.
    HasDetail,
    /// `Back` would close something.
    IsInside,
    /// The list has more than one row.
    HasRows,
    /// The same, and the connections are sorted.
    IsSorted,
    /// The log has lines with the words of its filter.
    HasHits,
    /// More than one panel can have the focus.
    HasPanels,
    /// The transfer is known this many hops toward the origin.
    HasStage(isize),
    /// This tab is shown.
    OnTab(Tab),
    /// Another tab is shown.
    OffTab(Tab),
    /// The chart can show another span of time, this many steps longer.
    HasSpan(isize),
    /// The selected row has text for the clipboard.
    Copyable,
    /// There is text before the cursor.
    HasTyped,
    /// The popup, or the list at the line being typed, has entries.
    HasChoices,
    /// The list of keys can be scrolled.
    Scrollable,
}

/// One line of the table.
#[derive(Clone, Copy)]
pub struct Binding {
    /// What the configuration file calls it.
    pub id: &'static str,
    /// The modes it belongs to.
    pub modes: Set,
    /// The panels that have it while they have the keys.
    pub panels: Set,
    /// Its keys, any of which will do, unless the person chose others.
    pub keys: &'static [&'static str],
    /// What it is about.
    pub topic: Topic,
    /// What it does, in words.
    pub help: &'static str,
    /// Where the footer shows it.
    pub place: FooterSlot,
    /// When it would do something.
    pub when: Condition,
    /// What it means.
    pub action: Action,
}
