//! Modes without a screen: nodes, fetches and checks, with progress bars, new keys and the summary of an audit.

mod audit_summary;
mod certificate;
mod check;
mod fetch;
mod folder;
mod new_key;
mod node;
mod observe;
mod plain;
mod progress;
mod routes;
mod runtime;

pub use audit_summary::audit_summary;
pub use check::check;
use fetch::FinishedFetch;
pub use fetch::fetch;
pub use new_key::new_key;
pub use node::nodes;
use observe::{Observation, VerdictSource};
pub use plain::plain;
use progress::ProgressDisplay;
use runtime::{on_one_thread, on_threads, reported};
