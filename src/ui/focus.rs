//! Tabs, their panels, and the scroll offsets of the lists.

/// Set of modes or of panels, one bit each.
pub type Set = u16;

/// Tab of the dashboard, each with a digit as its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Overview of the chain.
    #[default]
    Chain,
    /// The connections of all hops.
    Connections,
    /// The transfers.
    Transfers,
    /// The nodes.
    Nodes,
    /// The log.
    Log,
}

/// Part of a tab that can have the focus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    /// The hop table.
    #[default]
    Hops,
    /// The connections of the selected hop, or of all.
    Connections,
    /// The throughput of the selected hop.
    Chart,
    /// The setup of the selected transfer.
    Setup,
    /// The transfers.
    Transfers,
    /// The node table.
    Nodes,
    /// The log.
    Log,
    /// The files of a folder, on the detail page of its transfer.
    Files,
}

/// How much of the tab is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewMode {
    /// All panels of the tab are shown.
    #[default]
    Overview,
    /// The focused panel fills the screen.
    Zoomed,
    /// The details of the selected row are shown.
    Detail,
    /// The page that explains the headline is shown.
    Why,
}

impl ViewMode {
    /// Returns true if a page covers the tab.
    pub fn is_page(self) -> bool {
        matches!(self, Self::Detail | Self::Why)
    }
}

/// Tab, view mode and focused panel: all that the layout depends on besides sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Focus {
    /// The tab that is shown.
    pub tab: Tab,
    /// How much of it is shown.
    pub view_mode: ViewMode,
    /// The focused panel.
    pub panel: Panel,
}

/// Identifies a connection: the number of its hop, and its id on that node.
pub type ConnKey = (usize, u64);

/// Number of rows scrolled off the top of each list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrollOffsets {
    /// Hops and nodes.
    pub hops: usize,
    /// Connections.
    pub conns: usize,
    /// Transfers that have not ended, or all.
    pub transfers: usize,
    /// Transfers that have ended.
    pub finished: usize,
    /// Log lines.
    pub log: usize,
}

impl Tab {
    /// All tabs, in the order of their digits.
    pub const ALL: [Self; 5] = [Self::Chain, Self::Connections, Self::Transfers, Self::Nodes, Self::Log];

    /// Returns its name, and a shorter one.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Chain => ("Chain", "Chain"),
            Self::Connections => ("Connections", "Conns"),
            Self::Transfers => ("Transfers", "Xfers"),
            Self::Nodes => ("Nodes", "Nodes"),
            Self::Log => ("Log", "Log"),
        }
    }
}

impl Panel {
    /// All panels, in the order of the screen.
    pub const ALL: [Self; 8] =
        [Self::Hops, Self::Connections, Self::Chart, Self::Setup, Self::Transfers, Self::Nodes, Self::Log, Self::Files];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hops => "Hops",
            Self::Connections => "Connections",
            Self::Chart => "Throughput",
            Self::Setup => "Setup",
            Self::Transfers => "Transfers",
            Self::Nodes => "Nodes",
            Self::Log => "Log",
            Self::Files => "Files",
        }
    }

    /// Returns its bit in the key table.
    pub const fn bit(self) -> Set {
        1 << self as Set
    }
}
