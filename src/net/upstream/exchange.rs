//! One question and its answer on one link, in either wire.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::link::UpstreamConn;
use super::protocols::{SILENCE, probe};
use super::{ExchangeStage, OnStage, Upstream, UpstreamReply};
use crate::limits::{HOP_GRACE, HOP_SHARE};
use crate::net::os::clock::ms_since;
use crate::net::os::deadline::{Deadline, within};
use crate::route::{Hop, Protocol};
use crate::wire::http::{MAX_HEAD, ReplyHead, encode_request, parse_reply};
use crate::wire::{
    ConditionResult, FailedAction, FileValidators, Leg, Method, Problem, Reason, Reply, Request, legacy, problem,
};

/// How long a size may take to arrive in full once its first digit is there: it has no end mark.
const ANSWER_GAP: Duration = Duration::from_millis(5);
/// How much longer a `102` lets the asker wait; the origin says it every 5 s while it computes a digest.
const INTERIM_GRACE: Duration = Duration::from_secs(10);
/// How long a digest may take in all, whatever is said meanwhile.
const LONGEST_DIGEST: Duration = Duration::from_mins(10);

/// Most interim replies before the final one: those of the longest digest are 120. Where they come without end there is
/// always something to read, and the deadline of a read is looked at far too seldom.
const MOST_INTERIM: usize = 256;

/// Why an exchange gave no reply head.
enum ExchangeError {
    /// The connection closed before a single byte came.
    Unanswered(Problem),
    /// The hop turned out to speak the legacy protocol.
    SpeaksLegacy,
    /// Anything else.
    Problem(Problem),
}

impl Upstream {
    pub(super) async fn ask_http(
        &mut self,
        hop: &Hop,
        request: &mut Request,
        deadline: &mut Deadline,
        told: OnStage<'_>,
    ) -> Result<UpstreamReply, Problem> {
        let kept = self.link.take().filter(|link| link.hop == hop.address && link.is_idle());
        // Another base of the same server may be one that it must not be asked for.
        let kept = kept.filter(|link| self.judges(hop, link.address).is_ok());
        if let Some(mut link) = kept {
            match self.exchange(&mut link, hop, request, deadline, None, told).await {
                Ok(reply) => return Ok(self.answered(link, reply, Leg::default())),
                Err(ExchangeError::Problem(problem)) => return Err(problem),
                // A kept connection may have been closed while the request was on its way: connect again, once.
                Err(ExchangeError::Unanswered(_) | ExchangeError::SpeaksLegacy) => {}
            }
        }
        let question = question(hop, request, deadline)?;
        // Only nodes are opened ahead, and a base is for other servers.
        let spare = if hop.base.is_none() { self.links.spares.take(&hop.address, &question) } else { None };
        if let Some((stream, address, said)) = spare {
            let mut link = UpstreamConn::new(&hop.address, address, Protocol::Http, stream, 0.0);
            match self.exchange(&mut link, hop, request, deadline, Some(&question[said..]), told).await {
                Ok(reply) => return Ok(self.answered(link, reply, Leg::default())),
                Err(ExchangeError::Problem(problem)) => return Err(problem),
                // So may one that was opened ahead.
                Err(ExchangeError::Unanswered(_) | ExchangeError::SpeaksLegacy) => {}
            }
        }
        let (mut link, connected, said) = self.connect(hop, Protocol::Http, deadline, &question, told).await?;
        // What was not said at once is asked anew: less time is left by now.
        let rest = (said > 0).then(|| &question[said..]);
        match self.exchange(&mut link, hop, request, deadline, rest, told).await {
            Ok(reply) => Ok(self.answered(link, reply, connected)),
            Err(ExchangeError::Problem(problem) | ExchangeError::Unanswered(problem)) => Err(problem),
            Err(ExchangeError::SpeaksLegacy) => {
                drop(link);
                self.links.remember(&hop.address, Protocol::Legacy);
                Box::pin(self.ask_legacy(hop, request, deadline, told)).await
            }
        }
    }

    fn answered(&mut self, mut link: UpstreamConn, reply: Box<Reply>, leg: Leg) -> UpstreamReply {
        let answer = UpstreamReply { leg, protocol: link.protocol, address: link.address, reply };
        link.keep &= answer.reply.keep_alive;
        link.ours = link.protocol == Protocol::Http && answer.reply.hops.is_some();
        self.link = Some(link);
        answer
    }

    /// Sends a request, or the `rest` of it, and reads the reply head; also the body, where that is an error's
    /// explanation.
    async fn exchange(
        &self,
        link: &mut UpstreamConn,
        hop: &Hop,
        request: &mut Request,
        deadline: &mut Deadline,
        rest: Option<&[u8]>,
        told: OnStage<'_>,
    ) -> Result<Box<Reply>, ExchangeError> {
        let asked = Instant::now();
        let question = match rest {
            Some(rest) => Cow::Borrowed(rest),
            None => Cow::Owned(question(hop, request, deadline).map_err(ExchangeError::Problem)?),
        };
        let until = Deadline::after(request.timeout.unwrap_or_default() + HOP_GRACE);
        let mut wait = ReplyWait { hop, request, asked, until, unsure: request.ack, told };
        // A failed write is not yet the end: the reason may be waiting to be read.
        let written =
            question.is_empty() || matches!(wait.until.bound(link.stream.write_all(&question)).await, Ok(Ok(())));
        if !written && link.early.is_empty() {
            wait.unsure = false;
        }
        told(ExchangeStage::Waiting);
        let (mut reply, length) = self.read_head(link, &mut wait).await?;
        link.early.drain(..length);
        if link.early.is_empty() {
            // A body may stand still for long, and needs no space for a head meanwhile.
            link.early = Vec::new();
        }
        link.keep = reply.keep_alive;
        if reply.status >= 300 && request.method == Method::Get {
            Box::pin(read_problem(link, &mut reply, &mut wait.until)).await;
        } else if request.method == Method::Get {
            link.left = reply.length.unwrap_or_default();
        }
        Ok(reply)
    }

    /// Reads up to the end of the final head, which stays in `early`; its length comes with it.
    async fn read_head(
        &self,
        link: &mut UpstreamConn,
        wait: &mut ReplyWait<'_>,
    ) -> Result<(Box<Reply>, usize), ExchangeError> {
        let mut silent = true;
        let mut interim = 0;
        loop {
            match parse_reply(&link.early, wait.request.method) {
                Err(error) => {
                    return Err(ExchangeError::Problem(wait.problem(Reason::BadResponse, &error.to_string())));
                }
                Ok(Some((ReplyHead::Final(reply), length))) => {
                    if wait.request.ack {
                        self.links.remember(&wait.hop.address, Protocol::Http);
                    }
                    return Ok((reply, length));
                }
                Ok(Some((ReplyHead::Interim(status, progress), length))) => {
                    interim += 1;
                    if interim > MOST_INTERIM {
                        let detail = format!("more than {MOST_INTERIM} interim replies");
                        return Err(ExchangeError::Problem(wait.problem(Reason::BadResponse, &detail)));
                    }
                    link.early.drain(..length);
                    // The first 102 answers our own question; the others come from an origin at work.
                    let ours = std::mem::take(&mut wait.unsure);
                    if status == 102 && !ours {
                        wait.prolong();
                        (wait.told)(ExchangeStage::Working(progress));
                    }
                    continue;
                }
                Ok(None) => {}
            }
            let read = if wait.unsure && silent {
                // In a box: it is rare, and every question would have to have room for it.
                Box::pin(self.read_first(link, wait)).await?
            } else {
                read_some(link, wait).await.map_err(|problem| {
                    if silent && link.early.is_empty() && problem.reason == Reason::Closed {
                        ExchangeError::Unanswered(problem)
                    } else {
                        ExchangeError::Problem(problem)
                    }
                })?
            };
            silent &= read == 0;
        }
    }

    /// Waits for the first bytes of a hop whose wire is not known; silence makes it ask in the other wire, beside.
    async fn read_first(&self, link: &mut UpstreamConn, wait: &mut ReplyWait<'_>) -> Result<usize, ExchangeError> {
        let closed = match within(SILENCE, read_some(link, wait)).await {
            Ok(Ok(read)) => return Ok(read),
            Ok(Err(problem)) => Some(problem),
            Err(_) => None,
        };
        let (hop, left) = (wait.hop, wait.until.left());
        let judge = |address| self.judges(hop, address);
        let limit = left.min(self.limits.connect);
        let mut asking = pin!(probe(&self.links.resolver, &hop.address, limit, &judge));
        if let Some(problem) = closed {
            // The original drops a connection it does not understand when the next one comes: closing settles nothing.
            return match asking.await {
                Some(Protocol::Legacy) => Err(ExchangeError::SpeaksLegacy),
                _ => Err(ExchangeError::Problem(problem)),
            };
        }
        let mut closed = None;
        loop {
            tokio::select! {
                biased;
                read = read_some(link, wait), if closed.is_none() => match read {
                    Ok(read) => return Ok(read),
                    Err(problem) => closed = Some(problem),
                },
                protocol = &mut asking => {
                    return match (protocol, closed) {
                        (Some(Protocol::Legacy), _) => Err(ExchangeError::SpeaksLegacy),
                        (_, Some(problem)) => Err(ExchangeError::Problem(problem)),
                        (_, None) => {
                            wait.unsure = false;
                            Ok(0)
                        }
                    };
                }
            }
        }
    }

    pub(super) async fn ask_legacy(
        &mut self,
        hop: &Hop,
        request: &Request,
        deadline: &mut Deadline,
        told: OnStage<'_>,
    ) -> Result<UpstreamReply, Problem> {
        let text = legacy::encode_request(request, hop)?;
        let (mut link, connected, said) = self.connect(hop, Protocol::Legacy, deadline, &text, told).await?;
        let asked = Instant::now();
        let mut wait = ReplyWait { hop, request, asked, until: *deadline, unsure: false, told };
        if !matches!(wait.until.bound(link.stream.write_all(&text[said..])).await, Ok(Ok(()))) {
            return Err(wait.problem(Reason::Closed, ""));
        }
        told(ExchangeStage::Waiting);
        read_some(&mut link, &mut wait).await?;
        // The answer has no end mark: it is whole when nothing more comes for a moment, or the other side closed.
        while link.early.len() < legacy::MAX_REPLY {
            match within(ANSWER_GAP, read_some(&mut link, &mut wait)).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        let wait_ms = ms_since(asked);
        let size = match legacy::parse_status(&std::mem::take(&mut link.early)) {
            legacy::LegacyStatus::Size(size) => size,
            legacy::LegacyStatus::NotFound => {
                let origin = request.route.last().unwrap_or(hop);
                let away = request.route.len() as u32 + 1;
                let missing = Problem::next(Reason::NotFound, FailedAction::Open, &origin.address, "", wait_ms);
                return Err(Problem { hop: away, reporter: away, ..missing });
            }
            legacy::LegacyStatus::Text(text) => {
                return Err(legacy::problem_of_text(&text, &hop.address, &request.route, wait_ms));
            }
        };
        link.left = if request.method == Method::Get { size } else { 0 };
        // The protocol has no validators; what can be said without them is said here.
        let status = match request.evaluate_conditions(&FileValidators::default()) {
            ConditionResult::Failed => {
                let detail = "the legacy protocol does not tell states of a file apart";
                return Err(wait.problem(Reason::Changed, detail));
            }
            ConditionResult::NotModified => 304,
            ConditionResult::Whole | ConditionResult::Part => 200,
        };
        let reply = Reply {
            status,
            length: Some(size),
            accept_ranges: Some(false),
            hops: Some(request.route.len() as u32),
            lines: "Cache-Control: no-cache\r\n".into(),
            ..Reply::default()
        };
        Ok(self.answered(link, Box::new(reply), connected))
    }
}

/// The head of a request, which tells the hop how much time it has.
fn question(hop: &Hop, request: &mut Request, deadline: &Deadline) -> Result<Vec<u8>, Problem> {
    let passed = deadline.left().saturating_sub(HOP_SHARE);
    if passed.is_zero() {
        return Err(no_time());
    }
    request.timeout = Some(passed);
    let base = if request.route.is_empty() { hop.base.as_deref() } else { None };
    let mut head = Vec::with_capacity(512);
    encode_request(request, base, &mut head);
    Ok(head)
}

/// Whoever has no time left to ask is the one to say so: the next hop has done nothing yet.
pub(super) fn no_time() -> Problem {
    Problem::here(Reason::TimedOut, FailedAction::Request, "", "no time left to ask")
}

/// How long an answer is waited for, and what for.
struct ReplyWait<'a> {
    hop: &'a Hop,
    request: &'a Request,
    asked: Instant,
    until: Deadline,
    /// The hop's wire is not known yet.
    unsure: bool,
    told: OnStage<'a>,
}

impl ReplyWait<'_> {
    fn problem(&self, reason: Reason, detail: &str) -> Problem {
        Problem::next(reason, FailedAction::Reply, &self.hop.address, detail, ms_since(self.asked))
    }

    /// A digest takes as long as it takes, so its origin may ask for patience; nothing else may.
    fn prolong(&mut self) {
        if self.request.method == Method::Head && self.request.want_digest.is_some() {
            self.until.prolong(INTERIM_GRACE.min(LONGEST_DIGEST.saturating_sub(self.asked.elapsed())));
        }
    }
}

/// Reads more into `early`; the end of the stream is a problem, for an answer is still expected.
async fn read_some(link: &mut UpstreamConn, wait: &mut ReplyWait<'_>) -> Result<usize, Problem> {
    link.early.reserve(MAX_HEAD);
    match wait.until.bound(link.stream.read_buf(&mut link.early)).await {
        Err(_) => Err(wait.problem(Reason::TimedOut, "")),
        Ok(Ok(0) | Err(_)) => Err(wait.problem(Reason::Closed, "")),
        Ok(Ok(read)) => Ok(read),
    }
}

/// Reads an error's body, if it is short enough to be an explanation; else the connection is of no more use.
async fn read_problem(link: &mut UpstreamConn, reply: &mut Reply, until: &mut Deadline) {
    let length = reply.length.filter(|length| *length <= problem::MAX_BODY as u64);
    let Some(length) = length.map(|length| length as usize) else {
        link.keep = false;
        return;
    };
    while link.early.len() < length {
        match until.bound(link.stream.read_buf(&mut link.early)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => {
                link.keep = false;
                return;
            }
        }
    }
    let body: Vec<u8> = link.early.drain(..length).collect();
    if reply.content_type.as_deref() == Some(problem::MEDIA_TYPE) {
        reply.problem = Problem::from_json(&body);
    }
}
