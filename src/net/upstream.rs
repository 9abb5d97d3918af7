//! Asking the next hop: over a kept connection or a new one, in whichever wire it speaks; relays and clients do the
//! same.

mod ask;
pub(crate) mod connect;
mod exchange;
mod link;
pub mod policy;
pub(crate) mod preconnect;
pub(crate) mod protocols;
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
pub use link::UpstreamBody;
use link::UpstreamConn;
use policy::Refused;
use preconnect::Preconnections;
use protocols::ProtocolCache;

/// Has the last word on an address that is about to be asked for something.
pub type ConnectFilter = Arc<dyn Fn(SocketAddr, Purpose<'_>) -> Result<(), Refused> + Send + Sync>;

/// One side's way to the next hop; holds the connection that is kept for the next request.
///
/// A relay has one for each connection it accepted, a client one for each chain: nothing is shared, so no request can
/// reach another client's answer.
pub struct Upstream {
    links: Arc<ProtocolCache>,
    limits: Limits,
    judge: ConnectFilter,
    protocol: Option<Protocol>,
    link: Option<UpstreamConn>,
    /// A node that answered, and where, on a connection that could not be kept.
    met: Option<(HostPort, SocketAddr)>,
}

/// How far a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeStage {
    /// The next hop is being resolved or connected to.
    Connecting,
    /// It has the question.
    Waiting,
    /// It said `102`, still at work, and perhaps how far that is; a relay says so too.
    Working(Option<DigestProgress>),
}

/// Is told how far a question is.
pub type OnStage<'a> = &'a (dyn Fn(ExchangeStage) + Send + Sync);

/// The next hop's answer; its body, if there is one, is read through [`Upstream::body`].
#[derive(Debug)]
pub struct UpstreamReply {
    /// The head.
    pub reply: Box<Reply>,
    /// What it took, from the question to this.
    pub leg: Leg,
    /// The wire it came by.
    pub protocol: Protocol,
    /// Who answered.
    pub address: SocketAddr,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("open", &self.link.is_some()).finish_non_exhaustive()
    }
}

impl Upstream {
    /// No connection yet. `protocol` is for hops that are not marked with one; `None` finds out.
    pub fn new(links: Arc<ProtocolCache>, limits: Limits, judge: ConnectFilter, protocol: Option<Protocol>) -> Self {
        Self { links, limits, judge, protocol, link: None, met: None }
    }

    /// One like this, without a connection.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.links), self.limits, Arc::clone(&self.judge), self.protocol)
    }

    /// The connections that were opened ahead, by this or by another like it.
    pub fn spares(&self) -> &Preconnections {
        &self.links.spares
    }

    /// Tells a seed hop to send the body; an HTTP hop needs no telling.
    ///
    /// # Errors
    /// The error of the connection to a legacy hop.
    pub async fn go_ahead(&mut self) -> io::Result<()> {
        match &mut self.link {
            Some(link) if link.protocol == Protocol::Legacy => link.stream.write_all(legacy::GO_AHEAD).await,
            _ => Ok(()),
        }
    }

    /// The wire of the connection that is open.
    pub fn protocol(&self) -> Option<Protocol> {
        self.link.as_ref().map(|link| link.protocol)
    }

    /// The body; `None` where no answer is open.
    pub fn body(&mut self) -> Option<UpstreamBody<'_>> {
        self.link.as_mut().map(UpstreamBody)
    }

    /// Reads body bytes; 0 is the end, which is too early unless all announced bytes have come.
    ///
    /// # Errors
    /// The error of the connection.
    pub async fn read_body(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.body() {
            Some(mut body) => body.read(buffer).await,
            None => Ok(0),
        }
    }

    /// The body was read, or is not wanted: a connection that can be kept is, any other is closed.
    pub fn finish(&mut self) {
        let Some(link) = &mut self.link else { return };
        // Bytes that nobody asked for would be taken for the head of the next answer.
        if link.left > 0 || !link.keep || !link.early.is_empty() {
            self.met = self.link.take().filter(|link| link.ours).map(|link| (link.hop, link.address));
        } else {
            link.early = Vec::new();
        }
    }

    /// Ends the chain and faults the hop that it went on to, for the next one: that will most likely go the same way.
    ///
    /// A node of ours waits for a request; of other servers, which may log or limit connections that say nothing, none
    /// is connected to.
    pub fn leave(mut self) {
        let kept = self.link.take().filter(|link| link.ours).map(|link| (link.hop, link.address));
        if let Some((hop, address)) = kept.or(self.met) {
            self.links.spares.connect(self.links.resolver.machine(), &hop, address, self.limits.sockbuf);
        }
    }

    /// Closes the connection, whatever is on it.
    pub fn close(&mut self) {
        self.link = None;
    }

    /// A new connection, on which so many bytes of `first` were said already.
    async fn connect(
        &self,
        hop: &Hop,
        protocol: Protocol,
        deadline: &mut Deadline,
        first: &[u8],
        told: OnStage<'_>,
    ) -> Result<(UpstreamConn, Leg, usize), Problem> {
        told(ExchangeStage::Connecting);
        let judge = |address| self.judges(hop, address);
        let limit = deadline.left().min(self.limits.connect);
        let connecting = connect_with(&self.links.resolver, &hop.address, limit, &judge, first, self.limits.sockbuf);
        // It keeps its own limit; where this program stops meanwhile, the deadline moves as well.
        let connected = deadline.bound(connecting).await;
        let late =
            |_| Problem::next(Reason::TimedOut, FailedAction::Connect, &hop.address, "", limit.as_secs_f64() * 1000.0);
        let Connected { stream, address, resolve_ms, connect_ms, said } = connected.map_err(late)??;
        let link = UpstreamConn::new(&hop.address, address, protocol, stream, connect_ms);
        Ok((link, Leg { resolve_ms, connect_ms, wait_ms: 0.0 }, said))
    }

    /// Whether a hop may be asked at this address: what it is asked for counts as much as where it is.
    fn judges(&self, hop: &Hop, address: SocketAddr) -> Result<(), Refused> {
        (self.judge)(address, Purpose::files(hop.base.as_deref()))
    }
}
