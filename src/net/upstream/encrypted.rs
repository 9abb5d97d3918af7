//! Requests to a hop with a key: inside TLS to that hop, through a tunnel if there are relays before it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, Error as TlsFailure};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::exchange::ExchangeError;
use super::link::{Peer, UpstreamConn};
use super::request::not_signed;
use super::{OnStage, Upstream, UpstreamReply};
use crate::keys::Fingerprint;
use crate::net::os::clock::{ms_since, seconds};
use crate::net::os::deadline::Deadline;
use crate::net::os::socket::Socket;
use crate::net::tls::{ClientTls, WrongKey};
use crate::route::{Hop, Protocol};
use crate::wire::http::sign_tunnel;
use crate::wire::{FailedAction, Leg, Method, Problem, Reason, Request, TunnelRequest};

impl Upstream {
    /// Requests a file from the last hop, which has this key. The relays before it see neither the request nor the
    /// reply.
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
        let destination: Arc<[Hop]> = std::iter::once(hop).chain(&behind).cloned().collect();
        request.host = Some(end.address.clone());
        request.ack = false;
        self.sign(end, &mut request)?;
        let of_end = |problem: Problem| beyond(problem, relays);
        let for_body = request.method == Method::Get;
        let mut idle = self.links.idle.take(&Peer::Encrypted(Arc::clone(&destination)), for_body);
        loop {
            let reused = idle.is_some();
            let (mut link, leg, timing) = match idle.take() {
                Some(link) => (link, Leg::default(), None),
                None => Box::pin(self.connect_encrypted(hop, &behind, key, deadline, on_stage)).await?,
            };
            match self.exchange(&mut link, end, &mut request, deadline, None, on_stage).await {
                Ok(mut reply) => {
                    reply.timing = timing;
                    link.peer = Peer::Encrypted(destination);
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
        let mut deadline = Deadline::after(limit);
        self.connect_encrypted(hop, behind, key, &mut deadline, &|_| ()).await.map(|(link, ..)| link.stream)
    }

    /// Opens a connection to the hop with the key, the last one; returns the times of the set-up, too.
    async fn connect_encrypted(
        &self,
        hop: &Hop,
        behind: &[Hop],
        key: Fingerprint,
        deadline: &mut Deadline,
        on_stage: OnStage<'_>,
    ) -> Result<(UpstreamConn, Leg, Option<String>), Problem> {
        let end = behind.last().unwrap_or(hop);
        let (mut link, leg, _) = self.connect(hop, None, Protocol::Http, deadline, b"", on_stage).await?;
        let began = Instant::now();
        let failed = |reason, detail: String| {
            let problem = Problem::next(reason, FailedAction::Connect, &end.address, detail, ms_since(began));
            beyond(problem, behind.len() as u32)
        };
        let tls = ClientTls::new(key).map_err(|error| failed(Reason::Internal, error.to_string()))?;
        let name = ServerName::IpAddress(link.address.ip().into());
        let handshake = link.stream.begin_tls(tls.config(), name);
        let handshake = handshake.map_err(|error| failed(Reason::Internal, error.to_string()))?;
        let timing = if behind.is_empty() {
            // A failed write shows again in the handshake.
            let _ = deadline.bound(link.stream.write_all(handshake.hello())).await;
            None
        } else {
            let mut request = self.tunnel_request(hop, behind)?;
            // The first message follows the request at once, and saves a round trip.
            self.request_tunnel(&mut link, hop, &mut request, deadline, handshake.hello(), on_stage).await?.timing
        };
        let received = link.read_ahead.bytes().to_vec();
        link.read_ahead.consume(received.len());
        link.stream = match deadline.bound(handshake.complete(received)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let (reason, detail) = describe(&error);
                return Err(failed(reason, detail));
            }
            Err(_) => return Err(failed(Reason::TimedOut, "in the TLS handshake".to_owned())),
        };
        Ok((link, leg, timing))
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
