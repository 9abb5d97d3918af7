//! What a key can mean; the keymap makes these, `UiState::apply` carries them out.

/// One thing a person does to the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Fetch the route's own file again.
    Fetch,
    /// Open the prompt that asks for another name.
    AskName,
    /// Cancel the marked transfer.
    Cancel,
    /// Start the marked hop's node anew.
    Restart,
    /// Move the mark, or scroll, by so many rows.
    Move(isize),
    /// Move to the first row.
    First,
    /// Move to the last row.
    Last,
    /// Mark the hop with this number.
    SelectHop(usize),
    /// Give the next panel the arrow keys.
    NextPanel,
    /// Open the list of keys.
    Help,
    /// Close what lies over the screen.
    Close,
    /// Close what lies over the screen, or leave.
    Quit,
    /// Close what lies over the screen, or cancel what runs, or leave.
    Interrupt,
    /// Paint every cell again.
    Repaint,
    /// Stop the program until the shell sends it on.
    Suspend,
    /// Change the line being typed.
    Edit(Edit),
    /// Take the line as it stands.
    Submit,
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
