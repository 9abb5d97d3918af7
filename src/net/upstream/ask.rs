//! A request to the next hop from the question to the answer: which wire, and whether the reply can be used.

use tokio::time::Instant;

use super::exchange::no_time;
use super::{OnStage, Upstream, UpstreamReply};
use crate::limits::HOP_SHARE;
use crate::net::os::clock::ms_since;
use crate::net::os::deadline::Deadline;
use crate::route::{Hop, Protocol};
use crate::text::SafeText;
use crate::wire::http::target;
use crate::wire::problem::ForeignServer;
use crate::wire::{FailedAction, Problem, Reason, Reply, Request};

impl Upstream {
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
        told: OnStage<'_>,
    ) -> Result<UpstreamReply, Problem> {
        let deadline = &mut deadline;
        let began = Instant::now();
        request.host = Some(hop.address.clone());
        request.interim = true;
        if deadline.left() <= HOP_SHARE {
            return Err(no_time());
        }
        let marked = hop.protocol.or(self.protocol);
        let protocol = marked.or_else(|| self.links.known(&hop.address));
        request.ack = protocol.is_none();
        let answer = match protocol {
            // In a box, for it is rare.
            Some(Protocol::Legacy) => Box::pin(self.ask_legacy(hop, &request, deadline, told)).await,
            Some(Protocol::Http) | None => self.ask_http(hop, &mut request, deadline, told).await,
        };
        if let Err(Problem { hop: 1, reason: Reason::TimedOut | Reason::Closed | Reason::BadResponse, .. }) = answer {
            // It may be another program by now: the next request finds out.
            self.links.forget(&hop.address);
        }
        let mut answer = answer?;
        // Whatever is neither is waiting for the answer, also what was asked in vain before, and what a loaded machine
        // took between the two: the legs have no gaps.
        answer.leg.wait_ms = (ms_since(began) - answer.leg.resolve_ms - answer.leg.connect_ms).max(0.0);
        self.check(hop, &request, answer)
    }

    /// Judges a reply: a success must be of known length and come from the end of the route.
    fn check(&mut self, hop: &Hop, request: &Request, answer: UpstreamReply) -> Result<UpstreamReply, Problem> {
        let wrong = |reason, detail: &str| {
            Problem::next(reason, FailedAction::Reply, &hop.address, detail, answer.leg.connect_ms + answer.leg.wait_ms)
        };
        let reply = &answer.reply;
        let problem = match reply.status {
            304 if !request.accepts_not_modified() => {
                Some(wrong(Reason::BadResponse, "it says that nothing has changed, which nobody asked"))
            }
            200 | 206 if reply.length.is_none() => Some(wrong(Reason::BadResponse, "the file's length is not known")),
            200 | 206 | 304 if reply.hops.unwrap_or(0) as usize != request.route.len() => {
                Some(wrong(Reason::RouteIgnored, ""))
            }
            206 if request.range.is_none() => {
                Some(wrong(Reason::BadResponse, "a part came where the whole was asked for"))
            }
            200 | 206 | 304 => None,
            // It looked for the file in a place of its own, where another hop was to be asked.
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
