//! Owner of a loopback connection as reported by the kernel: loopback means this machine, not this user.
//!
//! Queries the kernel for the peer's socket through `sock_diag`, with two system calls on one persistent socket.
//! Messages are encoded by hand: two fixed structs of `linux/inet_diag.h`, against three crates that take 1.4 times as
//! long (5.1 µs against 3.7 µs where measured), which every new connection would pay.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};
use rustix::process::geteuid;

/// Distinguishes connections of the own user from those of others.
#[derive(Debug)]
pub struct LocalPeers {
    own: u32,
    /// Every user has a number in this process's user namespace; in other namespaces all users without one look the
    /// same.
    all_numbered: bool,
    diag: Mutex<Option<DiagSocket>>,
}

/// The persistent socket to the kernel, and the sequence number of the last query.
#[derive(Debug)]
struct DiagSocket {
    socket: OwnedFd,
    number: u32,
}

const ROOT: u32 = 0;
/// Uid by which the kernel reports users without a number in this user namespace (`kernel.overflowuid`); in the initial
/// namespace, the number of `nobody`.
const OVERFLOW: u32 = 65_534;

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`.
const QUERY_LEN: usize = HEADER_LEN + 56;
/// `struct nlmsghdr`, then `struct inet_diag_msg`.
const REPLY_LEN: usize = HEADER_LEN + 72;
const HEADER_LEN: usize = 16;
/// `SOCK_DIAG_BY_FAMILY`, also the type of a reply; errors have another.
const BY_FAMILY: u16 = 20;
/// This flag alone requests the one socket with these addresses, not a list.
const NLM_F_REQUEST: u16 = 1;
/// States, numbered as in `linux/tcp_states.h`, in which the owner of a connection can still receive a reply:
/// established, the two that wait for the end of the other direction, closing, and half closed by us. Any other socket
/// that is found, such as a listener on the same port, is not the peer.
const CONNECTED: [u8; 5] = [1, 4, 5, 8, 11];

impl LocalPeers {
    /// Creates the check for this process's user.
    pub fn new() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let all_numbered = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
        Self { own: geteuid().as_raw(), all_numbered, diag: Mutex::default() }
    }

    /// Returns `Ok` if the connection from `peer` to `local` may be served.
    ///
    /// Called before the reply: a closed connection has no owner.
    ///
    /// # Errors
    /// A sentence for the client if the connection is of loopback and another user owns it, or the kernel does not
    /// report its owner.
    pub fn admits(&self, peer: SocketAddr, local: SocketAddr) -> Result<(), String> {
        if !peer.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        self.evaluate(self.owner(peer, local))
    }

    fn evaluate(&self, owner: Option<u32>) -> Result<(), String> {
        let cause = match owner.filter(|owner| *owner != OVERFLOW || self.all_numbered) {
            Some(owner) if owner == self.own || owner == ROOT => return Ok(()),
            Some(owner) => format!("the connection is of user {owner}"),
            None => "the kernel does not report its owner".to_owned(),
        };
        let own = self.own;
        Err(format!("on loopback this node serves user {own} alone, and {cause}: start it with --local-users any"))
    }

    /// Returns the user that owns the peer's socket; `None` if the kernel does not report it.
    fn owner(&self, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
        let mut diag = self.diag.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = match &mut *diag {
            Some(diag) => diag.owner(peer, local),
            none => DiagSocket::new().and_then(|new| none.insert(new).owner(peer, local)),
        };
        // A reply that did not arrive may arrive later, and be mistaken for the reply to another query.
        owner.inspect_err(|_| *diag = None).ok().flatten()
    }
}

impl Default for LocalPeers {
    fn default() -> Self {
        Self::new()
    }
}

impl DiagSocket {
    fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
        // Accept replies from the kernel only.
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, number: 0 })
    }

    /// Returns the owner of the peer's socket; `None` if no socket is connected to us.
    fn owner(&mut self, peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
        self.number = self.number.wrapping_add(1);
        send(&self.socket, &query(self.number, peer, local), SendFlags::empty())?;
        // The kernel replies within the `send` call, so there is nothing to wait for.
        let mut buffer = [0; 512];
        let (read, _) = recv(&self.socket, &mut buffer, RecvFlags::empty())?;
        let reply = &buffer[..read];
        if read_u16(reply, 4) != Some(BY_FAMILY) || read_u32(reply, 8) != Some(self.number) || read < REPLY_LEN {
            // The only error with our sequence number means that there is no such socket, and so no owner.
            return if read_u32(reply, 8) == Some(self.number) {
                Ok(None)
            } else {
                Err(io::ErrorKind::InvalidData.into())
            };
        }
        let (state, owner, inode) =
            (reply[HEADER_LEN + 1], read_u32(reply, HEADER_LEN + 64), read_u32(reply, HEADER_LEN + 68));
        // A socket without an open descriptor is reported without an inode, and as owned by root.
        let has_owner = CONNECTED.contains(&state) && inode != Some(0);
        Ok(owner.filter(|_| has_owner))
    }
}

/// Encodes a query for the socket whose own address is `peer`.
fn query(number: u32, peer: SocketAddr, local: SocketAddr) -> [u8; QUERY_LEN] {
    let (peer_ip, local_ip) = (peer.ip().to_canonical(), local.ip().to_canonical());
    let family = if peer_ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut message = [0; QUERY_LEN];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(QUERY_LEN as u32).to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(8, &number.to_ne_bytes());
    put(HEADER_LEN, &[family.as_raw() as u8, rustix::net::ipproto::TCP.as_raw().get() as u8]);
    put(HEADER_LEN + 8, &peer.port().to_be_bytes());
    put(HEADER_LEN + 10, &local.port().to_be_bytes());
    for (at, ip) in [(HEADER_LEN + 12, peer_ip), (HEADER_LEN + 28, local_ip)] {
        match ip {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    // No cookie: the addresses alone identify the socket.
    put(HEADER_LEN + 48, &[0xff; 8]);
    message
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};

    use super::*;

    fn pair(listener: &TcpListener, to: SocketAddr) -> (TcpStream, TcpStream, SocketAddr, SocketAddr) {
        let near = TcpStream::connect(to).unwrap();
        let (far, peer) = listener.accept().unwrap();
        let local = far.local_addr().unwrap();
        (near, far, peer, local)
    }

    #[test]
    fn the_own_user_is_recognized_at_every_loopback_address() {
        let peers = LocalPeers::new();
        let all = TcpListener::bind("[::]:0").unwrap();
        let port = all.local_addr().unwrap().port();
        for to in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            let (_near, _far, peer, local) = pair(&all, SocketAddr::new(to.parse().unwrap(), port));
            assert_eq!(peers.owner(peer, local), Some(peers.own), "{to}");
            assert_eq!(peers.admits(peer, local), Ok(()), "{to}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mapped = Ipv6Addr::from_bits(0xffff_7f00_0001);
        let (_near, _far, peer, local) =
            pair(&listener, SocketAddr::new(mapped.into(), listener.local_addr().unwrap().port()));
        assert_eq!(peers.owner(peer, local), Some(peers.own));
    }

    #[test]
    fn a_half_closed_peer_has_an_owner_and_a_closed_one_does_not() {
        let (peers, listener) = (LocalPeers::new(), TcpListener::bind("127.0.0.1:0").unwrap());
        let to = listener.local_addr().unwrap();
        let (mut near, far, peer, local) = pair(&listener, to);
        near.write_all(b"request").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peers.owner(peer, local), Some(peers.own), "half closed");
        drop(near);
        assert_eq!(peers.owner(peer, local), None, "closed: root by the kernel's number alone");
        assert!(peers.admits(peer, local).unwrap_err().contains("--local-users any"));
        drop(far);
        let (near, far, peer, local) = pair(&listener, to);
        far.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peers.owner(peer, local), Some(peers.own), "half closed here");
        drop((near, far));
    }

    #[test]
    fn only_connections_to_us_have_an_owner() {
        let (peers, listener) = (LocalPeers::new(), TcpListener::bind("127.0.0.1:0").unwrap());
        // The kernel returns a listener where no connection has these addresses.
        let (other, here) = (TcpListener::bind("127.0.0.1:0").unwrap(), listener.local_addr().unwrap());
        assert_eq!(peers.owner(other.local_addr().unwrap(), here), None);
        assert_eq!(peers.owner(here, here), None);
        assert_eq!(peers.owner("127.0.0.1:1".parse().unwrap(), here), None);
        // Each reply belongs to its own query.
        let (_near, _far, peer, local) = pair(&listener, here);
        assert_eq!(peers.owner(peer, local), Some(peers.own));
        assert_eq!(peers.admits("10.0.0.7:80".parse().unwrap(), here), Ok(()), "peers beyond loopback are not checked");
    }

    #[test]
    fn only_the_own_user_and_root_are_admitted() {
        for (own, all_numbered, owner, admitted) in [
            (1000, true, Some(1000), true),
            (1000, true, Some(ROOT), true),
            (1000, false, Some(1000), true),
            (ROOT, true, Some(ROOT), true),
            (ROOT, true, Some(1000), false),
            (1000, true, Some(1001), false),
            (1000, true, Some(OVERFLOW), false),
            (1000, true, None, false),
            (ROOT, true, None, false),
            (OVERFLOW, true, Some(OVERFLOW), true),
            // A user without a number in this namespace may be any user.
            (OVERFLOW, false, Some(OVERFLOW), false),
        ] {
            let peers = LocalPeers { own, all_numbered, diag: Mutex::default() };
            let evaluated = peers.evaluate(owner);
            assert_eq!(evaluated.is_ok(), admitted, "{own} {all_numbered} {owner:?}");
            assert!(evaluated.err().is_none_or(|why| why.contains("--local-users any")));
        }
    }
}
