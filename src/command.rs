//! What a person may ask of the chain; the screen makes these, the dashboard carries them out.

use crate::dials::Dial;
use crate::route::{FileName, Hop};

/// One wish, sent without waiting from the screen to the dashboard.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fetch the route's own file again.
    Fetch,
    /// Fetch another file over the same hops.
    FetchName(FileName),
    /// Ask the origin, through the chain, what it offers in this folder; `None` is its root.
    List(Option<FileName>),
    /// Cancel the transfer with this number; its part file stays.
    Cancel(u64),
    /// Stop the transfer with this number for now: its connections close, its part stays.
    Pause(u64),
    /// Go on with a paused transfer from where it stands.
    Resume(u64),
    /// Fetch again what a transfer that is over was to fetch, with the same options.
    Retry(u64),
    /// Move a queued transfer this many places toward the end of the queue; negative is toward its front.
    Reorder {
        /// The transfer's number.
        number: u64,
        /// The places.
        by: isize,
    },
    /// Cap what one transfer takes, in bytes per second; `None` lifts the cap.
    CapTransfer {
        /// The transfer's number.
        number: u64,
        /// The cap.
        rate: Option<u64>,
    },
    /// Turn a dial of a hop (1-based).
    Turn {
        /// The hop.
        hop: usize,
        /// What to turn.
        dial: Dial,
    },
    /// Start the node of this hop (1-based), which this program started before or may start.
    StartNode(usize),
    /// Ask the spawned node of this hop (1-based) to leave in order, and do not start it again.
    StopNode(usize),
    /// Kill the spawned node of this hop (1-based) at once.
    KillNode(usize),
    /// Stop the spawned node of this hop (1-based) and start it anew.
    RestartNode(usize),
    /// Have the node of this hop (1-based) take no new work.
    DrainNode(usize),
    /// Watch one more node, which no route of ours passes.
    Attach(Hop),
    /// Stop watching a hop (1-based); what it is doing goes on.
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
    /// Write this picture of the screen (SVG) beside the fetched files.
    SaveScreen(String),
    /// Leave: cancel what runs; the spawned nodes stop, or live on where that was asked for.
    Quit {
        /// Let the nodes that this program started live on.
        leave_nodes: bool,
    },
}
