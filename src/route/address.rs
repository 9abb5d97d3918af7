//! Addresses: hosts and ports as people write them.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

/// A host as a person wrote it: an address or a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A name to be resolved by whoever dials it.
    Name(String),
}

/// A host and a port; shows as `HOST:PORT`, or `[v6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The TCP port, never 0.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    /// Reads an IPv4 address, an IPv6 address (bare or in brackets) or a name.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner =
                inner.strip_suffix(']').ok_or_else(|| format!("{text:?} opens a bracket and does not close it"))?;
            return inner
                .parse::<std::net::Ipv6Addr>()
                .map(|ip| Self::Ip(ip.into()))
                .map_err(|_| format!("{inner:?} is not an IPv6 address"));
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if text.is_empty() || text.len() > 253 {
            return Err(format!("{text:?} is not a host: a name has 1 to 253 characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err(format!(
                "{text:?} is not a host: write an IP address, or a name of letters, digits, dots and hyphens"
            ));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every transfer names a few of these, so they are put together by hand: the formatting machinery takes several
        // times as long.
        let mut text = String::with_capacity("255.255.255.255:65535".len());
        let mut digits = itoa::Buffer::new();
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => {
                for (at, octet) in ip.octets().into_iter().enumerate() {
                    text.push_str(if at > 0 { "." } else { "" });
                    text.push_str(digits.format(octet));
                }
            }
            Host::Ip(IpAddr::V6(ip)) => write!(text, "[{ip}]")?,
            Host::Name(name) => text.push_str(name),
        }
        text.push(':');
        text.push_str(digits.format(self.port));
        f.pad(&text)
    }
}

impl FromStr for HostPort {
    type Err = String;

    /// Reads `HOST:PORT` or `[v6]:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let colon =
            text.bytes().rposition(|b| b == b':').ok_or_else(|| format!("{text:?} has no port: write HOST:PORT"))?;
        let (host, port) = (&text[..colon], &text[colon + 1..]);
        if host.bytes().any(|b| b == b':') && !host.starts_with('[') {
            return Err(format!("{text:?} is ambiguous: write an IPv6 address in brackets, [v6]:PORT"));
        }
        Ok(Self { host: host.parse()?, port: parse_port(port)? })
    }
}

impl From<std::net::SocketAddr> for HostPort {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip().to_canonical()), port: address.port() }
    }
}

/// Reads a port, 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|port| digits && *port != 0)
        .ok_or_else(|| format!("port {text:?} is not a number from 1 to 65535"))
}
