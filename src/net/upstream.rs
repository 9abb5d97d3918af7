//! Requests to the next hop, over a kept or a new connection, in the protocol that it speaks; used by relays and
//! clients alike.

pub(crate) mod connect;
mod exchange;
mod link;
pub mod policy;
pub(crate) mod preconnect;
pub(crate) mod protocols;
mod request;
pub mod resolve;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::os::deadline::Deadline;
use crate::allow_list::Purpose;
use crate::limits::Limits;
use crate::route::{Hop, HostPort, Protocol};
use crate::wire::{DigestProgress, FailedAction, Leg, Problem, Reason, Reply, legacy};
use connect::{Connected, connect_with};
pub(super) use exchange::MAX_DIGEST_TIME;
pub use link::UpstreamBody;
use link::UpstreamConn;
use policy::NotPermitted;
use preconnect::Preconnections;
use protocols::UpstreamShared;

/// Decides whether a resolved address may be connected to.
pub type ConnectFilter = Arc<dyn Fn(SocketAddr, Purpose<'_>) -> Result<(), NotPermitted> + Send + Sync>;

/// A client's or relay's side of the link to the next hop; owns the connection that is kept for the next request.
///
/// A relay has one for each accepted connection, a client one for each chain: nothing is shared, so a request can never
/// receive another client's reply.
pub struct Upstream {
    links: Arc<UpstreamShared>,
    limits: Limits,
    filter: ConnectFilter,
    protocol: Option<Protocol>,
    link: Option<UpstreamConn>,
    /// A node that replied, and its address, if its connection could not be kept.
    last_node: Option<(HostPort, SocketAddr)>,
}

/// Stage of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeStage {
    /// The next hop is being resolved or connected to.
    Connecting,
    /// The request was sent.
    Waiting,
    /// A `102` (still processing) arrived, perhaps with the progress of a digest; relays pass it on.
    Working(Option<DigestProgress>),
}

/// Called at each stage of an exchange.
pub type OnStage<'a> = &'a (dyn Fn(ExchangeStage) + Send + Sync);

/// The next hop's reply; its body, if any, is read through [`Upstream::body`].
#[derive(Debug)]
pub struct UpstreamReply {
    /// The head.
    pub reply: Box<Reply>,
    /// Time from the request to the reply.
    pub leg: Leg,
    /// The protocol of the connection.
    pub protocol: Protocol,
    /// The address that replied.
    pub address: SocketAddr,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("open", &self.link.is_some()).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Returns an upstream without a connection. `protocol` is for hops without a `protocol=` of their own; `None`
    /// detects it.
    pub fn new(links: Arc<UpstreamShared>, limits: Limits, filter: ConnectFilter, protocol: Option<Protocol>) -> Self {
        Self { links, limits, filter, protocol, link: None, last_node: None }
    }

    /// Returns another upstream with the same configuration, without a connection.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.links), self.limits, Arc::clone(&self.filter), self.protocol)
    }

    /// Returns the connections opened ahead by all upstreams that share this cache.
    pub fn preconnections(&self) -> &Preconnections {
        &self.links.preconnections
    }

    /// Sends the go-ahead for the body to a legacy hop; an HTTP hop needs none.
    ///
    /// # Errors
    /// The error of the connection to a legacy hop.
    pub async fn go_ahead(&mut self) -> io::Result<()> {
        match &mut self.link {
            Some(link) if link.protocol == Protocol::Legacy => link.stream.write_all(legacy::GO_AHEAD).await,
            _ => Ok(()),
        }
    }

    /// Returns the protocol of the open connection.
    pub fn protocol(&self) -> Option<Protocol> {
        self.link.as_ref().map(|link| link.protocol)
    }

    /// Returns the body; `None` if no reply is open.
    pub fn body(&mut self) -> Option<UpstreamBody<'_>> {
        self.link.as_mut().map(UpstreamBody)
    }

    /// Reads body bytes; 0 is the end of the stream, which is premature unless all announced bytes were read.
    ///
    /// # Errors
    /// The error of the connection.
    pub async fn read_body(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.body() {
            Some(mut body) => body.read(buffer).await,
            None => Ok(0),
        }
    }

    /// Ends an exchange whose body was read or is not wanted: keeps the connection if possible, and closes it
    /// otherwise.
    pub fn finish(&mut self) {
        let Some(link) = &mut self.link else { return };
        // Unexpected bytes would be parsed as the head of the next reply.
        if link.remaining > 0 || !link.keep_alive || !link.read_ahead.is_empty() {
            self.last_node = self.link.take().filter(|link| link.is_node).map(|link| (link.hop, link.address));
        } else {
            link.read_ahead = Vec::new();
        }
    }

    /// Ends the chain, and connects to its next hop ahead: the next chain will most likely use the same one.
    ///
    /// Only our own nodes are connected to ahead: other servers may log or limit connections without a request.
    pub fn finish_and_preconnect(mut self) {
        let kept = self.link.take().filter(|link| link.is_node).map(|link| (link.hop, link.address));
        if let Some((hop, address)) = kept.or(self.last_node) {
            self.links.preconnections.connect(self.links.resolver.machine(), &hop, address, self.limits.sockbuf);
        }
    }

    /// Closes the connection, whatever its state.
    pub fn close(&mut self) {
        self.link = None;
    }

    /// Opens a new connection; returns how many bytes of `first` were sent with it.
    async fn connect(
        &self,
        hop: &Hop,
        protocol: Protocol,
        deadline: &mut Deadline,
        first: &[u8],
        on_stage: OnStage<'_>,
    ) -> Result<(UpstreamConn, Leg, usize), Problem> {
        on_stage(ExchangeStage::Connecting);
        let filter = |address| self.check_address(hop, address);
        let limit = deadline.left().min(self.limits.connect);
        let connecting = connect_with(&self.links.resolver, &hop.address, limit, &filter, first, self.limits.sockbuf);
        // The connect has its own limit; if this program is suspended meanwhile, the outer deadline is extended as
        // well.
        let connected = deadline.bound(connecting).await;
        let late =
            |_| Problem::next(Reason::TimedOut, FailedAction::Connect, &hop.address, "", limit.as_secs_f64() * 1000.0);
        let Connected { stream, address, resolve_ms, connect_ms, sent } = connected.map_err(late)??;
        let link = UpstreamConn::new(&hop.address, address, protocol, stream, connect_ms);
        Ok((link, Leg { resolve_ms, connect_ms, wait_ms: 0.0 }, sent))
    }

    /// Checks whether a hop may be contacted at an address; the decision depends on what is requested, too.
    fn check_address(&self, hop: &Hop, address: SocketAddr) -> Result<(), NotPermitted> {
        (self.filter)(address, Purpose::files(hop.base.as_deref()))
    }
}
