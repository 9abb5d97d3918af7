//! The hop that a request went on to: as text it is for reports alone, which few requests are in.

use std::net::SocketAddr;

use crate::route::{Host, HostPort, Protocol};
use crate::text::SafeText;

/// Where a request went on to, as far as that is known.
#[derive(Debug, Default)]
pub(super) struct NextHop {
    hop: Option<HostPort>,
    /// Where it was met, unless its route says that already.
    address: Option<SocketAddr>,
    protocol: Option<Protocol>,
}

impl NextHop {
    /// The request goes on to this hop.
    pub(super) fn to(hop: &HostPort) -> Self {
        Self { hop: Some(hop.clone()), ..Self::default() }
    }

    /// The hop answered, from this address and in this wire.
    pub(super) fn met(&mut self, address: SocketAddr, protocol: Protocol) {
        self.protocol = Some(protocol);
        let is_name = self.hop.as_ref().is_some_and(|hop| matches!(hop.host, Host::Name(_)));
        self.address = is_name.then_some(address);
    }

    /// The hop and its wire, as reports carry them.
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
    async fn a_report_names_the_hop_and_where_a_name_led_to() {
        let registry = Registry::new(Clock::start());
        let conn = registry.open(([127, 0, 0, 1], 9).into());
        let job = conn.begin_job(TransferId(1), Method::Get, &FileName::new(b"f").unwrap(), Protocol::Http);
        let told =
            || registry.account(TransferId(1)).map(|account| (account.upstream, account.upstream_protocol)).unwrap();
        assert_eq!(told(), ("".into(), None));
        for (hop, shown) in [("10.0.0.1:7001", "10.0.0.1:7001"), ("relay.example:7001", "127.0.0.1:7002")] {
            job.goes_on(&hop.parse().unwrap());
            assert_eq!(told(), (hop.into(), None));
            job.met(([127, 0, 0, 1], 7002).into(), Protocol::Legacy);
            assert_eq!(told(), (shown.into(), Some(Protocol::Legacy)));
        }
    }
}
