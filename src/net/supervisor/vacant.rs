//! Whether a node can be started in a place, and where that place and the next hop are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::os::deadline::Deadline;
use crate::net::upstream::resolve::Resolver;
use crate::route::{Host, HostPort};

/// How long to look for somebody who listens; on loopback the answer is there at once.
const LOOK: Duration = Duration::from_secs(1);
/// The address to listen on for a hop, if it stands on loopback and nobody listens there yet.
pub(super) async fn vacant(address: &HostPort) -> Option<SocketAddr> {
    let found = resolve(address).await;
    if found.is_empty() || !found.iter().all(|address| address.ip().is_loopback()) {
        return None;
    }
    for address in &found {
        if let Ok(Ok(_)) = timeout(LOOK, TcpStream::connect(address)).await {
            return None;
        }
    }
    // Where a name means both, IPv4 is what other programs try first or second, never not at all.
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// The addresses of the next hop that a loopback node would not connect without being told to.
pub(super) async fn beyond(next: Option<&HostPort>) -> Vec<SocketAddr> {
    let Some(next) = next else { return Vec::new() };
    resolve(next).await.into_iter().filter(|address| !address.ip().is_loopback()).collect()
}

async fn resolve(address: &HostPort) -> Vec<SocketAddr> {
    let canonical = |ip: IpAddr| SocketAddr::new(ip.to_canonical(), address.port);
    match &address.host {
        Host::Ip(ip) => vec![canonical(*ip)],
        Host::Name(name) => match Resolver::default().resolve(name.as_str(), Deadline::after(LOOK)).await {
            Ok(found) => found.iter().copied().map(canonical).collect(),
            Err(_) => Vec::new(),
        },
    }
}
