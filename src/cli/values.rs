//! Parsers of flag values.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;
use std::time::Duration;

use crate::allow_list::AllowList;
use crate::faults::{FaultChange, Faults};
use crate::options::LocalUsers;
use crate::route::{FileName, Host, MAX_HOPS, Protocol};
use crate::units;

/// Listen address of a node; port 0 lets the system choose one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// An address of this machine, or a name that resolves to one.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// A value for one hop, or for all nodes: `[HOP=]VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerHop<T> {
    /// The hop, from 1.
    pub hop: Option<usize>,
    /// The value.
    pub value: T,
}

impl PerHop<FaultChange> {
    /// Rechanges the faults of one hop: those for all nodes, then those for this one; 0 is no hop.
    pub fn faults(changes: &[Self], hop: usize) -> Faults {
        let mut faults = Faults::default();
        for wanted in [None, Some(hop)] {
            changes.iter().filter(|change| change.hop == wanted).for_each(|change| faults.set(change.value));
        }
        faults
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(std::net::IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |reason: String| format!("{reason}: write HOST:PORT, such as 127.0.0.1:9101");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong(format!("{text:?} has no port")))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(wrong(format!("{text:?} is ambiguous, an IPv6 address belongs in brackets")));
        }
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits);
        let port = port.ok_or_else(|| wrong(format!("{text:?} has no port from 0 to 65535")))?;
        Ok(Self { host: host.parse()?, port })
    }
}

/// Parses `[HOP=]RATE`.
pub(super) fn rate(text: &str) -> Result<PerHop<u64>, String> {
    per_hop(text, units::parse_bytes)
}

/// Parses `[HOP=]TIME`.
pub(super) fn delay(text: &str) -> Result<PerHop<Duration>, String> {
    per_hop(text, units::parse_time)
}

/// Parses `[HOP=]FAULT`; some faults contain a `=` themselves.
pub(super) fn fault(text: &str) -> Result<PerHop<FaultChange>, String> {
    let names_hop = text.split_once('=').is_some_and(|(hop, _)| hop.bytes().all(|byte| byte.is_ascii_digit()));
    if names_hop { per_hop(text, str::parse) } else { Ok(PerHop { hop: None, value: text.parse()? }) }
}

/// Smallest size of a socket's buffers, in bytes: kernels round smaller ones up to about this.
const MIN_SOCKBUF: u64 = 4096;
/// Largest size of a socket's buffers, in bytes: the bandwidth-delay product of 10 Gbit/s and 50 ms.
const MAX_SOCKBUF: u64 = 64 << 20;

/// Parses the size of a socket's buffers.
pub(super) fn sockbuf(text: &str) -> Result<u32, String> {
    let size = Some(units::parse_bytes(text)?).filter(|size| (MIN_SOCKBUF..=MAX_SOCKBUF).contains(size));
    size.and_then(|size| u32::try_from(size).ok()).ok_or_else(|| "write a size from 4KiB to 64MiB".to_owned())
}

/// Parses a time.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    units::parse_time(text)
}

/// Parses a protocol; `auto` detects it at each hop.
pub(super) fn protocol(text: &str) -> Result<ProtocolChoice, String> {
    match text {
        "auto" => Ok(ProtocolChoice(None)),
        _ => text
            .parse()
            .map(|protocol| ProtocolChoice(Some(protocol)))
            .map_err(|_| "write auto, http or legacy".to_owned()),
    }
}

/// Parses which users a node serves on loopback.
pub(super) fn local_users(text: &str) -> Result<LocalUsers, String> {
    match text {
        "own" => Ok(LocalUsers::Own),
        "any" => Ok(LocalUsers::Any),
        _ => Err("write own or any".to_owned()),
    }
}

/// Words of a command line; a newtype, because clap reads a `Vec` as "may be repeated".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words(pub(super) Vec<String>);

/// Splits a command line into words, with the quotes of a shell.
pub(super) fn words(text: &str) -> Result<Words, String> {
    let words = shlex::split(text).ok_or_else(|| format!("{text:?} has a quote that is not closed"))?;
    if words.is_empty() {
        Err("write a program, with its arguments if it has any".to_owned())
    } else {
        Ok(Words(words))
    }
}

/// Validates one entry of an allow list, and keeps it as text: the entries are joined into one list later.
pub(super) fn allow_entry(text: &str) -> Result<String, String> {
    text.parse::<AllowList>().map(|_| text.to_owned())
}

/// Error of a file name with a `..` segment.
pub(super) const PARENT_SEGMENT: &str =
    "the file name contains a `..` segment, which every node rejects: write the name relative to the origin's folder";

/// Parses a file name to request.
pub(super) fn file_name(text: OsString) -> Result<FileName, String> {
    let name = FileName::new(&text.into_vec()).map_err(|error| error.to_string())?;
    if name.has_parent_segment() { Err(PARENT_SEGMENT.to_owned()) } else { Ok(name) }
}

/// Default protocol of hops; a newtype, because clap reads an `Option` as "may be missing".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProtocolChoice(pub(super) Option<Protocol>);

fn per_hop<T>(text: &str, parse: fn(&str) -> Result<T, String>) -> Result<PerHop<T>, String> {
    let Some((hop, value)) = text.split_once('=') else { return Ok(PerHop { hop: None, value: parse(text)? }) };
    let number = hop.parse().ok().filter(|hop| (1..=MAX_HOPS).contains(hop));
    let number = number.ok_or_else(|| format!("{hop:?} is not a hop: write a number from 1 to {MAX_HOPS}"))?;
    Ok(PerHop { hop: Some(number), value: parse(value)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_may_have_port_0() {
        let shown = |text: &str| text.parse::<Listen>().map(|listen| listen.to_string());
        assert_eq!(shown("127.0.0.1:0").as_deref(), Ok("127.0.0.1:0"));
        assert_eq!(shown("[::1]:9101").as_deref(), Ok("[::1]:9101"));
        assert!(shown("::1:80").is_err_and(|error| error.contains("brackets")));
        for wrong in ["9101", "h:", "h:+1", "h:65536", "input.txt"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn faults_of_one_hop_override_those_of_all() {
        let changes: Vec<PerHop<FaultChange>> =
            ["truncate=1M", "2=truncate=400K", "truncate=2M", "2=stall", "jitter=5ms"]
                .into_iter()
                .map(|text| fault(text).unwrap())
                .collect();
        let two = Faults { truncate: Some(400_000), stall: true, jitter_ms: 5, ..Faults::default() };
        assert_eq!(PerHop::faults(&changes, 2), two);
        assert_eq!(PerHop::faults(&changes, 1), Faults { truncate: Some(2_000_000), stall: false, ..two });
        assert_eq!(PerHop::faults(&[], 1), Faults::default());
        assert!(rate("0=1M").is_err() && rate("33=1M").is_err() && delay("1=fast").is_err());
        assert!(words("'a").is_err() && words("  ").is_err());
        assert_eq!(words("a 'b c' \"d\" # e").unwrap().0, ["a", "b c", "d"]);
        assert!(fault("0=stall").is_err() && fault("2=").is_err() && fault("2=limit=1M").is_err());
    }
}
