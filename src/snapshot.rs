//! Snapshots for screens, JSON and metrics: plain data, copied, never shared.

mod body_error;
mod bounded;
mod chain;
mod connections;
mod folder;
mod hidden;
mod listing;
mod log_events;
mod node;
mod protocol;
mod refused;
mod same_id;
pub mod timing;
mod totals;
mod tour;
mod transfer;
pub mod verdict;

pub use body_error::BodyError;
pub use chain::{ChainSnapshot, DownReason, HopLink, HopSnapshot, Level, LogLine, RATE_SAMPLES};
pub use connections::{
    ConnectionProgress, ConnectionState, ConnectionsProgress, ConnectionsStep, MAX_LISTED, MAX_RANGES, MAX_STEPS,
    ReceivedRange, RouteProgress, RouteState,
};
pub use folder::{FileOutcome, FileResult, FolderProgress, MAX_RECENT};
pub use listing::{Listing, ListingEntry, MAX_ENTRIES};
pub use node::{
    ConnRole, ConnSnapshot, ConnState, HopRecord, Load, MAX_CONNECTIONS, NodeSnapshot, TUNNEL, TcpSnapshot, Timestamps,
    TransferRecord,
};
pub use refused::Refused;
pub use totals::{Flow, Totals, UpstreamTotals};
pub use tour::{ActCaption, ActOutcome, NamedCause, TourSnapshot};
pub use transfer::{Awaited, Integrity, Phase, Retry, Stall, TransferSnapshot, Wait};
