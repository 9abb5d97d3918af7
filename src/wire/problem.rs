//! A hop's failure as it is sent downstream: an `application/problem+json` body, or a line of the legacy protocol.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::{Denial, Reason};
use crate::text::SafeText;

/// The media type of a problem (RFC 9457).
pub const MEDIA_TYPE: &str = "application/problem+json";
/// Upper bound of a problem's time, in ms: no timeout of a node is a tenth as long.
const MAX_MS: f64 = 1e9;
/// Largest problem body read from a peer, in bytes.
pub const MAX_BODY: usize = 16 * 1024;

/// The action of a node that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedAction {
    /// Reading or validating the request.
    Request,
    /// Resolving the next hop's name.
    Resolve,
    /// Connecting to the next hop.
    Connect,
    /// Waiting for the next hop's reply head.
    Reply,
    /// Opening or reading the file.
    Open,
    /// Transferring the body.
    Body,
    /// Verifying the digest.
    Verify,
}

/// Reason for which a node's policy refuses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The node's allow list does not contain the address.
    NotAllowed,
    /// No allow list can permit the address.
    Never,
    /// The client's key does not have the right.
    NoRight,
    /// A reason of a newer version, or one that is not about the next hop's address.
    #[serde(other)]
    Other,
}

/// One failure: which hop failed, which one reports it, the action, the reason, and after how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The reason.
    pub reason: Reason,
    /// The hop that failed, counted from the node that sends this value: 0 is that node.
    pub hop: u32,
    /// The hop that reports it, counted likewise.
    pub reporter: u32,
    /// The address of the hop that failed, if the reporter knows it.
    pub address: SafeText,
    /// What the reporter was doing.
    pub action: FailedAction,
    /// Details for display.
    pub detail: SafeText,
    /// Duration of the failed action at the reporter, in ms.
    pub ms: f64,
    /// The size of the file if a range lies outside it, from which a client derives its next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The reply of a foreign server, if one caused the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Box<ForeignServer>>,
    /// Why the policy refuses an address; older nodes do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// What the request lacks, if its key or that it has none is why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<Box<Denial>>,
}

/// Error reply of a server that is not a chainview node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForeignServer {
    /// Its HTTP status.
    pub status: u16,
    /// Its `Retry-After`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Its authentication challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<SafeText>,
}

/// The JSON form, with the members RFC 9457 names.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    hop: u32,
    reporter: u32,
    address: String,
    action: FailedAction,
    reason: Reason,
    ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<Box<ForeignServer>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<Refusal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    denial: Option<Box<Denial>>,
}

impl Problem {
    /// Creates a failure of the reporting node itself.
    pub fn here(reason: Reason, action: FailedAction, address: impl fmt::Display, detail: impl Into<SafeText>) -> Self {
        Self {
            reason,
            hop: 0,
            reporter: 0,
            address: address.to_string().into(),
            action,
            detail: detail.into(),
            ms: 0.0,
            size: None,
            server: None,
            refusal: None,
            denial: None,
        }
    }

    /// Creates a failure of the next hop, observed after `ms` milliseconds.
    pub fn next(
        reason: Reason,
        action: FailedAction,
        address: impl fmt::Display,
        detail: impl Into<SafeText>,
        ms: f64,
    ) -> Self {
        Self { hop: 1, ms, ..Self::here(reason, action, address, detail) }
    }

    /// Creates a policy refusal to connect to the next hop, after `ms` milliseconds.
    pub fn refused_by_policy(
        refusal: Refusal,
        address: impl fmt::Display,
        detail: impl Into<SafeText>,
        ms: f64,
    ) -> Self {
        Self { refusal: Some(refusal), ..Self::next(Reason::Policy, FailedAction::Connect, address, detail, ms) }
    }

    /// Returns the same failure as seen one hop further downstream.
    #[must_use]
    pub fn relayed(mut self) -> Self {
        self.hop = self.hop.saturating_add(1);
        self.reporter = self.reporter.saturating_add(1);
        self
    }

    /// Returns whether the node that sends this value refused the request by its own rules or limits, in place of an
    /// attempt to serve it.
    pub fn is_refusal(&self) -> bool {
        let own = self.hop == 0
            && match self.reason {
                Reason::Unauthorized | Reason::Policy | Reason::KeyRequired | Reason::BadSignature => true,
                Reason::Busy | Reason::Draining | Reason::TooManyTransfers | Reason::DailyLimit => {
                    self.action != FailedAction::Body
                }
                Reason::Closed | Reason::Internal => false,
                _ => self.action == FailedAction::Request,
            };
        own || (self.reporter == 0 && self.refusal.is_some())
    }

    /// Returns the status of a foreign server that caused the failure, if any.
    pub fn server_status(&self) -> Option<u16> {
        self.server.as_ref().map(|server| server.status)
    }

    /// Returns the HTTP status that carries it.
    pub fn status(&self) -> u16 {
        match self.server_status() {
            Some(status @ (401 | 403 | 404 | 410 | 429 | 503)) => status,
            _ => self.reason.status(),
        }
    }

    /// Returns the failure's summary, without its details.
    fn title(&self) -> &'static str {
        match self.server_status() {
            Some(300..=399) => return "redirects elsewhere",
            Some(401 | 407) => return "requires a login, which a chain does not forward",
            Some(403) => return "does not allow it",
            Some(429 | 503) => return "is busy",
            _ => {}
        }
        match (self.reason, self.action) {
            (Reason::Closed, FailedAction::Body) => "closed before the end",
            (Reason::Fault, FailedAction::Body) => "aborted by an injected fault",
            (reason, _) => reason.as_str(),
        }
    }

    /// Encodes the problem as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let reason = serde_json::to_value(self.reason).ok();
        let slug = reason.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        let document = Document {
            kind: format!("urn:chainview:problem:{slug}"),
            title: self.title().to_owned(),
            status: self.status(),
            detail: self.detail.to_string(),
            hop: self.hop,
            reporter: self.reporter,
            address: self.address.to_string(),
            action: self.action,
            reason: self.reason,
            ms: to_the_us(self.ms),
            size: self.size,
            server: self.server.clone(),
            refusal: self.refusal,
            denial: self.denial.clone(),
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// Encodes the problem as JSON in ASCII, for a header line.
    pub fn to_header(&self) -> String {
        let json = String::from_utf8(self.to_json()).unwrap_or_default();
        let mut ascii = String::with_capacity(json.len());
        for c in json.chars() {
            if c.is_ascii() {
                ascii.push(c);
            } else {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| {
                    let _ = write!(ascii, "\\u{unit:04x}");
                });
            }
        }
        ascii
    }

    /// Parses the output of `to_json`; `None` for anything else, such as a foreign server's error page.
    pub fn from_json(body: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(body).ok()?;
        Some(Self {
            reason: document.reason,
            hop: document.hop,
            reporter: document.reporter,
            address: document.address.into(),
            action: document.action,
            detail: document.detail.into(),
            ms: to_the_us(document.ms),
            size: document.size,
            server: document.server,
            refusal: document.refusal,
            denial: document.denial,
        })
    }

    /// Returns advice for the user, as a question or a hint; empty if there is none.
    pub fn advice(&self) -> &'static str {
        match self.reason {
            Reason::Refused => "is a node running there?",
            Reason::Unreachable => "is the network up?",
            Reason::Unresolved => "is the name right?",
            // A policy refusal of any other action is not about the next hop's address.
            Reason::Policy => match (self.refusal, self.action) {
                (Some(Refusal::Never), _) => "use another address for it",
                (Some(Refusal::NotAllowed), _) | (None, FailedAction::Connect) => {
                    "start the reporting node with --allow-next"
                }
                (Some(Refusal::NoRight | Refusal::Other) | None, _) => "",
            },
            Reason::Busy | Reason::Draining | Reason::TooManyTransfers => "try again in a moment",
            Reason::TimedOut => "is it up, or behind a firewall?",
            Reason::RouteIgnored => "is it a chainview node?",
            Reason::Fault => "disable the fault there",
            Reason::Internal => "see that hop's log",
            _ => "",
        }
    }
}

/// Rounds a time to whole µs, so that each hop parses and writes the same number.
fn to_the_us(ms: f64) -> f64 {
    if ms.is_finite() { (ms.clamp(0.0, MAX_MS) * 1000.0).round() / 1000.0 } else { 0.0 }
}

impl fmt::Display for Problem {
    /// The failure without the hop: `connection refused (10.0.0.7:1000) after 0.8 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.title())?;
        if !self.detail.as_str().is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::wire::Lack;

    #[test]
    fn problems_round_trip_and_count_hops() {
        let problem = Problem::next(Reason::Refused, FailedAction::Connect, "10.0.0.7:1000", "", 0.8);
        let read = Problem::from_json(&problem.to_json()).unwrap();
        assert_eq!((&read, read.ms), (&problem, 0.8));
        let passed = read.relayed();
        assert_eq!((passed.hop, passed.reporter, passed.status()), (2, 1, 502));
        assert!(Problem::from_json(b"<html>").is_none());
    }

    #[test]
    fn a_denial_names_a_key_without_further_words() {
        let key = Fingerprint::new([7; 32]);
        let denial = Some(Box::new(Denial { lack: Lack::Fetch, key: Some(key) }));
        let problem = Problem { denial, ..Problem::here(Reason::Policy, FailedAction::Request, "h:1", "") };
        let json = String::from_utf8(problem.to_json()).unwrap();
        assert_eq!(Problem::from_json(json.as_bytes()), Some(problem));
        // The user is shown a line for a file of authorized keys with it.
        let longer = json.replace(&key.to_string(), &format!("{key} eve control"));
        assert_eq!((longer.len() > json.len(), Problem::from_json(longer.as_bytes())), (true, None));
    }

    #[test]
    fn a_refusal_is_of_the_node_itself() {
        let here = |reason, action| Problem::here(reason, action, "h:1", "");
        let next = |reason| Problem::next(reason, FailedAction::Reply, "h:1", "", 0.0);
        let not_allowed = Problem::refused_by_policy(Refusal::NotAllowed, "h:1", "", 0.0);
        for problem in [
            here(Reason::Policy, FailedAction::Request),
            here(Reason::Unauthorized, FailedAction::Open),
            here(Reason::Malformed, FailedAction::Request),
            here(Reason::Loop, FailedAction::Request),
            here(Reason::Busy, FailedAction::Verify),
            not_allowed,
        ] {
            assert!(problem.is_refusal() && !problem.clone().relayed().is_refusal(), "{problem:?}");
        }
        for problem in [
            here(Reason::NotFound, FailedAction::Open),
            here(Reason::Closed, FailedAction::Request),
            here(Reason::Internal, FailedAction::Request),
            here(Reason::Fault, FailedAction::Body),
            here(Reason::Draining, FailedAction::Body),
            next(Reason::Policy),
            next(Reason::Refused),
        ] {
            assert!(!problem.is_refusal(), "{problem:?}");
        }
    }

    #[test]
    fn advice_depends_on_the_refusal() {
        let refused = |refusal| Problem::refused_by_policy(refusal, "h:1", "any text", 0.0);
        let (list, other) = ("start the reporting node with --allow-next", "use another address for it");
        assert_eq!(refused(Refusal::NotAllowed).advice(), list);
        // No allow list permits these, and a foreign server's 403 has nothing to do with allow lists.
        assert_eq!(refused(Refusal::Never).advice(), other);
        assert_eq!(Problem::next(Reason::Policy, FailedAction::Reply, "h:1", "status 403", 0.0).advice(), "");
        // The refusal is transmitted as a field, independent of the text.
        for (refusal, advice) in [(Refusal::NotAllowed, list), (Refusal::Never, other), (Refusal::Other, "")] {
            let read = Problem::from_json(&refused(refusal).to_json()).unwrap();
            assert_eq!((read.refusal, read.advice()), (Some(refusal), advice));
        }
        // An older node does not send the field, and a newer one may send an unknown value.
        let json = String::from_utf8(refused(Refusal::Never).to_json()).unwrap();
        let older = Problem::from_json(json.replace(",\"refusal\":\"never\"", "").as_bytes()).unwrap();
        assert_eq!((older.refusal, older.advice()), (None, list));
        let later = Problem::from_json(json.replace("\"never\"", "\"not-on-mondays\"").as_bytes()).unwrap();
        assert_eq!((later.reason, later.refusal), (Reason::Policy, Some(Refusal::Other)));
    }

    #[test]
    fn advice_is_given_where_the_user_can_act() {
        for (reason, advice) in [
            (Reason::Refused, "is a node running there?"),
            (Reason::Unreachable, "is the network up?"),
            (Reason::Unresolved, "is the name right?"),
            (Reason::Busy, "try again in a moment"),
            (Reason::Draining, "try again in a moment"),
            (Reason::TimedOut, "is it up, or behind a firewall?"),
            (Reason::RouteIgnored, "is it a chainview node?"),
            (Reason::Fault, "disable the fault there"),
            (Reason::Internal, "see that hop's log"),
            (Reason::NotFound, ""),
        ] {
            assert_eq!(Problem::here(reason, FailedAction::Request, "h:1", "").advice(), advice, "{reason:?}");
        }
    }

    #[test]
    fn the_longest_problem_fits_the_read_limit() {
        // The longest characters of a SafeText in JSON: four bytes each.
        let longest = "\u{1f9ed}".repeat(1000);
        let problem = Problem::here(Reason::RouteIgnored, FailedAction::Resolve, &longest, longest.as_str());
        let problem = Problem { hop: u32::MAX, reporter: u32::MAX, size: Some(u64::MAX), ..problem };
        let challenge = Some(longest.as_str().into());
        let server = Some(Box::new(ForeignServer { status: u16::MAX, retry_after: Some(u64::MAX), challenge }));
        let denial = Some(Box::new(Denial { lack: Lack::Transfers, key: Some(Fingerprint::new([7; 32])) }));
        let problem = Problem { server, denial, ..problem };
        let json = problem.to_json();
        assert!(json.len() <= MAX_BODY, "{} bytes", json.len());
        assert_eq!(Problem::from_json(&json), Some(problem));
    }

    #[test]
    fn times_are_forwarded_unchanged() {
        for (ms, sent) in
            [("1.3333333333333337", 1.333), ("8.888888888888891e62", MAX_MS), ("-1", 0.0), ("0.0004", 0.0)]
        {
            let json =
                String::from_utf8(Problem::here(Reason::Internal, FailedAction::Body, "h:1", "").to_json()).unwrap();
            let read = Problem::from_json(json.replace("\"ms\":0.0", &format!("\"ms\":{ms}")).as_bytes()).unwrap();
            assert_eq!((read.ms, Problem::from_json(&read.to_json())), (sent, Some(read)));
        }
    }

    #[test]
    fn text_in_a_problem_is_sanitized() {
        let problem = Problem::here(Reason::Internal, FailedAction::Open, "a\x1b]0;b", "c\u{202e}");
        let read = Problem::from_json(&problem.to_json()).unwrap();
        assert_eq!((read.address.as_str(), read.detail.as_str()), ("a\\u{1b}]0;b", "c\\u{202e}"));
    }
}
