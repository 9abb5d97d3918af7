//! Whom a node may dial, judged on the resolved, canonical socket address that is really dialled.

use std::fmt;
use std::net::SocketAddr;

/// stub
#[derive(Clone, Debug, Default)]
pub struct Policy;

impl Policy {
    /// stub
    pub fn allows(&self, _address: SocketAddr) -> Result<(), String> {
        Ok(())
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("stub")
    }
}
