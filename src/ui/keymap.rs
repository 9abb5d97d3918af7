//! Which key does what: the one table of bindings with the keys a person chose. Dispatch, footer, help and palette all
//! read it, so none of them can promise a key that another does not know.

pub mod binding;
mod custom;
pub(crate) mod help;
mod keys;
pub(crate) mod search;
pub(crate) mod table;

pub use binding::FooterSlot;
pub use keys::Keymap;
