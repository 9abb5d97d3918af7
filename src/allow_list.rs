//! Value of `--allow-next` and `--allow-connect`: addresses and ranges, each with its ports and its purpose.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use crate::route::{DEFAULT_BASE, parse_base, parse_port};

/// Most entries of a list; more than anyone writes by hand, and each connection is compared with them all.
const MAX_ENTRIES: usize = 1024;

/// Purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Endpoints of a node and listings of folders.
    Endpoints,
    /// Files below this URL path.
    Files(&'a str),
    /// The end of a tunnel: a node, or any server if it is listed for that.
    TunnelTarget,
}

impl<'a> Purpose<'a> {
    /// Returns the purpose for the files of a hop with this base.
    pub fn files(base: Option<&'a str>) -> Self {
        Self::Files(base.unwrap_or(DEFAULT_BASE))
    }
}

/// Addresses that a node may connect to, in addition to those that its policy allows; empty by default.
///
/// Written as `10.0.0.7`, `10.0.0.0/8:9000-9100`, `fd00::/8` or `[fd00::/8]:9000`, separated by commas: hops of chains.
/// With a path after the ports, `10.0.0.8:80/pub/`: a web server, of which files below that path may be requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<AllowEntry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct AllowEntry {
    net: IpNet,
    ports: Option<(u16, u16)>,
    /// Required prefix of a base, for a server that is not a node.
    path: Option<String>,
}

/// Result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// The address is listed for this purpose.
    Yes,
    /// The address is listed for another purpose.
    ForOther,
    /// The address is not listed.
    No,
}

impl AllowList {
    /// Returns true if nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses a list of tunnel targets: any server, so that a path has no meaning.
    ///
    /// # Errors
    /// Those of a list, and a sentence about the first entry with a path.
    pub fn of_targets(text: &str) -> Result<Self, String> {
        let list: Self = text.parse()?;
        match list.0.iter().find(|entry| entry.path.is_some()) {
            Some(entry) => Err(format!("\"{entry}\": a tunnel carries any bytes, so that it has no path")),
            None => Ok(list),
        }
    }

    /// Looks up a canonical address.
    pub(crate) fn check(&self, address: SocketAddr, purpose: Purpose<'_>) -> Listed {
        let mut listed = Listed::No;
        for entry in self.0.iter().filter(|entry| entry.contains(address)) {
            if entry.is_for(purpose) {
                return Listed::Yes;
            }
            listed = Listed::ForOther;
        }
        listed
    }

    /// Returns true if an address is listed with this port.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.0.iter().any(|entry| entry.has_port(port))
    }

    /// Creates the list for a next hop with this base.
    pub fn of_hop(addresses: impl IntoIterator<Item = SocketAddr>, base: Option<&str>) -> Self {
        let path = base.filter(|base| *base != DEFAULT_BASE).map(str::to_owned);
        let entry = |address: SocketAddr| AllowEntry {
            net: IpNet::from(address.ip().to_canonical()),
            ports: Some((address.port(), address.port())),
            path: path.clone(),
        };
        Self(addresses.into_iter().take(MAX_ENTRIES).map(entry).collect())
    }
}

impl AllowEntry {
    fn contains(&self, address: SocketAddr) -> bool {
        self.has_port(address.port()) && self.net.contains(&address.ip())
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.is_none_or(|(first, last)| (first..=last).contains(&port))
    }

    fn is_for(&self, purpose: Purpose<'_>) -> bool {
        match (&self.path, purpose) {
            (None, Purpose::Endpoints | Purpose::TunnelTarget) => true,
            (None, Purpose::Files(base)) => base == DEFAULT_BASE,
            (Some(_), Purpose::Endpoints | Purpose::TunnelTarget) => false,
            (Some(path), Purpose::Files(base)) => {
                base == path || (path.ends_with('/') && base.starts_with(path.as_str()))
            }
        }
    }
}

impl FromStr for AllowList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        split_list(text)?.into_iter().map(|entry| entry.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<String> = self.0.iter().map(AllowEntry::to_string).collect();
        f.pad(&entries.join(", "))
    }
}

impl FromStr for AllowEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (net, suffix) = split(text)?;
        let wrong = |reason| format!("{text:?}: {reason}");
        let net = parse_net(&net).map_err(wrong)?;
        let (ports, path) = match suffix.map(|suffix| suffix.split_at(suffix.find('/').unwrap_or(suffix.len()))) {
            None => (None, ""),
            Some((ports, path)) => (Some(parse_ports(ports).map_err(wrong)?), path),
        };
        let path = if path.is_empty() { None } else { Some(parse_base(path).map_err(wrong)?) };
        Ok(Self { net, ports, path })
    }
}

impl fmt::Display for AllowEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = net_text(&self.net);
        match self.ports {
            Some(_) if self.net.addr().is_ipv6() => write!(f, "[{net}]")?,
            _ => write!(f, "{net}")?,
        }
        match self.ports {
            None => {}
            Some((first, last)) if first == last => write!(f, ":{first}")?,
            Some((first, last)) => write!(f, ":{first}-{last}")?,
        }
        f.write_str(self.path.as_deref().unwrap_or_default())
    }
}

/// Splits a list into its entries.
pub(crate) fn split_list(text: &str) -> Result<Vec<&str>, String> {
    let entries: Vec<&str> = text.split(',').collect();
    if entries.len() > MAX_ENTRIES {
        return Err(format!("{} entries are too many: at most {MAX_ENTRIES}", entries.len()));
    }
    Ok(entries)
}

/// Splits the address or range from the ports and the path; brackets may enclose the address or the range.
fn split(text: &str) -> Result<(String, Option<&str>), String> {
    if let Some(inner) = text.strip_prefix('[') {
        let (inner, suffix) =
            inner.split_once(']').ok_or_else(|| format!("{text:?} opens a bracket and does not close it"))?;
        let (prefix, ports) = match suffix.split_once(':') {
            Some((prefix, ports)) => (prefix, Some(ports)),
            None => (suffix, None),
        };
        if !prefix.is_empty() && !prefix.starts_with('/') {
            return Err(format!("{text:?} has text after its bracket: write [IPV6/BITS]:PORTS"));
        }
        return Ok((format!("{inner}{prefix}"), ports));
    }
    // Two colons mean IPv6, which has ports only in brackets.
    match text.split_once(':') {
        Some((net, ports)) if !ports.split('/').next().unwrap_or_default().contains(':') => {
            Ok((net.to_owned(), Some(ports)))
        }
        _ => Ok((text.to_owned(), None)),
    }
}

/// Formats a range, or the address of a range that has no other.
pub(crate) fn net_text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// Parses an address or a range, in canonical form.
pub(crate) fn parse_net(text: &str) -> Result<IpNet, String> {
    if text.is_empty() {
        return Err("an entry is empty: write an IP address or a range such as 10.0.0.0/8".to_owned());
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let net: IpNet = text.parse().map_err(|_| "neither an IP address nor a range such as 10.0.0.0/8".to_owned())?;
    // Bits after the prefix are usually a typing error.
    if net.addr() != net.network() {
        return Err(format!("bits are set after the prefix: write {}", net.trunc()));
    }
    match net {
        IpNet::V6(v6) => match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
            (Some(v4), Some(bits)) => Ipv4Net::new(v4, bits).map(IpNet::V4).map_err(|error| error.to_string()),
            _ => Ok(net),
        },
        IpNet::V4(_) => Ok(net),
    }
}

fn parse_ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse_port(first)?, parse_port(last)?);
    if first > last {
        return Err(format!("ports {first}-{last} run backwards"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip() {
        for text in [
            "10.0.0.7",
            "10.0.0.0/8:9000-9100, [fd00::/8]:1, ::2",
            "[::1]:80",
            "10.0.0.8:80/pub/, [fd00::/8]:80-90/a:b",
        ] {
            let list: AllowList = text.parse().unwrap();
            assert_eq!(list.to_string(), text);
            assert_eq!(list.to_string().parse(), Ok(list));
        }
        let addresses = ["[::1]:5".parse().unwrap(), "10.0.0.7:6".parse().unwrap()];
        for (base, shown) in [
            (None, "[::1]:5, 10.0.0.7:6"),
            (Some("/files/"), "[::1]:5, 10.0.0.7:6"),
            (Some("/pub"), "[::1]:5/pub, 10.0.0.7:6/pub"),
        ] {
            let list = AllowList::of_hop(addresses, base);
            assert_eq!(list.to_string(), shown);
            assert_eq!(list.to_string().parse(), Ok(list));
        }
    }

    #[test]
    fn invalid_lists_are_rejected_with_a_reason() {
        for (text, expected) in [
            ("", "an entry is empty"),
            ("10.0.0.7,", "an entry is empty"),
            (",", "an entry is empty"),
            ("localhost", "neither an IP address"),
            ("10.0.0", "neither an IP address"),
            ("10.0.0.0/33", "neither an IP address"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("fd00::1/8", "write fd00::/8"),
            ("10.0.0.7:", "port \"\""),
            ("10.0.0.7:0", "port \"0\""),
            ("10.0.0.7:99999", "port \"99999\""),
            ("10.0.0.7:9-5", "run backwards"),
            ("10.0.0.7:5-", "port \"\""),
            ("10.0.0.7:1-2-3", "port \"2-3\""),
            ("[::1", "does not close"),
            ("[::1]80", "after its bracket"),
            ("[10.0.0.7]x:80", "after its bracket"),
            ("0x7f000001", "neither an IP address"),
            ("127.1", "neither an IP address"),
            ("10.0.0.7/pub/", "neither an IP address"),
            ("10.0.0.7:/pub/", "port \"\""),
            ("10.0.0.7:80/a/../b/", "is not a URL path"),
            ("10.0.0.7:80//", "is not a URL path"),
            ("10.0.0.7:80/a?b", "is not a URL path"),
            ("[fd00::/8]/pub/:80", "neither an IP address"),
        ] {
            let why = text.parse::<AllowList>().expect_err(text);
            assert!(why.contains(expected), "{text}: {why}");
        }
        assert!(AllowList::of_targets("10.0.0.7:22, 10.0.0.8:80/pub/").unwrap_err().contains("10.0.0.8:80/pub/"));
        assert!("1.1.1.1,".repeat(2000).parse::<AllowList>().unwrap_err().contains("too many"));
    }
}
