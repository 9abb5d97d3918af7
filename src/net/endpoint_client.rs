//! Requests endpoints of hops: over the first hop, which relays them, or inside TLS to a hop with a key.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::{Body, Bytes};

use super::http_client::{
    Credentials, PendingReply, endpoint_request, is_problem, relay_count, send_request, short_body,
};
use super::os::deadline::Deadline;
use super::os::machine::Machine;
use super::os::socket::Socket;
use super::upstream::connect::connect_from;
use super::upstream::protocols::UpstreamShared;
use super::upstream::resolve::Resolver;
use super::upstream::{Upstream, beyond, connect_tls};
use crate::keys::Fingerprint;
use crate::limits::Limits;
use crate::route::{DEFAULT_BASE, Hop, HostPort};
use crate::wire::{FailedAction, Problem, Reason, problem};

/// What the requests for endpoints have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndpointClient<'a> {
    pub(super) machine: Machine,
    pub(super) credentials: Credentials<'a>,
    /// Time limit of connecting to the first hop.
    pub(super) connect: Duration,
    /// Time limit of a reply's head, and of opening an encrypted connection behind the first hop.
    pub(super) reply: Duration,
}

/// A connection over which one endpoint of a hop can be requested.
#[derive(Debug)]
pub(super) struct EndpointConn<'a> {
    stream: Socket,
    /// The node that reads the request: the hop itself if it has a key, else the first.
    to: &'a Hop,
    /// The hops that the request is relayed to from there.
    behind: &'a [Hop],
    /// The relays that see a tunnel, and neither request nor reply.
    tunneled: u32,
}

/// The reply of a hop.
#[derive(Debug)]
pub(super) struct EndpointReply {
    pub(super) pending: PendingReply,
    /// The node that replied.
    from: HostPort,
    relays: usize,
    tunneled: u32,
}

impl EndpointClient<'_> {
    /// Connects for a request to the last of these hops; problems count from this client.
    pub(super) async fn open<'h>(&self, first: &'h Hop, behind: &'h [Hop]) -> Result<EndpointConn<'h>, Problem> {
        let end = behind.last().unwrap_or(first);
        if let Some(key) = end.key {
            let stream = self.encrypted(first, behind, key).await?;
            return Ok(EndpointConn { stream, to: end, behind: &[], tunneled: behind.len() as u32 });
        }
        let connected = connect_from(self.machine, &first.address, self.connect).await?;
        let mut stream = Socket::new(connected.stream);
        if let Some(key) = first.key {
            let (identity, mut left) = (self.credentials.identity.map(Arc::as_ref), Deadline::after(self.connect));
            stream = Box::pin(connect_tls(stream, &first.address, key, identity, &mut left)).await?;
        }
        Ok(EndpointConn { stream, to: first, behind, tunneled: 0 })
    }

    async fn encrypted(&self, first: &Hop, behind: &[Hop], key: Fingerprint) -> Result<Socket, Problem> {
        let limits = Limits { connect: self.connect, ..Limits::default() };
        let links = Arc::new(UpstreamShared::new(Resolver::default().on(self.machine)));
        // Boxed to keep the parent future small, because most hops have no key.
        Box::pin(async {
            let upstream = Upstream::new(links, limits, Arc::new(|_, _| Ok(())), None);
            let upstream = upstream.signed_by(self.credentials.identity.cloned());
            upstream.open_encrypted(first, behind, key, self.connect + self.reply).await
        })
        .await
    }

    /// Requests an endpoint, and waits for the head of the reply.
    pub(super) async fn request(&self, conn: EndpointConn<'_>, path: &str) -> Result<EndpointReply, Problem> {
        let to = &conn.to.address;
        let request = endpoint_request(to, conn.behind, path, self.credentials, self.reply);
        let request =
            request.map_err(|error| Problem::here(Reason::Malformed, FailedAction::Request, to, error.to_string()))?;
        conn.send(request, self.reply).await
    }
}

impl EndpointConn<'_> {
    /// Sends a request, and waits for the head of the reply.
    pub(super) async fn send<B>(self, request: Request<B>, limit: Duration) -> Result<EndpointReply, Problem>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let Self { stream, to, behind, tunneled } = self;
        let pending = send_request(stream, &to.address, request, limit).await;
        let pending = pending.map_err(|problem| beyond(problem, tunneled))?;
        Ok(EndpointReply { pending, from: to.address.clone(), relays: behind.len(), tunneled })
    }

    /// Returns the path of the folders where the request is read; relays replace the default by that of the last hop.
    pub(super) fn base(&self) -> &str {
        self.to.base.as_deref().filter(|_| self.behind.is_empty()).unwrap_or(DEFAULT_BASE)
    }
}

impl EndpointReply {
    /// Returns true if it came from the last hop, as far as its relays say.
    pub(super) fn is_of_last(&self) -> bool {
        relay_count(self.pending.reply.headers()) as usize == self.relays
    }

    /// Returns true if its body is a problem document.
    pub(super) fn is_problem(&self) -> bool {
        is_problem(self.pending.reply.headers())
    }

    /// Returns what counts the hops of a problem in its body from this client.
    pub(super) fn counting(&self) -> impl Fn(Problem) -> Problem + use<> {
        let tunneled = self.tunneled;
        move |problem| beyond(problem.relayed(), tunneled)
    }

    /// Reads and parses the body of a success of the last hop; anything else is a problem, with hops counted from here.
    pub(super) async fn read<T>(
        self,
        max: usize,
        limit: Duration,
        parse: impl FnOnce(&[u8]) -> Result<T, &'static str>,
    ) -> Result<T, Problem> {
        let counted = self.counting();
        let (status, is_problem, is_of_last) = (self.pending.reply.status(), self.is_problem(), self.is_of_last());
        let Self { pending: PendingReply { reply, driver: _driver }, from, tunneled, .. } = self;
        let fail =
            |reason, detail: &str| beyond(Problem::next(reason, FailedAction::Reply, &from, detail, 0.0), tunneled);
        let max = if status.is_success() { max } else { problem::MAX_BODY };
        let body = short_body(reply.into_body(), max, limit).await;
        let body = body.ok_or_else(|| fail(Reason::Closed, "its reply was late, too long or incomplete"))?;
        match status.is_success() {
            true if !is_of_last => Err(fail(Reason::RouteIgnored, "")),
            true => parse(&body).map_err(|detail| fail(Reason::BadResponse, detail)),
            false => {
                let problem = if is_problem { Problem::from_json(&body) } else { None };
                Err(problem
                    .map_or_else(|| fail(Reason::of_status(status.as_u16()), &format!("status {status}")), counted))
            }
        }
    }
}
