//! The words a person types after a flag, read into types that cannot be wrong.

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

/// Where a node is to listen; port 0 lets the system choose one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// An address of this machine, or a name that has one.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// A value for one hop, or for every node where no hop is named: `[HOP=]VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerHop<T> {
    /// The hop, from 1.
    pub hop: Option<usize>,
    /// The value.
    pub value: T,
}

impl PerHop<FaultChange> {
    /// The faults of one hop: turned as all are, then as this one is; 0 is no hop.
    pub fn faults(turns: &[Self], hop: usize) -> Faults {
        let mut faults = Faults::default();
        for wanted in [None, Some(hop)] {
            turns.iter().filter(|turn| turn.hop == wanted).for_each(|turn| faults.set(turn.value));
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

/// Reads `[HOP=]RATE`.
pub(super) fn rate(text: &str) -> Result<PerHop<u64>, String> {
    per_hop(text, units::parse_bytes)
}

/// Reads `[HOP=]TIME`.
pub(super) fn delay(text: &str) -> Result<PerHop<Duration>, String> {
    per_hop(text, units::parse_time)
}

/// Reads `[HOP=]WHAT`; some faults have a value of their own.
pub(super) fn fault(text: &str) -> Result<PerHop<FaultChange>, String> {
    let names_hop = text.split_once('=').is_some_and(|(hop, _)| hop.bytes().all(|byte| byte.is_ascii_digit()));
    if names_hop { per_hop(text, str::parse) } else { Ok(PerHop { hop: None, value: text.parse()? }) }
}

/// Least size of a socket's buffers: a kernel makes smaller ones this large, one way or the other.
const LEAST_SOCKBUF: u64 = 4096;
/// Greatest size of a socket's buffers: what a line of 10 Gbit/s holds in 50 ms.
const MOST_SOCKBUF: u64 = 64 << 20;

/// Reads the size of a socket's buffers.
pub(super) fn sockbuf(text: &str) -> Result<u32, String> {
    let size = Some(units::parse_bytes(text)?).filter(|size| (LEAST_SOCKBUF..=MOST_SOCKBUF).contains(size));
    size.and_then(|size| u32::try_from(size).ok()).ok_or_else(|| "write a size from 4KiB to 64MiB".to_owned())
}

/// Reads a time.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    units::parse_time(text)
}

/// Reads a wire; `auto` is to ask each hop.
pub(super) fn protocol(text: &str) -> Result<ProtocolChoice, String> {
    match text {
        "auto" => Ok(ProtocolChoice(None)),
        _ => text
            .parse()
            .map(|protocol| ProtocolChoice(Some(protocol)))
            .map_err(|_| "write auto, http or legacy".to_owned()),
    }
}

/// Reads whom a node serves on loopback.
pub(super) fn local_users(text: &str) -> Result<LocalUsers, String> {
    match text {
        "own" => Ok(LocalUsers::Own),
        "any" => Ok(LocalUsers::Any),
        _ => Err("write own or any".to_owned()),
    }
}

/// Reads one entry of an allow list, and keeps it as text: the entries become one list later.
pub(super) fn allow_entry(text: &str) -> Result<String, String> {
    text.parse::<AllowList>().map(|_| text.to_owned())
}

/// What is wrong with a name that leads to a folder above, and what would be right.
pub(super) const PARENT_SEGMENT: &str =
    "the file name holds a `..` segment, which every node refuses: write the name as it is below the origin's folder";

/// Reads a file name as it is to be asked for.
pub(super) fn file_name(text: OsString) -> Result<FileName, String> {
    let name = FileName::new(&text.into_vec()).map_err(|error| error.to_string())?;
    if name.has_parent_segment() { Err(PARENT_SEGMENT.to_owned()) } else { Ok(name) }
}

/// The wire to use where a hop does not say; a type of its own, because clap reads an `Option` as "may be missing".
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
    fn addresses_to_listen_on_may_leave_the_port_to_the_system() {
        let shown = |text: &str| text.parse::<Listen>().map(|listen| listen.to_string());
        assert_eq!(shown("127.0.0.1:0").as_deref(), Ok("127.0.0.1:0"));
        assert_eq!(shown("[::1]:9101").as_deref(), Ok("[::1]:9101"));
        assert!(shown("::1:80").is_err_and(|error| error.contains("brackets")));
        for wrong in ["9101", "h:", "h:+1", "h:65536", "input.txt"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_named_hop_goes_before_all() {
        let turns: Vec<PerHop<FaultChange>> =
            ["truncate=1M", "2=truncate=400K", "truncate=2M", "2=stall", "jitter=5ms"]
                .into_iter()
                .map(|text| fault(text).unwrap())
                .collect();
        let two = Faults { truncate: Some(400_000), stall: true, jitter_ms: 5, ..Faults::default() };
        assert_eq!(PerHop::faults(&turns, 2), two);
        assert_eq!(PerHop::faults(&turns, 1), Faults { truncate: Some(2_000_000), stall: false, ..two });
        assert_eq!(PerHop::faults(&[], 1), Faults::default());
        assert!(rate("0=1M").is_err() && rate("33=1M").is_err() && delay("1=fast").is_err());
        assert!(fault("0=stall").is_err() && fault("2=").is_err() && fault("2=limit=1M").is_err());
    }
}
