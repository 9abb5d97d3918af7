//! The machine that nodes and fetches run on, as a value that tests replace: connections, random numbers, file
//! validators, load, threads for its disk.

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
    /// Opens a connection, with kernel buffers of this size if given.
    pub(in crate::net) connect: fn(SocketAddr, Option<u32>) -> io::Result<OwnedFd>,
    /// Random numbers.
    pub(in crate::net) random: fn() -> [u8; 16],
    /// Returns the strong validator of a file's content.
    pub(in crate::net) etag: fn(&Version) -> String,
    /// Returns the load up to now.
    pub(in crate::net) load: fn() -> Option<Load>,
    /// Whether its clock continues while this program does not run.
    pub(in crate::net) is_timed: bool,
    /// Returns the runtime whose threads block on the disk.
    pub(in crate::net) disks: fn() -> Handle,
    /// Called after work was passed to the disk, with a check for its completion: a simulated clock must wait for it.
    pub(in crate::net) settle: fn(&dyn Fn() -> bool),
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            connect: socket::open,
            random: random::random_id,
            etag: Version::etag,
            load: load::load,
            is_timed: true,
            disks: Handle::current,
            settle: |_| {},
        }
    }
}

impl Machine {
    /// Returns a new transfer id.
    pub fn transfer_id(&self) -> TransferId {
        TransferId(u128::from_le_bytes((self.random)()))
    }

    /// Runs work that blocks on the disk on a thread of its own.
    pub(in crate::net) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        (self.disks)().spawn_blocking(work)
    }
}
