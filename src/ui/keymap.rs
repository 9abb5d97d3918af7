//! Key bindings: the one table of bindings, with the keys that the user chose. Dispatch, footer, help and palette all
//! read it, so that they always agree.

pub mod binding;
mod custom;
pub(crate) mod help;
pub(crate) mod keys;
pub(crate) mod search;
pub(crate) mod table;

pub use binding::FooterSlot;
pub use keys::Keymap;
