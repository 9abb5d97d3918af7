//! Records of a connection, of a request on it, and of the address that it came from.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;

use super::ending::Ending;
use super::next_hop::NextHop;
use super::record::RequestRecord;
use crate::meter::Meter;
use crate::route::Protocol;
use crate::snapshot::{ConnState, Flow};
use crate::wire::{Method, TransferId};

/// One accepted connection.
#[derive(Debug)]
pub struct Conn {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) accepted_us: u64,
    pub(super) source: Arc<SourceCounts>,
    /// Admitted only for endpoint requests.
    pub(super) reserved: bool,
    pub(super) now: Mutex<ConnProgress>,
    pub(super) ending: Ending,
}

#[derive(Debug, Default)]
pub(super) struct ConnProgress {
    pub(super) state: ConnState,
    /// Position in the order in which connections became idle, if it is idle.
    pub(super) idle: Option<usize>,
    pub(super) past: Flow,
    pub(super) job: Option<Arc<FileRequest>>,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Requested {
    /// A file, or its size and digest.
    File(Method),
    /// A tunnel, with the counters of its direction toward the next hop.
    Tunnel(Box<Meter>),
}

/// One request on a connection, for a file or a tunnel.
#[derive(Debug)]
pub struct FileRequest {
    pub(super) id: TransferId,
    pub(super) requested: Requested,
    pub(super) protocol: Protocol,
    /// Counters of its body, or of the direction of a tunnel toward the client.
    pub meter: Meter,
    pub(super) record: Mutex<RequestRecord>,
    pub(super) next: Mutex<NextHop>,
    pub(super) began_us: u64,
    pub(super) sockets: Mutex<Option<Sockets>>,
}

/// The sockets of one body, referenced so that their descriptors are not reused.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) down: Arc<TcpStream>,
    pub(super) up: Option<Arc<TcpStream>>,
    pub(super) length: u64,
}

/// Counts of one address.
#[derive(Debug, Default)]
pub(super) struct SourceCounts {
    pub(super) open: AtomicUsize,
    pub(super) idle: AtomicUsize,
    pub(super) heads: AtomicUsize,
    pub(super) reserved: AtomicUsize,
    pub(super) readers: AtomicUsize,
}

impl FileRequest {
    /// Returns the protocol toward the client.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the method of the request.
    pub(super) fn method_name(&self) -> &'static str {
        match &self.requested {
            Requested::File(method) => method.as_str(),
            Requested::Tunnel(_) => "CONNECT",
        }
    }

    /// Returns the counters of a tunnel's direction toward the next hop.
    pub fn upstream_meter(&self) -> Option<&Meter> {
        match &self.requested {
            Requested::File(_) => None,
            Requested::Tunnel(meter) => Some(meter),
        }
    }

    /// Returns the time at which its body ended, or its tunnel: with the last of both directions.
    pub(super) fn ended_us(&self) -> Option<u64> {
        let ended_us = |meter: &Meter| meter.first_and_last_us().1;
        let of_body = ended_us(&self.meter);
        let Some(upstream) = self.upstream_meter() else { return of_body };
        of_body.zip(ended_us(upstream)).map(|(one, other)| one.max(other))
    }

    /// Returns whether its record is the one of its transfer, rather than that of a request for a size or a digest.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.requested, Requested::File(Method::Get) | Requested::Tunnel(_))
    }
}

impl SourceCounts {
    /// Returns the connections that are not idle; idle ones can be closed at any time, so they do not count.
    pub(super) fn active(&self) -> usize {
        self.open.load(Relaxed).saturating_sub(self.idle.load(Relaxed))
    }
}

/// Locks a mutex. A panic elsewhere must not disable the counters: no change is left half-made.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
