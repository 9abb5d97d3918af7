//! Whom a node may connect to, judged on the resolved, canonical socket address that is really connected to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::allow_list::{AllowList, Listed, Purpose};
use crate::route::{Host, HostPort};
use crate::wire::Refusal;

/// An address that is not connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whether a list could open it.
    pub refusal: Refusal,
    /// The address and what is against it, in words.
    pub why: String,
}

impl Refused {
    fn new(refusal: Refusal, why: String) -> Self {
        Self { refusal, why }
    }
}

/// Whom a node may connect to: loopback where it listens on loopback, whatever was listed, and never what is unsafe to
/// connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    loopback: bool,
    allow: AllowList,
}

impl Policy {
    /// The policy of a node that listens on `listener` and was given this list.
    ///
    /// A node that others can reach would lend them its place in the network, so it connects to nobody who was not
    /// listed.
    pub fn new(listener: SocketAddr, allow: AllowList) -> Self {
        Self { loopback: listener.ip().to_canonical().is_loopback(), allow }
    }

    /// Whether an address may be connected to for a purpose.
    ///
    /// Who opens the next hop of a chain does not open every URL of whatever may listen there.
    ///
    /// # Errors
    /// [`Refused`] with the reason: an address that is never connected to (`Refusal::Never`), or one that the allow
    /// list does not open (`Refusal::NotAllowed`).
    pub fn allows(&self, address: SocketAddr, purpose: Purpose<'_>) -> Result<(), Refused> {
        let closed = |why| Err(Refused::new(Refusal::NotAllowed, why));
        let ip = address.ip().to_canonical();
        let address = SocketAddr::new(ip, address.port());
        if address.port() == 0 {
            return Err(Refused::new(Refusal::Never, format!("{address} has port 0")));
        }
        if let Some(kind) = never(ip) {
            let why = format!("{address} is {kind}, which is never connected to");
            return Err(Refused::new(Refusal::Never, why));
        }
        if self.loopback && ip.is_loopback() {
            return Ok(());
        }
        match self.allow.check(address, purpose) {
            Listed::Yes => Ok(()),
            Listed::No => closed(format!("{address} is not allowed: this node {self}")),
            Listed::ForOther => {
                let what = match purpose {
                    Purpose::Endpoints => "pages of a node".to_owned(),
                    Purpose::Files(base) => format!("files with base={base}"),
                };
                closed(format!("{address} is not allowed for {what}: this node {self}"))
            }
        }
    }

    /// Whether a hop is worth a lookup: a name is refused at once where no address behind it could be connected to at
    /// its port.
    ///
    /// Where one could be, the addresses that the lookup finds are judged by [`Self::allows`] like any others.
    ///
    /// # Errors
    /// [`Refused`] if the allow list opens that port for no address.
    pub fn allows_name(&self, hop: &HostPort) -> Result<(), Refused> {
        match hop.host {
            Host::Name(_) if !self.loopback && !self.allow.has_port(hop.port) => {
                Err(Refused::new(Refusal::NotAllowed, format!("{hop} is not allowed: this node {self}")))
            }
            Host::Name(_) | Host::Ip(_) => Ok(()),
        }
    }
}

impl Default for Policy {
    /// The policy of a loopback listener without a list.
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), AllowList::default())
    }
}

impl fmt::Display for Policy {
    /// Reads on from "this node": `relays to loopback and 10.0.0.0/8:9000-9100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (self.loopback, self.allow.is_empty()) {
            (true, true) => "relays to loopback".to_owned(),
            (false, true) => "relays nowhere".to_owned(),
            (true, false) => format!("relays to loopback and {}", self.allow),
            (false, false) => format!("relays to {}", self.allow),
        };
        f.pad(&text)
    }
}

/// What makes an address one that no list can open, in words.
fn never(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => never_v4(ip),
        // An address that carries an IPv4 address is a way to that one, through a gateway or an old tunnel.
        IpAddr::V6(ip) => never_v6(ip).or_else(|| embedded(ip).find_map(never_v4)),
    }
}

fn never_v4(ip: Ipv4Addr) -> Option<&'static str> {
    // Azure, Alibaba and Oracle answer for the machine's credentials here; the others do so on link-local addresses.
    const METADATA: [Ipv4Addr; 3] =
        [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
    if ip.octets()[0] == 0 {
        Some("unspecified")
    } else if ip.is_link_local() {
        Some("link-local")
    } else if METADATA.contains(&ip) {
        Some("a cloud metadata service")
    } else if ip.is_multicast() {
        Some("multicast")
    } else if ip.is_broadcast() {
        Some("broadcast")
    } else {
        None
    }
}

fn never_v6(ip: Ipv6Addr) -> Option<&'static str> {
    // Amazon, Google and Scaleway, in this order.
    const METADATA: [Ipv6Addr; 3] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    ];
    if ip.is_unspecified() {
        Some("unspecified")
    } else if ip.is_unicast_link_local() {
        Some("link-local")
    } else if METADATA.contains(&ip) {
        Some("a cloud metadata service")
    } else if ip.is_multicast() {
        Some("multicast")
    } else {
        None
    }
}

/// The IPv4 addresses that packets to an IPv4-compatible, NAT64, 6to4 or Teredo address may go to; canonical addresses
/// are never IPv4-mapped.
fn embedded(ip: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let mut found = [None; 4];
    match ip.segments() {
        // `::1` is IPv6's own loopback, not the IPv4 address 0.0.0.1.
        [0, 0, 0, 0, 0, 0, high, low] if !ip.is_loopback() => found[0] = Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => found[0] = Some(v4(high, low)),
        // A network's own NAT64 prefix within this range may have any of the lengths of RFC 6052. The bits behind the
        // address are zero, which leaves out the longer ones where a shorter one is meant.
        [0x64, 0xff9b, 1, ..] => {
            let o = ip.octets();
            for (at, places) in
                [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]].into_iter().enumerate()
            {
                let ends_there = o[places[3] + 1..].iter().all(|octet| *octet == 0);
                let is_there = places.iter().any(|place| o[*place] != 0);
                found[at] = (ends_there && is_there).then(|| Ipv4Addr::from(places.map(|place| o[place])));
            }
        }
        // Teredo's server, and behind it its client, written in inverted bits.
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            found = [Some(v4(high, low)), Some(v4(!client_high, !client_low)), None, None];
        }
        _ => {}
    }
    found.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:9000";
    const EVERYWHERE: &str = "0.0.0.0:9000";
    const ALL: &str = "0.0.0.0/0,::/0";

    fn allows(listener: &str, list: &str, address: &str) -> Result<(), Refused> {
        let allow = if list.is_empty() { AllowList::default() } else { list.parse().unwrap() };
        Policy::new(listener.parse().unwrap(), allow).allows(address.parse().unwrap(), Purpose::files(None))
    }

    #[test]
    fn an_entry_opens_what_it_is_for_and_nothing_else() {
        use Purpose::{Endpoints, Files};
        for (list, address, purpose, says) in [
            ("10.0.0.7:9102", "10.0.0.7:9102", Purpose::files(None), None),
            ("10.0.0.7:9102", "10.0.0.7:9102", Files("/files/"), None),
            ("10.0.0.7:9102", "10.0.0.7:9102", Endpoints, None),
            ("10.0.0.0/8:9000-9100", "10.9.9.9:9050", Endpoints, None),
            ("10.0.0.7:9102", "10.0.0.7:9102", Files("/"), Some("not allowed for files with base=/")),
            (
                "10.0.0.7:9102",
                "10.0.0.7:9102",
                Files("/admin/"),
                Some("files with base=/admin/: this node relays to 10.0"),
            ),
            ("10.0.0.0/8", "10.0.0.7:80", Files("/files/x/"), Some("files with base=/files/x/")),
            ("10.0.0.8:80/pub/", "10.0.0.8:80", Files("/pub/"), None),
            ("10.0.0.8:80/pub/", "10.0.0.8:80", Files("/pub/iso/"), None),
            ("10.0.0.8:80/pub/", "10.0.0.8:80", Files("/pub"), Some("base=/pub:")),
            ("10.0.0.8:80/pub/", "10.0.0.8:80", Files("/public/"), Some("base=/public/")),
            ("10.0.0.8:80/pub/", "10.0.0.8:80", Files("/"), Some("base=/:")),
            ("10.0.0.8:80/pub/", "10.0.0.8:80", Purpose::files(None), Some("base=/files/")),
            ("10.0.0.8:80/pub/", "10.0.0.8:80", Endpoints, Some("not allowed for pages of a node")),
            ("10.0.0.8:80/pub/", "10.0.0.8:81", Files("/pub/"), Some("10.0.0.8:81 is not allowed: this node")),
            ("10.0.0.8:80/pub/", "10.0.0.9:80", Files("/pub/"), Some("10.0.0.9:80 is not allowed: this node")),
            ("10.0.0.8:80/pub", "10.0.0.8:80", Files("/pub"), None),
            ("10.0.0.8:80/pub", "10.0.0.8:80", Files("/public/"), Some("base=/public/")),
            ("10.0.0.8:80/", "10.0.0.8:80", Files("/any/"), None),
            ("10.0.0.8:80/", "10.0.0.8:80", Purpose::files(None), None),
            ("10.0.0.8:80/", "10.0.0.8:80", Endpoints, Some("pages")),
            ("10.0.0.0/8:80-90/pub/", "10.1.2.3:85", Files("/pub/"), None),
            ("[fd00::/8]:80/pub/", "[fd00::7]:80", Files("/pub/"), None),
            ("[fd00::/8]:80/pub/", "[fd00::7]:80", Files("/x/"), Some("base=/x/")),
            ("10.0.0.8:80/pub/,10.0.0.8:80", "10.0.0.8:80", Endpoints, None),
            ("10.0.0.8:80/pub/,10.0.0.8:80", "10.0.0.8:80", Files("/pub/"), None),
            ("10.0.0.8:80/pub/,10.0.0.8:80", "10.0.0.8:80", Files("/x/"), Some("base=/x/")),
            ("0.0.0.0/0:80/", "169.254.169.254:80", Files("/"), Some("link-local")),
        ] {
            let policy = Policy::new(EVERYWHERE.parse().unwrap(), list.parse().unwrap());
            match (policy.allows(address.parse().unwrap(), purpose), says) {
                (Ok(()), None) => {}
                (Err(Refused { why, .. }), Some(says)) => {
                    assert!(why.contains(says), "{list} {address} {purpose:?}: {why}");
                }
                (judged, _) => panic!("{list} {address} {purpose:?}: {judged:?}"),
            }
        }
        let near = Policy::default();
        assert_eq!(
            near.allows("127.0.0.1:80".parse().unwrap(), Files("/admin/")),
            Ok(()),
            "this machine is its user's own"
        );
    }

    #[test]
    fn the_table_of_what_may_be_connected_to() {
        for (listener, list, address) in [
            (LOOPBACK, "", "127.0.0.1:1"),
            (LOOPBACK, "", "127.0.0.1:65535"),
            (LOOPBACK, "", "127.1.2.3:80"),
            (LOOPBACK, "", "127.255.255.254:80"),
            (LOOPBACK, "", "[::1]:80"),
            (LOOPBACK, "", "[::ffff:127.0.0.1]:80"),
            ("[::1]:9000", "", "127.0.0.1:80"),
            ("[::ffff:127.0.0.1]:9000", "", "[::1]:80"),
            (LOOPBACK, "10.0.0.7", "10.0.0.7:80"),
            (LOOPBACK, "10.0.0.7", "127.0.0.1:80"),
            (LOOPBACK, "10.0.0.7", "[::ffff:10.0.0.7]:80"),
            (EVERYWHERE, "10.0.0.7", "10.0.0.7:1"),
            (EVERYWHERE, "10.0.0.7:9000", "10.0.0.7:9000"),
            (EVERYWHERE, "10.0.0.7:9000-9100", "10.0.0.7:9000"),
            (EVERYWHERE, "10.0.0.7:9000-9100", "10.0.0.7:9100"),
            (EVERYWHERE, "10.0.0.0/8", "10.255.255.255:80"),
            (EVERYWHERE, "10.0.0.0/8:80", "10.1.2.3:80"),
            (EVERYWHERE, "192.168.0.0/16, 10.0.0.0/8", "10.1.2.3:80"),
            (EVERYWHERE, "::ffff:10.0.0.7", "10.0.0.7:80"),
            (EVERYWHERE, "::ffff:10.0.0.0/104", "10.0.0.7:80"),
            (EVERYWHERE, "fd00::/8", "[fd12::1]:80"),
            (EVERYWHERE, "[fd00::/8]:80", "[fd12::1]:80"),
            (EVERYWHERE, "[fd00::]/8:80-90", "[fd12::1]:85"),
            (EVERYWHERE, "2001:db8::7", "[2001:db8::7]:80"),
            (EVERYWHERE, "[2001:db8::7]", "[2001:db8::7]:80"),
            (EVERYWHERE, "[2001:db8::7]:443", "[2001:db8::7]:443"),
            (EVERYWHERE, "127.0.0.1", "127.0.0.1:80"),
            (EVERYWHERE, ALL, "8.8.8.8:53"),
            (EVERYWHERE, ALL, "[2001:4860::8888]:53"),
            (EVERYWHERE, ALL, "[::1]:53"),
            (EVERYWHERE, ALL, "[64:ff9b::8.8.8.8]:53"),
            (EVERYWHERE, ALL, "[64:ff9b:1::8.8.8.8]:53"),
            (EVERYWHERE, ALL, "[64:ff9b:1:808:8:800::]:53"),
            (EVERYWHERE, ALL, "[2001:0:808:808::f7f7:f7f7]:53"),
        ] {
            assert_eq!(allows(listener, list, address), Ok(()), "{listener} {list} {address}");
        }
    }

    #[test]
    fn the_table_of_what_may_not() {
        for (listener, list, address, says) in [
            (LOOPBACK, "", "10.0.0.7:80", "relays to loopback"),
            (LOOPBACK, "", "192.168.1.1:80", "relays to loopback"),
            (LOOPBACK, "", "[2001:db8::1]:80", "relays to loopback"),
            (LOOPBACK, "", "128.0.0.1:80", "relays to loopback"),
            (LOOPBACK, "", "127.0.0.1:0", "port 0"),
            (LOOPBACK, "", "[::ffff:10.0.0.7]:80", "10.0.0.7:80 is not allowed"),
            (LOOPBACK, "", "[::7f00:1]:80", "not allowed"),
            (EVERYWHERE, "", "127.0.0.1:80", "relays nowhere"),
            (EVERYWHERE, "", "[::1]:80", "relays nowhere"),
            (EVERYWHERE, "", "10.0.0.7:80", "relays nowhere"),
            ("[::]:9000", "", "127.0.0.1:80", "relays nowhere"),
            ("10.0.0.1:9000", "", "127.0.0.1:80", "relays nowhere"),
            ("[::ffff:10.0.0.1]:9000", "", "127.0.0.1:80", "relays nowhere"),
            (EVERYWHERE, "10.0.0.7", "10.0.0.8:80", "relays to 10.0.0.7"),
            (EVERYWHERE, ALL, "[64:ff9b:1::169.254.169.254]:80", "link-local"),
            (EVERYWHERE, ALL, "[64:ff9b:1:a9fe:a9:fe00::]:80", "link-local"),
            (EVERYWHERE, ALL, "[64:ff9b:1:77a9:fe:a9fe::]:80", "link-local"),
            (EVERYWHERE, ALL, "[64:ff9b:1:7777:a9:fea9:fe00::]:80", "link-local"),
            (EVERYWHERE, ALL, "[64:ff9b:1::168.63.129.16]:80", "metadata"),
            (EVERYWHERE, ALL, "[2001:0:a9fe:a9fe::]:80", "link-local"),
            (EVERYWHERE, ALL, "[2001:0:0808:0808::5601:5601]:80", "link-local"),
            (EVERYWHERE, "10.0.0.7:9000", "10.0.0.7:9001", "relays to 10.0.0.7:9000"),
            (EVERYWHERE, "10.0.0.7:9000-9100", "10.0.0.7:8999", "not allowed"),
            (EVERYWHERE, "10.0.0.7:9000-9100", "10.0.0.7:9101", "not allowed"),
            (EVERYWHERE, "10.0.0.0/8", "11.0.0.0:80", "not allowed"),
            (EVERYWHERE, "fd00::/8", "[fe00::1]:80", "not allowed"),
            (EVERYWHERE, "::/0", "10.0.0.7:80", "not allowed"),
            (EVERYWHERE, "0.0.0.0/0", "[2001:db8::1]:80", "not allowed"),
            (EVERYWHERE, ALL, "10.0.0.7:0", "port 0"),
            (EVERYWHERE, ALL, "0.0.0.0:80", "unspecified"),
            (EVERYWHERE, ALL, "0.1.2.3:80", "unspecified"),
            (EVERYWHERE, ALL, "[::]:80", "unspecified"),
            (EVERYWHERE, ALL, "169.254.169.254:80", "link-local"),
            (EVERYWHERE, "169.254.0.0/16", "169.254.1.1:80", "link-local"),
            (EVERYWHERE, ALL, "[::ffff:169.254.169.254]:80", "link-local"),
            (EVERYWHERE, ALL, "[fe80::1]:80", "link-local"),
            (EVERYWHERE, "fe80::1", "[fe80::1]:80", "link-local"),
            (EVERYWHERE, ALL, "[febf::1]:80", "link-local"),
            (EVERYWHERE, ALL, "168.63.129.16:80", "metadata"),
            (EVERYWHERE, ALL, "100.100.100.200:80", "metadata"),
            (EVERYWHERE, ALL, "192.0.0.192:80", "metadata"),
            (EVERYWHERE, ALL, "[fd00:ec2::254]:80", "metadata"),
            (EVERYWHERE, ALL, "[fd20:ce::254]:80", "metadata"),
            (EVERYWHERE, ALL, "[fd00:42::42]:80", "metadata"),
            (EVERYWHERE, ALL, "224.0.0.1:80", "multicast"),
            (EVERYWHERE, ALL, "239.255.255.255:80", "multicast"),
            (EVERYWHERE, ALL, "[ff02::1]:80", "multicast"),
            (EVERYWHERE, ALL, "255.255.255.255:80", "broadcast"),
            (EVERYWHERE, ALL, "[64:ff9b::169.254.169.254]:80", "link-local"),
            (EVERYWHERE, ALL, "[2002:a9fe:a9fe::1]:80", "link-local"),
            (EVERYWHERE, ALL, "[::169.254.169.254]:80", "link-local"),
            (EVERYWHERE, ALL, "[::2]:80", "unspecified"),
        ] {
            let Refused { refusal, why } = allows(listener, list, address).expect_err(address);
            assert!(why.contains(says), "{listener} {list} {address}: {why}");
            let never = ["port 0", "unspecified", "link-local", "metadata", "multicast", "broadcast"].contains(&says);
            let kind = if never { Refusal::Never } else { Refusal::NotAllowed };
            assert_eq!(refusal, kind, "{listener} {list} {address}");
        }
    }

    #[test]
    fn a_name_is_refused_without_a_lookup_where_no_address_could_be_connected_to() {
        for (listener, list, hop, allowed) in [
            (EVERYWHERE, "", "relay.example:9000", false),
            (EVERYWHERE, "10.0.0.7:9000,10.0.0.8:9100-9200", "relay.example:80", false),
            (EVERYWHERE, "10.0.0.7:9000,10.0.0.8:9100-9200", "relay.example:9100", true),
            (EVERYWHERE, "10.0.0.0/8", "relay.example:80", true),
            (LOOPBACK, "", "localhost:80", true),
            (EVERYWHERE, "", "10.0.0.7:80", true),
        ] {
            let allow = if list.is_empty() { AllowList::default() } else { list.parse().unwrap() };
            let judged = Policy::new(listener.parse().unwrap(), allow).allows_name(&hop.parse().unwrap());
            assert_eq!(judged.is_ok(), allowed, "{listener} {list} {hop}: {judged:?}");
            assert!(
                judged
                    .err()
                    .is_none_or(|refused| refused.why.starts_with(&format!("{hop} is not allowed: this node relays ")))
            );
        }
    }

    #[test]
    fn a_policy_reads_as_words() {
        assert_eq!(Policy::default().to_string(), "relays to loopback");
        let policy = Policy::new(EVERYWHERE.parse().unwrap(), "10.0.0.0/8:80-90,[fd00::/8]:1,::2".parse().unwrap());
        assert_eq!(policy.to_string(), "relays to 10.0.0.0/8:80-90, [fd00::/8]:1, ::2");
    }
}
