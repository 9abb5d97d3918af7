//! Sends a request to the next hop: chooses the protocol, and checks that the reply can be used.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::exchange::no_time;
use super::{OnStage, Upstream, UpstreamReply};
use crate::keys::KeyError;
use crate::limits::HOP_SHARE;
use crate::net::os::clock::{ms_since, seconds};
use crate::net::os::deadline::Deadline;
use crate::route::{Hop, Protocol};
use crate::text::SafeText;
use crate::wire::http::{sign_request, target};
use crate::wire::problem::ForeignServer;
use crate::wire::{FailedAction, Problem, Reason, Reply, Request};

impl Upstream {
    /// Requests a file from `hop`; `request.route` holds the hops after it. The reply head must arrive within `limit`.
    ///
    /// Returns a success (200 or 206) of known length. Anything else is a problem, with hops counted from the
    /// requester: 1 is `hop`. Not cancel-safe: after a cancelled request, close or drop this.
    ///
    /// # Errors
    /// The problem of the hop, or of one behind it, that cannot be reached, rejects the request, ignores the route, or
    /// does not reply in time.
    pub async fn request(
        &mut self,
        hop: &Hop,
        mut request: Box<Request>,
        limit: Duration,
        on_stage: OnStage<'_>,
    ) -> Result<UpstreamReply, Problem> {
        // The end of a previous exchange, if there was one.
        self.finish();
        let began = Instant::now();
        let deadline = &mut Deadline::since(began, limit);
        request.interim = true;
        // What the client announced is about its own connection.
        request.keep_alive = self.limits.idle_connections > 0;
        if limit <= HOP_SHARE {
            return Err(no_time());
        }
        if let Some(key) = request.route.last().filter(|_| self.end_to_end).and_then(|end| end.key) {
            // Boxed to keep the parent future small, because relays have none.
            return Box::pin(self.request_encrypted(hop, request, key, (began, deadline), on_stage)).await;
        }
        request.host = Some(hop.address.clone());
        let marked = hop.protocol().or(self.protocol);
        let protocol = marked.or_else(|| self.links.known(&hop.address));
        request.ack = protocol.is_none();
        if protocol != Some(Protocol::Legacy) {
            self.sign(hop, &mut request)?;
        }
        let response = match protocol {
            // Boxed to keep the parent future small, because it is rare.
            Some(Protocol::Legacy) => Box::pin(self.request_legacy(hop, &request, deadline, on_stage)).await,
            Some(Protocol::Http) | None => self.request_http(hop, &mut request, deadline, on_stage).await,
        };
        if let Err(Problem { hop: 1, reason: Reason::TimedOut | Reason::Closed | Reason::BadResponse, .. }) = response {
            // Another program may listen there by now: the next request detects the protocol again.
            self.links.forget(&hop.address);
        }
        let mut response = response?;
        // All other time counts as waiting for the reply, including failed attempts before and delays of a loaded
        // machine: the legs have no gaps.
        response.leg.wait_ms = (ms_since(began) - response.leg.resolve_ms - response.leg.connect_ms).max(0.0);
        self.check(hop, &request, response)
    }

    /// Signs a client's request for each hop that checks signatures.
    pub(super) fn sign(&self, hop: &Hop, request: &mut Request) -> Result<(), Problem> {
        let Some(pair) = &self.identity else { return Ok(()) };
        let new_id = || self.links.resolver.machine().transfer_id();
        request.transfer.get_or_insert_with(new_id);
        let signed = sign_request(pair, hop, request, seconds(SystemTime::now()), new_id().0);
        request.signatures = signed.map_err(not_signed)?.map(Box::new);
        Ok(())
    }

    /// Checks a reply: a success must be of known length and come from the end of the route.
    pub(super) fn check(
        &mut self,
        hop: &Hop,
        request: &Request,
        response: UpstreamReply,
    ) -> Result<UpstreamReply, Problem> {
        let wrong = |reason, detail: &str| {
            Problem::next(
                reason,
                FailedAction::Reply,
                &hop.address,
                detail,
                response.leg.connect_ms + response.leg.wait_ms,
            )
        };
        let reply = &response.reply;
        let problem = match reply.status {
            304 if !request.accepts_not_modified() => {
                Some(wrong(Reason::BadResponse, "it replied 304 to an unconditional request"))
            }
            200 | 206 if reply.length.is_none() => Some(wrong(Reason::BadResponse, "the reply has no length")),
            200 | 206 | 304 if reply.hops.unwrap_or(0) as usize != request.route.len() => {
                Some(wrong(Reason::RouteIgnored, ""))
            }
            206 if request.range.is_none() => {
                Some(wrong(Reason::BadResponse, "it replied 206 to a request without a range"))
            }
            200 | 206 | 304 => None,
            // It served its own files instead of forwarding to the next hop.
            404 | 410 if reply.problem.is_none() && !request.route.is_empty() => {
                Some(wrong(Reason::RouteIgnored, &format!("status {}", reply.status)))
            }
            _ => Some(reply.problem.clone().map_or_else(
                || Problem {
                    size: reply.range_outside,
                    server: Some(Box::new(ForeignServer {
                        status: reply.status,
                        retry_after: reply.retry_after,
                        challenge: reply.challenge.as_deref().map(SafeText::new),
                    })),
                    ..wrong(Reason::of_status(reply.status), &foreign(hop, request, reply))
                },
                Problem::relayed,
            )),
        };
        match problem {
            None => Ok(response),
            Some(problem) => {
                self.finish();
                Err(problem)
            }
        }
    }
}

/// Returns the problem of a request that could not be signed.
pub(super) fn not_signed(error: KeyError) -> Problem {
    Problem::here(Reason::Internal, FailedAction::Request, "", error.to_string())
}

/// Describes a reply of a server that is not a chainview node.
fn foreign(hop: &Hop, request: &Request, reply: &Reply) -> String {
    let status = reply.status;
    match (status, &reply.location, reply.retry_after) {
        (300..=399, Some(location), _) => format!("status {status}, a redirect to {location}, which is not followed"),
        (300..=399, None, _) => format!("status {status}, a redirect, which is not followed"),
        (400, ..) => format!("status {status}, as from a TLS port, but a chain carries plain HTTP"),
        (404 | 410, ..) => format!("status {status}, requested {}", target(request, hop.base.as_deref())),
        (429 | 503, _, Some(seconds)) => format!("status {status}, retry after {seconds} s"),
        _ => format!("status {status}"),
    }
}
