//! Signatures of requests (RFC 9421): what they cover, how they are made and how they are checked.
//!
//! A client signs a request once for each hop, over what that hop receives; the label `hN` belongs to the hop that N
//! others follow. The components are a fixed list, so that nothing a node acts on is left to the client's choice.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::dictionary::{members, without};
use super::pair::{KeyError, KeyPair};
use super::params::Params;
use super::signature_error::{MAX_AGE, SignatureError};
use super::{Fingerprint, PublicKey};

/// Names the purpose of a signature, so that one made for another program is none here.
pub(super) const TAG: &str = "chainview";

/// The parts of a request that a signature covers, as one hop receives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered<'a> {
    /// The method.
    pub method: Cow<'a, str>,
    /// The path and the query.
    pub target: Cow<'a, str>,
    /// The address by which the request names the hop.
    pub authority: Cow<'a, str>,
    /// The transfer's id.
    pub transfer: Cow<'a, str>,
    /// The remaining hops, if there are any.
    pub route: Option<Cow<'a, str>>,
    /// The credentials, if there are any.
    pub authorization: Option<Cow<'a, str>>,
    /// The digest of the body, if there is one.
    pub content_digest: Option<Cow<'a, str>>,
    /// The key of the hop: for a client, as far as it is known; for the hop, its own, if it has one.
    pub node_key: Option<Fingerprint>,
}

/// The fields of a head that carry signatures: for each hop that has not removed its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// `Signature-Input`: what each signature covers.
    pub input: String,
    /// `Signature`: the signatures.
    pub signature: String,
    /// `Chain-Key`: the public key that verifies them.
    pub key: String,
}

/// What a signature claims; nothing of it is proven until [`Claim::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The fingerprint of the key.
    pub key: Fingerprint,
    /// Identifies the signed request.
    pub id: SignedId,
    public: PublicKey,
    params: String,
    signature: Vec<u8>,
}

/// Identity of one signed request, which is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedId {
    /// When it was signed, in seconds since 1970.
    pub created: u64,
    /// A number that its key uses once.
    pub nonce: u128,
    /// The key.
    pub key: Fingerprint,
}

impl<'a> Covered<'a> {
    /// Creates the parts that every request has, without the address of a hop.
    pub fn new(
        method: impl Into<Cow<'a, str>>,
        target: impl Into<Cow<'a, str>>,
        transfer: impl Into<Cow<'a, str>>,
    ) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            authority: "".into(),
            transfer: transfer.into(),
            route: None,
            authorization: None,
            content_digest: None,
            node_key: None,
        }
    }

    /// Returns the components in the order in which they are signed.
    fn components(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("@method", Some(&self.method)),
            ("@request-target", Some(&self.target)),
            ("@authority", Some(&self.authority)),
            ("chain-transfer", Some(&self.transfer)),
            ("chain-route", self.route.as_ref()),
            ("authorization", self.authorization.as_ref()),
            ("content-digest", self.content_digest.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.as_ref())))
    }

    /// Returns the text that is signed (RFC 9421, 2.5); `params` is the value of `@signature-params`.
    pub fn base(&self, params: &str) -> String {
        let mut base = String::with_capacity(512);
        for (name, value) in self.components() {
            base.extend(["\"", name, "\": "]);
            if name == "@authority" {
                let host = value.to_ascii_lowercase();
                // The default port of the scheme is left out (RFC 9421, 2.2.3).
                base.push_str(host.strip_suffix(":80").unwrap_or(&host));
            } else {
                base.push_str(value);
            }
            base.push('\n');
        }
        base.extend(["\"@signature-params\": ", params]);
        base
    }

    /// Returns the value of `@signature-params` for a signature of these parts.
    fn params(&self, id: SignedId) -> String {
        let mut params = String::with_capacity(256);
        for (at, (name, _)) in self.components().enumerate() {
            params.extend([if at == 0 { "(\"" } else { " \"" }, name, "\""]);
        }
        let SignedId { created, nonce, key } = id;
        let expires = created + MAX_AGE;
        let _ = write!(
            params,
            ");created={created};expires={expires};nonce=\"{nonce:032x}\";keyid=\"{key}\";tag=\"{TAG}\""
        );
        if let Some(key) = self.node_key {
            let _ = write!(params, ";node-key=\"{key}\"");
        }
        params
    }
}

/// Returns the value of `Content-Digest` for a body (RFC 9530).
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// Returns the label of the signature for the hop that this many others follow.
fn label(hops_after: usize) -> String {
    format!("h{hops_after}")
}

impl Signatures {
    /// Returns fields without signatures, to be added with [`Self::sign`].
    pub fn new(pair: &KeyPair) -> Self {
        Self { input: String::new(), signature: String::new(), key: STANDARD.encode(pair.public().to_spki()) }
    }

    /// Adds a signature for the hop that `hops_after` others follow: at a time in seconds since 1970, with a number
    /// that no other request has.
    ///
    /// # Errors
    /// [`KeyError::Random`] if the system has no random numbers.
    pub fn sign(
        &mut self,
        pair: &KeyPair,
        hops_after: usize,
        covered: &Covered<'_>,
        created: u64,
        nonce: u128,
    ) -> Result<(), KeyError> {
        let params = covered.params(SignedId { created, nonce, key: pair.public().fingerprint() });
        let signature = pair.sign(covered.base(&params).as_bytes())?;
        let label = label(hops_after);
        let separator = if self.input.is_empty() { "" } else { ", " };
        self.input.extend([separator, &label, "=", &params]);
        self.signature.extend([separator, &label, "=:", &STANDARD.encode(signature), ":"]);
        Ok(())
    }

    /// Returns the fields for the next hop: without the signature for the hop that `hops_after` others follow; `None`
    /// if no signature is left, or the fields are malformed.
    #[must_use]
    pub fn for_next(&self, hops_after: usize) -> Option<Self> {
        let label = label(hops_after);
        let (input, signature) = (without(&self.input, &label)?, without(&self.signature, &label)?);
        let rest = Self { input, signature, key: self.key.clone() };
        (!rest.input.is_empty() && !rest.signature.is_empty()).then_some(rest)
    }

    /// Reads the signature for the hop that `hops_after` others follow, which has received a request with these parts
    /// at this time, in seconds since 1970. Everything but the signature itself is checked.
    ///
    /// # Errors
    /// [`SignatureError`] if there is no such signature, it does not cover all of these parts or others, it is for a
    /// hop with another key, or it is too old or too new.
    pub fn claim(&self, hops_after: usize, covered: &Covered<'_>, now: u64) -> Result<Claim, SignatureError> {
        let label = label(hops_after);
        let own = |field, what| {
            let members = members(field).ok_or(SignatureError::Malformed(what))?;
            Ok(members.into_iter().find(|(name, _)| *name == label).map(|(_, value)| value))
        };
        let params_text = own(&self.input, "Signature-Input")?.ok_or(SignatureError::Missing)?;
        let signature = own(&self.signature, "Signature")?.ok_or(SignatureError::Missing)?;
        let params = Params::parse(params_text)?;
        let mut expected = covered.components().map(|(name, _)| name);
        let mut found = params.components.iter().copied();
        loop {
            match (expected.next(), found.next()) {
                (Some(name), Some(other)) if name == other => {}
                (Some(name), _) => return Err(SignatureError::Components(name)),
                (None, Some(_)) => return Err(SignatureError::Components("it has other components")),
                (None, None) => break,
            }
        }
        if params.tag != TAG {
            return Err(SignatureError::Malformed("its tag is not chainview"));
        }
        if let Some(named) = params.node_key.filter(|named| covered.node_key != Some(*named)) {
            return Err(SignatureError::OtherNode { named, own: covered.node_key });
        }
        let age = now.saturating_sub(params.created);
        if age > MAX_AGE || params.expires.is_some_and(|expires| expires < now) {
            return Err(SignatureError::Expired(age));
        }
        if params.created > now + MAX_AGE {
            return Err(SignatureError::Future(params.created - now));
        }
        let spki = STANDARD.decode(&self.key).ok();
        let public = spki.and_then(|spki| PublicKey::from_spki(&spki)).ok_or(SignatureError::Malformed("Chain-Key"))?;
        if public.fingerprint() != params.key {
            return Err(SignatureError::Key);
        }
        let coded = signature.strip_prefix(':').and_then(|coded| coded.strip_suffix(':'));
        let signature = coded.and_then(|coded| STANDARD.decode(coded).ok());
        let signature = signature.ok_or(SignatureError::Malformed("it is not base64 between colons"))?;
        let id = SignedId { created: params.created, nonce: params.nonce, key: params.key };
        Ok(Claim { key: params.key, id, public, params: params_text.to_owned(), signature })
    }
}

impl Claim {
    /// Verifies the signature of these parts.
    ///
    /// # Errors
    /// [`SignatureError::Wrong`] if it is the signature of something else, or of another key.
    pub fn verify(&self, covered: &Covered<'_>) -> Result<(), SignatureError> {
        let base = covered.base(&self.params);
        if self.public.verifies(base.as_bytes(), &self.signature) { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

#[cfg(test)]
mod tests;
