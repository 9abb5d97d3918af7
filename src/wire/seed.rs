//! The seed wire.
