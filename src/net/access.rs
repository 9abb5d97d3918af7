//! Who may read a node's pages: loopback peers, and those who hold the read token.

/// stub
#[derive(Clone, Debug, Default)]
pub struct Access;
