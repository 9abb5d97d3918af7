//! The request that opens a tunnel (`CONNECT`).

use std::time::Duration;

use super::transfer::TransferId;
use crate::keys::Signatures;
use crate::route::{Hop, HostPort, Role, advance};

/// A request for a tunnel to the end of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelRequest {
    /// The address that the tunnel leads to, which is that of the last hop.
    pub target: HostPort,
    /// The address under which the client addresses this node; a client without a route repeats the target here.
    pub host: Option<HostPort>,
    /// The remaining hops, the target last; empty if this node is the target. `None` if the client uses this node as a
    /// plain proxy, and names only the target.
    pub route: Option<Vec<Hop>>,
    /// The tunnel's own id, other than those of the requests inside; the first hop generates a missing one.
    pub transfer: Option<TransferId>,
    /// Remaining time that the client waits for the reply.
    pub timeout: Option<Duration>,
    /// The client is still detecting our protocol: reply 102 immediately.
    pub ack: bool,
    /// The relays that the request has passed (`Via`).
    pub via: Option<String>,
    /// The signatures for this hop and those after it.
    pub signatures: Option<Box<Signatures>>,
    /// The request came through a proxy that is no chainview node, or through a node that lists no folders for it.
    pub proxied: bool,
    /// The client accepts 1xx replies (HTTP/1.1).
    pub interim: bool,
}

impl TunnelRequest {
    /// Creates a client's request to `hop` for a tunnel through the hops behind it to the last of them.
    pub fn through(hop: &Hop, behind: &[Hop], transfer: TransferId) -> Self {
        let mut route = behind.to_vec();
        if let Some(target) = route.last_mut() {
            // The client itself checks the target's key, inside the tunnel.
            target.key = None;
        }
        Self {
            target: behind.last().unwrap_or(hop).address.clone(),
            host: Some(hop.address.clone()),
            route: Some(route),
            transfer: Some(transfer),
            timeout: None,
            ack: false,
            via: None,
            signatures: None,
            proxied: false,
            interim: true,
        }
    }

    /// Takes the route, and returns the role of this node: a relay to the first remaining hop, or the end of the
    /// tunnel. `is_own` decides on the target of a client that names no route.
    pub fn advance(&mut self, is_own: impl FnOnce(&HostPort) -> bool) -> Role {
        match self.route.take() {
            Some(route) => advance(route),
            None if is_own(&self.target) => Role::Origin,
            None => Role::Relay { next: Hop::new(self.target.clone()), rest: Vec::new() },
        }
    }

    /// Returns the address by which the client named this node, if it did.
    pub fn addressed(&self) -> Option<&HostPort> {
        self.host.as_ref().filter(|_| self.route.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_relays_to_the_next_hop_or_is_the_end() {
        let hop = |address: &str| Hop::new(address.parse().unwrap());
        let role = |route: Option<Vec<Hop>>, own: bool| {
            let through = TunnelRequest::through(&hop("n:1"), &[hop("h:9")], TransferId(0));
            let mut request = TunnelRequest { route, ..through };
            request.advance(|_| own)
        };
        assert_eq!(role(Some(vec![]), false), Role::Origin);
        assert_eq!(role(Some(vec![hop("h:9")]), true), Role::Relay { next: hop("h:9"), rest: vec![] });
        let both = Some(vec![hop("a:1"), hop("h:9")]);
        assert_eq!(role(both, false), Role::Relay { next: hop("a:1"), rest: vec![hop("h:9")] });
        assert_eq!(role(None, false), Role::Relay { next: hop("h:9"), rest: vec![] });
        assert_eq!(role(None, true), Role::Origin);
    }
}
