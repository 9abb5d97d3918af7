//! A node as a server: accepts connections, answers each as a relay or as the origin, and keeps count of both.

pub mod accept;
pub(super) mod caught;
pub mod digests;
pub mod downstream;
pub mod drain;
mod latency;
pub mod legacy;
pub mod node;
pub mod origin;
pub mod registry;
pub mod relay;
mod reserve;
pub mod root;
pub mod session;
