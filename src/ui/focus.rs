//! Where the focus can be: tabs, the panels of a tab, and how far their lists are scrolled.

/// A set of modes or of panels, one bit each.
pub type Set = u16;

/// One of the screens behind the digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// The chain at work.
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

/// A part of the screen that can have the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    /// The hop table.
    #[default]
    Hops,
    /// The connections of the marked hop, or of all.
    Connections,
    /// The throughput of the marked hop.
    Chart,
    /// The set-up of the marked transfer.
    Setup,
    /// The transfers.
    Transfers,
    /// The node table.
    Nodes,
    /// The log.
    Log,
}

/// How much of the tab is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewMode {
    /// All panels of the tab are shown.
    #[default]
    Overview,
    /// The panel that has the keys fills the screen.
    Zoomed,
    /// The marked row is shown in detail.
    Detail,
}

/// Tab, view mode and focused panel: all that the layout depends on besides sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Focus {
    /// The tab that is shown.
    pub tab: Tab,
    /// How much of it is shown.
    pub view_mode: ViewMode,
    /// The panel that has the keys.
    pub panel: Panel,
}

/// A connection: its hop's number, and its own on that node.
pub type ConnKey = (usize, u64);

/// Rows scrolled off the tops of the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tops {
    /// Of the hops and the nodes.
    pub hops: usize,
    /// Of the connections.
    pub conns: usize,
    /// Of the transfers.
    pub transfers: usize,
    /// Of the log.
    pub log: usize,
}

impl Tab {
    /// All of them, in the order of their digits.
    pub const ALL: [Self; 5] = [Self::Chain, Self::Connections, Self::Transfers, Self::Nodes, Self::Log];

    /// Its name, and a shorter one.
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
    /// The bit by which the key table names it.
    pub const fn bit(self) -> Set {
        1 << self as Set
    }
}
