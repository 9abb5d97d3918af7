//! Widgets: one region of the screen per file, drawn from the state and the snapshot within its own area.

pub(crate) mod caption;
pub(crate) mod chain;
pub(crate) mod chart;
pub(crate) mod connections;
pub(crate) mod copy_menu;
pub(crate) mod detail;
pub(crate) mod faults;
pub(crate) mod fields;
pub(crate) mod file_map;
pub(crate) mod files;
pub(crate) mod footer;
pub(crate) mod header;
pub(crate) mod heading;
pub(crate) mod headline;
pub(crate) mod heat;
pub(crate) mod help;
pub(crate) mod hop_table;
pub(crate) mod log;
pub(crate) mod nodes;
pub(crate) mod one_line;
pub(crate) mod page;
pub(crate) mod palette;
pub(crate) mod picker;
pub(crate) mod plot;
pub(crate) mod popup;
pub(crate) mod prompt;
pub(crate) mod remote_files;
pub(crate) mod routes;
pub(crate) mod settings;
pub(crate) mod setup;
pub(crate) mod time_bar;
pub(crate) mod transfers;
pub(crate) mod why;

use std::fmt::Display;

use super::paint::width;
use super::theme::Theme;

/// Returns a name, with a lock before it if it is that of something encrypted, in this many columns; `cut` returns the
/// name for the columns that are left.
fn locked<T: Display>(theme: &Theme, is_encrypted: bool, columns: u16, cut: impl FnOnce(u16) -> T) -> String {
    if is_encrypted {
        let lock = theme.glyphs.lock;
        format!("{lock} {}", cut(columns.saturating_sub(width(lock) + 1)))
    } else {
        cut(columns).to_string()
    }
}
