//! Why a hop refuses a transfer, as far as a program can state what helps.

use serde::{Deserialize, Serialize};

use crate::wire::{Denial, Reason};

/// The refusal of a transfer by a hop, for a reason of access.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The hop that refuses, from 1; one that has another key is refused by this program.
    pub by: usize,
    /// The reason.
    pub reason: Reason,
    /// What the request lacks, if the hop says so.
    pub denial: Option<Denial>,
}
