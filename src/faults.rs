//! Rate limits, delays and injected faults of a hop, as flags, the control API and screens name them.
//!
//! A new fault is a field of [`Faults`] with its change, patch and text here; it takes effect in `net/body/shaping.rs`
//! (a body) or `net/server/response.rs` (a reply), and is listed by `net/admin/metrics.rs`, `ui/state/faults.rs` and
//! `cli/args.rs`. `verdict/evaluate.rs` names those that make a transfer slow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::units::{parse_bytes, parse_time};

/// Longest delay or jitter, in ms: a day, as for every other time option.
const MAX_DELAY_MS: u64 = 86_400_000;

/// Faults that a node applies to what it sends downstream; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// Rate limit of all downstream connections together, in bytes per second.
    pub limit: Option<u64>,
    /// Delay of each reply, in ms.
    pub delay_ms: u64,
    /// Most by which the delay varies at random in either direction, in ms.
    pub jitter_ms: u64,
    /// Stops sending body bytes without closing the connection.
    pub stall: bool,
    /// Sends bodies in odd pieces of at most this many bytes.
    pub fragment: Option<u64>,
    /// Aborts each body after this many bytes.
    pub truncate: Option<u64>,
    /// Rejects every file request.
    pub reject: bool,
}

/// Change of one fault or limit. The text form is that of `--fault`: `jitter=5ms`, `stall`, `fragment=7`,
/// `truncate=1MiB`, `reject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultChange {
    /// The rate limit, in bytes per second; `None` removes it.
    Limit(Option<u64>),
    /// The delay, in ms.
    Delay(u64),
    /// The jitter, in ms.
    Jitter(u64),
    /// Stall, or continue.
    Stall(bool),
    /// The largest piece; `None` ends fragmentation.
    Fragment(Option<u64>),
    /// The byte at which bodies are aborted; `None` sends them whole.
    Truncate(Option<u64>),
    /// Reject, or serve.
    Reject(bool),
}

impl Faults {
    /// Applies one change.
    pub fn set(&mut self, change: FaultChange) {
        match change {
            FaultChange::Limit(rate) => self.limit = rate,
            FaultChange::Delay(ms) => self.delay_ms = ms,
            FaultChange::Jitter(ms) => self.jitter_ms = ms,
            FaultChange::Stall(on) => self.stall = on,
            FaultChange::Fragment(most) => self.fragment = most,
            FaultChange::Truncate(at) => self.truncate = at,
            FaultChange::Reject(on) => self.reject = on,
        }
    }

    /// Returns true if any fault or limit is set.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Returns true if a fault or limit applies to bodies; the others apply to replies.
    pub fn disturb_bodies(&self) -> bool {
        self.limit.is_some() || self.stall || self.fragment.is_some() || self.truncate.is_some()
    }

    /// Returns the active faults, without rate limit and delay.
    pub fn disruptive(&self) -> Vec<FaultChange> {
        let jitter = (self.jitter_ms > 0).then_some(FaultChange::Jitter(self.jitter_ms));
        let stall = self.stall.then_some(FaultChange::Stall(true));
        let fragment = self.fragment.map(|most| FaultChange::Fragment(Some(most)));
        let truncate = self.truncate.map(|at| FaultChange::Truncate(Some(at)));
        let reject = self.reject.then_some(FaultChange::Reject(true));
        [jitter, stall, fragment, truncate, reject].into_iter().flatten().collect()
    }
}

impl FaultChange {
    /// Returns true for a fault, which requires more permission than a limit or a delay.
    pub fn is_disruptive(self) -> bool {
        !matches!(self, Self::Limit(_) | Self::Delay(_))
    }

    /// Encodes the body of `POST /v1/faults`.
    pub fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&FaultPatch::from(self)).unwrap_or_default()
    }

    /// Returns why the value is invalid, if it is: 0 never means unlimited.
    fn invalid(self) -> Option<&'static str> {
        match self {
            Self::Limit(Some(0)) => Some("limit: at least 1 byte per second, or null for none"),
            Self::Fragment(Some(0)) => Some("fragment: at least 1 byte, or null for none"),
            Self::Delay(ms) | Self::Jitter(ms) if ms > MAX_DELAY_MS => Some("a delay or a jitter: at most a day"),
            _ => None,
        }
    }
}

impl fmt::Display for FaultChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value, unit) = match *self {
            Self::Limit(rate) => ("limit", rate, "B/s"),
            Self::Delay(ms) => ("delay", Some(ms), "ms"),
            Self::Jitter(ms) => ("jitter", Some(ms), "ms"),
            Self::Fragment(most) => ("fragment", most, ""),
            Self::Truncate(at) => ("truncate", at, ""),
            Self::Stall(true) => return f.write_str("stall"),
            Self::Reject(true) => return f.write_str("reject"),
            Self::Stall(false) => ("stall", None, ""),
            Self::Reject(false) => ("reject", None, ""),
        };
        match value {
            Some(value) => write!(f, "{name}={value}{unit}"),
            None => write!(f, "{name} off"),
        }
    }
}

impl FromStr for FaultChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("stall", None) => Ok(Self::Stall(true)),
            ("reject", None) => Ok(Self::Reject(true)),
            ("jitter", Some(time)) => Ok(Self::Jitter(whole_ms(parse_time(time)?))),
            ("fragment", Some(most)) => Ok(Self::Fragment(Some(parse_bytes(most)?))),
            ("truncate", Some(at)) => Ok(Self::Truncate(Some(parse_bytes(at)?))),
            _ => Err(format!("{text:?} is not a fault: write jitter=5ms, stall, fragment=7, truncate=1MiB or reject")),
        }
    }
}

/// Converts a time to ms, rounded up.
pub fn whole_ms(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(MAX_DELAY_MS)
}

/// Several changes as JSON; missing fields stay unchanged, and `null` removes a value that has no other "off".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::option_option, reason = "missing and null have different meanings")]
struct FaultPatch {
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    limit: Option<Option<u64>>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    jitter_ms: Option<u64>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    stall: Option<bool>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    fragment: Option<Option<u64>>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    truncate: Option<Option<u64>>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    reject: Option<bool>,
}

/// Deserializes a present field, `null` included.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl From<FaultChange> for FaultPatch {
    fn from(change: FaultChange) -> Self {
        let mut patch = Self::default();
        match change {
            FaultChange::Limit(rate) => patch.limit = Some(rate),
            FaultChange::Delay(ms) => patch.delay_ms = Some(ms),
            FaultChange::Jitter(ms) => patch.jitter_ms = Some(ms),
            FaultChange::Stall(on) => patch.stall = Some(on),
            FaultChange::Fragment(most) => patch.fragment = Some(most),
            FaultChange::Truncate(at) => patch.truncate = Some(at),
            FaultChange::Reject(on) => patch.reject = Some(on),
        }
        patch
    }
}

/// Parses the body of `POST /v1/faults` strictly: an unknown field or a value out of range rejects all.
///
/// # Errors
/// A sentence for the client if the body is not a JSON object, names an unknown change, or has a value out of range.
pub fn parse_changes(json: &[u8]) -> Result<Vec<FaultChange>, String> {
    // serde would accept a list as the fields of an object, in their order.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err("write a JSON object, such as {\"limit\":400000}".to_owned());
    }
    let patch: FaultPatch = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let faults: Vec<FaultChange> = [
        patch.limit.map(FaultChange::Limit),
        patch.delay_ms.map(FaultChange::Delay),
        patch.jitter_ms.map(FaultChange::Jitter),
        patch.stall.map(FaultChange::Stall),
        patch.fragment.map(FaultChange::Fragment),
        patch.truncate.map(FaultChange::Truncate),
        patch.reject.map(FaultChange::Reject),
    ]
    .into_iter()
    .flatten()
    .collect();
    match faults.iter().find_map(|change| change.invalid()) {
        Some(wrong) => Err(wrong.to_owned()),
        None => Ok(faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [FaultChange; 10] = [
        FaultChange::Limit(Some(400_000)),
        FaultChange::Limit(None),
        FaultChange::Delay(50),
        FaultChange::Jitter(5),
        FaultChange::Stall(true),
        FaultChange::Stall(false),
        FaultChange::Fragment(Some(7)),
        FaultChange::Fragment(None),
        FaultChange::Truncate(Some(0)),
        FaultChange::Reject(true),
    ];

    #[test]
    fn changes_round_trip_and_change_one_field() {
        for change in ALL {
            assert_eq!(parse_changes(&change.to_json()), Ok(vec![change]));
            let mut changed =
                Faults { limit: Some(1), stall: !matches!(change, FaultChange::Stall(true)), ..Faults::default() };
            changed.fragment = Some(1);
            let before = changed;
            changed.set(change);
            assert_ne!(changed, before, "{change}");
        }
        let several = parse_changes(br#"{"limit":null,"stall":true,"truncate":9}"#);
        assert_eq!(
            several,
            Ok(vec![FaultChange::Limit(None), FaultChange::Stall(true), FaultChange::Truncate(Some(9))])
        );
        assert_eq!(parse_changes(b"{}"), Ok(Vec::new()));
    }

    #[test]
    fn invalid_changes_are_rejected_with_a_reason() {
        for (json, expected) in [
            ("", "a JSON object"),
            ("[]", "a JSON object"),
            ("{", "EOF"),
            (r#"{"speed":1}"#, "unknown field `speed`"),
            (r#"{"limit":1,"limit":2}"#, "duplicate field"),
            (r#"{"limit":"1M"}"#, "invalid type"),
            (r#"{"limit":-1}"#, "invalid value"),
            (r#"{"limit":0}"#, "at least 1 byte"),
            (r#"{"fragment":0}"#, "at least 1 byte"),
            (r#"{"delay_ms":null}"#, "null"),
            (r#"{"delay_ms":86400001}"#, "at most a day"),
            (r#"{"stall":1}"#, "invalid type"),
            (r#"{"stall":true} x"#, "trailing"),
        ] {
            let error = parse_changes(json.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn fault_text_round_trips() {
        for words in ["jitter=5ms", "stall", "fragment=7", "truncate=1048576", "reject"] {
            let change: FaultChange = words.parse().unwrap();
            assert_eq!((change.to_string().as_str(), change.is_disruptive()), (words, true));
            let mut faults = Faults::default();
            faults.set(change);
            assert_eq!((faults.disruptive(), faults.any()), (vec![change], true));
        }
        assert_eq!("truncate=1MiB".parse(), Ok(FaultChange::Truncate(Some(1 << 20))));
        assert_eq!("jitter=1us".parse(), Ok(FaultChange::Jitter(1)));
        for wrong in ["limit=1M", "stall=1", "truncate", "truncate=0", "fragment=x", ""] {
            assert!(wrong.parse::<FaultChange>().is_err(), "{wrong}");
        }
        assert_eq!(Faults { limit: Some(1), delay_ms: 5, ..Faults::default() }.disruptive(), []);
    }
}
