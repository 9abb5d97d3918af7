//! One region of the screen per file; each takes the state, the snapshot and its own area, and keeps inside it.

pub mod chain;
pub mod chart;
pub mod connections;
pub mod detail;
pub mod faults;
pub mod fields;
pub mod footer;
pub mod header;
pub mod heading;
pub mod help;
pub mod hop_table;
pub mod log;
pub mod nodes;
pub mod one_line;
pub mod palette;
pub mod picker;
pub mod popup;
pub mod prompt;
pub mod remote_files;
pub mod settings;
pub mod setup;
pub mod transfers;
pub mod verdict;
