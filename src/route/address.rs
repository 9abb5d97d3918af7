//! Addresses: hosts and ports in text form.

use std::fmt;
use std::net::IpAddr;
use std::slice;
use std::str::FromStr;

/// A host: an address or a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A name, resolved by the client or node that connects to it.
    Name(String),
}

/// A host and a port, displayed as `HOST:PORT` or `[v6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The TCP port, never 0.
    pub port: u16,
}

impl Host {
    /// True if the host is loopback by its spelling; other names may be too, which only their resolution shows.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.to_canonical().is_loopback(),
            Self::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }
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

    /// Parses an IPv4 address, an IPv6 address (bare or in brackets) or a name.
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
        if text.contains("://") {
            return Err(format!("{text:?} is a URL: a hop is HOST:PORT, without http:// and without a path"));
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
    /// Writes the text form, piece by piece: every transfer formats a few addresses, and `fmt` takes several times as
    /// long.
    pub fn write_pieces(&self, mut put: impl FnMut(&str)) {
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

    /// Returns the text form.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity("255.255.255.255:65535".len());
        self.write_pieces(|piece| text.push_str(piece));
        text
    }

    /// Parses a canonical IPv4 address at the beginning of a text; also returns the rest.
    ///
    /// A fast path: most addresses have this form, and every node on a route parses those of all nodes after it.
    pub fn read_plain(text: &str) -> Option<(Self, &str)> {
        let mut bytes = text.as_bytes().iter();
        let mut octets = [0; 4];
        for (octet, end) in octets.iter_mut().zip(b"...:") {
            let (number, _) = read_number(&mut bytes).filter(|(_, next)| *next == Some(end))?;
            *octet = u8::try_from(number).ok()?;
        }
        let (port, next) = read_number(&mut bytes)?;
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        let behind = bytes.len() + usize::from(next.is_some());
        Some((Self { host: Host::Ip(octets.into()), port }, &text[text.len() - behind..]))
    }

    /// Parses an address of any kind.
    fn read_any(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err(format!("{text:?} is a URL: a hop is HOST:PORT, without http:// and without a path"));
        }
        let colon =
            text.bytes().rposition(|b| b == b':').ok_or_else(|| format!("{text:?} has no port: write HOST:PORT"))?;
        let (host, port) = (&text[..colon], &text[colon + 1..]);
        if host.bytes().any(|b| b == b':') && !host.starts_with('[') {
            return Err(format!("{text:?} is ambiguous: write an IPv6 address in brackets, [v6]:PORT"));
        }
        Ok(Self { host: host.parse()?, port: parse_port(port)? })
    }
}

/// Parses a number of up to five digits without leading zeros; also returns the byte that ends it.
fn read_number<'a>(bytes: &mut slice::Iter<'a, u8>) -> Option<(u32, Option<&'a u8>)> {
    let zero = bytes.as_slice().first() == Some(&b'0');
    let (mut number, mut digits) = (0, 0);
    loop {
        let next = bytes.next();
        match next.map(|byte| byte.wrapping_sub(b'0')) {
            Some(digit @ 0..=9) => {
                number = number * 10 + u32::from(digit);
                digits += 1;
                if digits > 5 {
                    return None;
                }
            }
            _ => return (digits == 1 || (digits > 1 && !zero)).then_some((number, next)),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

impl FromStr for HostPort {
    type Err = String;

    /// Parses `HOST:PORT` or `[v6]:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((address, "")) = Self::read_plain(text) {
            return Ok(address);
        }
        Self::read_any(text)
    }
}

impl From<std::net::SocketAddr> for HostPort {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip().to_canonical()), port: address.port() }
    }
}

/// Parses a port, 1 to 65535.
///
/// # Errors
/// A sentence that repeats the text if it is not a number from 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, String> {
    let digit = |port: u16, byte: u8| match byte {
        b'0'..=b'9' => port.checked_mul(10)?.checked_add(u16::from(byte - b'0')),
        _ => None,
    };
    // The empty text yields port 0, too.
    let port = text.bytes().try_fold(0, digit).filter(|port| *port != 0);
    port.ok_or_else(|| format!("port {text:?} is not a number from 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_addresses_are_parsed_up_to_their_end() {
        let read = |text| HostPort::read_plain(text).map(|(address, rest)| (address.to_string(), rest));
        assert_eq!(read("1.2.3.4:5"), Some(("1.2.3.4:5".to_owned(), "")));
        assert_eq!(read("255.0.10.199:65535, b:1"), Some(("255.0.10.199:65535".to_owned(), ", b:1")));
        assert_eq!(read("0.0.0.0:1é"), Some(("0.0.0.0:1".to_owned(), "é")));
        for other in [
            "",
            "1",
            "1.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:0",
            "1.2.3.4:65536",
            "1.2.3.4:123456",
            "256.1.1.1:1",
            "01.2.3.4:5",
            "1.2.3.4:05",
            "1.2.3:4",
            "1..2.3:4",
            "a.b.c.d:1",
            "[::1]:1",
            " 1.2.3.4:5",
            "1,2.3.4:5",
        ] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn the_fast_path_matches_the_general_parser(text in "[0-9.:]{0,24}|([0-9]{1,3}[.]){3}[0-9]{1,3}:[0-9]{1,6}") {
            if let Some((address, "")) = HostPort::read_plain(&text) {
                prop_assert_eq!(HostPort::read_any(&text), Ok(address));
            }
        }

        #[test]
        fn addresses_round_trip(ip: [u8; 4], port in 1u16..) {
            let address = HostPort { host: Host::Ip(ip.into()), port };
            let text = address.text();
            prop_assert_eq!(&text, &std::net::SocketAddr::from((ip, port)).to_string());
            prop_assert_eq!(HostPort::read_plain(&text), Some((address, "")));
        }
    }
}
