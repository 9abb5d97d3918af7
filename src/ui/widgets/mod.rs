//! Widgets: one region of the screen per file, drawn from the state and the snapshot within its own area.

pub(crate) mod caption;
pub(crate) mod chain;
pub(crate) mod chart;
pub(crate) mod connections;
pub(crate) mod copy_menu;
pub(crate) mod detail;
pub(crate) mod faults;
pub(crate) mod fields;
pub(crate) mod footer;
pub(crate) mod header;
pub(crate) mod heading;
pub(crate) mod headline;
pub(crate) mod help;
pub(crate) mod hop_table;
pub(crate) mod log;
pub(crate) mod nodes;
pub(crate) mod one_line;
pub(crate) mod palette;
pub(crate) mod picker;
pub(crate) mod popup;
pub(crate) mod prompt;
pub(crate) mod remote_files;
pub(crate) mod settings;
pub(crate) mod setup;
pub(crate) mod time_bar;
pub(crate) mod transfers;
