//! Methods and targets of requests: which are served, and in which form.

use crate::route::DEFAULT_BASE;
use crate::wire::Reason;
use crate::wire::http::HeadError;

/// Known methods that files do not support: those of HTTP itself and of `WebDAV`, which many file managers try.
const OTHER_METHODS: [&str; 15] = [
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
];

/// Splits a request target: the host, if a client uses this node as a proxy, and the path with its query.
pub(in crate::wire::http) fn split_target(whole: &str) -> (Option<&str>, &str) {
    const SCHEME: &str = "http://";
    if whole.starts_with('/') || !whole.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME)) {
        return (None, whole);
    }
    let rest = &whole[SCHEME.len()..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let path = if end == rest.len() { "/" } else { &rest[end..] };
    (Some(&rest[..end]), path)
}

/// Rejects methods that files do not support; the HTTP library checks those of endpoints.
pub(super) fn check_method(method: &str, path: &str) -> Result<(), HeadError> {
    if matches!(method, "GET" | "HEAD") {
        return Ok(());
    }
    let reject = |reason, detail: String| Err(HeadError { reason, detail });
    if !OTHER_METHODS.contains(&method) {
        return reject(Reason::Unsupported, format!("{method} is not a known method"));
    }
    if path.starts_with(DEFAULT_BASE) || path == "*" {
        return reject(Reason::Method, "files and folders are read with GET or HEAD".to_owned());
    }
    Ok(())
}

/// Returns true if the path below the base is a folder: to be listed, which is an endpoint, or sent as a tar stream.
pub(super) fn names_folder(escaped: &str) -> bool {
    escaped.is_empty() || escaped.ends_with('/')
}
