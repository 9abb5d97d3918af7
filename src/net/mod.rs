//! The wing of sockets: nodes, relays, origins, fetches and what watches them; it knows nothing of the terminal.

pub mod accept;
pub mod access;
pub mod admin;
pub mod admin_client;
pub mod body;
mod caught;
pub mod diagnose;
pub mod dials;
pub mod digests;
pub mod downstream;
pub mod drain;
pub mod fetch;
mod http_client;
mod latency;
pub mod limits;
pub mod node;
pub mod origin;
pub mod os;
pub mod registry;
pub mod relay;
mod reserve;
pub mod root;
pub mod seed;
pub mod session;
#[cfg(test)]
mod sim;
pub mod supervisor;
pub mod threads;
pub mod upstream;
pub mod watch;
