//! Signed requests: what the signatures of a head cover, and the signatures for all hops of a route.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use super::request::{Fields, put_target, split_target};
use super::write::{encode_route, text};
use super::{MAX_FIELDS, fields};
use crate::keys::{Covered, KeyError, KeyPair, Signatures};
use crate::route::{DEFAULT_BASE, Hop, Protocol};
use crate::wire::{Request, TunnelRequest};

/// A head with signatures.
#[derive(Debug)]
pub struct SignedHead<'a> {
    /// The parts that they cover.
    pub covered: Covered<'a>,
    /// The signatures.
    pub signatures: Signatures,
    /// Number of hops behind this one.
    pub hops_after: usize,
}

/// Returns the signatures of a whole request head, which has been parsed as a request before; `None` if it has none, or
/// lacks what every signature covers.
pub fn signed_head(head: &[u8]) -> Option<SignedHead<'_>> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    parsed.parse_with_uninit_headers(head, &mut lines).ok().filter(httparse::Status::is_complete)?;
    let fields = Fields::collect(&fields::HeaderValues::of(head), parsed.headers).ok()?;
    let signatures = fields.signatures()?;
    // A value that is not plain text, and one of several, cannot be signed.
    if fields.authorizations != usize::from(fields.authorization.is_some()) {
        return None;
    }
    let (authority, target) = split_target(parsed.path?);
    let route = fields.route.filter(|route| !route.trim_ascii().is_empty());
    let hops_after = route.as_deref().map_or(Some(0), |route| fields::route(route).ok().map(|hops| hops.len()))?;
    let covered = Covered {
        method: parsed.method?.into(),
        target: target.into(),
        authority: authority.or(fields.host)?.into(),
        transfer: fields.transfer?.into(),
        route,
        authorization: fields.authorization.map(Cow::Borrowed),
        content_digest: fields.content_digest,
        node_key: None,
    };
    Some(SignedHead { covered, signatures, hops_after })
}

/// Signs a request for a hop and for each hop of `rest` behind it, with the parts that all of them receive; the
/// address, the route and the key of each replace those of `covered`. Only our nodes check signatures: hops that are
/// marked as others get none. `None` if there is no hop to sign for.
///
/// # Errors
/// [`KeyError::Random`] if the system has no random numbers.
pub fn sign_for_hops(
    pair: &KeyPair,
    hop: &Hop,
    rest: &[Hop],
    covered: &Covered<'_>,
    created: u64,
    nonce: u128,
) -> Result<Option<Signatures>, KeyError> {
    let mut signatures = Signatures::new(pair);
    for (at, hop) in std::iter::once(hop).chain(rest).enumerate() {
        let behind = &rest[at..];
        let other_base = behind.is_empty() && hop.base.as_deref().is_some_and(|base| base != DEFAULT_BASE);
        if hop.protocol == Some(Protocol::Legacy) || other_base {
            continue;
        }
        let route = (!behind.is_empty()).then(|| encode_route(behind).into());
        let authority = hop.address.text().into();
        let covered = Covered { authority, route, node_key: hop.key, ..covered.clone() };
        signatures.sign(pair, behind.len(), &covered, created, nonce)?;
    }
    Ok((!signatures.input.is_empty()).then_some(signatures))
}

/// Signs a request for a file for all hops, see [`sign_for_hops`].
///
/// # Errors
/// As for [`sign_for_hops`].
pub fn sign_request(
    pair: &KeyPair,
    hop: &Hop,
    request: &Request,
    created: u64,
    nonce: u128,
) -> Result<Option<Signatures>, KeyError> {
    let Some(transfer) = request.transfer else { return Ok(None) };
    let mut target = Vec::new();
    put_target(request, None, &mut target);
    let token = request.authorization.as_ref().filter(|_| request.tar);
    let covered = Covered {
        authorization: token.map(|token| format!("{}{}", fields::BEARER, token.reveal()).into()),
        ..Covered::new(request.method.as_str(), String::from_utf8_lossy(&target), text(&transfer))
    };
    sign_for_hops(pair, hop, &request.route, &covered, created, nonce)
}

/// Signs a request for a tunnel for all hops, see [`sign_for_hops`].
///
/// # Errors
/// As for [`sign_for_hops`].
pub fn sign_tunnel(
    pair: &KeyPair,
    hop: &Hop,
    request: &TunnelRequest,
    created: u64,
    nonce: u128,
) -> Result<Option<Signatures>, KeyError> {
    let (Some(transfer), Some(route)) = (request.transfer, &request.route) else { return Ok(None) };
    let covered = Covered::new("CONNECT", request.target.to_string(), text(&transfer));
    sign_for_hops(pair, hop, route, &covered, created, nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SignatureError;
    use crate::route::{FileName, Role, advance};
    use crate::secret::Secret;
    use crate::wire::http::{MAX_HEAD, MAX_SIGNED_HEAD, RequestKind, encode_request, parse_request};
    use crate::wire::{Method, TransferId};

    const NOW: u64 = 1_800_000_000;

    fn pair() -> KeyPair {
        KeyPair::parse(&KeyPair::generate().unwrap()).unwrap()
    }

    fn hops(text: &str) -> Vec<Hop> {
        text.split(' ').map(|hop| Hop::parse_element(hop).unwrap()).collect()
    }

    /// Sends a request over a route as a client and its relays do; returns which hops accept their signature, and the
    /// size of the first head.
    fn pass(route: &str, request: Request) -> (Vec<Result<(), SignatureError>>, usize) {
        let mut route = hops(route);
        let mut next = route.remove(0);
        let mut request = Request { route, transfer: Some(TransferId(7)), ..request };
        request.signatures = sign_request(&pair(), &next, &request, NOW, 9).unwrap().map(Box::new);
        let (mut results, mut size) = (Vec::new(), 0);
        loop {
            request.host = Some(next.address.clone());
            let mut head = Vec::new();
            encode_request(&request, None, &mut head);
            size = size.max(head.len());
            let checked = match signed_head(&head) {
                Some(SignedHead { covered, signatures, hops_after }) => {
                    signatures.claim(hops_after, &covered, NOW).and_then(|claim| claim.verify(&covered))
                }
                None => Err(SignatureError::Missing),
            };
            results.push(checked);
            let Some((RequestKind::File(read), _)) = parse_request(&head).unwrap() else { panic!("not a file") };
            request = *read;
            let hops_after = request.route.len();
            request.signatures =
                request.signatures.and_then(|signatures| signatures.for_next(hops_after)).map(Box::new);
            match advance(std::mem::take(&mut request.route)) {
                Role::Origin => {
                    assert_eq!(request.signatures, None, "each hop has removed its own");
                    return (results, size);
                }
                Role::Relay { next: hop, rest } => (next, request.route) = (hop, rest),
            }
        }
    }

    #[test]
    fn each_hop_of_a_chain_accepts_its_own_signature() {
        let file = |name: &[u8]| Request::new(Method::Get, FileName::new(name).unwrap());
        let route = "Localhost:1 10.0.0.2:80;protocol=http [::1]:3 h:4;base=/files/";
        for name in [&b"f"[..], b"a b/%41\xff+*", b"dir/", b"a//b/./c", b"x?y#z"] {
            assert_eq!(pass(route, file(name)).0, vec![Ok(()); 4], "{name:?}");
        }
        assert_eq!(pass("h:80", file(b"f")).0, [Ok(())]);
        let folder = Request {
            tar: true,
            query: Some("after=a%20b&until=c".into()),
            authorization: Some(Secret::new("t").unwrap()),
            ..file(b"dir/")
        };
        assert_eq!(pass(route, folder).0, vec![Ok(()); 4]);
        assert_eq!(pass(route, Request { method: Method::Head, ..file(b"f") }).0, vec![Ok(()); 4]);
    }

    #[test]
    fn hops_that_are_marked_as_others_get_no_signature() {
        let file = Request::new(Method::Get, FileName::new(b"f").unwrap());
        let missing = Err(SignatureError::Missing);
        assert_eq!(pass("a:1 b:2;base=/pub/", file.clone()).0, [Ok(()), missing]);
        assert_eq!(pass("a:1 b:2;protocol=legacy c:3", file.clone()).0, [Ok(()), missing, Ok(())]);
        assert_eq!(pass("a:1;base=/pub/", file).0, [missing]);
    }

    #[test]
    fn the_head_of_the_longest_route_fits() {
        let name = FileName::new(&[b'n'; 1024]).unwrap();
        let route = vec![format!("{}:65535", "h".repeat(60)); 32].join(" ");
        let (results, size) = pass(&route, Request::new(Method::Get, name));
        assert_eq!(results, vec![Ok(()); 32]);
        assert!((MAX_HEAD..MAX_SIGNED_HEAD).contains(&size), "{size}");
    }

    #[test]
    fn credentials_that_cannot_be_signed_are_not() {
        let head = |lines: &str| {
            format!(
                "GET /v1/node HTTP/1.1\r\nHost: h\r\nSignature-Input: h0=()\r\nSignature: h0=::\r\nChain-Key: AA\r\n\
                 Chain-Transfer: {}\r\n{lines}\r\n",
                TransferId(1)
            )
        };
        for lines in
            ["", "Authorization: Bearer x\r\n", "Chain-Route:\r\n", "Content-Digest: a\r\nContent-Digest: b\r\n"]
        {
            assert!(signed_head(head(lines).as_bytes()).is_some(), "{lines}");
        }
        for lines in ["Authorization: a\r\nAuthorization: b\r\n", "Authorization: \u{e9}\r\n", "Chain-Route: x\r\n"] {
            assert!(signed_head(head(lines).as_bytes()).is_none(), "{lines}");
        }
        assert!(signed_head(b"GET /v1/node HTTP/1.1\r\nHost: h\r\n\r\n").is_none());
    }
}
