//! Comparison of abbreviated transfer ids.

/// Compares two ids by the length of the shorter: nodes abbreviate the ids that they report.
pub(super) fn is_same_id(a: &str, b: &str) -> bool {
    !a.is_empty() && !b.is_empty() && (a.starts_with(b) || b.starts_with(a))
}
