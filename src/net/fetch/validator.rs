//! Strong validators: whether the rest of a file may be appended to its beginning.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::wire::Reply;

/// Least age of a date relative to the reply: dates have whole seconds, and a file can change twice within one (RFC
/// 9110 8.8.2.2 requires one second; the other allows for a clock that a server rounds up).
const SETTLED: Duration = Duration::from_secs(2);

/// A strong validator: equal validators mean equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Validator {
    /// The file's entity tag, quotes included.
    Etag(String),
    /// The modification date, which is old enough to be strong.
    LastModified(String),
}

impl Validator {
    /// Returns the best strong validator of a reply, if any.
    pub(super) fn of(reply: &Reply) -> Option<Self> {
        if let Some(etag) = reply.etag.as_ref().filter(|etag| !etag.starts_with("W/")) {
            return Some(Self::Etag(etag.clone()));
        }
        let modified = reply.last_modified.as_ref()?;
        // Both dates come from the origin's clock, so they are comparable.
        let age = date(reply.date.as_deref()?)?.duration_since(date(modified)?).ok()?;
        (age >= SETTLED).then(|| Self::LastModified(modified.clone()))
    }

    /// Returns the entity tag, if it is one.
    pub(super) fn etag(&self) -> Option<&str> {
        if let Self::Etag(etag) = self { Some(etag) } else { None }
    }

    /// Returns its text, as used in `If-Range`.
    pub(super) fn text(&self) -> &str {
        let (Self::Etag(text) | Self::LastModified(text)) = self;
        text
    }

    /// Returns true if a reply is for the same version of the file.
    pub(super) fn holds(&self, reply: &Reply) -> bool {
        match self {
            Self::Etag(etag) => reply.etag.as_ref() == Some(etag),
            Self::LastModified(modified) => reply.last_modified.as_ref() == Some(modified),
        }
    }

    /// Describes why a reply of the same size does not match.
    pub(super) fn differs(&self, reply: &Reply) -> &'static str {
        match self {
            // Several servers behind one name may do this for an unchanged file.
            Self::Etag(_) if reply.etag.is_some() => "the file's ETag at the origin has changed",
            Self::LastModified(_) if reply.last_modified.is_some() => "the file's date at the origin has changed",
            _ => "the origin does not confirm that the file is unchanged",
        }
    }
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_strong_if_old_enough_and_without_a_strong_etag() {
        let of = |etag: Option<&str>, modified: Option<&str>, date: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            Validator::of(&Reply {
                etag: text(etag),
                last_modified: text(modified),
                date: text(date),
                ..Reply::default()
            })
        };
        let at = |second: u32| format!("Sun, 06 Nov 1994 08:49:{second:02} GMT");
        let modified = Some(Validator::LastModified(at(30)));
        for (etag, last_modified, date, expected) in [
            (Some("\"e\""), Some(at(30)), Some(at(59)), Some(Validator::Etag("\"e\"".to_owned()))),
            (Some("W/\"e\""), Some(at(30)), Some(at(59)), modified.clone()),
            (None, Some(at(30)), Some(at(32)), modified),
            (None, Some(at(30)), Some(at(31)), None),
            (None, Some(at(30)), Some(at(29)), None),
            (None, Some(at(30)), None, None),
            (None, None, Some(at(59)), None),
            (Some("W/\"e\""), Some("soon".to_owned()), Some(at(59)), None),
        ] {
            assert_eq!(of(etag, last_modified.as_deref(), date.as_deref()), expected, "{last_modified:?} {date:?}");
        }
    }

    #[test]
    fn serializes_with_its_kind() {
        let (etag, modified) = (Validator::Etag("\"e\"".to_owned()), Validator::LastModified("then".to_owned()));
        for (validator, text) in [(etag, r#"{"etag":"\"e\""}"#), (modified, r#"{"last-modified":"then"}"#)] {
            assert_eq!(serde_json::to_string(&validator).unwrap(), text);
            assert_eq!(serde_json::from_str::<Validator>(text).unwrap(), validator);
        }
    }
}
