//! What a person may ask of the chain; the screen makes these, the dashboard carries them out.

use crate::route::FileName;

/// One wish, sent without waiting from the screen to the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Fetch the route's own file again.
    Fetch,
    /// Fetch another file over the same hops.
    FetchName(FileName),
    /// Cancel the transfer with this number; its part file stays.
    Cancel(u64),
    /// Stop the spawned node of this hop (1-based) and start it anew.
    RestartNode(usize),
    /// Leave: cancel what runs, stop the spawned nodes.
    Quit,
}
