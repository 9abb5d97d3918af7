//! Conditional requests (RFC 9110, 13).

use std::iter;
use std::time::SystemTime;

use super::{Method, Request};

/// Validators of an existing file.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileValidators<'a> {
    /// The entity tag, quotes included.
    pub etag: Option<&'a str>,
    /// Modification time, in whole seconds as HTTP writes it.
    pub modified: Option<SystemTime>,
    /// That second is far enough in the past for the date to be a strong validator (8.8.2.2).
    pub settled: bool,
}

/// Result of evaluating the conditions of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionResult {
    /// Send the whole file.
    Whole,
    /// Send the requested range.
    Part,
    /// The client has this version already: 304.
    NotModified,
    /// A precondition failed: 412.
    Failed,
}

impl Request {
    /// Returns true if 304 is a possible reply.
    pub fn accepts_not_modified(&self) -> bool {
        self.if_none_match.is_some() || self.if_modified_since.is_some()
    }

    /// Evaluates the conditions in the order of 13.2.2.
    pub fn evaluate_conditions(&self, state: &FileValidators<'_>) -> ConditionResult {
        let holds = match (&self.if_match, &self.if_unmodified_since) {
            (Some(list), _) => any(list, state.etag, strong),
            // An invalid date, or a file without one, makes no condition.
            (None, Some(date)) => !later(state.modified, date).unwrap_or(false),
            (None, None) => true,
        };
        if !holds {
            return ConditionResult::Failed;
        }
        let wanted = match (&self.if_none_match, &self.if_modified_since) {
            (Some(list), _) => !any(list, state.etag, weak),
            (None, Some(date)) => later(state.modified, date).unwrap_or(true),
            (None, None) => true,
        };
        if !wanted {
            return ConditionResult::NotModified;
        }
        let part = self.method == Method::Get && self.range.is_some();
        match &self.if_range {
            _ if !part => ConditionResult::Whole,
            Some(validator) if !same(validator, state) => ConditionResult::Whole,
            _ => ConditionResult::Part,
        }
    }
}

/// Returns true if a list contains this entity tag, or `*`.
fn any(list: &str, etag: Option<&str>, equal: fn(&str, &str) -> bool) -> bool {
    list.trim() == "*" || etag.is_some_and(|etag| tags(list).any(|one| equal(one, etag)))
}

/// Returns the entity tags of a list; a quoted tag may contain commas.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let opaque = rest.strip_prefix("W/").unwrap_or(rest);
        let quoted = opaque.strip_prefix('"').and_then(|inner| inner.find('"')).map(|end| end + 2);
        let end = quoted.or_else(|| opaque.find(',')).unwrap_or(opaque.len()) + rest.len() - opaque.len();
        let tag = rest[..end].trim_end();
        rest = &rest[end..];
        (!tag.is_empty()).then_some(tag)
    })
}

/// Strong comparison: equal, and neither is weak (8.8.3.2).
fn strong(one: &str, other: &str) -> bool {
    one == other && !one.starts_with("W/")
}

/// Weak comparison.
fn weak(one: &str, other: &str) -> bool {
    let opaque = |tag| str::strip_prefix(tag, "W/").unwrap_or(tag);
    opaque(one) == opaque(other)
}

/// Returns whether the file was changed after a date; `None` if either date is missing or invalid.
fn later(modified: Option<SystemTime>, date: &str) -> Option<bool> {
    Some(modified? > httpdate::parse_http_date(date).ok()?)
}

/// Returns whether the validator of an `If-Range` matches strongly, so that ranges may be combined.
fn same(validator: &str, state: &FileValidators<'_>) -> bool {
    if validator.starts_with('"') || validator.starts_with("W/") {
        return state.etag.is_some_and(|etag| strong(validator, etag));
    }
    let date = httpdate::parse_http_date(validator).ok();
    state.settled && date.is_some() && date == state.modified
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::ConditionResult::{Failed, NotModified, Part, Whole};
    use super::*;
    use crate::route::FileName;
    use crate::wire::ByteRange;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AT_RFC_850: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
    const AT_ASCTIME: &str = "Sun Nov  6 08:49:37 1994";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const ETAG: &str = "\"a,b\"";

    fn state() -> FileValidators<'static> {
        FileValidators { etag: Some(ETAG), modified: httpdate::parse_http_date(AT).ok(), settled: true }
    }

    /// A request with conditions: `m` is `If-Match`, `n` `If-None-Match`, `s` `If-Modified-Since`, `u`
    /// `If-Unmodified-Since`, `r` `If-Range` with a range.
    fn request(conditions: &[(char, &str)]) -> Request {
        let mut request = Request::new(Method::Get, FileName::new(b"f").unwrap());
        for (kind, value) in conditions {
            let value = Some((*value).to_owned());
            match kind {
                'm' => request.if_match = value,
                'n' => request.if_none_match = value,
                's' => request.if_modified_since = value,
                'u' => request.if_unmodified_since = value,
                _ => (request.range, request.if_range) = (Some(ByteRange::From(1)), value),
            }
        }
        request
    }

    #[test]
    fn each_condition_follows_the_rfc() {
        for (conditions, outcome) in [
            (&[][..], Whole),
            (&[('m', ETAG)], Whole),
            (&[('m', "*")], Whole),
            (&[('m', "\"x\", \"a,b\"")], Whole),
            (&[('m', "\"a\",\"b\"")], Failed),
            (&[('m', "a,b")], Failed),
            (&[('m', "W/\"a,b\"")], Failed),
            (&[('m', "")], Failed),
            (&[('u', AT)], Whole),
            (&[('u', AFTER)], Whole),
            (&[('u', BEFORE)], Failed),
            (&[('u', "soon")], Whole),
            (&[('n', ETAG)], NotModified),
            (&[('n', "W/\"a,b\"")], NotModified),
            (&[('n', "\"x\" ,, W/\"a,b\"")], NotModified),
            (&[('n', "*")], NotModified),
            (&[('n', "\"x\"")], Whole),
            (&[('n', "")], Whole),
            (&[('s', AT)], NotModified),
            (&[('s', AT_RFC_850)], NotModified),
            (&[('s', AT_ASCTIME)], NotModified),
            (&[('s', AFTER)], NotModified),
            (&[('s', BEFORE)], Whole),
            (&[('s', "yesterday")], Whole),
            (&[('r', ETAG)], Part),
            (&[('r', "W/\"a,b\"")], Whole),
            (&[('r', "\"x\"")], Whole),
            (&[('r', AT)], Part),
            (&[('r', AFTER)], Whole),
            (&[('r', BEFORE)], Whole),
            (&[('r', "a,b")], Whole),
        ] {
            assert_eq!(request(conditions).evaluate_conditions(&state()), outcome, "{conditions:?}");
        }
    }

    #[test]
    fn conditions_have_the_precedence_of_the_rfc() {
        for (conditions, outcome) in [
            // The tags win over the dates beside them.
            (&[('m', ETAG), ('u', BEFORE)][..], Whole),
            (&[('m', "\"x\""), ('u', AFTER)], Failed),
            (&[('n', "\"x\""), ('s', AFTER)], Whole),
            (&[('n', ETAG), ('s', BEFORE)], NotModified),
            // 412 before 304 before a range.
            (&[('m', "\"x\""), ('n', ETAG)], Failed),
            (&[('m', ETAG), ('n', ETAG)], NotModified),
            (&[('u', BEFORE), ('s', AT)], Failed),
            (&[('n', ETAG), ('r', ETAG)], NotModified),
            (&[('m', ETAG), ('n', "\"x\""), ('r', ETAG)], Part),
        ] {
            assert_eq!(request(conditions).evaluate_conditions(&state()), outcome, "{conditions:?}");
        }
    }

    #[test]
    fn missing_validators_do_not_match() {
        let unknown = FileValidators::default();
        for (conditions, outcome) in [
            (&[('m', ETAG)][..], Failed),
            (&[('m', "*")], Whole),
            (&[('u', BEFORE)], Whole),
            (&[('n', ETAG)], Whole),
            (&[('n', "*")], NotModified),
            (&[('s', AFTER)], Whole),
            (&[('r', ETAG)], Whole),
            (&[('r', AT)], Whole),
        ] {
            assert_eq!(request(conditions).evaluate_conditions(&unknown), outcome, "{conditions:?}");
        }
        let fresh = FileValidators { settled: false, ..state() };
        assert_eq!(
            request(&[('r', AT)]).evaluate_conditions(&fresh),
            Whole,
            "the file may change again within that second"
        );
        assert_eq!(request(&[('s', AT)]).evaluate_conditions(&fresh), NotModified);
    }

    #[test]
    fn head_requests_have_no_range() {
        let head = Request { method: Method::Head, ..request(&[('r', ETAG)]) };
        assert_eq!(head.evaluate_conditions(&state()), Whole);
        let plain = Request { if_range: None, ..request(&[('r', ETAG)]) };
        assert_eq!(plain.evaluate_conditions(&state()), Part);
        assert_eq!(Request { range: None, ..request(&[('r', ETAG)]) }.evaluate_conditions(&state()), Whole);
    }

    proptest! {
        #[test]
        fn a_tag_is_found_among_any_others(
            others in prop::collection::vec("(W/)?\"[!#-~]{0,5}\"", 0..5), at in 0usize..5, blanks in "[ ,\t]{0,3}",
        ) {
            let mut list = others.clone();
            list.insert(at.min(others.len()), "\"this one, here\"".to_owned());
            let list = list.join(&format!(",{blanks}"));
            let state = FileValidators { etag: Some("\"this one, here\""), ..FileValidators::default() };
            prop_assert_eq!(request(&[('n', &list)]).evaluate_conditions(&state), NotModified);
            prop_assert_eq!(request(&[('m', &list)]).evaluate_conditions(&state), Whole);
            let other = FileValidators { etag: Some("\"another\""), ..FileValidators::default() };
            prop_assert_eq!(request(&[('n', &list)]).evaluate_conditions(&other), Whole);
            prop_assert_eq!(request(&[('m', &list)]).evaluate_conditions(&other), Failed);
        }

        #[test]
        fn any_fields_have_a_result_and_a_range_needs_its_validator(
            lines in prop::array::uniform5(prop::option::of(
                "[\"W/,*a ]{0,9}|[A-Z][a-z]{2}, 06 Nov 199[0-9] 08:49:37 GMT"
            )),
            after in 0u64..9,
        ) {
            let kinds = ['m', 'n', 's', 'u', 'r'];
            let lines: Vec<(char, &str)> =
                kinds.into_iter().zip(&lines).filter_map(|(kind, line)| Some((kind, line.as_deref()?))).collect();
            let modified = httpdate::parse_http_date(AT).ok().map(|date| date + Duration::from_hours(after * 8766));
            let outcome = request(&lines).evaluate_conditions(&FileValidators { modified, ..state() });
            if outcome == Part {
                let date = modified.map(httpdate::fmt_http_date);
                let validator = lines.iter().find(|(kind, _)| *kind == 'r').map(|(_, line)| *line);
                prop_assert!(validator == Some(ETAG) || validator == date.as_deref(), "{:?}", validator);
            }
        }
    }
}
