//! Addresses: hosts and ports as people write them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host as a person wrote it: an address or a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A name to be resolved by whoever dials it.
    Name(String),
}

/// A host and a port; shows as `HOST:PORT`, or `[v6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

impl HostPort {
    /// Gives it as text, piece by piece: every transfer names a few of these, and the formatting machinery takes several
    /// times as long.
    pub fn spell(&self, mut put: impl FnMut(&str)) {
        let mut digits = itoa::Buffer::new();
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => {
                let [first, others @ ..] = ip.octets();
                put(digits.format(first));
                for octet in others {
                    put(".");
                    put(digits.format(octet));
                }
            }
            Host::Ip(IpAddr::V6(ip)) => put(&format!("[{ip}]")),
            Host::Name(name) => put(name),
        }
        put(":");
        put(digits.format(self.port));
    }

    /// It as text.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity("255.255.255.255:65535".len());
        self.spell(|piece| text.push_str(piece));
        text
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
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
    let digit = |port: u16, byte: u8| match byte {
        b'0'..=b'9' => port.checked_mul(10)?.checked_add(u16::from(byte - b'0')),
        _ => None,
    };
    // Nothing at all is port 0, too.
    let port = text.bytes().try_fold(0, digit).filter(|port| *port != 0);
    port.ok_or_else(|| format!("port {text:?} is not a number from 1 to 65535"))
}
