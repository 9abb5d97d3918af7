//! Asking the next hop: over a kept connection or a new one, in whichever wire it speaks; relays and clients do the
//! same.

pub(crate) mod connect;
mod exchange;
pub mod policy;
pub(crate) mod preconnect;
pub(crate) mod protocols;
pub mod resolve;

use std::io::{self, ErrorKind::WouldBlock};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::sockbuf::{Incoming, is_near};
use super::body::{Direct, Source};
use super::os::clock::ms_since;
use super::os::deadline::Deadline;
use super::os::socket::Socket;
use crate::allow_list::Purpose;
use crate::limits::{HOP_SHARE, Limits};
use crate::route::{Hop, HostPort, Protocol};
use crate::text::SafeText;
use crate::wire::http::{encode_request, parse_reply, target};
use crate::wire::problem::Server;
use crate::wire::{Action, Leg, Method, Problem, Progress, Reason, Reply, Request, legacy, problem};
use connect::{Connected, connect_with};
use policy::Refused;
use preconnect::Spares;
use protocols::Links;

/// Has the last word on an address that is about to be asked for something.
pub type Judge = Arc<dyn Fn(SocketAddr, Purpose<'_>) -> Result<(), Refused> + Send + Sync>;

/// One side's way to the next hop; holds the connection that is kept for the next request.
///
/// A relay has one for each connection it accepted, a client one for each chain: nothing is shared, so no request can
/// reach another client's answer.
pub struct Upstream {
    links: Arc<Links>,
    limits: Limits,
    judge: Judge,
    protocol: Option<Protocol>,
    link: Option<Link>,
    /// A node that answered, and where, on a connection that could not be kept.
    met: Option<(HostPort, SocketAddr)>,
}

/// An open connection to the next hop.
struct Link {
    hop: HostPort,
    address: SocketAddr,
    protocol: Protocol,
    stream: Socket,
    /// The round trip is known to be short.
    near: bool,
    /// Read from the stream and not yet used.
    early: Vec<u8>,
    /// Body bytes still to come.
    left: u64,
    /// Another request may follow on it.
    keep: bool,
    /// A node of ours answered on it.
    ours: bool,
}

/// How far a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The next hop is being resolved or connected to.
    Connecting,
    /// It has the question.
    Waiting,
    /// It said `102`, still at work, and perhaps how far that is; a relay says so too.
    Working(Option<Progress>),
}

/// Is told how far a question is.
pub type Told<'a> = &'a (dyn Fn(Stage) + Send + Sync);

/// The next hop's answer; its body, if there is one, is read through [`Upstream::body`].
#[derive(Debug)]
pub struct Answer {
    /// The head.
    pub reply: Box<Reply>,
    /// What it took, from the question to this.
    pub leg: Leg,
    /// The wire it came by.
    pub protocol: Protocol,
    /// Who answered.
    pub address: SocketAddr,
}

/// The rest of a body; ends after exactly as many bytes as the head announced, or too early.
pub struct Body<'a>(&'a mut Link);

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("open", &self.link.is_some()).finish_non_exhaustive()
    }
}

impl Upstream {
    /// No connection yet. `protocol` is for hops that are not marked with one; `None` finds out.
    pub fn new(links: Arc<Links>, limits: Limits, judge: Judge, protocol: Option<Protocol>) -> Self {
        Self { links, limits, judge, protocol, link: None, met: None }
    }

    /// One like this, without a connection.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.links), self.limits, Arc::clone(&self.judge), self.protocol)
    }

    /// The connections that were opened ahead, by this or by another like it.
    pub fn spares(&self) -> &Spares {
        &self.links.spares
    }

    /// Asks `hop` for a file; `request.route` holds the hops after it. The reply head must be there by `deadline`.
    ///
    /// The answer is a success (200 or 206) of known length. Everything else is a problem, with hops counted from the
    /// asker: 1 is `hop`. Not cancel-safe: after a cancelled ask, close or drop this.
    ///
    /// # Errors
    /// The problem of the hop, or of one behind it, that cannot be reached, rejects the request, ignores the route, or
    /// does not answer by the deadline.
    pub async fn ask(
        &mut self,
        hop: &Hop,
        mut request: Box<Request>,
        mut deadline: Deadline,
        told: Told<'_>,
    ) -> Result<Answer, Problem> {
        let deadline = &mut deadline;
        let began = Instant::now();
        request.host = Some(hop.address.clone());
        request.interim = true;
        if deadline.left() <= HOP_SHARE {
            return Err(exchange::no_time());
        }
        let marked = hop.protocol.or(self.protocol);
        let protocol = marked.or_else(|| self.links.known(&hop.address));
        request.ack = protocol.is_none();
        let answer = match protocol {
            // In a box, for it is rare.
            Some(Protocol::Legacy) => Box::pin(self.ask_legacy(hop, &request, deadline, told)).await,
            Some(Protocol::Http) | None => self.ask_http(hop, &mut request, deadline, told).await,
        };
        if let Err(Problem { hop: 1, reason: Reason::TimedOut | Reason::Closed | Reason::Nonsense, .. }) = answer {
            // It may be another program by now: the next request finds out.
            self.links.forget(&hop.address);
        }
        let mut answer = answer?;
        // Whatever is neither is waiting for the answer, also what was asked in vain before, and what a loaded machine
        // took between the two: the legs have no gaps.
        answer.leg.wait_ms = (ms_since(began) - answer.leg.resolve_ms - answer.leg.connect_ms).max(0.0);
        self.check(hop, &request, answer)
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
    pub fn body(&mut self) -> Option<Body<'_>> {
        self.link.as_mut().map(Body)
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
        told: Told<'_>,
    ) -> Result<(Link, Leg, usize), Problem> {
        told(Stage::Connecting);
        let judge = |address| self.judges(hop, address);
        let limit = deadline.left().min(self.limits.connect);
        let connecting = connect_with(&self.links.resolver, &hop.address, limit, &judge, first, self.limits.sockbuf);
        // It keeps its own limit; where this program stops meanwhile, the deadline moves as well.
        let connected = deadline.bound(connecting).await;
        let late = |_| Problem::next(Reason::TimedOut, Action::Connect, &hop.address, "", limit.as_secs_f64() * 1000.0);
        let Connected { stream, address, resolve_ms, connect_ms, said } = connected.map_err(late)??;
        let link = Link::new(&hop.address, address, protocol, stream, connect_ms);
        Ok((link, Leg { resolve_ms, connect_ms, wait_ms: 0.0 }, said))
    }

    /// Whether a hop may be asked at this address: what it is asked for counts as much as where it is.
    fn judges(&self, hop: &Hop, address: SocketAddr) -> Result<(), Refused> {
        (self.judge)(address, Purpose::files(hop.base.as_deref()))
    }

    /// Judges a reply: a success must be of known length and come from the end of the route.
    fn check(&mut self, hop: &Hop, request: &Request, answer: Answer) -> Result<Answer, Problem> {
        let wrong = |reason, detail: &str| {
            Problem::next(reason, Action::Reply, &hop.address, detail, answer.leg.connect_ms + answer.leg.wait_ms)
        };
        let reply = &answer.reply;
        let problem = match reply.status {
            304 if !request.takes_not_modified() => {
                Some(wrong(Reason::Nonsense, "it says that nothing has changed, which nobody asked"))
            }
            200 | 206 if reply.length.is_none() => Some(wrong(Reason::Nonsense, "the file's length is not known")),
            200 | 206 | 304 if reply.hops.unwrap_or(0) as usize != request.route.len() => {
                Some(wrong(Reason::RouteIgnored, ""))
            }
            206 if request.range.is_none() => {
                Some(wrong(Reason::Nonsense, "a part came where the whole was asked for"))
            }
            200 | 206 | 304 => None,
            // It looked for the file in a place of its own, where another hop was to be asked.
            404 | 410 if reply.problem.is_none() && !request.route.is_empty() => {
                Some(wrong(Reason::RouteIgnored, &format!("status {}", reply.status)))
            }
            _ => Some(reply.problem.clone().map_or_else(
                || Problem {
                    size: reply.range_outside,
                    server: Some(Box::new(Server {
                        status: reply.status,
                        retry_after: reply.retry_after,
                        challenge: reply.challenge.as_deref().map(SafeText::new),
                    })),
                    ..wrong(Reason::of_status(reply.status), &foreign(hop, request, reply))
                },
                Problem::passed_on,
            )),
        };
        match problem {
            None => Ok(answer),
            Some(problem) => {
                self.finish();
                Err(problem)
            }
        }
    }
}

/// What a server that knows nothing of chains meant, in words.
fn foreign(hop: &Hop, request: &Request, reply: &Reply) -> String {
    let status = reply.status;
    match (status, &reply.location, reply.retry_after) {
        (300..=399, Some(place), _) => format!("status {status}, a redirect to {place}, which is not followed"),
        (300..=399, None, _) => format!("status {status}, a redirect, which is not followed"),
        (400, ..) => format!("status {status}; a TLS port may say so, and a chain carries plain HTTP"),
        (404 | 410, ..) => format!("status {status}, asked for {}", target(request, hop.base.as_deref())),
        (429 | 503, _, Some(seconds)) => format!("status {status}, to be asked again after {seconds} s"),
        _ => format!("status {status}"),
    }
}

impl Link {
    fn new(hop: &HostPort, address: SocketAddr, protocol: Protocol, stream: TcpStream, connect_ms: f64) -> Self {
        let near = is_near(address.ip(), connect_ms);
        let (hop, early, stream) = (hop.clone(), Vec::new(), Socket::new(stream));
        Self { hop, address, protocol, stream, near, early, left: 0, keep: false, ours: false }
    }

    /// Another request may follow: the last reply was taken to its end, and nothing came behind it. What did would be
    /// taken for the next reply, such as the `408` that some servers say before they close an idle connection.
    fn is_idle(&self) -> bool {
        let silent = || matches!(self.stream.try_read(&mut [0; 1]), Err(error) if error.kind() == WouldBlock);
        self.keep && self.left == 0 && self.early.is_empty() && silent()
    }
}

impl Source for Body<'_> {
    fn ahead(&mut self, most: usize) -> io::Result<&[u8]> {
        let link = &*self.0;
        Ok(&link.early[..most.min(link.early.len()).min(usize::try_from(link.left).unwrap_or(most))])
    }

    fn direct(&self) -> Option<Direct<'_>> {
        // What was read already has to go first.
        let incoming = Incoming { stream: &self.0.stream, near: self.0.near };
        self.0.early.is_empty().then_some(Direct::Socket(incoming))
    }

    fn socket(&self) -> Option<Arc<TcpStream>> {
        Some(self.0.stream.held())
    }

    fn skip(&mut self, bytes: u64) {
        let link = &mut *self.0;
        link.left = link.left.saturating_sub(bytes);
        link.early.drain(..link.early.len().min(bytes as usize));
        if link.early.is_empty() {
            link.early = Vec::new();
        }
    }
}

impl AsyncRead for Body<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &mut *self.0;
        let most = usize::try_from(link.left).unwrap_or(usize::MAX).min(buf.remaining());
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = if link.early.is_empty() {
            let mut part = buf.take(most);
            std::task::ready!(Pin::new(&mut link.stream).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            buf.advance(read);
            read
        } else {
            let read = most.min(link.early.len());
            buf.put_slice(&link.early[..read]);
            link.early.drain(..read);
            if link.early.is_empty() {
                link.early = Vec::new();
            }
            read
        };
        link.left -= read as u64;
        Poll::Ready(Ok(()))
    }
}
