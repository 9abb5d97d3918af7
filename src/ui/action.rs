//! What a key, a click or a line of the palette can mean; `UiState::apply` carries them out.

use super::focus::Tab;

/// One thing the user does to the screen, by what carries it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Changes the screen alone.
    View(ViewAction),
    /// Acts on a transfer, or asks for one.
    Transfer(TransferAction),
    /// Acts on a node or on one of its connections.
    Node(NodeAction),
    /// Look at the marked row in detail, or take the marked line of a list.
    Enter,
    /// Write the snapshot as JSON.
    Export,
    /// Write the screen as a picture.
    SaveScreen,
    /// Leave, or ask first.
    Quit,
    /// The same, and the last frame stays on the terminal.
    QuitKept,
    /// Leave the program and let its nodes live on.
    LeaveNodes,
    /// Close what lies over the screen, or cancel what runs, or leave.
    Interrupt,
}

/// A change to the screen that the chain does not learn of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewAction {
    /// Show this tab.
    Show(Tab),
    /// Give the next panel the keys.
    NextPanel,
    /// Give the panel before the keys.
    LastPanel,
    /// Move the mark, or scroll, by so many rows.
    Move(isize),
    /// Move by so many halves of what is in sight.
    Page(isize),
    /// Move to the first row.
    First,
    /// Move to the last row.
    Last,
    /// One level out: detail, zoom, filter.
    Back,
    /// Give the whole screen to the panel that has the keys, or take it back.
    Zoom,
    /// Hold the picture, or let it go on.
    Freeze,
    /// Show a shorter or a longer time.
    Span(isize),
    /// Type what rows must contain.
    Filter,
    /// Go to the next line of the log, among all others, that has the words of the filter, or to the one before.
    Hit(isize),
    /// Go on with the marked transfer, or that of the marked connection, so many hops toward the origin.
    Follow(isize),
    /// Sort by the next column.
    SortNext,
    /// Sort the other way round.
    SortTurn,
    /// Sort once more, by what the figures are now.
    SortAgain,
    /// Choose the columns.
    Columns,
    /// Show log lines from the next level up.
    Level,
    /// Break long log lines, or cut them.
    Wrap,
    /// The next look.
    Theme,
    /// Listen to the mouse, or leave it to the terminal.
    Mouse,
    /// How the screen looks and listens, in one list.
    Settings,
    /// Put the marked row's text on the clipboard.
    Copy,
    /// Paint every cell again.
    Repaint,
    /// Leave the terminal to the shell until this program is continued.
    Suspend,
    /// Open the list of keys.
    Help,
    /// Open the list of all that can be done.
    Palette,
    /// Change the line being typed.
    Edit(Edit),
    /// Type the rest of the marked entry's name.
    Complete,
    /// Close what lies over the screen.
    Close,
}

/// What can be done with transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferAction {
    /// Fetch the route's own file again.
    Fetch,
    /// Ask which file to fetch.
    AskName,
    /// Cancel a transfer.
    Cancel,
    /// Pause a transfer, or let it go on.
    Pause,
    /// Fetch again what a transfer that is over was to fetch.
    Retry,
    /// Ask for a transfer's cap.
    AskCap,
    /// Turn a transfer's cap by so many tenths.
    CapBy(i8),
    /// Lift a transfer's cap.
    NoCap,
    /// Move a queued transfer by so many places.
    Reorder(isize),
}

/// What can be done with nodes and their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAction {
    /// Start the marked hop's node.
    StartNode,
    /// Stop it in order.
    StopNode,
    /// Kill it.
    KillNode,
    /// Stop it and start it anew.
    RestartNode,
    /// Have it take no new work.
    DrainNode,
    /// Ask for one more node to watch.
    AskAttach,
    /// Watch the marked node no longer.
    Detach,
    /// Open the marked hop's faults.
    Faults,
    /// Close the marked connection.
    CloseConnection,
}

/// One change to a line being typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Put a character in.
    Insert(char),
    /// Take out the character before the cursor.
    Backspace,
    /// Take out the character under the cursor.
    Delete,
    /// Move one character to the left.
    Left,
    /// Move one character to the right.
    Right,
    /// Move to the start.
    Home,
    /// Move to the end.
    End,
    /// Take out all before the cursor.
    CutBefore,
    /// Take out all from the cursor on.
    CutAfter,
    /// Take out the word before the cursor.
    CutWord,
}
