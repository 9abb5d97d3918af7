//! Connecting to a hop: resolves it, filters the addresses, connects to the first that accepts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::policy::NotPermitted;
use super::resolve::{ResolveError, Resolver};
use crate::net::os::clock::ms_since;
use crate::net::os::deadline::Deadline;
use crate::net::os::machine::Machine;
use crate::route::{Host, HostPort};
use crate::wire::{FailedAction, Problem, Reason};

/// An open connection, and the time that it took.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The connection, with Nagle's algorithm off.
    pub stream: TcpStream,
    /// The address that accepted.
    pub address: SocketAddr,
    /// Resolving time in ms; 0 for an IP address.
    pub resolve_ms: f64,
    /// Connecting time in ms.
    pub connect_ms: f64,
    /// Bytes of the first request that were sent already.
    pub sent: usize,
}

/// A hop's addresses, and what is left of the time to connect to one of them.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) addresses: Addresses,
    /// Time of the lookup in ms; 0 for an IP address.
    pub(super) ms: f64,
    deadline: Deadline,
}

/// A hop's address, or those of its name.
#[derive(Debug)]
pub(super) enum Addresses {
    Ip(IpAddr),
    Found(Arc<[IpAddr]>),
}

impl Deref for Addresses {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        match self {
            Self::Ip(ip) => slice::from_ref(ip),
            Self::Found(found) => found,
        }
    }
}

/// Error text for a link-local address.
const NO_INTERFACE: &str =
    "a link-local address needs its interface, which a hop cannot name: use another address of it";

/// Returns true for an address that is ambiguous without an interface: every link has it.
fn needs_interface(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().is_unicast_link_local() && address.scope_id() == 0)
}

/// Connects as [`connect_with`] does, with the system's resolver, to any address and without first bytes.
pub(crate) async fn connect(hop: &HostPort, limit: Duration) -> Result<Connected, Problem> {
    connect_from(Machine::default(), hop, limit).await
}

/// Connects as [`connect`] does, from a machine.
pub(in crate::net) async fn connect_from(
    machine: Machine,
    hop: &HostPort,
    limit: Duration,
) -> Result<Connected, Problem> {
    connect_with(&Resolver::default().on(machine), hop, limit, &|_| Ok(()), b"", None).await
}

/// Connects to a hop within a time limit; `filter` decides on every address that would be connected to.
///
/// `first` is the beginning of the request. On loopback the connect completes immediately, so it is sent without
/// waiting for writability; `Connected::sent` is the number of bytes sent. `buffers` is the fixed size of the kernel's
/// buffers, if any.
///
/// The problem counts the hop as the next one (`hop` 1, `reporter` 0).
pub(crate) async fn connect_with(
    resolver: &Resolver,
    hop: &HostPort,
    limit: Duration,
    filter: &(dyn Fn(SocketAddr) -> Result<(), NotPermitted> + Send + Sync),
    first: &[u8],
    buffers: Option<u32>,
) -> Result<Connected, Problem> {
    let resolved = resolve(resolver, hop, limit).await?;
    connect_resolved(resolver.machine(), hop, resolved, filter, first, buffers).await
}

/// Returns the addresses of a hop, without waiting if it is an address.
pub(super) async fn resolve(resolver: &Resolver, hop: &HostPort, limit: Duration) -> Result<Resolved, Problem> {
    let began = Instant::now();
    let mut deadline = Deadline::after(limit);
    let fail = |reason, detail: String| Problem::next(reason, FailedAction::Resolve, hop, detail, ms_since(began));
    let name = match &hop.host {
        Host::Ip(ip) => return Ok(Resolved { addresses: Addresses::Ip(*ip), ms: 0.0, deadline }),
        Host::Name(name) => name.as_str(),
    };
    // Boxed to keep the parent future small: most hops are addresses. The lookup has a deadline of its own; if this
    // program is suspended, both are extended.
    let found = deadline.bound(Box::pin(resolver.resolve(name, deadline))).await;
    match found.unwrap_or(Err(ResolveError::TimedOut)) {
        Ok(found) => Ok(Resolved { addresses: Addresses::Found(found), ms: ms_since(began), deadline }),
        Err(error @ ResolveError::TimedOut) => Err(fail(Reason::TimedOut, error.to_string())),
        Err(error @ ResolveError::Failed(_)) => Err(fail(Reason::Unresolved, error.to_string())),
        // The lookup never started, so neither the name nor its hop is at fault.
        Err(error @ (ResolveError::Crowded | ResolveError::NoThread(_))) => {
            Err(Problem::here(Reason::Busy, FailedAction::Resolve, "", error.to_string()))
        }
    }
}

/// Connects as [`connect_with`] does, to the first of these addresses that accepts.
pub(super) async fn connect_resolved(
    machine: Machine,
    hop: &HostPort,
    Resolved { addresses, ms: resolve_ms, mut deadline }: Resolved,
    filter: &(dyn Fn(SocketAddr) -> Result<(), NotPermitted> + Send + Sync),
    first: &[u8],
    buffers: Option<u32>,
) -> Result<Connected, Problem> {
    let began = Instant::now();
    let elapsed = || resolve_ms + ms_since(began);
    let fail = |reason, action, detail: String| Problem::next(reason, action, hop, detail, elapsed());
    let mut last = None;
    for ip in addresses.iter() {
        let address = SocketAddr::new(ip.to_canonical(), hop.port);
        if let Err(refused) = filter(address) {
            last = Some(refused.problem(hop, elapsed()));
            continue;
        }
        if needs_interface(address) {
            last = Some(fail(Reason::Unreachable, FailedAction::Connect, NO_INTERFACE.to_owned()));
            continue;
        }
        match deadline.bound(connect_address(machine, address, first, buffers)).await {
            Err(_) => return Err(fail(Reason::TimedOut, FailedAction::Connect, String::new())),
            Ok(Err(error)) if is_shortage(&error) => return Err(shortage(FailedAction::Connect, &error)),
            Ok(Err(error)) => last = Some(fail(reason_of(&error), FailedAction::Connect, detail_of(&error))),
            Ok(Ok((stream, sent))) => {
                return Ok(Connected { stream, address, resolve_ms, connect_ms: ms_since(began), sent });
            }
        }
    }
    Err(last.unwrap_or_else(|| fail(Reason::Unresolved, FailedAction::Resolve, "the name has no address".to_owned())))
}

/// Connects, and sends the first bytes if that is possible without waiting.
async fn connect_address(
    machine: Machine,
    address: SocketAddr,
    first: &[u8],
    buffers: Option<u32>,
) -> io::Result<(TcpStream, usize)> {
    let socket = (machine.connect)(address, buffers)?;
    let sent = match rustix::net::send(&socket, first, SendFlags::NOSIGNAL) {
        Ok(sent) => sent,
        Err(Errno::AGAIN) => 0,
        Err(error) => return Err(error.into()),
    };
    let stream = TcpStream::from_std(socket.into())?;
    if sent == 0 {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    Ok((stream, sent))
}

/// Returns true if the system is out of descriptors or memory: a fault of this host only.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Converts a resource shortage of this host into a problem attributed to it.
pub(crate) fn shortage(action: FailedAction, error: &io::Error) -> Problem {
    Problem::here(Reason::Busy, action, "", error.to_string())
}

fn reason_of(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Reason::Refused,
        io::ErrorKind::TimedOut => Reason::TimedOut,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Reason::Closed,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            Reason::Unreachable
        }
        _ => Reason::Internal,
    }
}

/// Returns the system's error text if it adds to the reason.
fn detail_of(error: &io::Error) -> String {
    match reason_of(error) {
        Reason::Internal | Reason::Unreachable => error.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::wire::Refusal;

    #[tokio::test]
    async fn connects_to_a_listener_and_reports_a_closed_port() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limit = Duration::from_secs(5);
        let resolver = Resolver::default();
        let connected =
            connect_with(&resolver, &address.into(), limit, &|_| Ok(()), b"", Some(16 * 1024)).await.unwrap();
        assert_eq!((connected.address, connected.resolve_ms), (address, 0.0));
        let socket = socket2::SockRef::from(&connected.stream);
        let sizes = (socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap());
        assert_eq!(sizes, (32 * 1024, 32 * 1024), "the kernel doubles the requested size");
        drop(listener);
        let problem = connect(&address.into(), limit).await.unwrap_err();
        assert_eq!((problem.reason, problem.hop, problem.reporter), (Reason::Refused, 1, 0));
    }

    #[test]
    fn a_local_shortage_is_not_attributed_to_the_next_hop() {
        let error = io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        let problem = shortage(FailedAction::Connect, &error);
        assert_eq!((is_shortage(&error), problem.status(), problem.hop), (true, 503, 0));
        assert!(!is_shortage(&io::ErrorKind::ConnectionRefused.into()));
    }

    #[tokio::test]
    async fn the_filter_gets_the_address_to_connect_to() {
        let limit = Duration::from_secs(5);
        let hop = "[::ffff:127.0.0.1]:9".parse().unwrap();
        let filter = |address: SocketAddr| {
            Err(NotPermitted { refusal: Refusal::Never, why: format!("{address} is not allowed"), denial: None })
        };
        let problem = connect_with(&Resolver::default(), &hop, limit, &filter, b"", None).await.unwrap_err();
        assert_eq!((problem.reason, problem.refusal), (Reason::Policy, Some(Refusal::Never)));
        assert_eq!(problem.detail.as_str(), "127.0.0.1:9 is not allowed");
    }
}
