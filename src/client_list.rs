//! Value of `--clients`: the addresses that a node serves.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::allow_list::{net_text, parse_net, split_list};

/// Addresses and ranges from which connections are served, at least one.
///
/// Written as `10.0.0.7` or `10.0.0.0/8`, `fd00::/8`, separated by commas. A client that has an IPv4 address is
/// compared by it, even if its connection came to an IPv6 socket. Loopback is an address as any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientList(Vec<IpNet>);

impl ClientList {
    /// Returns whether an address is listed.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Joins lists into one; `None` if there is none.
    pub fn join(lists: &[Self]) -> Option<Self> {
        let nets: Vec<IpNet> = lists.iter().flat_map(|list| list.0.iter().copied()).collect();
        (!nets.is_empty()).then_some(Self(nets))
    }
}

impl FromStr for ClientList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries = split_list(text)?;
        let mut column = 1;
        let parse = |(number, entry): (usize, &str)| {
            let at = column + entry.chars().take_while(|c| c.is_whitespace()).count();
            column += entry.chars().count() + 1;
            let entry = entry.trim();
            parse_net(entry).map_err(|reason| format!("entry {number} (at character {at}): {entry:?}: {reason}"))
        };
        (1..).zip(entries).map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for ClientList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nets: Vec<String> = self.0.iter().map(net_text).collect();
        f.pad(&nets.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_served_if_a_range_contains_it() {
        let list: ClientList = "10.0.0.0/8, 192.0.2.7,2001:db8::/32, ::ffff:198.51.100.0/120".parse().unwrap();
        for (address, served) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("198.51.100.9", true),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(list.contains(address.parse().unwrap()), served, "{address}");
        }
        assert_eq!(list.to_string(), "10.0.0.0/8, 192.0.2.7, 2001:db8::/32, 198.51.100.0/24");
        let all: ClientList = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("127.0.0.1".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
        assert_eq!(ClientList::join(&[list.clone(), all]).unwrap().0.len(), 5);
        assert_eq!(ClientList::join(&[]), None);
    }

    #[test]
    fn an_error_has_the_position_of_the_entry() {
        for (text, expected) in [
            ("", "entry 1 (at character 1): \"\": an entry is empty"),
            ("10.0.0.0/8,", "entry 2 (at character 12): \"\": an entry is empty"),
            ("10.0.0.0/8,  10.0.0.1/8", "entry 2 (at character 14): \"10.0.0.1/8\": bits are set after the prefix"),
            ("::1,10.0.0.0/33,x", "entry 2 (at character 5): \"10.0.0.0/33\": neither an IP address nor a range"),
            ("10.0.0.0/8:80", "entry 1 (at character 1): \"10.0.0.0/8:80\": neither"),
            ("localhost", "neither an IP address"),
        ] {
            let why = text.parse::<ClientList>().expect_err(text);
            assert!(why.contains(expected), "{text}: {why}");
        }
        assert!("::1,".repeat(2000).parse::<ClientList>().unwrap_err().contains("too many"));
    }
}
