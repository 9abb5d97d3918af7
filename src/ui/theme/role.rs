//! Roles of parts of the screen, by which a theme styles them.

/// Role of a part of the screen, which the theme maps to a style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StyleRole {
    /// Ordinary text.
    Plain,
    /// Labels, rules, and ended items.
    Dim,
    /// Headings and the program's name.
    Title,
    /// Success.
    Good,
    /// Warning.
    Warn,
    /// Failure.
    Bad,
    /// The stage or link that the headline is about.
    Cause,
    /// Moving bytes.
    Flow,
    /// The selected row of the focused panel.
    Selected,
    /// A key to press.
    Key,
    /// The cursor of a line being typed.
    Cursor,
}

impl StyleRole {
    /// All roles with their names in theme files, in the order of their declaration.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Plain, "plain"),
        (Self::Dim, "dim"),
        (Self::Title, "title"),
        (Self::Good, "good"),
        (Self::Warn, "warn"),
        (Self::Bad, "bad"),
        (Self::Cause, "cause"),
        (Self::Flow, "flow"),
        (Self::Selected, "selected"),
        (Self::Key, "key"),
        (Self::Cursor, "cursor"),
    ];
}
