//! The wing of sockets: nodes, relays, origins, fetches and what watches them; it knows nothing of the terminal.

pub mod accept;
pub mod access;
pub mod accounts;
pub mod api;
mod ask;
pub mod body;
pub mod buffers;
pub mod clock;
pub mod control;
pub mod dial;
pub mod dials;
pub mod digests;
pub mod downstream;
pub mod drain;
pub mod fetch;
pub mod ids;
mod kernel;
pub mod limits;
pub mod link;
mod load;
pub mod metrics;
pub mod node;
pub mod origin;
pub mod policy;
pub(crate) mod pulse;
pub mod pump;
pub mod registry;
pub mod relay;
pub mod root;
pub mod seed;
pub mod session;
#[cfg(test)]
mod sim;
pub mod splice;
pub mod supervisor;
pub mod upstream;
pub mod watch;
