//! Whose process stands behind a loopback connection, by the kernel's word: loopback is this machine, not this user.
//!
//! The kernel is asked for the peer's own socket through `sock_diag`, with two system calls on one kept socket.
//! Messages are laid out by hand: two fixed structs of `linux/inet_diag.h`, against three crates that take 1.4 times as
//! long (5.1 µs and 3.7 µs where that was measured), which every new connection would pay.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};
use rustix::process::geteuid;

/// Tells the own user's connections from those of others.
#[derive(Debug)]
pub struct LocalPeers {
    own: u32,
    /// Every user has a number in this process's user namespace; in others, those without one are all shown as the
    /// same.
    all_numbered: bool,
    asking: Mutex<Option<Asking>>,
}

/// The kept socket to the kernel, and the number of the last question.
#[derive(Debug)]
struct Asking {
    socket: OwnedFd,
    number: u32,
}

const ROOT: u32 = 0;
/// How the kernel shows users that have no number in a user namespace (`kernel.overflowuid`); elsewhere, nobody's
/// number.
const OVERFLOW: u32 = 65_534;

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`.
const QUESTION: usize = HEADER + 56;
/// `struct nlmsghdr`, then `struct inet_diag_msg`.
const ANSWER: usize = HEADER + 72;
const HEADER: usize = 16;
/// `SOCK_DIAG_BY_FAMILY`, also the type of an answer; errors have another.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST` alone: the one socket with these addresses, no list.
const REQUEST: u16 = 1;
/// The states, numbered as in `linux/tcp_states.h`, in which a connection has an owner who can still be answered:
/// established, the two that wait for the end of the other direction, closing and half closed by us. Anything else that
/// is found, such as a listener on the same port, is not the peer.
const CONNECTED: [u8; 5] = [1, 4, 5, 8, 11];

impl LocalPeers {
    /// For a process of this user.
    pub fn new() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let all_numbered = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
        Self { own: geteuid().as_raw(), all_numbered, asking: Mutex::default() }
    }

    /// Whether the connection from `peer` to `local` may be served; the error says in words why not.
    ///
    /// Asked before the peer is answered: one that has closed has no owner any more.
    ///
    /// # Errors
    /// A sentence for the client if the connection is of loopback and another user owns it, or the kernel does not
    /// report its owner.
    pub fn admits(&self, peer: SocketAddr, local: SocketAddr) -> Result<(), String> {
        if !peer.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        self.judge(self.owner(peer, local))
    }

    fn judge(&self, owner: Option<u32>) -> Result<(), String> {
        let whose = match owner.filter(|owner| *owner != OVERFLOW || self.all_numbered) {
            Some(owner) if owner == self.own || owner == ROOT => return Ok(()),
            Some(owner) => format!("the connection is of user {owner}"),
            None => "the kernel does not say whose the connection is".to_owned(),
        };
        let own = self.own;
        Err(format!("on loopback this node serves user {own} alone, and {whose}: start it with --local-users any"))
    }

    /// The user whose process holds the peer's end; `None` where the kernel does not say.
    fn owner(&self, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = match &mut *asking {
            Some(asking) => asking.owner(peer, local),
            none => Asking::new().and_then(|new| none.insert(new).owner(peer, local)),
        };
        // An answer that did not come may come later, and be taken for that to another question.
        owner.inspect_err(|_| *asking = None).ok().flatten()
    }
}

impl Default for LocalPeers {
    fn default() -> Self {
        Self::new()
    }
}

impl Asking {
    fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
        // The kernel, and nobody else, may answer.
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, number: 0 })
    }

    /// The owner of the socket at the peer's end; `None` where there is none that is connected to us.
    fn owner(&mut self, peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
        self.number = self.number.wrapping_add(1);
        send(&self.socket, &question(self.number, peer, local), SendFlags::empty())?;
        // The kernel answers within the call that asks, so there is nothing to wait for.
        let mut space = [0; 512];
        let (read, _) = recv(&self.socket, &mut space, RecvFlags::empty())?;
        let answer = &space[..read];
        if half(answer, 4) != Some(BY_FAMILY) || word(answer, 8) != Some(self.number) || read < ANSWER {
            // The one error that says something is that there is no such socket, and then there is no owner either.
            return if word(answer, 8) == Some(self.number) {
                Ok(None)
            } else {
                Err(io::ErrorKind::InvalidData.into())
            };
        }
        let (state, owner, inode) = (answer[HEADER + 1], word(answer, HEADER + 64), word(answer, HEADER + 68));
        // A socket that nobody holds any more is shown without an inode, and as root's.
        let held = CONNECTED.contains(&state) && inode != Some(0);
        Ok(owner.filter(|_| held))
    }
}

/// Asks for the socket whose own address is `peer`.
fn question(number: u32, peer: SocketAddr, local: SocketAddr) -> [u8; QUESTION] {
    let (peer_ip, local_ip) = (peer.ip().to_canonical(), local.ip().to_canonical());
    let family = if peer_ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut message = [0; QUESTION];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(QUESTION as u32).to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &REQUEST.to_ne_bytes());
    put(8, &number.to_ne_bytes());
    put(HEADER, &[family.as_raw() as u8, rustix::net::ipproto::TCP.as_raw().get() as u8]);
    put(HEADER + 8, &peer.port().to_be_bytes());
    put(HEADER + 10, &local.port().to_be_bytes());
    for (at, ip) in [(HEADER + 12, peer_ip), (HEADER + 28, local_ip)] {
        match ip {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    // No cookie: the addresses alone say which socket is meant.
    put(HEADER + 48, &[0xff; 8]);
    message
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
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
    fn the_own_user_is_known_at_every_address_of_loopback() {
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
    fn a_peer_that_asks_nothing_more_is_known_and_one_that_left_is_not() {
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
    fn what_is_no_connection_to_us_has_no_owner() {
        let (peers, listener) = (LocalPeers::new(), TcpListener::bind("127.0.0.1:0").unwrap());
        // The kernel finds a listener where there is no connection of these addresses.
        let (other, here) = (TcpListener::bind("127.0.0.1:0").unwrap(), listener.local_addr().unwrap());
        assert_eq!(peers.owner(other.local_addr().unwrap(), here), None);
        assert_eq!(peers.owner(here, here), None);
        assert_eq!(peers.owner("127.0.0.1:1".parse().unwrap(), here), None);
        // Each answer is the one to its own question.
        let (_near, _far, peer, local) = pair(&listener, here);
        assert_eq!(peers.owner(peer, local), Some(peers.own));
        assert_eq!(
            peers.admits("10.0.0.7:80".parse().unwrap(), here),
            Ok(()),
            "who comes from elsewhere is not its concern"
        );
    }

    #[test]
    fn the_own_user_and_root_are_admitted_and_nobody_else() {
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
            // A user without a number in this namespace is anybody.
            (OVERFLOW, false, Some(OVERFLOW), false),
        ] {
            let peers = LocalPeers { own, all_numbered, asking: Mutex::default() };
            let judged = peers.judge(owner);
            assert_eq!(judged.is_ok(), admitted, "{own} {all_numbered} {owner:?}");
            assert!(judged.err().is_none_or(|why| why.contains("--local-users any")));
        }
    }
}
