//! chainview fetches a file through a chain of relays that you name, and shows every hop.
pub mod cli;
pub mod command;
pub mod config;
pub mod error;
pub mod headless;
pub mod meter;
pub mod net;
pub mod report;
pub mod route;
pub mod snapshot;
pub mod text;
pub mod ui;
pub mod units;
pub mod verdict;
pub mod wire;
