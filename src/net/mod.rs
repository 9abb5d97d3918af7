//! The wing of sockets: nodes, relays, origins, fetches and what watches them; it knows nothing of the terminal.

pub mod access;
pub mod accounts;
pub mod api;
mod ask;
pub mod clock;
pub mod dial;
pub mod digests;
pub mod downstream;
pub mod drain;
pub mod fetch;
pub mod ids;
pub mod limits;
pub mod link;
pub mod metrics;
pub mod node;
pub mod origin;
pub mod policy;
pub mod pump;
pub mod registry;
pub mod relay;
pub mod root;
pub mod seed;
pub mod session;
pub mod supervisor;
pub mod upstream;
pub mod watch;
