//! Actions of keys, clicks and the command palette; `UiState::apply` executes them.

use super::focus::Tab;
use crate::command::TourCommand;
use crate::options::Alert;

/// One action of the user, by what executes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Changes only the screen.
    View(ViewAction),
    /// Acts on a transfer, or starts one.
    Transfer(TransferAction),
    /// Acts on a node or on one of its connections.
    Node(NodeAction),
    /// Start the demo's tour or its next act, or stop it.
    Tour(TourCommand),
    /// Show the details of the selected row, or accept the selected entry of a list.
    Enter,
    /// Write the snapshot as JSON.
    Export,
    /// Save a screenshot as SVG.
    SaveScreen,
    /// Quit, after a confirmation while a transfer runs.
    Quit,
    /// The same, and keep the last frame on the terminal.
    QuitKeepScreen,
    /// Quit, and keep its nodes running.
    QuitKeepNodes,
    /// Close the popup, or cancel what runs, or quit.
    Interrupt,
}

/// A change to the screen that sends no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewAction {
    /// Show this tab.
    Show(Tab),
    /// Focus the next panel.
    NextPanel,
    /// Focus the previous panel.
    PreviousPanel,
    /// Move the selection, or scroll, by this many rows.
    Move(isize),
    /// Move by this many half pages.
    Page(isize),
    /// Select the first row.
    First,
    /// Select the last row.
    Last,
    /// One level out: detail, zoom, filter.
    Back,
    /// Zoom the focused panel to the whole screen, or undo that.
    Zoom,
    /// Explain the headline, or close that page.
    Why,
    /// Freeze the display, or resume it.
    Freeze,
    /// Show a shorter or a longer time span.
    Span(isize),
    /// List connections that only request admin endpoints, or hide them.
    AdminConns,
    /// Type a filter for the rows.
    Filter,
    /// Select the next or previous line of the log that matches the filter, with all other lines shown.
    NextMatch(isize),
    /// Follow the selected transfer, or that of the selected connection, this many hops toward the origin.
    Follow(isize),
    /// Choose the column to sort by.
    SortMenu,
    /// Reverse the sort order.
    SortReverse,
    /// Sort again by the current figures.
    SortRefresh,
    /// Select the visible columns.
    Columns,
    /// Show log lines from the next higher level.
    Level,
    /// Wrap or truncate long log lines.
    Wrap,
    /// Switch to the next theme.
    Theme,
    /// Turn mouse support on or off.
    Mouse,
    /// Turn a sign of progress or of the end of transfers on or off.
    Alert(Alert),
    /// Open the settings.
    Settings,
    /// Open the copy menu.
    Copy,
    /// Copy one entry of that menu to the clipboard.
    CopyItem(CopyItem),
    /// Repaint every cell.
    Repaint,
    /// Suspend the program until the shell resumes it.
    Suspend,
    /// Open the list of keys.
    Help,
    /// Open the command palette.
    Palette,
    /// Change the line being typed.
    Edit(Edit),
    /// Mark the selected file or folder, or unmark it.
    Mark,
    /// Mark all listed files and folders, or unmark them.
    MarkAll,
    /// Complete the name of the selected entry.
    Complete,
    /// Close the popup.
    Close,
}

/// What can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyItem {
    /// Path of the selected transfer's file.
    Path,
    /// Its error.
    Error,
    /// Failed files of its folder, with the reasons.
    Failures,
    /// A sentence about it, as Markdown.
    Sentence,
    /// The curl command that fetches it.
    Curl,
    /// The chainview command that fetches it.
    Fetch,
    /// Address of the selected hop.
    Address,
    /// Peer of the selected connection.
    Peer,
    /// Text of the selected line of the log.
    Line,
    /// Picture of the screen, which is saved as a file.
    Picture,
}

/// An action on transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferAction {
    /// Fetch the file of the route.
    Fetch,
    /// Prompt for the file to fetch.
    PromptName,
    /// Cancel a transfer.
    Cancel,
    /// Pause or resume a transfer.
    Pause,
    /// Fetch the file of an ended transfer again.
    Retry,
    /// Prompt for the rate limit of a transfer.
    PromptLimit,
    /// Change the rate limit of a transfer by this many tenths.
    LimitBy(i8),
    /// Remove the rate limit of a transfer, or turn off the selected fault.
    RemoveLimit,
    /// Move a queued transfer by this many positions.
    Reorder(isize),
}

/// An action on nodes and their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAction {
    /// Start the node of the selected hop.
    StartNode,
    /// Stop it gracefully.
    StopNode,
    /// Kill it.
    KillNode,
    /// Restart it.
    RestartNode,
    /// Drain it.
    DrainNode,
    /// Prompt for another node to watch.
    PromptAttach,
    /// Stop watching the selected node.
    Detach,
    /// Open the faults of the selected hop.
    Faults,
    /// Close the selected connection.
    CloseConnection,
}

/// One change to a line being typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Insert a character.
    Insert(char),
    /// Delete the character before the cursor.
    Backspace,
    /// Delete the character under the cursor.
    Delete,
    /// Move one character to the left.
    Left,
    /// Move one character to the right.
    Right,
    /// Move to the start.
    Home,
    /// Move to the end.
    End,
    /// Delete everything before the cursor.
    CutBefore,
    /// Delete everything from the cursor on.
    CutAfter,
    /// Delete the word before the cursor.
    CutWord,
}
