//! The wing of sockets: nodes, relays, origins, fetches and what watches them; it knows nothing of the terminal.

pub mod access;
pub mod api;
mod ask;
pub mod clock;
pub mod dial;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod policy;
pub mod registry;
