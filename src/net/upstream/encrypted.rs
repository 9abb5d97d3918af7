//! Connections to a hop with a key: TLS to that hop, for a client through a tunnel if there are relays before it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use rustls::{AlertDescription, Error as TlsFailure};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::connect::Resolved;
use super::exchange::ExchangeError;
use super::link::UpstreamConn;
use super::request::not_signed;
use super::{ExchangeStage, OnStage, Upstream, UpstreamReply};
use crate::keys::{Fingerprint, KeyPair};
use crate::net::os::clock::{ms_since, seconds};
use crate::net::os::deadline::Deadline;
use crate::net::os::socket::{Socket, TlsHandshake};
use crate::net::tls::{ClientTls, WrongKey};
use crate::route::{Hop, HostPort, Protocol};
use crate::wire::http::sign_tunnel;
use crate::wire::{FailedAction, Leg, Problem, Reason, Request, TunnelRequest};

impl Upstream {
    /// Requests a file from the last hop of the route, which has this key, inside TLS in a tunnel to it. The relays
    /// before it see neither the request nor the reply.
    pub(super) async fn request_encrypted(
        &mut self,
        hop: &Hop,
        mut request: Box<Request>,
        key: Fingerprint,
        (began, deadline): (Instant, &mut Deadline),
        on_stage: OnStage<'_>,
    ) -> Result<UpstreamReply, Problem> {
        let behind = std::mem::take(&mut request.route);
        let relays = behind.len() as u32;
        let end = behind.last().unwrap_or(hop);
        let hops: Arc<[Hop]> = std::iter::once(hop).chain(&behind).cloned().collect();
        request.host = Some(end.address.clone());
        request.ack = false;
        self.sign(end, &mut request)?;
        let of_end = |problem: Problem| beyond(problem, relays);
        let (mut idle, mut resolved) = self.reuse(hop, Some(&hops), request.method, deadline, on_stage).await?;
        loop {
            let reused = idle.is_some();
            let (mut link, leg, timing) = if let Some(link) = idle.take() {
                link.tunnel.into_iter().for_each(|id| on_stage(ExchangeStage::Tunnel(id)));
                (link, Leg::default(), None)
            } else {
                let resolved = resolved.take();
                Box::pin(self.connect_encrypted(hop, resolved, &behind, key, deadline, on_stage)).await?
            };
            match self.exchange(&mut link, end, &mut request, deadline, None, on_stage).await {
                Ok(mut reply) => {
                    reply.timing = timing;
                    link.peer.encrypted = Some(hops);
                    let mut response = self.store_reply(link, reply, leg, &request);
                    response.leg.wait_ms = (ms_since(began) - leg.resolve_ms - leg.connect_ms).max(0.0);
                    let mut response = self.check(end, &request, response).map_err(of_end)?;
                    response.reply.hops = Some(relays);
                    return Ok(response);
                }
                // The hop closed the connection when it was idle: once more, over a new one.
                Err(ExchangeError::Unanswered(_)) if reused => self.links.idle.closed_unanswered(),
                Err(ExchangeError::Problem(problem) | ExchangeError::Unanswered(problem)) => {
                    return Err(of_end(problem));
                }
                Err(ExchangeError::SpeaksLegacy) => {
                    let detail = "the legacy protocol has no encryption";
                    let problem = Problem::next(Reason::Unsupported, FailedAction::Reply, &end.address, detail, 0.0);
                    return Err(of_end(problem));
                }
            }
        }
    }

    /// Opens a connection to the last hop, which has this key, for a request that is no file: within a time limit.
    pub(in crate::net) async fn open_encrypted(
        &self,
        hop: &Hop,
        behind: &[Hop],
        key: Fingerprint,
        limit: Duration,
    ) -> Result<Socket, Problem> {
        let deadline = &mut Deadline::after(limit);
        let mut link = if behind.is_empty() {
            self.connect(hop, None, Protocol::Http, deadline, b"", &|_| ()).await?.0
        } else {
            self.connect_encrypted(hop, None, behind, key, deadline, &|_| ()).await?.0
        };
        link.handed_over = true;
        Ok(link.stream.another())
    }

    /// Opens a connection to the hop with the key, the last one; returns the times of the set-up, too.
    async fn connect_encrypted(
        &self,
        hop: &Hop,
        resolved: Option<Resolved>,
        behind: &[Hop],
        key: Fingerprint,
        deadline: &mut Deadline,
        on_stage: OnStage<'_>,
    ) -> Result<(UpstreamConn, Leg, Option<String>), Problem> {
        let (mut link, leg, _) = self.connect(hop, resolved, Protocol::Http, deadline, b"", on_stage).await?;
        let of_end = |problem: Problem| beyond(problem, behind.len() as u32);
        let end = &behind.last().unwrap_or(hop).address;
        let handshake = begin_tls(&link.stream, end, key, self.identity.as_deref()).map_err(of_end)?;
        let mut request = self.tunnel_request(hop, behind)?;
        link.tunnel = request.transfer;
        link.tunnel.into_iter().for_each(|id| on_stage(ExchangeStage::Tunnel(id)));
        // The first message follows the request at once, and saves a round trip.
        let opened = self.request_tunnel(&mut link, hop, &mut request, deadline, handshake.hello(), on_stage).await?;
        let received = link.read_ahead.bytes().to_vec();
        link.read_ahead.consume(received.len());
        link.stream = complete_tls(handshake, received, end, deadline).await.map_err(of_end)?;
        Ok((link, leg, opened.timing))
    }

    /// Returns the request for a tunnel to the last of these hops, signed if the user has a key.
    fn tunnel_request(&self, hop: &Hop, behind: &[Hop]) -> Result<TunnelRequest, Problem> {
        let new_id = || self.links.resolver.machine().transfer_id();
        let mut request = TunnelRequest::through(hop, behind, new_id());
        if let Some(pair) = &self.identity {
            let signed = sign_tunnel(pair, hop, &request, seconds(SystemTime::now()), new_id().0);
            request.signatures = signed.map_err(not_signed)?.map(Box::new);
        }
        Ok(request)
    }
}

/// Counts the hops of a problem from this client, if it was counted from behind these relays.
pub(in crate::net) fn beyond(problem: Problem, relays: u32) -> Problem {
    let counted = |hop: u32| if hop == 0 { 0 } else { hop.saturating_add(relays) };
    Problem { hop: counted(problem.hop), reporter: counted(problem.reporter), ..problem }
}

/// Encrypts a new connection to a hop with this key, which learns that of the client, if it has one.
pub(in crate::net) async fn connect_tls(
    mut stream: Socket,
    hop: &HostPort,
    key: Fingerprint,
    identity: Option<&KeyPair>,
    deadline: &mut Deadline,
) -> Result<Socket, Problem> {
    let handshake = begin_tls(&stream, hop, key, identity)?;
    // A failed write shows again in the rest of the handshake.
    let _ = deadline.bound(stream.write_all(handshake.hello())).await;
    drop(stream);
    complete_tls(handshake, Vec::new(), hop, deadline).await
}

fn begin_tls(
    stream: &Socket,
    hop: &HostPort,
    key: Fingerprint,
    identity: Option<&KeyPair>,
) -> Result<TlsHandshake, Problem> {
    let failed = |error: &dyn fmt::Display| {
        Problem::here(Reason::Internal, FailedAction::Connect, hop, format!("TLS could not begin: {error}"))
    };
    let tls = ClientTls::new(key, identity).map_err(|error| failed(&error))?;
    stream.begin_tls(tls.config(), tls.name()).map_err(|error| failed(&error))
}

async fn complete_tls(
    handshake: TlsHandshake,
    received: Vec<u8>,
    hop: &HostPort,
    deadline: &mut Deadline,
) -> Result<Socket, Problem> {
    let began = Instant::now();
    let (reason, detail) = match deadline.bound(handshake.complete(received)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => describe(&error),
        Err(_) => (Reason::TimedOut, "in the TLS handshake".to_owned()),
    };
    Err(Problem::next(reason, FailedAction::Connect, hop, detail, ms_since(began)))
}

/// Classifies the failure of a handshake.
fn describe(error: &io::Error) -> (Reason, String) {
    if let Some(wrong) = WrongKey::in_error(error) {
        return (Reason::WrongKey, wrong.to_string());
    }
    let failure = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsFailure>());
    match failure {
        Some(TlsFailure::AlertReceived(AlertDescription::ProtocolVersion)) => {
            (Reason::Unsupported, "it serves no TLS 1.3: start it with --identity".to_owned())
        }
        Some(failure) => (Reason::BadResponse, format!("the TLS handshake failed: {failure}")),
        None => (Reason::Closed, format!("in the TLS handshake: {error}")),
    }
}
