//! Members of a dictionary (RFC 9651), as the fields of signatures are: the strict form that signers write.

/// Most members of a field: a signature for each hop of the longest route, and some of other programs.
const MAX_MEMBERS: usize = 64;

/// Splits a field into its members, each a name and the text of its value; `None` if it is malformed, or a name occurs
/// twice. Values are not parsed, apart from their strings, which may contain commas.
pub(super) fn members(field: &str) -> Option<Vec<(&str, &str)>> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        let end = end_of_item(rest, b',')?;
        let (name, value) = rest[..end].split_once('=')?;
        if !is_name(name) || value.is_empty() || members.iter().any(|(other, _)| *other == name) {
            return None;
        }
        members.push((name, value));
        if members.len() > MAX_MEMBERS {
            return None;
        }
        rest = match rest[end..].strip_prefix(',') {
            // A comma at the end is an error.
            Some(more) => Some(more.trim_start_matches([' ', '\t'])).filter(|more| !more.is_empty())?,
            None => "",
        };
    }
    Some(members)
}

/// Returns the field without the member of this name; `None` if it is malformed.
pub(super) fn without(field: &str, name: &str) -> Option<String> {
    let kept = members(field)?.into_iter().filter(|(other, _)| *other != name);
    let mut field = String::with_capacity(field.len());
    for (name, value) in kept {
        let separator = if field.is_empty() { "" } else { ", " };
        field.extend([separator, name, "=", value]);
    }
    Some(field)
}

/// Returns where the first item ends: before a separator outside of strings, or with the text; `None` if one of its
/// strings does not end.
pub(super) fn end_of_item(text: &str, separator: u8) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            // Nothing that is signed needs an escape.
            b'\\' => return None,
            _ if byte == separator && !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_split_outside_of_strings() {
        assert_eq!(members("a=1"), Some(vec![("a", "1")]));
        assert_eq!(
            members("a=(\"x\");n=\"1,b=2\", b=:QQ==:"),
            Some(vec![("a", "(\"x\");n=\"1,b=2\""), ("b", ":QQ==:")])
        );
        assert_eq!(members(""), Some(vec![]));
        for wrong in
            ["a", "=1", "a=", "a=1,", "a=1,,b=2", "a=1, a=2", "A=1", "1=1", "a=\"x", "a=\"\\\"\"", ",a=1", "a b=1"]
        {
            assert_eq!(members(wrong), None, "{wrong:?}");
        }
        let many = |count: usize| (0..count).map(|at| format!("h{at}=1")).collect::<Vec<_>>().join(", ");
        assert!(members(&many(MAX_MEMBERS)).is_some() && members(&many(MAX_MEMBERS + 1)).is_none());
    }

    #[test]
    fn one_member_is_removed() {
        assert_eq!(without("h2=(\"a\"), h1=(),h0=()", "h1").as_deref(), Some("h2=(\"a\"), h0=()"));
        assert_eq!(without("h0=()", "h0").as_deref(), Some(""));
        assert_eq!(without("h10=()", "h1").as_deref(), Some("h10=()"));
        assert_eq!(without("h1=(),", "h1"), None);
    }

    proptest! {
        #[test]
        fn the_rest_is_a_field_of_the_other_members(field in "([a-c][=:1,\" ]{1,3}){0,6}") {
            if let Some(all) = members(&field) {
                let rest = without(&field, "a").unwrap();
                let expected: Vec<_> = all.into_iter().filter(|(name, _)| *name != "a").collect();
                prop_assert_eq!(members(&rest), Some(expected));
            }
        }
    }
}
