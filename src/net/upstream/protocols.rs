//! State that all requests to next hops share, such as the protocol of each hop, and the probe that detects an unknown
//! one.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::connect::{Connected, connect_with};
use super::idle::IdleConnections;
use super::origin_slots::OriginSlots;
use super::policy::NotPermitted;
use super::resolve::Resolver;
use super::tunnel_records::TunnelRecords;
use crate::net::os::deadline::within;
use crate::route::{HostPort, Protocol};
use crate::snapshot::{TransferRecord, UpstreamTotals};
use crate::wire::TransferIds;
use crate::wire::legacy::{NOT_FOUND, PROBE_NAME, PROBE_REPLY};

/// Time that an unknown hop may be silent on HTTP before it is probed over the legacy protocol.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
/// Lifetime of an entry: a node may be replaced by another program.
const CACHE_TTL: Duration = Duration::from_mins(10);
/// Limit on entries; far more than a node has neighbors.
const MAX_ENTRIES: usize = 1024;
/// Time for which a name leads to idle connections without another lookup: a service that moves to another address is
/// followed that soon, and a busy name costs few lookups.
const ADDRESSES_TTL: Duration = Duration::from_secs(10);
/// Time between two checks of a client for expired connections; a node has periodic checks of its own.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// State shared by all requests to neighbors.
#[derive(Debug)]
pub struct UpstreamShared {
    protocols: Recent<HostPort, Protocol>,
    /// The last lookup of each name.
    addresses: Recent<String, Arc<[IpAddr]>>,
    /// Idle connections.
    pub(super) idle: IdleConnections,
    /// Resolver of names.
    pub(super) resolver: Resolver,
    /// Connections to each origin.
    pub(in crate::net) origins: OriginSlots,
    /// Records of tunnels.
    tunnels: TunnelRecords,
}

/// Values that are remembered for some time.
#[derive(Debug)]
struct Recent<K, V> {
    ttl: Duration,
    entries: Mutex<BTreeMap<K, (V, Instant)>>,
}

impl<K: Ord, V: Clone> Recent<K, V> {
    fn new(ttl: Duration) -> Self {
        Self { ttl, entries: Mutex::default() }
    }

    fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.lock().get(key).filter(|(_, since)| since.elapsed() < self.ttl).map(|(value, _)| value.clone())
    }

    fn insert(&self, key: K, value: V) {
        let mut entries = self.lock();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
            entries.retain(|_, (_, since)| since.elapsed() < self.ttl);
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
        }
        entries.insert(key, (value, Instant::now()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, (V, Instant)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for UpstreamShared {
    fn default() -> Self {
        Self::new(Resolver::default())
    }
}

impl UpstreamShared {
    /// Returns an empty cache with this resolver.
    pub fn new(resolver: Resolver) -> Self {
        let (protocols, addresses) = (Recent::new(CACHE_TTL), Recent::new(ADDRESSES_TTL));
        Self {
            protocols,
            addresses,
            idle: IdleConnections::default(),
            resolver,
            origins: OriginSlots::default(),
            tunnels: TunnelRecords::default(),
        }
    }

    /// Returns the protocol of a hop, if it was detected in the last ten minutes.
    pub fn known(&self, hop: &HostPort) -> Option<Protocol> {
        self.protocols.get(hop)
    }

    /// Stores the protocol of a hop.
    pub fn remember(&self, hop: &HostPort, protocol: Protocol) {
        self.protocols.insert(hop.clone(), protocol);
    }

    /// Removes a hop whose protocol turned out to be another.
    pub fn forget(&self, hop: &HostPort) {
        self.protocols.lock().remove(hop);
    }

    /// Returns the hops' records of one file, which took this long: its part of those of its tunnel, if it had one.
    pub fn records_of_file(
        &self,
        ids: TransferIds,
        file_us: u64,
        records: Vec<Option<TransferRecord>>,
    ) -> Vec<Option<TransferRecord>> {
        self.tunnels.of_file(ids, file_us, records)
    }

    /// Returns the addresses of a name, if it was looked up in the last ten seconds.
    pub(super) fn recent_addresses(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        self.addresses.get(name)
    }

    /// Stores the addresses of a name.
    pub(super) fn remember_addresses(&self, name: &str, found: Arc<[IpAddr]>) {
        self.addresses.insert(name.to_owned(), found);
    }

    /// Returns the counts of connections.
    pub fn totals(&self) -> UpstreamTotals {
        self.idle.totals()
    }

    /// Closes idle connections that have expired; returns true if others are left.
    pub fn close_expired(&self) -> bool {
        self.idle.close_expired()
    }

    /// Closes idle connections as they expire, for as long as it is polled.
    pub async fn keep_closing_expired(&self) -> Infallible {
        loop {
            sleep(EXPIRY_INTERVAL).await;
            self.close_expired();
        }
    }

    /// Closes all idle connections but those over which a file may still have to be verified, and keeps no others from
    /// now on.
    pub fn drain(&self) {
        self.idle.drain();
    }
}

/// Requests a reserved name over the legacy protocol from a silent hop: the legacy Python program replies `NA`
/// immediately, our node identifies itself. `None` is silence or an error, which is inconclusive.
pub(crate) async fn probe(
    resolver: &Resolver,
    hop: &HostPort,
    limit: Duration,
    filter: &(dyn Fn(SocketAddr) -> Result<(), NotPermitted> + Send + Sync),
) -> Option<Protocol> {
    let requests = async {
        let request = [PROBE_NAME, format!("\n{} {}", hop.host, hop.port).as_bytes()].concat();
        let Connected { mut stream, sent, .. } =
            connect_with(resolver, hop, limit, filter, &request, None).await.ok()?;
        stream.write_all(&request[sent..]).await.ok()?;
        let mut response = Vec::new();
        let mut chunk = [0; 64];
        loop {
            let read = stream.read(&mut chunk).await.ok()?;
            response.extend_from_slice(&chunk[..read]);
            if response == NOT_FOUND {
                return Some(Protocol::Legacy);
            }
            if response.starts_with(PROBE_REPLY) || response.starts_with(b"HTTP/1.") {
                return Some(Protocol::Http);
            }
            if read == 0 || response.len() > chunk.len() {
                return None;
            }
        }
    };
    within(limit, requests).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_protocol_is_cached_for_ten_minutes_and_the_cache_is_bounded() {
        let links = UpstreamShared::default();
        let hop: HostPort = "h:1".parse().unwrap();
        links.remember(&hop, Protocol::Legacy);
        assert_eq!(links.known(&hop), Some(Protocol::Legacy));
        tokio::time::advance(CACHE_TTL).await;
        assert_eq!(links.known(&hop), None);
        for port in 1..=2 * MAX_ENTRIES as u16 {
            links.remember(&format!("h:{port}").parse().unwrap(), Protocol::Http);
        }
        assert!(links.protocols.lock().len() <= MAX_ENTRIES);
        links.forget(&"h:2048".parse().unwrap());
        assert_eq!(links.known(&"h:2048".parse().unwrap()), None);
    }
}
