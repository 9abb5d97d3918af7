//! Where a node may connect to, decided on the resolved, canonical socket address of the connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::allow_list::{AllowList, Listed, Purpose};
use crate::net::access::Denied;
use crate::route::{Host, HostPort};
use crate::wire::{Denial, Problem, Refusal};

/// The refusal of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPermitted {
    /// Whether an allow list could permit it.
    pub refusal: Refusal,
    /// The address and the reason.
    pub why: String,
    /// What the caller lacks, if others may be relayed there.
    pub denial: Option<Box<Denial>>,
}

impl NotPermitted {
    fn new(refusal: Refusal, why: String) -> Self {
        Self { refusal, why, denial: None }
    }

    /// Returns the problem of a node that would connect to this hop, after `ms` milliseconds.
    pub(in crate::net) fn problem(self, hop: &HostPort, ms: f64) -> Problem {
        let Self { refusal, why, denial } = self;
        Problem { denial, ..Problem::refused_by_policy(refusal, hop, why, ms) }
    }

    /// Returns the refusal of a caller without the right.
    pub(in crate::net) fn of_caller(denied: Denied) -> Self {
        let (why, denial) = denied.into_parts();
        Self { denial: Some(Box::new(denial)), ..Self::new(Refusal::NoRight, why) }
    }
}

/// Where a node may connect to: loopback if it listens on loopback, listed addresses, and never unsafe ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    loopback: bool,
    allow: AllowList,
    /// Servers of any kind that tunnels may lead to.
    targets: AllowList,
}

impl Policy {
    /// Returns the policy of a node that listens on `listener` and has this allow list.
    ///
    /// A node that others can reach would give them its position in the network, so it connects to listed addresses
    /// only.
    pub fn new(listener: SocketAddr, allow: AllowList) -> Self {
        Self { loopback: listener.ip().to_canonical().is_loopback(), allow, targets: AllowList::default() }
    }

    /// Returns the same policy with servers of any kind that tunnels may lead to.
    #[must_use]
    pub fn with_targets(self, targets: AllowList) -> Self {
        Self { targets, ..self }
    }

    /// Checks whether an address may be connected to for a purpose.
    ///
    /// An entry for the next hop of a chain does not permit every URL of a server at that address.
    ///
    /// # Errors
    /// [`NotPermitted`] with the reason: an address that is never connected to (`Refusal::Never`), or one that the
    /// allow list does not permit (`Refusal::NotAllowed`).
    pub fn allows(&self, address: SocketAddr, purpose: Purpose<'_>) -> Result<(), NotPermitted> {
        let closed = |why| Err(NotPermitted::new(Refusal::NotAllowed, why));
        let ip = address.ip().to_canonical();
        let address = SocketAddr::new(ip, address.port());
        if address.port() == 0 {
            return Err(NotPermitted::new(Refusal::Never, format!("{address} has port 0")));
        }
        if let Some(kind) = never(ip) {
            let why = format!("{address} is {kind}, which is never connected to");
            return Err(NotPermitted::new(Refusal::Never, why));
        }
        if self.loopback && ip.is_loopback() {
            return Ok(());
        }
        if purpose == Purpose::TunnelTarget && self.is_target(address) {
            return Ok(());
        }
        match self.allow.check(address, purpose) {
            Listed::Yes => Ok(()),
            Listed::No => closed(format!("{address} is not allowed: this node {self}")),
            Listed::ForOther => {
                let what = match purpose {
                    Purpose::Endpoints => "node endpoints".to_owned(),
                    Purpose::Files(base) => format!("files with base={base}"),
                    Purpose::TunnelTarget => "tunnels".to_owned(),
                };
                closed(format!("{address} is not allowed for {what}: this node {self}"))
            }
        }
    }

    /// Returns whether a tunnel may lead to any server at an address that [`Self::allows`] permits.
    pub fn is_target(&self, address: SocketAddr) -> bool {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.targets.check(address, Purpose::TunnelTarget) == Listed::Yes
    }

    /// Checks whether a hop is worth a lookup: a name is refused immediately if no address could be connected to at its
    /// port.
    ///
    /// The addresses that a lookup returns are checked by [`Self::allows`] as usual.
    ///
    /// # Errors
    /// [`NotPermitted`] if the allow list permits that port for no address.
    pub fn allows_name(&self, hop: &HostPort, purpose: Purpose<'_>) -> Result<(), NotPermitted> {
        let is_target = || purpose == Purpose::TunnelTarget && self.targets.has_port(hop.port);
        match hop.host {
            Host::Name(_) if !self.loopback && !self.allow.has_port(hop.port) && !is_target() => {
                Err(NotPermitted::new(Refusal::NotAllowed, format!("{hop} is not allowed: this node {self}")))
            }
            Host::Name(_) | Host::Ip(_) => Ok(()),
        }
    }
}

impl Default for Policy {
    /// Returns the policy of a loopback listener without a list.
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), AllowList::default())
    }
}

impl fmt::Display for Policy {
    /// Continues a sentence after "this node": `relays to loopback and 10.0.0.0/8:9000-9100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (self.loopback, self.allow.is_empty()) {
            (true, true) => "relays to loopback".to_owned(),
            (false, true) => "relays nowhere".to_owned(),
            (true, false) => format!("relays to loopback and {}", self.allow),
            (false, false) => format!("relays to {}", self.allow),
        };
        if self.targets.is_empty() {
            return f.pad(&text);
        }
        f.pad(&format!("{text}, with tunnels to {}", self.targets))
    }
}

/// Returns why no allow list can permit an address.
fn never(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => never_v4(ip),
        // An address that embeds an IPv4 address leads to that one, through a gateway or an old tunnel.
        IpAddr::V6(ip) => never_v6(ip).or_else(|| embedded(ip).find_map(never_v4)),
    }
}

fn never_v4(ip: Ipv4Addr) -> Option<&'static str> {
    // Azure, Alibaba and Oracle serve the machine's credentials here; others do so on link-local addresses.
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

/// Returns the IPv4 addresses that an IPv4-compatible, NAT64, 6to4 or Teredo address may lead to; canonical addresses
/// are never IPv4-mapped.
fn embedded(ip: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let mut found = [None; 4];
    match ip.segments() {
        // `::1` is IPv6's own loopback, not the IPv4 address 0.0.0.1.
        [0, 0, 0, 0, 0, 0, high, low] if !ip.is_loopback() => found[0] = Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => found[0] = Some(v4(high, low)),
        // A network's own NAT64 prefix within this range may have any length of RFC 6052. The bits after the address
        // are zero, which excludes longer prefixes where a shorter one is meant.
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
        // Teredo: its server, and its client in inverted bits.
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

    fn allows(listener: &str, list: &str, address: &str) -> Result<(), NotPermitted> {
        let allow = if list.is_empty() { AllowList::default() } else { list.parse().unwrap() };
        Policy::new(listener.parse().unwrap(), allow).allows(address.parse().unwrap(), Purpose::files(None))
    }

    #[test]
    fn an_entry_permits_only_its_purpose() {
        use Purpose::{Endpoints, Files};
        for (list, address, purpose, expected) in [
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
            ("10.0.0.8:80/pub/", "10.0.0.8:80", Endpoints, Some("not allowed for node endpoints")),
            ("10.0.0.8:80/pub/", "10.0.0.8:81", Files("/pub/"), Some("10.0.0.8:81 is not allowed: this node")),
            ("10.0.0.8:80/pub/", "10.0.0.9:80", Files("/pub/"), Some("10.0.0.9:80 is not allowed: this node")),
            ("10.0.0.8:80/pub", "10.0.0.8:80", Files("/pub"), None),
            ("10.0.0.8:80/pub", "10.0.0.8:80", Files("/public/"), Some("base=/public/")),
            ("10.0.0.8:80/", "10.0.0.8:80", Files("/any/"), None),
            ("10.0.0.8:80/", "10.0.0.8:80", Purpose::files(None), None),
            ("10.0.0.8:80/", "10.0.0.8:80", Endpoints, Some("node endpoints")),
            ("10.0.0.0/8:80-90/pub/", "10.1.2.3:85", Files("/pub/"), None),
            ("[fd00::/8]:80/pub/", "[fd00::7]:80", Files("/pub/"), None),
            ("[fd00::/8]:80/pub/", "[fd00::7]:80", Files("/x/"), Some("base=/x/")),
            ("10.0.0.8:80/pub/,10.0.0.8:80", "10.0.0.8:80", Endpoints, None),
            ("10.0.0.8:80/pub/,10.0.0.8:80", "10.0.0.8:80", Files("/pub/"), None),
            ("10.0.0.8:80/pub/,10.0.0.8:80", "10.0.0.8:80", Files("/x/"), Some("base=/x/")),
            ("0.0.0.0/0:80/", "169.254.169.254:80", Files("/"), Some("link-local")),
        ] {
            let policy = Policy::new(EVERYWHERE.parse().unwrap(), list.parse().unwrap());
            match (policy.allows(address.parse().unwrap(), purpose), expected) {
                (Ok(()), None) => {}
                (Err(NotPermitted { why, .. }), Some(expected)) => {
                    assert!(why.contains(expected), "{list} {address} {purpose:?}: {why}");
                }
                (result, _) => panic!("{list} {address} {purpose:?}: {result:?}"),
            }
        }
        let loopback = Policy::default();
        assert_eq!(
            loopback.allows("127.0.0.1:80".parse().unwrap(), Files("/admin/")),
            Ok(()),
            "loopback is always allowed"
        );
    }

    #[test]
    fn allowed_addresses() {
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
    fn refused_addresses() {
        for (listener, list, address, expected) in [
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
            let NotPermitted { refusal, why, .. } = allows(listener, list, address).expect_err(address);
            assert!(why.contains(expected), "{listener} {list} {address}: {why}");
            let never =
                ["port 0", "unspecified", "link-local", "metadata", "multicast", "broadcast"].contains(&expected);
            let kind = if never { Refusal::Never } else { Refusal::NotAllowed };
            assert_eq!(refusal, kind, "{listener} {list} {address}");
        }
    }

    #[test]
    fn a_name_is_refused_without_a_lookup_if_no_address_is_allowed() {
        for (listener, list, hop, allowed) in [
            (EVERYWHERE, "", "relay.example:9000", false),
            (EVERYWHERE, "10.0.0.7:9000,10.0.0.8:9100-9200", "relay.example:80", false),
            (EVERYWHERE, "10.0.0.7:9000,10.0.0.8:9100-9200", "relay.example:9100", true),
            (EVERYWHERE, "10.0.0.0/8", "relay.example:80", true),
            (LOOPBACK, "", "localhost:80", true),
            (EVERYWHERE, "", "10.0.0.7:80", true),
        ] {
            let allow = if list.is_empty() { AllowList::default() } else { list.parse().unwrap() };
            let result =
                Policy::new(listener.parse().unwrap(), allow).allows_name(&hop.parse().unwrap(), Purpose::Endpoints);
            assert_eq!(result.is_ok(), allowed, "{listener} {list} {hop}: {result:?}");
            assert!(
                result
                    .err()
                    .is_none_or(|refused| refused.why.starts_with(&format!("{hop} is not allowed: this node relays ")))
            );
        }
    }

    #[test]
    fn displays_a_policy() {
        assert_eq!(Policy::default().to_string(), "relays to loopback");
        let policy = Policy::new(EVERYWHERE.parse().unwrap(), "10.0.0.0/8:80-90,[fd00::/8]:1,::2".parse().unwrap());
        assert_eq!(policy.to_string(), "relays to 10.0.0.0/8:80-90, [fd00::/8]:1, ::2");
        let policy = Policy::default().with_targets("10.0.0.7:22".parse().unwrap());
        assert_eq!(policy.to_string(), "relays to loopback, with tunnels to 10.0.0.7:22");
    }
}
