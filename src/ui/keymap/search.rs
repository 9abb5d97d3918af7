//! Bindings by name: what the command palette offers.

use super::binding::{BROWSE, Binding};
use super::table::TABLE;
use crate::ui::filter::Filter;

/// The things that can be done and have all these words in name or help.
pub(crate) fn matches(typed: &str) -> Vec<&'static Binding> {
    let filter = Filter::new(typed);
    let own = TABLE.iter().filter(|binding| binding.modes & BROWSE != 0 && binding.id != "palette");
    own.filter(|binding| filter.keeps(&[("name", binding.id), ("help", binding.help)])).collect()
}
