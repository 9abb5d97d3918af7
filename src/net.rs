//! Everything with sockets: nodes, relays, origins, fetches and watchers; independent of the terminal.

pub mod access;
pub(crate) mod admin;
pub mod admin_client;
pub mod body;
pub(crate) mod diagnose;
mod endpoint_client;
pub mod faults;
pub mod fetch;
mod http_client;
pub mod node;
pub mod os;
pub mod server;
#[cfg(test)]
mod sim;
pub mod slow_link;
pub mod supervisor;
pub mod tls;
pub mod upstream;
pub mod watch;
