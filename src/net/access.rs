//! Who may read and control a node: loopback peers, and those who hold the token.

mod local;

use std::net::SocketAddr;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, FORWARDED, HeaderName, VIA};

use crate::options::LocalUsers;
use crate::route::Host;
use crate::secret::Secret;

pub use local::LocalPeers;

/// Lines that say that somebody stands between the reader and this node; the first is what our own relays write.
const PASSED_ON: [HeaderName; 3] = [VIA, FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// Who may read a node's pages and control it.
#[derive(Clone, Debug)]
pub struct Access {
    /// The node listens on loopback only.
    pub loopback: bool,
    /// The token that a person configured: everybody who reads needs it. Without one only loopback peers read.
    pub read: Option<Secret>,
    /// The token that a program made to read its own nodes through a chain: it opens, and nobody else needs it.
    pub chain: Option<Secret>,
    /// The token that lets anyone control; without one nobody does.
    pub control: Option<Secret>,
    /// Names besides `localhost` by which a loopback listener is called.
    pub host_names: Vec<String>,
    /// Folders may be listed beyond loopback.
    pub list: bool,
    /// Control may turn faults on, not only caps and delays.
    pub allow_faults: bool,
    /// Who is served on loopback.
    pub local_users: LocalUsers,
}

impl Access {
    /// The access to a node that listens on `listener`, without tokens and names.
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
        }
    }

    /// Whether a request may read the node's pages.
    ///
    /// Reading is free only where no read token was configured, listener and peer are both on loopback and nobody
    /// stands between them: a proxy on this machine would make the whole world a loopback peer, and a plain TCP
    /// forwarder, such as the end of a tunnel, does so without a word that could be seen here.
    pub fn may_read(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        let near = self.loopback && peer.ip().to_canonical().is_loopback();
        let free = self.read.is_none() && near && !is_passed_on(headers);
        free || offers(self.read.as_ref(), headers) || offers(self.chain.as_ref(), headers)
    }

    /// Whether a request may list folders, of this node or through it.
    ///
    /// A chain on loopback alone is free to; a foreign proxy in front of it brings in others, and says so. The names of
    /// files are more than the files: so every node of a chain beyond loopback must have been told that they may be
    /// known.
    ///
    /// For its own folders a node with a configured read token asks for that besides.
    pub fn may_list(&self, headers: &HeaderMap) -> bool {
        self.list || (self.loopback && !PASSED_ON[1..].iter().any(|name| headers.contains_key(name)))
    }

    /// Whether a request has what listing this node's own folders takes.
    pub fn may_list_own(&self, headers: &HeaderMap) -> bool {
        self.read.is_none() || offers(self.read.as_ref(), headers) || offers(self.chain.as_ref(), headers)
    }

    /// Whether a request may control the node: only with the token, wherever it comes from.
    pub fn may_control(&self, headers: &HeaderMap) -> bool {
        offers(self.control.as_ref(), headers)
    }
}

/// True if somebody stands between the one who asks and this node, and says so.
pub fn is_passed_on(headers: &HeaderMap) -> bool {
    PASSED_ON.iter().any(|name| headers.contains_key(name))
}

impl Default for Access {
    /// The access to a loopback listener without tokens.
    fn default() -> Self {
        Self::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

/// What a node says to those who call it by a name that it does not go by.
pub const UNKNOWN_NAME: &str = "this loopback node does not go by that name: start it with --host-name";

/// Whether a loopback listener may answer to the name it was called by; every request, for files too, is judged so.
///
/// A web page can make a browser send requests to loopback under a name of its own (DNS rebinding), but it cannot make
/// the browser write an IP address or `localhost` there. The legacy protocol and HTTP/1.0 carry no name: no browser
/// sends those.
pub fn host_allowed(access: &Access, host: Option<&Host>) -> bool {
    match host {
        Some(Host::Name(name)) if access.loopback => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let known = access.host_names.iter().map(String::as_str);
            known.chain(["localhost"]).any(|known| known.eq_ignore_ascii_case(name))
        }
        _ => true,
    }
}

/// True if there is a secret and the request offers it, in the one way there is.
fn offers(secret: Option<&Secret>, headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(secret), Some(line), None) = (secret, lines.next(), lines.next()) else { return false };
    let Some((scheme, token)) = line.as_bytes().split_at_checked(7) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && secret.matches(token.trim_ascii())
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
    fn reading_is_free_on_loopback_and_only_there_unless_a_token_is_configured() {
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
            // What comes through a tunnel looks just like this user: a configured token is asked for by all.
            let offered = lines.contains(&token[0]) || peer == "10.0.0.7:2";
            assert_eq!(may_read(listener, peer, true, lines), may && offered, "{listener} {peer} {lines:?}");
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
    fn a_loopback_listener_answers_to_its_own_names() {
        let mut access = Access::default();
        access.host_names.push("gate.example".to_owned());
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
