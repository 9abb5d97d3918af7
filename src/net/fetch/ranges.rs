//! One file over several connections, each of which receives other bytes of it.

#[cfg_attr(not(test), expect(dead_code, reason = "connections that receive ranges of one file are the next step"))]
pub(super) mod tree;

/// Smallest file that is received in parts: a smaller one takes less than the second in which a step is evaluated.
pub(super) const MIN_SIZE: u64 = 4 << 20;
