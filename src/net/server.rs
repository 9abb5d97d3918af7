//! A node as a server: accepts connections, answers each as a relay or as the origin, and keeps count of both.

pub mod accept;
pub(super) mod caught;
pub mod downstream;
pub(super) mod latency;
pub mod legacy;
pub mod origin;
pub mod relay;
pub(super) mod reserve;
pub mod session;
