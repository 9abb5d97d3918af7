//! Who may read a node's pages: loopback peers, and those who hold the read token.

/// stub
#[derive(Clone, Debug, Default)]
pub struct Access;

impl Access {
    /// stub
    pub fn host_allowed(&self, _host: Option<&crate::route::Host>) -> bool {
        true
    }
}
