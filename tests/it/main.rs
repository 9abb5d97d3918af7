//! The tests that need more than one module: whole chains, the program itself, its screen.
//!
//! One binary, so that shared code is built and linked once. `tests/hostile.rs` is separate: it counts the descriptors
//! of its whole process.
#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

mod abuse;
mod attribution;
mod buffers;
mod causes;
mod cli;
mod confinement;
mod console;
mod controller;
mod dashboard;
mod docs;
mod encrypted;
mod entry;
mod escapes;
mod fairness;
mod faults;
mod foreign;
mod fuzzed;
mod http_chain;
mod large_folder;
mod legacy_protocol;
mod legacy_rules;
mod load;
mod module_graph;
mod on_done;
mod origin;
mod output;
mod partial;
mod recipes;
mod resume;
mod route_properties;
mod selected;
mod spawned;
mod standin;
mod stopped;
mod support;
mod tar_tools;
mod terminal;
mod tidy;
mod tools;
mod tunnels;
mod waterfall;
mod wording;
