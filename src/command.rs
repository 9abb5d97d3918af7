//! Commands of the user: the screen makes them, the dashboard executes them.

use crate::faults::FaultChange;
use crate::route::{FileName, Hop};

/// Command of the user, sent from the screen to the dashboard without blocking.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fetch the route's own file again.
    Fetch,
    /// Fetch another file, or a folder, over the same hops.
    FetchName(FileName),
    /// Fetch these files and folders over the same hops, each as a transfer.
    FetchAll(Vec<FileName>),
    /// Request a listing of this folder from the origin, through the chain; `None` is its root.
    List(Option<FileName>),
    /// Cancel the transfer with this number; its part file stays.
    Cancel(u64),
    /// Pause the transfer with this number: its connections close, its part file stays.
    Pause(u64),
    /// Resume a paused transfer.
    Resume(u64),
    /// Queue the same transfer as an ended one again, with the same options.
    Retry(u64),
    /// Move a queued transfer this many places toward the end of the queue; negative is toward its front.
    Reorder {
        /// The transfer's number.
        number: u64,
        /// The places.
        by: isize,
    },
    /// Limit the rate of one transfer, in bytes per second; `None` removes the limit.
    LimitTransfer {
        /// The transfer's number.
        number: u64,
        /// The rate limit.
        rate: Option<u64>,
    },
    /// Set a fault or limit of a hop (1-based).
    SetFault {
        /// The hop.
        hop: usize,
        /// What to change.
        change: FaultChange,
    },
    /// Start the node of this hop (1-based), which this program started before or is allowed to start.
    StartNode(usize),
    /// Shut the spawned node of this hop (1-based) down gracefully, and do not restart it.
    StopNode(usize),
    /// Kill the spawned node of this hop (1-based) immediately.
    KillNode(usize),
    /// Restart the spawned node of this hop (1-based).
    RestartNode(usize),
    /// Drain the node of this hop (1-based).
    DrainNode(usize),
    /// Watch one more node, which is not on the route.
    Attach(Hop),
    /// Stop watching a hop (1-based), which keeps running.
    Detach(usize),
    /// Close one connection of a hop (1-based).
    CloseConnection {
        /// The hop.
        hop: usize,
        /// The connection's number on that node.
        id: u64,
    },
    /// Write the snapshot as JSON beside the fetched files.
    Export,
    /// Write this screenshot (SVG) beside the fetched files.
    SaveScreen(String),
    /// Start the demo's tour or its next act, or stop it.
    Tour(TourCommand),
    /// Quit: cancel all transfers; the spawned nodes stop, or keep running where the user chose that.
    Quit {
        /// Keep the spawned nodes running.
        keep_nodes: bool,
    },
}

/// What to do with the demo's tour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TourCommand {
    /// Start it, or its next act.
    Next,
    /// Stop it, or close its summary.
    Stop,
}
