//! The terminal wing: draws one `ChainSnapshot`, turns keys into `Command`s, and knows no socket and no file.
//!
//! Keys flow one way: `event` (the input thread) → `keymap` (one table) → `UiState::apply` (pure) → `try_send`.
//! Data flows the other: `watch` → `Arc<ChainSnapshot>` → `view::draw`, a function of state, snapshot and area.
//! `screen` is the loop that joins the two, `terminal` the only place that changes how the terminal behaves.

pub mod action;
pub mod clipboard;
pub mod columns;
pub mod edit;
pub mod event;
pub mod fill;
pub mod filter;
pub mod focus;
pub mod grid;
pub mod history;
pub mod input;
pub mod keymap;
pub mod layout;
pub mod lists;
pub mod mouse;
pub mod paint;
pub mod print;
pub mod rates;
pub mod screen;
pub mod state;
pub mod suspend;
pub mod svg;
pub mod terminal;
pub mod theme;
pub mod view;
pub mod widgets;

pub use keymap::Keymap;
pub use screen::{Left, ScreenError, Stop, run};
pub use state::UiState;
pub use terminal::{install_panic_hook, is_taken, restore};
pub use theme::{ColorMode, Look, Theme};

/// How the screen looks and listens at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Draw with ASCII characters alone, for terminals and fonts without line drawing.
    pub ascii: bool,
    /// When to use colours.
    pub color: ColorMode,
    /// Which colours.
    pub look: Look,
    /// Listen to the mouse.
    pub mouse: bool,
    /// Which keys do what.
    pub keymap: Keymap,
    /// SIGTSTP was ignored when the program started: Ctrl-Z does nothing.
    pub no_suspend: bool,
}
