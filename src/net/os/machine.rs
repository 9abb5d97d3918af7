//! What nodes and fetches have of the machine they run on, besides files: connections, random numbers, what their files
//! are known by, the load, threads for its disk. Tests hand in another one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::version::Version;
use super::{load, random, socket};
use crate::snapshot::Load;
use crate::wire::TransferId;

/// A machine; the default is the one that this program runs on.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Opens a connection, with kernel buffers of this size where that is fixed.
    pub(in crate::net) connect: fn(SocketAddr, Option<u32>) -> io::Result<OwnedFd>,
    /// Random numbers.
    pub(in crate::net) random: fn() -> [u8; 16],
    /// The strong validator of a file's content.
    pub(in crate::net) etag: fn(&Version) -> String,
    /// The load up to now.
    pub(in crate::net) load: fn() -> Option<Load>,
    /// Its clock goes on while this program does not run.
    pub(in crate::net) is_timed: bool,
    /// The runtime whose threads wait for the disk.
    pub(in crate::net) disks: fn() -> Handle,
    /// Called where the disk was given something to do, which is over once this says so: a machine whose clock stands
    /// still while nothing moves waits for it.
    pub(in crate::net) settle: fn(&dyn Fn() -> bool),
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            connect: socket::open,
            random: random::random,
            etag: Version::etag,
            load: load::load,
            is_timed: true,
            disks: Handle::current,
            settle: |_| {},
        }
    }
}

impl Machine {
    /// A new transfer id.
    pub fn transfer_id(&self) -> TransferId {
        TransferId(u128::from_le_bytes((self.random)()))
    }

    /// Runs work that waits for the disk on a thread of its own.
    pub(in crate::net) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        (self.disks)().spawn_blocking(work)
    }
}
