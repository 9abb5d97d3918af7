//! What is known of next hops: which wire they speak and how an unknown one is asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::connect::{Connected, connect_with};
use super::policy::Refused;
use super::preconnect::Preconnections;
use super::resolve::Resolver;
use crate::net::os::deadline::within;
use crate::route::{HostPort, Protocol};
use crate::wire::legacy::{NOT_FOUND, PROBE_NAME, PROBE_REPLY};

/// How long an unknown hop may be silent on HTTP before it is asked in the legacy protocol.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
/// How long an answer is believed: a node may be replaced by another program.
const BELIEVED: Duration = Duration::from_mins(10);
/// Most addresses remembered; far more than a node has neighbours.
const MOST: usize = 1024;

/// What is known of neighbours.
#[derive(Debug, Default)]
pub struct ProtocolCache {
    protocols: Mutex<BTreeMap<HostPort, (Protocol, Instant)>>,
    /// Connections to them that were opened ahead.
    pub spares: Preconnections,
    /// What looks their names up.
    pub(super) resolver: Resolver,
}

impl ProtocolCache {
    /// Nothing is known yet; names are looked up by this.
    pub fn new(resolver: Resolver) -> Self {
        Self { resolver, ..Self::default() }
    }

    /// The wire of a hop, if it was learnt in the last ten minutes.
    pub fn known(&self, hop: &HostPort) -> Option<Protocol> {
        let protocols = self.protocols.lock().unwrap_or_else(PoisonError::into_inner);
        protocols.get(hop).filter(|(_, learnt)| learnt.elapsed() < BELIEVED).map(|(protocol, _)| *protocol)
    }

    /// Remembers the wire of a hop.
    pub fn remember(&self, hop: &HostPort, protocol: Protocol) {
        let mut protocols = self.protocols.lock().unwrap_or_else(PoisonError::into_inner);
        if protocols.len() >= MOST && !protocols.contains_key(hop) {
            protocols.retain(|_, (_, learnt)| learnt.elapsed() < BELIEVED);
            if protocols.len() >= MOST {
                protocols.clear();
            }
        }
        protocols.insert(hop.clone(), (protocol, Instant::now()));
    }

    /// Forgets a hop that turned out to speak something else.
    pub fn forget(&self, hop: &HostPort) {
        self.protocols.lock().unwrap_or_else(PoisonError::into_inner).remove(hop);
    }
}

/// Asks a silent hop in the legacy protocol for a name that nobody has: the original says `NA` at once, a node of ours
/// says who it is. `None` is silence or an error, which settles nothing.
pub(crate) async fn probe(
    resolver: &Resolver,
    hop: &HostPort,
    limit: Duration,
    judge: &(dyn Fn(SocketAddr) -> Result<(), Refused> + Send + Sync),
) -> Option<Protocol> {
    let asked = async {
        let request = [PROBE_NAME, format!("\n{} {}", hop.host, hop.port).as_bytes()].concat();
        let Connected { mut stream, said, .. } =
            connect_with(resolver, hop, limit, judge, &request, None).await.ok()?;
        stream.write_all(&request[said..]).await.ok()?;
        let mut answer = Vec::new();
        let mut chunk = [0; 64];
        loop {
            let read = stream.read(&mut chunk).await.ok()?;
            answer.extend_from_slice(&chunk[..read]);
            if answer == NOT_FOUND {
                return Some(Protocol::Legacy);
            }
            if answer.starts_with(PROBE_REPLY) || answer.starts_with(b"HTTP/1.") {
                return Some(Protocol::Http);
            }
            if read == 0 || answer.len() > chunk.len() {
                return None;
            }
        }
    };
    within(limit, asked).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wire_is_remembered_for_ten_minutes_and_the_memory_is_bounded() {
        let links = ProtocolCache::default();
        let hop: HostPort = "h:1".parse().unwrap();
        links.remember(&hop, Protocol::Legacy);
        assert_eq!(links.known(&hop), Some(Protocol::Legacy));
        tokio::time::advance(BELIEVED).await;
        assert_eq!(links.known(&hop), None);
        for port in 1..=2 * MOST as u16 {
            links.remember(&format!("h:{port}").parse().unwrap(), Protocol::Http);
        }
        assert!(links.protocols.lock().unwrap().len() <= MOST);
        links.forget(&"h:2048".parse().unwrap());
        assert_eq!(links.known(&"h:2048".parse().unwrap()), None);
    }
}
