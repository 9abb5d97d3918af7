//! Search of bindings by name, for the command palette.

use super::binding::{BROWSE, Binding};
use super::table::TABLE;
use crate::ui::filter::Filter;

/// Returns the bindings whose name or help matches all these words.
pub(crate) fn matches(typed: &str) -> Vec<&'static Binding> {
    let filter = Filter::new(typed);
    let own = TABLE.iter().filter(|binding| binding.modes & BROWSE != 0 && binding.id != "palette");
    own.filter(|binding| filter.keeps(&[("name", binding.id), ("help", binding.help)])).collect()
}
