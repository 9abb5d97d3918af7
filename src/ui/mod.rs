//! Terminal interface: draws one `ChainSnapshot` and maps keys to `Command`s, without sockets or files.
//!
//! Keys flow one way: `event` (the input thread) → `dispatch` (by the one table in `keymap`) → `UiState::apply` (pure)
//! → `try_send`.
//! Data flows the other: `watch` → `Arc<ChainSnapshot>` → `view::draw`, a function of state, snapshot and area.
//! `screen` is the loop that joins the two, `terminal` the only place that changes how the terminal behaves.

pub mod action;
pub(crate) mod alerts;
pub(crate) mod columns;
pub mod dispatch;
pub(crate) mod edit;
pub(crate) mod event;
pub(crate) mod evidence;
pub(crate) mod fill;
pub(crate) mod filter;
pub(crate) mod finding;
pub mod focus;
pub(crate) mod geometry;
pub(crate) mod glossary;
pub(crate) mod grid;
pub(crate) mod headline;
pub(crate) mod history;
pub mod input;
pub mod keymap;
pub(crate) mod layout;
pub(crate) mod lists;
pub mod mouse;
pub(crate) mod osc;
pub(crate) mod paint;
pub(crate) mod preferences;
pub(crate) mod print;
pub(crate) mod rates;
pub(crate) mod screen;
pub(crate) mod share;
pub mod start;
pub mod state;
pub(crate) mod suspend;
pub(crate) mod svg;
pub mod terminal;
pub(crate) mod theme;
pub(crate) mod time_shares;
pub(crate) mod totals;
pub mod view;
pub(crate) mod waits;
pub(crate) mod why;
pub(crate) mod widgets;

use crate::options::{Alerts, ColorMode};

pub use keymap::Keymap;
pub use preferences::Preferences;
pub(crate) use screen::theme_of;
pub use screen::{ExitReason, ScreenError, ScreenStop, run};
pub use state::UiState;
pub use terminal::{install_panic_hook, is_taken, restore};
pub use theme::{Theme, ThemeSet};

/// Options of the screen at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Draw with ASCII characters alone, for terminals and fonts without line drawing.
    pub ascii: bool,
    /// When to use colors.
    pub color: ColorMode,
    /// Themes to choose from.
    pub themes: ThemeSet,
    /// Name of the theme; without one, the remembered one.
    pub theme: Option<String>,
    /// What is remembered of earlier runs.
    pub preferences: Preferences,
    /// Turn the mouse on.
    pub mouse: bool,
    /// Signs of progress and of the end of transfers.
    pub alerts: Alerts,
    /// Key bindings.
    pub keymap: Keymap,
    /// SIGTSTP was ignored when the program started: Ctrl-Z does nothing.
    pub no_suspend: bool,
}
