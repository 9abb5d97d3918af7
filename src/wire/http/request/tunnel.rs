//! The head of `CONNECT`, parsed and encoded.

use super::{Fields, put_signatures};
use crate::route::{Hop, HostPort};
use crate::wire::TunnelRequest;
use crate::wire::http::HeadError;
use crate::wire::http::write::{HeadValue as _, line, put_all};

impl Fields<'_> {
    /// Checks that the head asks for a tunnel to its target: without a body, and along a route that ends there.
    pub(super) fn tunnel(self, target: &str, http11: bool) -> Result<TunnelRequest, HeadError> {
        let target: HostPort = target
            .parse()
            .map_err(|error| HeadError::malformed(format!("the target of CONNECT is HOST:PORT: {error}")))?;
        if self.length.is_some_and(|length| length != "0") {
            return Err(HeadError::malformed("CONNECT has no body: the bytes behind its head belong to the tunnel"));
        }
        let route = self.route.is_some().then(|| self.route()).transpose()?;
        if let Some(last) = route.as_deref().and_then(<[Hop]>::last).filter(|last| last.address != target) {
            let detail = format!("Chain-Route ends at {}, and the tunnel leads to {target}", last.address);
            return Err(HeadError::malformed(detail));
        }
        let (host, transfer, timeout) = (self.host()?, self.transfer()?, self.timeout()?);
        Ok(TunnelRequest {
            target,
            host,
            route,
            transfer,
            timeout,
            ack: self.acks(),
            proxied: self.proxied,
            signatures: self.signatures().map(Box::new),
            via: self.via,
            interim: http11,
        })
    }
}

/// Encodes a request for a tunnel. A route that has come to its end is sent empty: that makes the hop its end.
pub fn encode_tunnel(request: &TunnelRequest, out: &mut Vec<u8>) {
    put_all(out, &["CONNECT "]);
    (&request.target).put(out);
    put_all(out, &[" HTTP/1.1\r\n"]);
    line(out, "Host: ", request.host.as_ref());
    put_signatures(request.signatures.as_deref(), out);
    line(out, "Chain-Route: ", request.route.as_deref());
    line(out, "Chain-Transfer: ", request.transfer);
    line(out, "Chain-Timeout: ", request.timeout.map(|left| left.as_millis() as u64));
    line(out, "Chain-Ack: ", request.ack.then_some("1"));
    line(out, "Via: ", request.via.as_deref());
    // An obfuscated name (RFC 7239): only that there is a proxy matters.
    line(out, "Forwarded: ", request.proxied.then_some("for=unknown"));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keys::Signatures;
    use crate::wire::http::{RequestKind, parse_request};
    use crate::wire::{Reason, TransferId};

    fn parse(line: &str, lines: &str) -> Result<TunnelRequest, HeadError> {
        match parse_request(format!("{line}\r\n{lines}\r\n").as_bytes())?.expect("the head is complete").0 {
            RequestKind::Tunnel(request) => Ok(*request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tunnels_round_trip() {
        let [input, signature, key] = ["cv1=();created=1", "cv1=:AA==:", "AA=="].map(str::to_owned);
        let signatures = Signatures { input, signature, key };
        let request = TunnelRequest {
            target: "[::1]:9103".parse().unwrap(),
            host: Some("10.0.0.1:9101".parse().unwrap()),
            route: Some(vec![Hop::new("b:9102".parse().unwrap()), Hop::new("[::1]:9103".parse().unwrap())]),
            transfer: Some(TransferId(7)),
            timeout: Some(Duration::from_millis(1500)),
            ack: true,
            via: Some("1.1 a".to_owned()),
            proxied: true,
            signatures: Some(Box::new(signatures)),
            interim: true,
        };
        for route in [request.route.clone(), Some(vec![]), None] {
            let request = TunnelRequest { route, ..request.clone() };
            let mut head = Vec::new();
            encode_tunnel(&request, &mut head);
            let length = head.len();
            head.extend_from_slice(b"\x16\x03\x01 the first bytes inside");
            assert_eq!(parse_request(&head), Ok(Some((RequestKind::Tunnel(Box::new(request)), length))));
        }
    }

    #[test]
    fn a_plain_proxy_client_is_accepted() {
        let curl = "Host: example.com:443\r\nUser-Agent: curl/8\r\nProxy-Connection: Keep-Alive\r\n";
        let request = parse("CONNECT example.com:443 HTTP/1.1", curl).unwrap();
        assert_eq!((request.target.to_string().as_str(), &request.route), ("example.com:443", &None));
        assert_eq!((request.addressed(), request.interim), (None, true));
        // As `nc -X connect` writes it.
        let old = parse("CONNECT 10.0.0.1:22 HTTP/1.0", "").unwrap();
        assert!(!old.interim && old.host.is_none());
        let named = parse("CONNECT h:1 HTTP/1.1", "Host: a:2\r\nChain-Route:\r\nContent-Length: 0\r\n").unwrap();
        assert_eq!((named.route.as_deref(), named.addressed()), (Some(&[][..]), Some(&"a:2".parse().unwrap())));
    }

    #[test]
    fn invalid_tunnels_are_rejected_with_a_reason() {
        for (target, lines, expected) in [
            ("example.com", "Host: h\r\n", "HOST:PORT"),
            ("example.com:", "Host: h\r\n", "HOST:PORT"),
            ("example.com:0", "Host: h\r\n", "HOST:PORT"),
            ("example.com:65536", "Host: h\r\n", "HOST:PORT"),
            ("::1:80", "Host: h\r\n", "HOST:PORT"),
            ("u@h:80", "Host: h\r\n", "HOST:PORT"),
            ("http://h:80/", "Host: h\r\n", "HOST:PORT"),
            ("/files/x", "Host: h\r\n", "HOST:PORT"),
            ("*", "Host: h\r\n", "HOST:PORT"),
            ("h:1", "", "Host"),
            ("h:1", "Host: h\r\nContent-Length: 5\r\n", "no body"),
            ("h:1", "Host: h\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding"),
            ("h:1", "Host: h\r\nChain-Route: h:2\r\n", "ends at h:2, and the tunnel leads to h:1"),
            ("h:1", "Host: h\r\nChain-Route: h:1, a:2\r\n", "ends at a:2"),
            ("h:1", "Host: h\r\nChain-Route: h:1,\r\n", "Chain-Route"),
            ("h:1", "Host: h\r\nChain-Transfer: 1\r\n", "Chain-Transfer"),
            ("h:1", "Host: h\r\nChain-Timeout: -1\r\n", "Chain-Timeout"),
        ] {
            let error = parse(&format!("CONNECT {target} HTTP/1.1"), lines).unwrap_err();
            assert_eq!(error.reason, Reason::Malformed, "{target} {lines:?}");
            assert!(error.detail.contains(expected), "{target} {lines:?}: {}", error.detail);
        }
    }
}
