//! Checks whether a node can be started at an address, and resolves addresses of hops.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::os::deadline::Deadline;
use crate::net::upstream::resolve::Resolver;
use crate::route::{Host, HostPort};

/// Timeout of resolving a name, and of connecting to find a listener; on loopback both are immediate.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the address to listen on for a hop, if it is on loopback and no process listens there yet.
pub(super) async fn vacant(address: &HostPort) -> Option<SocketAddr> {
    let found = resolve(address).await;
    if found.is_empty() || !found.iter().all(|address| address.ip().is_loopback()) {
        return None;
    }
    for address in &found {
        if let Ok(Ok(_)) = timeout(TIMEOUT, TcpStream::connect(address)).await {
            return None;
        }
    }
    // Where a name has both, other programs try IPv4 first or second, but always.
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// Returns the addresses of the next hop that a loopback node connects to only if allowed explicitly.
pub(super) async fn beyond(next: Option<&HostPort>) -> Vec<SocketAddr> {
    let Some(next) = next else { return Vec::new() };
    resolve(next).await.into_iter().filter(|address| !address.ip().is_loopback()).collect()
}

async fn resolve(address: &HostPort) -> Vec<SocketAddr> {
    let canonical = |ip: IpAddr| SocketAddr::new(ip.to_canonical(), address.port);
    match &address.host {
        Host::Ip(ip) => vec![canonical(*ip)],
        Host::Name(name) => match Resolver::default().resolve(name.as_str(), Deadline::after(TIMEOUT)).await {
            Ok(found) => found.iter().copied().map(canonical).collect(),
            Err(_) => Vec::new(),
        },
    }
}
