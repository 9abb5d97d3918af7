//! Operating system layer: system calls, sockets, clocks and deadlines, random numbers, load, threads for blocking
//! work.

pub(super) mod caught;
pub mod clock;
pub(crate) mod deadline;
pub(super) mod in_place;
pub(crate) mod kernel;
mod load;
pub(crate) mod machine;
pub mod random;
pub mod socket;
pub(super) mod sockopt;
pub(crate) mod starvation;
pub mod threads;
pub mod version;
