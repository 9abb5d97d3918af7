//! What can be turned on a hop while it runs: caps, delays and faults, in the words of flags, pages and screens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::units::{parse_bytes, parse_time};

/// Longest delay or jitter, in ms: a day, as for every other time a person gives.
const LONGEST_MS: u64 = 86_400_000;

/// How a node disturbs what it sends toward the client; the default is not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dials {
    /// Bytes per second it may send downstream, all connections together.
    pub limit: Option<u64>,
    /// The time it holds each reply back, in ms.
    pub delay_ms: u64,
    /// The most by which the delay varies at random, in ms.
    pub jitter_ms: u64,
    /// It sends no more body bytes, and closes nothing.
    pub stall: bool,
    /// It sends bodies in odd pieces of at most this many bytes.
    pub stammer: Option<u64>,
    /// It breaks each body off once this many of its bytes are out.
    pub cut: Option<u64>,
    /// It refuses every request for a file.
    pub refuse: bool,
}

/// One turn of one dial. As text, `--fault` reads and writes its own: `jitter=5ms`, `stall`, `stammer=7`, `cut=1MiB`,
/// `refuse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// The cap, in bytes per second; `None` lifts it.
    Limit(Option<u64>),
    /// The delay, in ms.
    Delay(u64),
    /// The jitter, in ms.
    Jitter(u64),
    /// Stall, or go on.
    Stall(bool),
    /// The largest piece; `None` ends the stammer.
    Stammer(Option<u64>),
    /// The byte at which bodies break off; `None` lets them be whole.
    Cut(Option<u64>),
    /// Refuse, or serve.
    Refuse(bool),
}

impl Dials {
    /// Turns one dial.
    pub fn turn(&mut self, dial: Dial) {
        match dial {
            Dial::Limit(rate) => self.limit = rate,
            Dial::Delay(ms) => self.delay_ms = ms,
            Dial::Jitter(ms) => self.jitter_ms = ms,
            Dial::Stall(on) => self.stall = on,
            Dial::Stammer(most) => self.stammer = most,
            Dial::Cut(at) => self.cut = at,
            Dial::Refuse(on) => self.refuse = on,
        }
    }

    /// Something is turned.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// A body is disturbed; the rest concerns replies.
    pub fn disturb_bodies(&self) -> bool {
        self.limit.is_some() || self.stall || self.stammer.is_some() || self.cut.is_some()
    }

    /// The faults that are on, in the words of `--fault`.
    pub fn faults(&self) -> Vec<Dial> {
        let jitter = (self.jitter_ms > 0).then_some(Dial::Jitter(self.jitter_ms));
        let stall = self.stall.then_some(Dial::Stall(true));
        let stammer = self.stammer.map(|most| Dial::Stammer(Some(most)));
        let cut = self.cut.map(|at| Dial::Cut(Some(at)));
        let refuse = self.refuse.then_some(Dial::Refuse(true));
        [jitter, stall, stammer, cut, refuse].into_iter().flatten().collect()
    }
}

impl Dial {
    /// It makes a node misbehave, which takes more than the right to slow it down.
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::Limit(_) | Self::Delay(_))
    }

    /// The body of `POST /v1/dials` that turns it.
    pub fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&Turns::from(self)).unwrap_or_default()
    }

    /// What is wrong with it, if anything: nothing is ever unlimited by being 0.
    fn fault_of(self) -> Option<&'static str> {
        match self {
            Self::Limit(Some(0)) => Some("limit: at least 1 byte per second, or null for none"),
            Self::Stammer(Some(0)) => Some("stammer: at least 1 byte, or null for none"),
            Self::Delay(ms) | Self::Jitter(ms) if ms > LONGEST_MS => Some("a delay or a jitter: at most a day"),
            _ => None,
        }
    }
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value, unit) = match *self {
            Self::Limit(rate) => ("limit", rate, "B/s"),
            Self::Delay(ms) => ("delay", Some(ms), "ms"),
            Self::Jitter(ms) => ("jitter", Some(ms), "ms"),
            Self::Stammer(most) => ("stammer", most, ""),
            Self::Cut(at) => ("cut", at, ""),
            Self::Stall(true) => return f.write_str("stall"),
            Self::Refuse(true) => return f.write_str("refuse"),
            Self::Stall(false) => ("stall", None, ""),
            Self::Refuse(false) => ("refuse", None, ""),
        };
        match value {
            Some(value) => write!(f, "{name}={value}{unit}"),
            None => write!(f, "{name} off"),
        }
    }
}

impl FromStr for Dial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("stall", None) => Ok(Self::Stall(true)),
            ("refuse", None) => Ok(Self::Refuse(true)),
            ("jitter", Some(time)) => Ok(Self::Jitter(whole_ms(parse_time(time)?))),
            ("stammer", Some(most)) => Ok(Self::Stammer(Some(parse_bytes(most)?))),
            ("cut", Some(at)) => Ok(Self::Cut(Some(parse_bytes(at)?))),
            _ => Err(format!("{text:?} is no fault: write jitter=5ms, stall, stammer=7, cut=1MiB or refuse")),
        }
    }
}

/// A time in whole ms, no less than what was asked for.
pub fn whole_ms(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(LONGEST_MS)
}

/// Turns of several dials at once, as JSON; what is missing stays as it is, and `null` lifts what has no other "off".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::option_option, reason = "missing and null are two different things to say")]
struct Turns {
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    limit: Option<Option<u64>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    jitter_ms: Option<u64>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    stall: Option<bool>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    stammer: Option<Option<u64>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    cut: Option<Option<u64>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    refuse: Option<bool>,
}

/// A member that is there, `null` included.
fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl From<Dial> for Turns {
    fn from(dial: Dial) -> Self {
        let mut turns = Self::default();
        match dial {
            Dial::Limit(rate) => turns.limit = Some(rate),
            Dial::Delay(ms) => turns.delay_ms = Some(ms),
            Dial::Jitter(ms) => turns.jitter_ms = Some(ms),
            Dial::Stall(on) => turns.stall = Some(on),
            Dial::Stammer(most) => turns.stammer = Some(most),
            Dial::Cut(at) => turns.cut = Some(at),
            Dial::Refuse(on) => turns.refuse = Some(on),
        }
        turns
    }
}

/// Reads the body of `POST /v1/dials`, strictly: an unknown dial or a value out of range turns none.
pub fn read_turns(json: &[u8]) -> Result<Vec<Dial>, String> {
    // A list would be taken for the members of an object, in their order.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err("write a JSON object, such as {\"limit\":400000}".to_owned());
    }
    let turns: Turns = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let dials: Vec<Dial> = [
        turns.limit.map(Dial::Limit),
        turns.delay_ms.map(Dial::Delay),
        turns.jitter_ms.map(Dial::Jitter),
        turns.stall.map(Dial::Stall),
        turns.stammer.map(Dial::Stammer),
        turns.cut.map(Dial::Cut),
        turns.refuse.map(Dial::Refuse),
    ]
    .into_iter()
    .flatten()
    .collect();
    match dials.iter().find_map(|dial| dial.fault_of()) {
        Some(wrong) => Err(wrong.to_owned()),
        None => Ok(dials),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dial; 10] = [
        Dial::Limit(Some(400_000)),
        Dial::Limit(None),
        Dial::Delay(50),
        Dial::Jitter(5),
        Dial::Stall(true),
        Dial::Stall(false),
        Dial::Stammer(Some(7)),
        Dial::Stammer(None),
        Dial::Cut(Some(0)),
        Dial::Refuse(true),
    ];

    #[test]
    fn every_turn_survives_json_and_turns_one_dial() {
        for dial in ALL {
            assert_eq!(read_turns(&dial.to_json()), Ok(vec![dial]));
            let mut turned = Dials { limit: Some(1), stall: !matches!(dial, Dial::Stall(true)), ..Dials::default() };
            turned.stammer = Some(1);
            let before = turned;
            turned.turn(dial);
            assert_ne!(turned, before, "{dial}");
        }
        let several = read_turns(br#"{"limit":null,"stall":true,"cut":9}"#);
        assert_eq!(several, Ok(vec![Dial::Limit(None), Dial::Stall(true), Dial::Cut(Some(9))]));
        assert_eq!(read_turns(b"{}"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_a_turn_is_refused_with_a_reason() {
        for (json, says) in [
            ("", "a JSON object"),
            ("[]", "a JSON object"),
            ("{", "EOF"),
            (r#"{"speed":1}"#, "unknown field `speed`"),
            (r#"{"limit":1,"limit":2}"#, "duplicate field"),
            (r#"{"limit":"1M"}"#, "invalid type"),
            (r#"{"limit":-1}"#, "invalid value"),
            (r#"{"limit":0}"#, "at least 1 byte"),
            (r#"{"stammer":0}"#, "at least 1 byte"),
            (r#"{"delay_ms":null}"#, "null"),
            (r#"{"delay_ms":86400001}"#, "at most a day"),
            (r#"{"stall":1}"#, "invalid type"),
            (r#"{"stall":true} x"#, "trailing"),
        ] {
            let error = read_turns(json.as_bytes()).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn faults_have_words() {
        for words in ["jitter=5ms", "stall", "stammer=7", "cut=1048576", "refuse"] {
            let dial: Dial = words.parse().unwrap();
            assert_eq!((dial.to_string().as_str(), dial.is_fault()), (words, true));
            let mut dials = Dials::default();
            dials.turn(dial);
            assert_eq!((dials.faults(), dials.any()), (vec![dial], true));
        }
        assert_eq!("cut=1MiB".parse(), Ok(Dial::Cut(Some(1 << 20))));
        assert_eq!("jitter=1us".parse(), Ok(Dial::Jitter(1)));
        for wrong in ["limit=1M", "stall=1", "cut", "cut=0", "stammer=x", ""] {
            assert!(wrong.parse::<Dial>().is_err(), "{wrong}");
        }
        assert_eq!(Dials { limit: Some(1), delay_ms: 5, ..Dials::default() }.faults(), []);
    }
}
