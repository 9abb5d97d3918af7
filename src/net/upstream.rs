//! Requests to the next hop, over an idle or a new connection, in the protocol that it speaks; used by relays and
//! clients alike.

pub(crate) mod connect;
mod encrypted;
mod exchange;
mod idle;
mod link;
mod open;
pub(in crate::net) mod origin_slots;
pub mod policy;
pub(crate) mod protocols;
mod read_ahead;
mod request;
pub mod resolve;
#[cfg(test)]
mod tests;
mod tunnel;
mod tunnel_records;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::allow_list::Purpose;
use crate::keys::KeyPair;
use crate::limits::Limits;
use crate::net::access::Caller;
use crate::route::Protocol;
use crate::wire::{DigestProgress, Leg, Reply, TransferId, legacy};
pub(super) use encrypted::{beyond, connect_tls};
pub(super) use exchange::MAX_DIGEST_TIME;
pub use link::UpstreamBody;
use link::UpstreamConn;
use policy::NotPermitted;
use protocols::UpstreamShared;
pub(super) use tunnel::OpenTunnel;

/// Decides whether a resolved address may be connected to.
pub type ConnectFilter = Arc<dyn Fn(SocketAddr, Purpose<'_>) -> Result<(), NotPermitted> + Send + Sync>;

/// A client's or relay's side of the link to the next hop; owns the connection of the exchange in progress.
///
/// A relay has one for each accepted connection, a client one for each chain. Between two exchanges the connection is
/// among the idle ones that all of them share (`idle.rs`); during one it belongs to this exchange alone.
pub struct Upstream {
    links: Arc<UpstreamShared>,
    limits: Limits,
    filter: ConnectFilter,
    protocol: Option<Protocol>,
    /// Requests to a last hop with a key run inside a tunnel to it: those of a client, which has the file.
    end_to_end: bool,
    /// Key that signs the requests of a client.
    identity: Option<Arc<KeyPair>>,
    /// Whose requests these are, at a relay.
    caller: Caller,
    link: Option<UpstreamConn>,
}

/// Stage of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeStage {
    /// The next hop is being resolved or connected to.
    Connecting,
    /// The request runs through this tunnel, which is opened now or was kept.
    Tunnel(TransferId),
    /// The request was sent.
    Waiting,
    /// A `102` (still processing) arrived, perhaps with the progress of a digest; relays pass it on.
    Working(Option<DigestProgress>),
}

/// Called at each stage of an exchange.
pub type OnStage<'a> = &'a (dyn Fn(ExchangeStage) + Send + Sync);

/// The next hop's reply; its body, if any, is read through [`Upstream::body`].
#[derive(Clone, Debug)]
pub struct UpstreamReply {
    /// The head.
    pub reply: Box<Reply>,
    /// Time from the request to the reply.
    pub leg: Leg,
    /// The protocol of the connection.
    pub protocol: Protocol,
    /// The address that replied.
    pub address: SocketAddr,
    /// The tunnel that it came through.
    pub tunnel: Option<TransferId>,
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
        Self {
            links,
            limits,
            filter,
            protocol,
            end_to_end: false,
            identity: None,
            caller: Caller::default(),
            link: None,
        }
    }

    /// Returns another upstream with the same configuration, without a connection.
    #[must_use]
    pub fn another(&self) -> Self {
        let another = Self::new(Arc::clone(&self.links), self.limits, Arc::clone(&self.filter), self.protocol);
        Self { end_to_end: self.end_to_end, identity: self.identity.clone(), ..another }
    }

    /// Encrypts from this client to a last hop with a key, so that the relays see neither requests nor replies.
    #[must_use]
    pub fn end_to_end(self) -> Self {
        Self { end_to_end: true, ..self }
    }

    /// Returns the state shared with all other upstreams of this node or client.
    pub fn shared(&self) -> &UpstreamShared {
        &self.links
    }

    /// Signs requests with this key, once for each hop.
    #[must_use]
    pub fn signed_by(self, identity: Option<Arc<KeyPair>>) -> Self {
        Self { identity, ..self }
    }

    /// Sets whose requests follow: they connect only where that caller may be relayed to.
    pub(in crate::net) fn set_caller(&mut self, caller: Caller) {
        self.caller = caller;
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

    /// Ends an exchange whose body was read or is not wanted: the connection becomes idle if possible, and is closed
    /// otherwise.
    pub fn finish(&mut self) {
        // The only way to become idle: a request or a body that was cancelled or failed closes its connection.
        if let Some(mut link) = self.link.take()
            && link.is_reusable()
        {
            self.links.idle.put(link, self.limits.idle_connections);
        }
    }

    /// Closes the connection, whatever its state.
    pub fn close(&mut self) {
        self.link = None;
    }
}
