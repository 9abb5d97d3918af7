//! What goes over the wire, whichever dialect it is written in: `Request`, `Reply`, `Problem`; no socket, no clock.

mod condition;
mod digest;
pub mod http;
pub mod legacy;
pub mod media;
mod message;
pub mod problem;
mod progress;
mod reason;
mod transfer;

pub use condition::{Outcome, State};
pub use digest::{Algorithm, Digest};
pub use message::{ByteRange, Leg, Method, Reply, Request, add_to_list};
pub use problem::{Action, Problem, Refusal};
pub use progress::Progress;
pub use reason::Reason;
pub use transfer::TransferId;
