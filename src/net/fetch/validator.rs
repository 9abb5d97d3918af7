//! What tells one state of a file from another, strongly enough to put the rest of it behind its beginning.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::wire::Reply;

/// How much older than the reply a date has to be: it has whole seconds, so that a file can change twice within the one
/// that it names (RFC 9110 8.8.2.2 asks for one second; the other is for a clock that a server rounds up).
const SETTLED: Duration = Duration::from_secs(2);

/// A strong validator: the same one means the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Validator {
    /// The file's entity tag, quotes included.
    Etag(String),
    /// The date of its last change, which had been over for some time.
    LastModified(String),
}

impl Validator {
    /// The best that a reply gives; `None` where nothing in it can be trusted.
    pub(super) fn of(reply: &Reply) -> Option<Self> {
        if let Some(etag) = reply.etag.as_ref().filter(|etag| !etag.starts_with("W/")) {
            return Some(Self::Etag(etag.clone()));
        }
        let modified = reply.last_modified.as_ref()?;
        // Both by the origin's clock, which alone can tell them apart.
        let age = date(reply.date.as_deref()?)?.duration_since(date(modified)?).ok()?;
        (age >= SETTLED).then(|| Self::LastModified(modified.clone()))
    }

    /// Its text, as `If-Range` takes it.
    pub(super) fn text(&self) -> &str {
        let (Self::Etag(text) | Self::LastModified(text)) = self;
        text
    }

    /// True if a reply is of the same state of the file.
    pub(super) fn holds(&self, reply: &Reply) -> bool {
        match self {
            Self::Etag(etag) => reply.etag.as_ref() == Some(etag),
            Self::LastModified(modified) => reply.last_modified.as_ref() == Some(modified),
        }
    }

    /// What a reply of the same size says that it does not hold for.
    pub(super) fn differs(&self, reply: &Reply) -> &'static str {
        match self {
            // Several servers behind one name may do that to a file that is still the same.
            Self::Etag(_) if reply.etag.is_some() => "the file at the origin has another ETag by now",
            Self::LastModified(_) if reply.last_modified.is_some() => "the file at the origin has another date by now",
            _ => "its origin does not say whether it is the same still",
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
    fn a_date_counts_where_it_is_older_than_the_reply_and_there_is_no_strong_etag() {
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
    fn it_is_written_down_with_its_kind() {
        let (etag, modified) = (Validator::Etag("\"e\"".to_owned()), Validator::LastModified("then".to_owned()));
        for (validator, text) in [(etag, r#"{"etag":"\"e\""}"#), (modified, r#"{"last-modified":"then"}"#)] {
            assert_eq!(serde_json::to_string(&validator).unwrap(), text);
            assert_eq!(serde_json::from_str::<Validator>(text).unwrap(), validator);
        }
    }
}
