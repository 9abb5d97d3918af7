//! The hop that a request is relayed to; converted to text only for reports, in which few requests appear.

use std::net::SocketAddr;

use crate::route::{Host, HostPort, Protocol};
use crate::text::SafeText;

/// The next hop of a request, to the extent known.
#[derive(Debug, Default)]
pub(super) struct NextHop {
    hop: Option<HostPort>,
    /// The resolved address, if the route has a name.
    address: Option<SocketAddr>,
    protocol: Option<Protocol>,
}

impl NextHop {
    /// Creates the record of a request that is relayed to this hop.
    pub(super) fn to(hop: &HostPort) -> Self {
        Self { hop: Some(hop.clone()), ..Self::default() }
    }

    /// Sets the address and protocol that the hop replied with.
    pub(super) fn set_addr(&mut self, address: SocketAddr, protocol: Protocol) {
        self.protocol = Some(protocol);
        let is_name = self.hop.as_ref().is_some_and(|hop| matches!(hop.host, Host::Name(_)));
        self.address = is_name.then_some(address);
    }

    /// Returns the hop and its protocol for reports.
    pub(super) fn shown(&self) -> (SafeText, Option<Protocol>) {
        let hop = self.address.map(HostPort::from).or_else(|| self.hop.clone());
        (hop.map(|hop| hop.text().into()).unwrap_or_default(), self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;
    use crate::net::os::clock::Clock;
    use crate::route::FileName;
    use crate::wire::{Method, TransferId};

    #[tokio::test]
    async fn a_report_has_the_hop_and_its_resolved_address() {
        let registry = Registry::new(Clock::start());
        let conn = registry.open(([127, 0, 0, 1], 9).into());
        let job = conn.begin_job(TransferId(1), Method::Get, &FileName::new(b"f").unwrap(), Protocol::Http);
        let reported =
            || registry.record(TransferId(1)).map(|record| (record.upstream, record.upstream_protocol)).unwrap();
        assert_eq!(reported(), ("".into(), None));
        for (hop, shown) in [("10.0.0.1:7001", "10.0.0.1:7001"), ("relay.example:7001", "127.0.0.1:7002")] {
            job.set_upstream(&hop.parse().unwrap());
            assert_eq!(reported(), (hop.into(), None));
            job.set_upstream_addr(([127, 0, 0, 1], 7002).into(), Protocol::Legacy);
            assert_eq!(reported(), (shown.into(), Some(Protocol::Legacy)));
        }
    }
}
