//! Conditional requests (RFC 9110, 13): whether a file is wanted in the state it is in.

use std::iter;
use std::time::SystemTime;

use super::{Method, Request};

/// What a file's state is known by; the file itself is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileValidators<'a> {
    /// The entity tag, quotes included.
    pub etag: Option<&'a str>,
    /// When it was last changed, in whole seconds as HTTP writes it.
    pub modified: Option<SystemTime>,
    /// That second is over for long enough that the date names one state only (8.8.2.2).
    pub settled: bool,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionResult {
    /// The file is wanted as a whole.
    Whole,
    /// The range that was asked for is wanted.
    Part,
    /// The asker has this state already: 304.
    NotModified,
    /// The file is not in the state that the request is about: 412.
    Failed,
}

impl Request {
    /// True if nothing may be wanted, which is then said by 304.
    pub fn takes_not_modified(&self) -> bool {
        self.if_none_match.is_some() || self.if_modified_since.is_some()
    }

    /// Judges the conditions in the order of 13.2.2.
    pub fn outcome(&self, state: &FileValidators<'_>) -> ConditionResult {
        let holds = match (&self.if_match, &self.if_unmodified_since) {
            (Some(list), _) => any(list, state.etag, strong),
            // A date that is none, or a file without one, makes no condition.
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

/// True if a list names this entity tag, or any file (`*`).
fn any(list: &str, etag: Option<&str>, equal: fn(&str, &str) -> bool) -> bool {
    list.trim() == "*" || etag.is_some_and(|etag| tags(list).any(|one| equal(one, etag)))
}

/// The entity tags of a list; one may hold commas between its quotes.
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

/// Both are the same and neither is weak (8.8.3.2).
fn strong(one: &str, other: &str) -> bool {
    one == other && !one.starts_with("W/")
}

/// Both are the same, weak or not.
fn weak(one: &str, other: &str) -> bool {
    let opaque = |tag| str::strip_prefix(tag, "W/").unwrap_or(tag);
    opaque(one) == opaque(other)
}

/// The file was changed after a date; `None` where either is no date.
fn later(modified: Option<SystemTime>, date: &str) -> Option<bool> {
    Some(modified? > httpdate::parse_http_date(date).ok()?)
}

/// The validator of an `If-Range` names this very state: parts of it may be put together.
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
    fn each_condition_means_what_the_rfc_says() {
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
            assert_eq!(request(conditions).outcome(&state()), outcome, "{conditions:?}");
        }
    }

    #[test]
    fn what_comes_first_decides() {
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
            assert_eq!(request(conditions).outcome(&state()), outcome, "{conditions:?}");
        }
    }

    #[test]
    fn what_is_not_known_makes_no_match() {
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
            assert_eq!(request(conditions).outcome(&unknown), outcome, "{conditions:?}");
        }
        let fresh = FileValidators { settled: false, ..state() };
        assert_eq!(request(&[('r', AT)]).outcome(&fresh), Whole, "that second may see another state yet");
        assert_eq!(request(&[('s', AT)]).outcome(&fresh), NotModified);
    }

    #[test]
    fn a_head_has_no_part() {
        let head = Request { method: Method::Head, ..request(&[('r', ETAG)]) };
        assert_eq!(head.outcome(&state()), Whole);
        let plain = Request { if_range: None, ..request(&[('r', ETAG)]) };
        assert_eq!(plain.outcome(&state()), Part);
        assert_eq!(Request { range: None, ..request(&[('r', ETAG)]) }.outcome(&state()), Whole);
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
            prop_assert_eq!(request(&[('n', &list)]).outcome(&state), NotModified);
            prop_assert_eq!(request(&[('m', &list)]).outcome(&state), Whole);
            let other = FileValidators { etag: Some("\"another\""), ..FileValidators::default() };
            prop_assert_eq!(request(&[('n', &list)]).outcome(&other), Whole);
            prop_assert_eq!(request(&[('m', &list)]).outcome(&other), Failed);
        }

        #[test]
        fn any_lines_have_an_outcome_and_no_range_comes_without_its_validator(
            lines in prop::array::uniform5(prop::option::of("[\"W/,*a ]{0,9}|[A-Z][a-z]{2}, 06 Nov 199[0-9] 08:49:37 GMT")),
            after in 0u64..9,
        ) {
            let kinds = ['m', 'n', 's', 'u', 'r'];
            let lines: Vec<(char, &str)> =
                kinds.into_iter().zip(&lines).filter_map(|(kind, line)| Some((kind, line.as_deref()?))).collect();
            let modified = httpdate::parse_http_date(AT).ok().map(|date| date + Duration::from_hours(after * 8766));
            let outcome = request(&lines).outcome(&FileValidators { modified, ..state() });
            if outcome == Part {
                let date = modified.map(httpdate::fmt_http_date);
                let validator = lines.iter().find(|(kind, _)| *kind == 'r').map(|(_, line)| *line);
                prop_assert!(validator == Some(ETAG) || validator == date.as_deref(), "{:?}", validator);
            }
        }
    }
}
