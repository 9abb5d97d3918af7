//! What limits a transfer: the stage, how sure that is, for how long it has been so.

mod alone;
mod judge;
mod rolling;
mod setup;
mod stage;
mod steady;
mod words;

pub use alone::Alone;
pub use judge::{judge, judge_others};
pub use rolling::Rolling;
pub use setup::judge_set_up;
pub use stage::Stage;
pub use steady::Steady;
