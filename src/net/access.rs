//! Access control of a node: loopback peers, bearers of a token, and keys.

mod caller;
mod local;
mod usage;

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, FORWARDED, HeaderName, VIA};

use crate::client_list::ClientList;
use crate::options::{HostName, LocalUsers};
use crate::route::{Host, HostPort};
use crate::secret::Secret;
use crate::wire::http::{parse_bearer, parse_host, plain_text};

pub use caller::{Caller, Denied, HandshakeKeys, KeyTable};
pub use local::LocalPeers;
pub use usage::{KeyTransfer, KeyUsage, until_next_day};

/// Header fields that show a proxy between the client and this node that is no chainview node: our relays write only
/// `Via`.
const FOREIGN_PROXY_HEADERS: [HeaderName; 2] = [FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// Access rules of a node.
#[derive(Clone, Debug)]
pub struct Access {
    /// The node listens on loopback only.
    pub loopback: bool,
    /// Token configured by the user: every reader needs it. Without one only loopback peers may read.
    pub read: Option<Secret>,
    /// Token that a program generated to read its own nodes through a chain: it grants reading, and other readers do
    /// not need it.
    pub chain: Option<Secret>,
    /// Token that grants control; without one only a key can.
    pub control: Option<Secret>,
    /// Host names by which the node is reached, some with a port; a loopback listener has `localhost`, too.
    pub host_names: Vec<HostName>,
    /// Folders may be listed beyond loopback.
    pub list: bool,
    /// Control may enable faults, not only rate limits and delays.
    pub allow_faults: bool,
    /// Users that are served on loopback.
    pub local_users: LocalUsers,
    /// The keys that are served; without a table, requests need no key.
    pub keys: Option<KeyTable>,
    /// Addresses from which connections are served; `None` means all.
    pub clients: Option<ClientList>,
}

impl Access {
    /// Returns the rules of a node that listens on `listener`, without tokens and names.
    pub fn new(listener: SocketAddr) -> Self {
        let loopback = listener.ip().to_canonical().is_loopback();
        Self {
            loopback,
            read: None,
            chain: None,
            control: None,
            host_names: Vec::new(),
            list: false,
            allow_faults: false,
            local_users: LocalUsers::Own,
            keys: None,
            clients: None,
        }
    }

    /// Returns whether connections from an address are served.
    pub fn serves(&self, address: IpAddr) -> bool {
        self.clients.as_ref().is_none_or(|clients| clients.contains(address))
    }

    /// Returns whether a request may read the node's endpoints.
    ///
    /// No token is needed only if no read token was configured, listener and peer are both on loopback and no proxy is
    /// in between: a proxy on this machine would turn any remote client into a loopback peer, and a plain TCP
    /// forwarder, such as the end of a tunnel, does so without any header that could be seen here.
    pub fn may_read(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        let local = self.loopback && peer.ip().to_canonical().is_loopback();
        let allowed = self.read.is_none() && local && !is_proxied(headers);
        allowed || self.grants_reading(bearer(headers))
    }

    /// Returns whether a request, which may have passed a foreign proxy, may list folders, of this node or through it.
    ///
    /// A chain on loopback alone needs no permission; a foreign proxy in front of it brings in other clients, and shows
    /// in the headers. Names of files are more sensitive than the files, so every node of a chain beyond loopback must
    /// allow listing explicitly.
    ///
    /// For its own folders a node with a configured read token requires that token too.
    pub fn may_list(&self, proxied: bool) -> bool {
        self.list || (self.loopback && !proxied)
    }

    /// Returns whether this is the token that listing this node's own folders requires.
    pub fn may_list_own(&self, token: Option<&str>) -> bool {
        self.read.is_none() || self.grants_reading(token)
    }

    fn grants_reading(&self, token: Option<&str>) -> bool {
        presents(self.read.as_ref(), token) || presents(self.chain.as_ref(), token)
    }

    /// Returns whether a request may control the node: only with the token, from any address.
    pub fn may_control(&self, headers: &HeaderMap) -> bool {
        presents(self.control.as_ref(), bearer(headers))
    }
}

/// True if the request's header shows a proxy between the client and this node.
pub fn is_proxied(headers: &HeaderMap) -> bool {
    headers.contains_key(VIA) || is_foreign_proxied(headers)
}

/// True if the request's header shows a proxy that is no chainview node.
pub fn is_foreign_proxied(headers: &HeaderMap) -> bool {
    FOREIGN_PROXY_HEADERS.iter().any(|name| headers.contains_key(name))
}

impl Default for Access {
    /// Returns the rules of a loopback listener without tokens.
    fn default() -> Self {
        Self::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

/// Error detail when listing folders is not allowed.
pub const NO_LISTING: &str = "folders are not listed beyond loopback: start this node with --list";
/// Error detail when listing this node's own folders needs a token.
pub const NO_LISTING_TOKEN: &str = "listing needs the node's read token";
/// Error detail for a connection from an address that is not listed.
pub const NOT_SERVED: &str = "this node does not serve the address that the connection came from";
/// Error detail for a request with an unknown host name.
pub const UNKNOWN_NAME: &str = "this loopback node does not have that host name: start it with --host-name";

/// Returns whether a loopback listener accepts the requested host name; checked for every request, for files too.
///
/// A web page can make a browser send requests to loopback under a name of its own (DNS rebinding), but it cannot make
/// the browser send an IP address or `localhost` as the host. The legacy protocol and HTTP/1.0 have no host name:
/// browsers do not send those.
pub fn host_allowed(access: &Access, host: Option<&Host>) -> bool {
    match host {
        Some(Host::Name(name)) if access.loopback => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name.eq_ignore_ascii_case("localhost") || access.host_names.iter().any(|known| known.is_of(name))
        }
        _ => true,
    }
}

/// Returns whether a listener at this address is reached by an address that a request names: its own, `localhost` on
/// loopback, and those of `--host-name`. Behind a mapped port or another name, only the last lead to it.
pub fn is_own_address(access: &Access, listener: SocketAddr, named: &str) -> bool {
    let Ok(HostPort { host, port }) = parse_host(named) else { return false };
    let ip = listener.ip().to_canonical();
    let own = match &host {
        Host::Ip(named) => named.to_canonical() == ip,
        Host::Name(name) => ip.is_loopback() && name.eq_ignore_ascii_case("localhost"),
    };
    let text = host.to_string();
    let text = text.strip_suffix('.').unwrap_or(&text);
    (own && port == listener.port())
        || access.host_names.iter().any(|known| known.is_of(text) && known.port().unwrap_or(listener.port()) == port)
}

/// True if there is a secret and this token is it.
fn presents(secret: Option<&Secret>, token: Option<&str>) -> bool {
    secret.zip(token).is_some_and(|(secret, token)| secret.matches(token.as_bytes()))
}

/// Returns the bearer token of a request, if there is exactly one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    parse_bearer(plain_text(line.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_read(listener: &str, peer: &str, configured: bool, lines: &[(&'static str, &'static str)]) -> bool {
        let mut access = Access::new(listener.parse().unwrap());
        let token = Some(Secret::new("open-sesame").unwrap());
        if configured {
            access.read = token;
        } else {
            access.chain = token;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        access.may_read(peer.parse().unwrap(), &headers)
    }

    #[test]
    fn reading_needs_a_token_beyond_loopback_or_once_configured() {
        let token = [("authorization", "Bearer open-sesame")];
        for (listener, peer, lines, may) in [
            ("127.0.0.1:1", "127.0.0.1:2", &[][..], true),
            ("[::1]:1", "[::ffff:127.0.0.1]:2", &[], true),
            ("127.0.0.1:1", "127.0.0.1:2", &[("via", "1.1 x")], false),
            ("127.0.0.1:1", "127.0.0.1:2", &[("forwarded", "for=1.2.3.4")], false),
            ("127.0.0.1:1", "127.0.0.1:2", &[("x-forwarded-for", "")], false),
            ("127.0.0.1:1", "127.0.0.1:2", &[("via", "1.1 x"), token[0]], true),
            ("0.0.0.0:1", "127.0.0.1:2", &[], false),
            ("0.0.0.0:1", "127.0.0.1:2", &token, true),
            ("0.0.0.0:1", "10.0.0.7:2", &[], false),
            ("0.0.0.0:1", "10.0.0.7:2", &token, true),
            ("0.0.0.0:1", "10.0.0.7:2", &[("authorization", "bearer  open-sesame ")], true),
            ("0.0.0.0:1", "10.0.0.7:2", &[("authorization", "Bearer open-sesam")], false),
            ("0.0.0.0:1", "10.0.0.7:2", &[("authorization", "Bearer open-sesame2")], false),
            ("0.0.0.0:1", "10.0.0.7:2", &[("authorization", "Basic open-sesame")], false),
            ("0.0.0.0:1", "10.0.0.7:2", &[("authorization", "Bearer")], false),
            ("0.0.0.0:1", "10.0.0.7:2", &[token[0], token[0]], false),
        ] {
            assert_eq!(may_read(listener, peer, false, lines), may, "{listener} {peer} {lines:?}");
            // Clients behind a tunnel look like local ones: a configured token is required of all.
            let presented = lines.contains(&token[0]) || peer == "10.0.0.7:2";
            assert_eq!(may_read(listener, peer, true, lines), may && presented, "{listener} {peer} {lines:?}");
        }
    }

    #[test]
    fn control_needs_its_own_token_always() {
        let mut access = Access::default();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer c".parse().unwrap());
        assert!(!access.may_control(&headers));
        access.read = Some(Secret::new("c").unwrap());
        assert!(!access.may_control(&headers));
        access.control = Some(Secret::new("c").unwrap());
        assert!(access.may_control(&headers) && !access.may_control(&HeaderMap::new()));
    }

    #[test]
    fn a_loopback_listener_accepts_its_own_names() {
        let mut access = Access::default();
        access.host_names.push("gate.example".parse().unwrap());
        let allowed = |access: &Access, host: &str| host_allowed(access, Some(&host.parse().unwrap()));
        for host in ["127.0.0.1", "10.1.2.3", "::1", "[::1]", "localhost", "LocalHost", "localhost.", "Gate.Example"] {
            assert!(allowed(&access, host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "0", "127.1", "gate.example.org"] {
            assert!(!allowed(&access, host), "{host}");
        }
        assert!(host_allowed(&access, None));
        access.loopback = false;
        assert!(allowed(&access, "evil.example"));
    }
}
