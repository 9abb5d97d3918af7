//! Verdict on a transfer: the stage that limits it, with what confidence and since when.
//!
//! ```
//! use chainview::snapshot::Flow;
//! use chainview::verdict::{Stage, evaluate};
//!
//! // One second each: the client and the relay wait for input, the origin works.
//! let flow = |starved_us| Flow { bytes_in: 1 << 20, starved_us, active_us: 1_000_000, ..Flow::default() };
//! let relay = Stage { number: 1, reports: true, flow: flow(950_000), ..Stage::default() };
//! let origin = Stage { number: 2, reports: true, flow: flow(50_000), ..Stage::default() };
//! let verdict = evaluate(&flow(900_000), &[relay, origin]);
//! assert_eq!(
//!     verdict.to_string(),
//!     "slowest: origin (hop 2), its processor: all hops are starved 95% of the time"
//! );
//! ```

mod awaited;
mod debounce;
mod display;
mod evaluate;
mod local;
mod observed;
mod rolling;
mod setup;
mod stage;

pub use awaited::refine_wait;
pub use debounce::Debounce;
pub use evaluate::{evaluate, evaluate_others};
pub use local::LocalLimit;
pub use observed::Observed;
pub use rolling::Rolling;
pub use setup::evaluate_setup;
pub use stage::Stage;
