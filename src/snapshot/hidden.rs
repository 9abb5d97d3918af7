//! Names of encrypted transfers, which reports have only for readers whose own connection is encrypted.

use super::{NodeSnapshot, TransferRecord};
use crate::text::SafeText;

impl NodeSnapshot {
    /// Puts in the names of encrypted transfers, for a reader whose connection is encrypted.
    pub fn reveal_names(&mut self) {
        self.connections.iter_mut().for_each(|conn| reveal(&mut conn.name, &mut conn.hidden_name));
    }
}

impl TransferRecord {
    /// Puts in the name of an encrypted transfer, for a reader whose connection is encrypted.
    pub fn reveal_name(&mut self) {
        reveal(&mut self.name, &mut self.hidden_name);
    }
}

fn reveal(name: &mut SafeText, hidden: &mut Option<SafeText>) {
    if let Some(hidden) = hidden.take() {
        *name = hidden;
    }
}
