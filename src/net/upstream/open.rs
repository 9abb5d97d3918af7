//! The connection for a request: an idle one to the hop, or a new one.

use std::net::{IpAddr, SocketAddr};
use std::slice;
use std::sync::Arc;

use tokio::time::Instant;

use super::connect::{Addresses, Connected, Resolved, connect_resolved, resolve};
use super::encrypted::connect_tls;
use super::link::{Peer, UpstreamConn};
use super::policy::NotPermitted;
use super::{ExchangeStage, OnStage, Upstream};
use crate::allow_list::Purpose;
use crate::net::os::clock::ms_since;
use crate::net::os::deadline::Deadline;
use crate::route::{Hop, Host, Protocol};
use crate::wire::{FailedAction, Leg, Method, Problem, Reason};

impl Upstream {
    /// Takes an idle connection to a hop, or through it to another, if there is one. A name is looked up first, unless
    /// that was done a moment ago; the result of the lookup is returned too, for a new connection.
    pub(super) async fn reuse(
        &self,
        hop: &Hop,
        encrypted: Option<&Arc<[Hop]>>,
        method: Method,
        deadline: &mut Deadline,
        on_stage: OnStage<'_>,
    ) -> Result<(Option<UpstreamConn>, Option<Resolved>), Problem> {
        if self.limits.idle_connections == 0 {
            return Ok((None, None));
        }
        let name = match &hop.address.host {
            Host::Ip(ip) => return Ok((self.take_idle(hop, encrypted, method, slice::from_ref(ip)), None)),
            Host::Name(name) => name,
        };
        let recent = self.links.recent_addresses(name);
        if let Some(link) = recent.and_then(|recent| self.take_idle(hop, encrypted, method, &recent)) {
            return Ok((Some(link), None));
        }
        on_stage(ExchangeStage::Connecting);
        // Boxed to keep the parent future small: most hops are addresses.
        let resolved = Box::pin(self.resolve(hop, deadline)).await?;
        Ok((self.take_idle(hop, encrypted, method, &resolved.addresses), Some(resolved)))
    }

    /// Takes an idle connection to a hop, at any of its addresses to which this request may connect.
    fn take_idle(
        &self,
        hop: &Hop,
        encrypted: Option<&Arc<[Hop]>>,
        method: Method,
        addresses: &[IpAddr],
    ) -> Option<UpstreamConn> {
        addresses.iter().find_map(|ip| {
            let address = SocketAddr::new(ip.to_canonical(), hop.address.port);
            // Another base on the same server may not be allowed.
            self.check_address(hop, address).ok()?;
            self.links.idle.take(&Peer { address, encrypted: encrypted.cloned() }, method == Method::Get)
        })
    }

    /// Looks a hop up, and remembers the addresses of a name.
    async fn resolve(&self, hop: &Hop, deadline: &mut Deadline) -> Result<Resolved, Problem> {
        let limit = deadline.left().min(self.limits.connect);
        let resolved = resolve(&self.links.resolver, &hop.address, limit).await?;
        if let (Host::Name(name), Addresses::Found(found)) = (&hop.address.host, &resolved.addresses) {
            self.links.remember_addresses(name, Arc::clone(found));
        }
        Ok(resolved)
    }

    /// Opens a new connection, encrypted if the hop has a key; returns how many bytes of `first` were sent with it.
    pub(super) async fn connect(
        &self,
        hop: &Hop,
        resolved: Option<Resolved>,
        protocol: Protocol,
        deadline: &mut Deadline,
        first: &[u8],
        on_stage: OnStage<'_>,
    ) -> Result<(UpstreamConn, Leg, usize), Problem> {
        on_stage(ExchangeStage::Connecting);
        let limit = deadline.left().min(self.limits.connect);
        let first = if hop.key.is_some() { b"" } else { first };
        let filter = |address| self.check_address(hop, address);
        let connecting = async {
            let resolved = match resolved {
                Some(resolved) => resolved,
                None => resolve(&self.links.resolver, &hop.address, limit).await?,
            };
            let (machine, sockbuf) = (self.links.resolver.machine(), self.limits.sockbuf);
            connect_resolved(machine, &hop.address, resolved, &filter, first, sockbuf).await
        };
        // The connect has its own limit; if this program is suspended meanwhile, the outer deadline is extended as
        // well.
        let connected = deadline.bound(connecting).await;
        let late =
            |_| Problem::next(Reason::TimedOut, FailedAction::Connect, &hop.address, "", limit.as_secs_f64() * 1000.0);
        let Connected { stream, address, resolve_ms, connect_ms, sent } = connected.map_err(late)??;
        self.links.idle.opened();
        let mut link = UpstreamConn::new(address, protocol, stream, connect_ms);
        let mut leg = Leg { resolve_ms, connect_ms, wait_ms: 0.0 };
        if let Some(key) = hop.key {
            let began = Instant::now();
            link.stream =
                Box::pin(connect_tls(link.stream.another(), &hop.address, key, self.identity.as_deref(), deadline))
                    .await?;
            link.peer.encrypted = Some(Arc::from([hop.clone()]));
            leg.connect_ms += ms_since(began);
        }
        Ok((link, leg, sent))
    }

    /// Checks whether a hop may be contacted at an address; the decision depends on what is requested, too.
    pub(super) fn check_address(&self, hop: &Hop, address: SocketAddr) -> Result<(), NotPermitted> {
        let purpose = Purpose::files(hop.base.as_deref());
        (self.filter)(address, purpose)?;
        self.caller.may_connect(address, purpose).map_err(|denied| NotPermitted::of_caller(*denied))
    }
}
