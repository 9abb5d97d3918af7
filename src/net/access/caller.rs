//! The caller of a request: the key that signed it, and what that may do at this node.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::usage::{KeyTransfer, KeyUsage, OverLimit};
use crate::allow_list::Purpose;
use crate::keys::{AuthorizedKeys, Covered, Fingerprint, Granted, SignatureError, SignedId, SpentError, SpentIds};
use crate::route::FileName;
use crate::text::SafeText;
use crate::wire::http::{SignedHead, signed_head};
use crate::wire::{Denial, FailedAction, Lack, Problem, Reason, Refusal};

/// The authorized keys of a node, what they use of their limits, and the signed requests that it has served. Clones
/// share all of it: the keys can be replaced while nodes run.
#[derive(Clone, Debug)]
pub struct KeyTable(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keys: RwLock<Arc<Table>>,
    spent: Mutex<SpentIds>,
}

/// The keys since they were read last.
#[derive(Debug, Default)]
struct Table {
    keys: AuthorizedKeys,
    /// Of each key, and of requests without one; also of keys that are not authorized any longer, because they may be
    /// again on the same day.
    usage: HashMap<Option<Fingerprint>, Arc<KeyUsage>>,
}

/// The caller of one request. Without authorized keys, every caller may do everything that the node does at all.
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Arc<KnownCaller>>);

#[derive(Debug)]
struct KnownCaller {
    table: Arc<Table>,
    key: Option<Fingerprint>,
    /// What the limits are about: its key, if that is authorized.
    usage: Option<Arc<KeyUsage>>,
    used: Option<(KeyTable, SignedId)>,
}

/// The keys of both ends of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct HandshakeKeys {
    /// The node's, if it has one.
    pub own: Option<Fingerprint>,
    /// The one that the client has proven in its TLS handshake.
    pub client: Option<Fingerprint>,
}

/// A refusal of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    reason: Reason,
    denial: Denial,
    detail: String,
}

impl KeyTable {
    /// Creates a table that refuses what was signed before this time, in seconds since 1970.
    pub fn new(keys: AuthorizedKeys, since: u64) -> Self {
        let table = Table::default().replaced(keys);
        Self(Arc::new(Shared { keys: RwLock::new(Arc::new(table)), spent: Mutex::new(SpentIds::new(since)) }))
    }

    /// Replaces the keys; requests that have begun keep their rights. Limits change at once, and what was used of them
    /// remains counted.
    pub fn replace(&self, keys: AuthorizedKeys) {
        let mut table = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        *table = Arc::new(table.replaced(keys));
    }

    /// Returns the number of authorized keys.
    pub fn count(&self) -> usize {
        self.table().keys.len()
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the caller of a request without a signature, from a client that has proven this key in its TLS
    /// handshake.
    pub(in crate::net) fn unsigned(&self, tls_key: Option<Fingerprint>) -> Caller {
        Caller::known(self.table(), tls_key, None)
    }

    /// Returns the caller of a request with this head, which has come at this time, in seconds since 1970. `is_own` is
    /// true for an address by which this node is reached: a signature for another node is none for this one.
    ///
    /// # Errors
    /// [`Denied`] if the signature for this hop is malformed, of another time, or of another key than that of the TLS
    /// client, or if that of an authorized key does not hold, or its request was served already.
    pub(in crate::net) fn caller_of(
        &self,
        head: &[u8],
        now: u64,
        is_own: impl Fn(&str) -> bool,
        keys: HandshakeKeys,
    ) -> Result<Caller, Box<Denied>> {
        let Some(SignedHead { covered, signatures, hops_after }) = signed_head(head) else {
            return Ok(self.unsigned(keys.client));
        };
        let covered = Covered { node_key: keys.own, ..covered };
        let refused =
            |lack, key, error: &dyn fmt::Display| Denied::boxed(Reason::BadSignature, (lack, key), error.to_string());
        let claim = match signatures.claim(hops_after, &covered, now) {
            Ok(claim) => claim,
            // It is signed for other hops.
            Err(SignatureError::Missing) => return Ok(self.unsigned(keys.client)),
            Err(error) => return Err(refused(lack_of(&error), None, &error)),
        };
        let refused = |lack, error: &dyn fmt::Display| refused(lack, Some(claim.key), error);
        if let Some(other) = keys.client.filter(|key| *key != claim.key) {
            let why = format!("signed by {}, and the key of the TLS client is {other}", claim.key);
            return Err(refused(Lack::Signature, &why));
        }
        // Read once: a key that is authorized only after this was never verified.
        let table = self.table();
        if table.keys.name(claim.key).is_none() {
            // It has the rights of an unsigned request, so there is nothing to verify.
            return Ok(Caller::known(table, Some(claim.key), None));
        }
        if !is_own(&covered.authority) {
            let address = SafeText::new(&covered.authority);
            let detail = format!("signed for {address}, by which this node is not known: start it with --host-name");
            return Err(refused(Lack::Address, &detail));
        }
        claim.verify(&covered).map_err(|error| refused(lack_of(&error), &error))?;
        let mut spent = self.0.spent.lock().unwrap_or_else(PoisonError::into_inner);
        match spent.admit(claim.id, now) {
            Ok(()) => Ok(Caller::known(table, Some(claim.key), Some((self.clone(), claim.id)))),
            Err(error @ SpentError::Full) => {
                Err(Denied::boxed(Reason::Busy, (Lack::Other, Some(claim.key)), error.to_string()))
            }
            Err(error) => Err(refused(Lack::NewId, &error)),
        }
    }
}

impl Caller {
    fn known(table: Arc<Table>, key: Option<Fingerprint>, used: Option<(KeyTable, SignedId)>) -> Self {
        let authorized = key.filter(|key| table.keys.name(*key).is_some());
        let usage = table.usage.get(&authorized).map(Arc::clone);
        Self(Some(Arc::new(KnownCaller { table, key, usage, used })))
    }

    /// Returns what its key uses of its limits.
    pub(in crate::net) fn usage(&self) -> Option<&KeyUsage> {
        self.0.as_ref()?.usage.as_deref()
    }

    /// Begins a transfer of its key, which ends when the result is dropped.
    ///
    /// # Errors
    /// [`Denied`] beyond a limit of the key.
    pub(in crate::net) async fn begin_transfer(&self) -> Result<Option<KeyTransfer>, Box<Denied>> {
        let Some(usage) = self.0.as_ref().and_then(|known| known.usage.as_ref()) else { return Ok(None) };
        let key = self.0.as_ref().and_then(|known| known.key);
        usage.begin().await.map(Some).map_err(|over| match over {
            OverLimit::Transfers(detail) => Denied::boxed(Reason::TooManyTransfers, (Lack::Transfers, key), detail),
            OverLimit::Day(detail) => Denied::boxed(Reason::DailyLimit, (Lack::Bytes, key), detail),
        })
    }

    /// Records that a reply begins: the same signed request is not served again.
    pub(in crate::net) fn spend(&self) {
        if let Some((table, id)) = self.0.as_ref().and_then(|known| known.used.as_ref()) {
            table.0.spent.lock().unwrap_or_else(PoisonError::into_inner).spend(*id);
        }
    }

    /// Returns the name of its key, if that is authorized.
    pub fn name(&self) -> Option<&SafeText> {
        let known = self.0.as_ref()?;
        known.table.keys.name(known.key?)
    }

    /// Checks whether it may fetch a file, or list or fetch a folder, of this node.
    ///
    /// # Errors
    /// [`Denied`] without the right.
    pub(in crate::net) fn may_fetch(&self, name: &FileName) -> Result<(), Box<Denied>> {
        self.check(Lack::Fetch, "fetch for this name", |rights| rights.fetch(name))
    }

    /// Checks whether it may be relayed at all; the address is checked by [`Self::may_connect`].
    ///
    /// # Errors
    /// [`Denied`] without the right.
    pub(in crate::net) fn may_relay(&self) -> Result<(), Box<Denied>> {
        self.check(Lack::Relay, "relay", Granted::relay_at_all)
    }

    /// Checks whether it may open a tunnel through this node at all, to nodes or to other servers.
    ///
    /// # Errors
    /// [`Denied`] without the right.
    pub(in crate::net) fn may_tunnel(&self) -> Result<(), Box<Denied>> {
        self.check(Lack::Relay, "relay", |rights| rights.relay_at_all() || rights.connect_at_all())
    }

    /// Returns whether its tunnels may lead to any server at an address, rather than to a node.
    pub(in crate::net) fn connects(&self, address: SocketAddr) -> bool {
        self.0.as_ref().is_none_or(|known| known.rights().connect(address))
    }

    /// Checks whether it may be relayed to an address.
    ///
    /// # Errors
    /// [`Denied`] without the right.
    pub(in crate::net) fn may_connect(&self, address: SocketAddr, purpose: Purpose<'_>) -> Result<(), Box<Denied>> {
        self.check(Lack::Relay, format_args!("relay for {address}"), |rights| {
            rights.relay(address, purpose) || (purpose == Purpose::TunnelTarget && rights.connect(address))
        })
    }

    /// Returns whether its key has the right to read the node's endpoints.
    pub(in crate::net) fn reads(&self) -> bool {
        self.0.as_ref().is_some_and(|known| known.rights().read())
    }

    /// Returns whether its key has the right to control the node.
    pub(in crate::net) fn controls(&self) -> bool {
        self.0.as_ref().is_some_and(|known| known.rights().control())
    }

    fn check<'a>(
        &'a self,
        lack: Lack,
        right: impl fmt::Display,
        holds: impl Fn(&Granted<'a>) -> bool,
    ) -> Result<(), Box<Denied>> {
        let Some(known) = self.0.as_ref().filter(|known| !holds(&known.rights())) else { return Ok(()) };
        Err(match known.key {
            None => {
                let detail = format!("unsigned requests have no right {right}: sign with --identity");
                Denied::boxed(Reason::KeyRequired, (lack, None), detail)
            }
            Some(key) => {
                let detail = format!("{} has no right {right}", known.table.who(key));
                Denied::boxed(Reason::Policy, (lack, Some(key)), detail)
            }
        })
    }
}

impl Table {
    /// Returns the table with other keys.
    fn replaced(&self, keys: AuthorizedKeys) -> Self {
        let mut table = Self { keys, usage: self.usage.clone() };
        for key in table.keys.iter().map(Some).chain([None]) {
            let who = key.map_or_else(|| "unsigned requests".to_owned(), |key| table.who(key));
            let limits = table.keys.limits(key);
            match table.usage.entry(key) {
                Entry::Occupied(known) => known.get().set(who, limits),
                Entry::Vacant(place) => drop(place.insert(Arc::new(KeyUsage::new(who, limits)))),
            }
        }
        table
    }

    /// Returns a key and its name, as errors show them.
    fn who(&self, key: Fingerprint) -> String {
        let name = self.keys.name(key).map_or("not authorized", SafeText::as_str);
        format!("{key} ({name})")
    }
}

impl KnownCaller {
    fn rights(&self) -> Granted<'_> {
        self.table.keys.rights(self.key)
    }
}

impl Denied {
    fn boxed(reason: Reason, (lack, key): (Lack, Option<Fingerprint>), detail: String) -> Box<Self> {
        Box::new(Self { reason, denial: Denial { lack, key }, detail })
    }

    /// Returns the missing right, and whose: in words, and typed.
    pub(in crate::net) fn into_parts(self) -> (String, Denial) {
        (self.detail, self.denial)
    }

    /// Returns the problem that a node at this address sends.
    pub(in crate::net) fn problem(self, address: impl fmt::Display) -> Problem {
        let refusal = (self.reason == Reason::Policy).then_some(Refusal::NoRight);
        let denial = Some(Box::new(self.denial));
        Problem { refusal, denial, ..Problem::here(self.reason, FailedAction::Request, address, self.detail) }
    }
}

/// Returns what a request lacks whose signature is not accepted.
fn lack_of(error: &SignatureError) -> Lack {
    match error {
        SignatureError::Expired(_) | SignatureError::Future(_) => Lack::Time,
        _ => Lack::Signature,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::keys::KeyPair;
    use crate::route::Hop;
    use crate::wire::http::{encode_request, sign_request};
    use crate::wire::{Method, Request, TransferId};

    const NOW: u64 = 1_800_000_000;

    fn pair() -> KeyPair {
        KeyPair::parse(&KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn the_key_of_the_tls_client_counts_and_a_signature_must_be_of_the_same() {
        let [alice, bob] = [pair(), pair()];
        let [of_alice, of_bob] = [&alice, &bob].map(|key| key.public().fingerprint());
        let keys: AuthorizedKeys = format!("{of_alice} alice fetch=/\n{of_bob} bob fetch=/\n").parse().unwrap();
        let table = KeyTable::new(keys, NOW);
        let hop = Hop::new("h:1".parse().unwrap());
        let mut request = Request {
            host: Some(hop.address.clone()),
            transfer: Some(TransferId(1)),
            ..Request::new(Method::Get, FileName::new(b"a").unwrap())
        };
        let caller = |request: &Request, client: Option<Fingerprint>| {
            let mut head = Vec::new();
            encode_request(request, None, &mut head);
            let caller = table.caller_of(&head, NOW, |_| true, HandshakeKeys { own: None, client });
            caller.map(|caller| caller.name().map(ToString::to_string))
        };
        assert_eq!(caller(&request, None), Ok(None));
        assert_eq!(caller(&request, Some(of_bob)), Ok(Some("bob".to_owned())));
        assert_eq!(caller(&request, Some(Fingerprint::new([9; 32]))), Ok(None), "proven, and not authorized");
        request.signatures = sign_request(&alice, &hop, &request, NOW, 1).unwrap().map(Box::new);
        let denied = caller(&request, Some(of_bob)).unwrap_err();
        let expected = format!("signed by {of_alice}, and the key of the TLS client is {of_bob}");
        assert_eq!((denied.reason, denied.detail.as_str()), (Reason::BadSignature, expected.as_str()));
        assert_eq!(caller(&request, Some(of_alice)), Ok(Some("alice".to_owned())));
    }

    #[test]
    fn a_key_that_is_authorized_meanwhile_has_rights_only_once_verified() {
        let pair = pair();
        let keys: AuthorizedKeys = format!("{} alice fetch=/\n", pair.public().fingerprint()).parse().unwrap();
        let hop = Hop::new("h:1".parse().unwrap());
        let file = |name: &[u8]| Request {
            host: Some(hop.address.clone()),
            transfer: Some(TransferId(1)),
            ..Request::new(Method::Get, FileName::new(name).unwrap())
        };
        let signatures = sign_request(&pair, &hop, &file(b"a"), NOW, 1).unwrap().map(Box::new);
        let mut forged = Vec::new();
        encode_request(&Request { signatures, ..file(b"b") }, None, &mut forged);
        let table = KeyTable::new(AuthorizedKeys::default(), NOW);
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    table.replace(keys.clone());
                    table.replace(AuthorizedKeys::default());
                }
            });
            let accepted =
                (0..2_000).filter_map(|_| table.caller_of(&forged, NOW, |_| true, HandshakeKeys::default()).ok());
            let named = accepted.filter(|caller| caller.name().is_some()).count();
            ended.store(true, Ordering::Relaxed);
            assert_eq!(named, 0);
        });
    }
}
