//! Parsing of single header field values.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use super::HeadError;
use crate::route::{FileName, Hop, Host, HostPort, MAX_HOPS};
use crate::wire::Reason;
use crate::wire::{Algorithm, ByteRange, Digest, Leg};

/// Bytes of a file name that are escaped in a URL path: all but unreserved characters and `/`.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'!')
    .add(b'"')
    .add(b'#')
    .add(b'$')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'(')
    .add(b')')
    .add(b'*')
    .add(b'+')
    .add(b',')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Returns a header name in lower case; empty if it is longer than any known name.
pub(super) fn lower<'a>(name: &str, space: &'a mut [u8; 32]) -> &'a [u8] {
    let lower = space.get_mut(..name.len()).unwrap_or_default();
    lower.copy_from_slice(&name.as_bytes()[..lower.len()]);
    lower.make_ascii_lowercase();
    lower
}

/// Returns a header value as text, if it is visible ASCII, spaces and tabs, so that it can be forwarded unchanged.
///
/// The HTTP parser has already rejected other control characters.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.trim_ascii()).ok().filter(|text| text.is_ascii())
}

/// Header values of one head as text. Most heads are ASCII throughout; checking that once is faster than per value.
pub(super) struct HeaderValues<'a> {
    head: &'a [u8],
    plain: Option<&'a str>,
}

impl<'a> HeaderValues<'a> {
    pub(super) fn of(head: &'a [u8]) -> Self {
        Self { head, plain: std::str::from_utf8(head).ok().filter(|text| text.is_ascii()) }
    }

    /// Same as [`text`], for a value that is a slice of this head.
    pub(super) fn text(&self, value: &'a [u8]) -> Option<&'a str> {
        // An empty value may point anywhere.
        let Some(plain) = self.plain.filter(|_| !value.is_empty()) else { return text(value) };
        let at = value.as_ptr().addr().checked_sub(self.head.as_ptr().addr())?;
        plain.get(at..at + value.len()).map(str::trim_ascii)
    }
}

/// Parses an unsigned decimal integer.
pub(crate) fn number(value: &str) -> Option<u64> {
    digits(value.as_bytes())
}

/// Begins the value of `Authorization` with a token.
pub(super) const BEARER: &str = "Bearer ";

/// Returns the token in the value of an `Authorization` field.
pub(crate) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim_ascii())
}

/// Parses the timeout of a `Keep-Alive` field.
pub(super) fn keep_alive_timeout(value: &str) -> Option<Duration> {
    value.split(',').find_map(|part| {
        let (name, seconds) = part.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("timeout") { number(seconds).map(Duration::from_secs) } else { None }
    })
}

/// Parses the file name of a URL path, without its base: the name, and its escaped form if that differs from what
/// [`encode_name`] would write.
pub(super) fn read_name(escaped: &str) -> Result<(FileName, Option<Box<str>>), HeadError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
    if escaped.bytes().all(plain) {
        let name = FileName::new(escaped.as_bytes()).map_err(|error| HeadError::malformed(error.to_string()))?;
        return Ok((name, None));
    }
    let name = decode_name(escaped)?;
    Ok((name, Some(as_written(escaped))))
}

/// Escapes bytes outside ASCII, which some clients send unescaped, so that a part of a URL can be forwarded.
pub(super) fn as_written(part: &str) -> Box<str> {
    percent_encode(part.as_bytes(), &AsciiSet::EMPTY).to_string().into()
}

/// Unescapes a path without its base, exactly once, and validates the name.
pub(crate) fn decode_name(escaped: &str) -> Result<FileName, HeadError> {
    let bytes = escaped.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(HeadError::malformed("the path contains an invalid percent escape"));
        }
    }
    let name = Cow::from(percent_decode(bytes));
    FileName::new(&name).map_err(|error| HeadError::malformed(error.to_string()))
}

/// Escapes a name for a URL path.
pub(crate) fn encode_name(name: &FileName) -> impl Iterator<Item = &str> + Display {
    percent_encode(name.as_bytes(), ESCAPED)
}

/// Appends a line to a list, which is copied only if it spans several lines.
pub(super) fn join<'a>(list: &mut Option<Cow<'a, str>>, entry: &'a str) {
    match list {
        None => *list = Some(Cow::Borrowed(entry)),
        Some(list) => {
            let list = list.to_mut();
            list.push_str(", ");
            list.push_str(entry);
        }
    }
}

/// Parses a `Host` value; the default port is 80.
pub(crate) fn host(value: &str) -> Result<HostPort, String> {
    value.parse::<HostPort>().or_else(|error| {
        let portless = value.parse::<Host>().map_err(|_| error)?;
        Ok(HostPort { host: portless, port: 80 })
    })
}

/// Parses a `Chain-Route`; the value may be empty, its elements may not.
pub(crate) fn route(value: &str) -> Result<Vec<Hop>, HeadError> {
    if value.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let count = value.bytes().filter(|byte| *byte == b',').count() + 1;
    if count > MAX_HOPS {
        let detail = format!("the route has {count} remaining hops, more than {MAX_HOPS}");
        return Err(HeadError { reason: Reason::Loop, detail });
    }
    let mut hops = Vec::with_capacity(count);
    let mut to_come = Some(value);
    while let Some(elements) = to_come {
        // Most elements are a plain address, whose parser finds its end; no need to search for the comma first.
        if let Some((address, others)) = HostPort::read_plain(elements.trim_ascii_start())
            && (others.is_empty() || others.starts_with(','))
        {
            hops.push(Hop::new(address));
            to_come = others.get(1..);
            continue;
        }
        let (element, others) =
            elements.split_once(',').map_or((elements, None), |(element, others)| (element, Some(others)));
        let hop = Hop::parse_element(element.trim_ascii());
        hops.push(hop.map_err(|e| HeadError::malformed(format!("Chain-Route: {e}")))?);
        to_come = others;
    }
    Ok(hops)
}

/// Parses a `Range` with one byte range; anything else is ignored, as HTTP allows.
pub(super) fn range(value: &str) -> Option<ByteRange> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    match (number(first.trim()), number(last.trim())) {
        (Some(first), Some(last)) if first <= last => Some(ByteRange::Between(first, last)),
        (Some(first), None) if last.trim().is_empty() => Some(ByteRange::From(first)),
        (None, Some(count)) if first.trim().is_empty() => Some(ByteRange::Last(count)),
        _ => None,
    }
}

/// Parses a `Content-Range` with a known size: first, last, size.
pub(super) fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    let (span, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let (first, last, size) = (number(first)?, number(last)?, number(size)?);
    (first <= last && last < size).then_some((first, last, size))
}

/// Returns the supported algorithm that a `Want-Repr-Digest` prefers.
pub(super) fn want_digest(value: &str) -> Option<Algorithm> {
    value
        .split(',')
        .filter_map(|member| {
            let (key, weight) = member.trim().split_once('=')?;
            let weight = number(weight.trim()).filter(|weight| (1..=10).contains(weight))?;
            Some((weight, key.trim().parse::<Algorithm>().ok()?))
        })
        .max_by_key(|(weight, _)| *weight)
        .map(|(_, algorithm)| algorithm)
}

/// Returns the supported digests of a `Repr-Digest`, a dictionary of byte sequences: `blake3=:…:`.
pub(super) fn digests(value: &str) -> Vec<Digest> {
    value
        .split(',')
        .filter_map(|member| {
            let (key, coded) = member.trim().split_once('=')?;
            let coded = coded.strip_prefix(':')?.split_once(':')?.0;
            let value: [u8; 32] = STANDARD.decode(coded).ok()?.try_into().ok()?;
            Some(Digest { algorithm: key.parse().ok()?, value })
        })
        .collect()
}

/// Returns the legs of a `Server-Timing`: each chainview relay writes `resolve`, `connect` and `wait`, in this order;
/// other entries are foreign.
pub(super) fn legs(value: &str) -> Vec<Leg> {
    let mut legs = Vec::new();
    let (mut leg, mut known) = (Leg::default(), 0);
    for entry in value.as_bytes().split(|b| *b == b',') {
        let duration = |name: &[u8]| entry.trim_ascii().strip_prefix(name).and_then(milliseconds);
        if let Some(ms) = duration(b"resolve;dur=") {
            leg.resolve_ms = ms;
            known = 1;
        } else if let Some(ms) = duration(b"connect;dur=").filter(|_| known == 1) {
            leg.connect_ms = ms;
            known = 2;
        } else if let Some(ms) = duration(b"wait;dur=").filter(|_| known == 2 && legs.len() < MAX_HOPS) {
            legs.push(Leg { wait_ms: ms, ..leg });
            known = 0;
        } else {
            known = 0;
        }
    }
    legs
}

/// Parses a duration as chainview nodes write it: milliseconds with three decimals.
fn milliseconds(text: &[u8]) -> Option<f64> {
    let (whole, decimals) = text.split_at_checked(text.len().checked_sub(4)?)?;
    let us = digits(whole)?.checked_mul(1000)?.checked_add(digits(decimals.strip_prefix(b".")?)?)?;
    Some(us as f64 / 1000.0)
}

/// Parses a number that consists of digits only.
fn digits(text: &[u8]) -> Option<u64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let value = text.iter().try_fold(0u64, |value, byte| value.checked_mul(10)?.checked_add(digit(*byte)?));
    value.filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped_exactly_once() {
        assert_eq!(decode_name("a%2520b/c%2Fd").unwrap().as_bytes(), b"a%20b/c/d");
        assert!(decode_name("a%0Ab").is_err() && decode_name("a%2").is_err() && decode_name("a%zz").is_err());
        assert!(decode_name("").is_err() && decode_name("%00").is_err());
        let name = FileName::new(b"100% \xff?#.txt").unwrap();
        assert_eq!(decode_name(&encode_name(&name).to_string()).unwrap(), name);
    }

    #[test]
    fn values_are_the_same_in_ascii_and_other_heads() {
        let plain = b"a: one \t\r\nb:\t\r\n\r\n";
        let mixed = b"a: one \t\r\nb:\t\r\nc: t\xc3\xa9\r\n\r\n";
        for head in [&plain[..], mixed] {
            let values = HeaderValues::of(head);
            for value in [&head[3..8], &head[3..6], &head[2..6]] {
                assert_eq!((values.text(value), text(value)), (Some("one"), Some("one")));
            }
            for empty in [&head[12..13], &head[12..12], b""] {
                assert_eq!((values.text(empty), text(empty)), (Some(""), Some("")));
            }
        }
        assert_eq!(HeaderValues::of(mixed).text(&mixed[18..21]), None);
    }

    #[test]
    fn route_length_is_limited() {
        let elements = |count| vec!["h:1"; count].join(", ");
        assert_eq!([route(""), route(" ")], [Ok(vec![]), Ok(vec![])]);
        for count in [1, 2, MAX_HOPS] {
            assert_eq!(route(&elements(count)).map(|hops| hops.len()), Ok(count));
        }
        assert_eq!(route(&elements(MAX_HOPS + 1)).unwrap_err().reason, Reason::Loop);
    }

    #[test]
    fn route_elements_may_be_mixed() {
        let read = |value| route(value).map(|hops| hops.iter().map(Hop::element).collect::<Vec<_>>().join(" "));
        for (value, elements) in [
            ("1.2.3.4:5,6.7.8.9:1", "1.2.3.4:5 6.7.8.9:1"),
            (" 1.2.3.4:5 ,\tb:1 , 9.9.9.9:9 ", "1.2.3.4:5 b:1 9.9.9.9:9"),
            ("1.2.3.4:5;protocol=legacy, 1.2.3.4:6", "1.2.3.4:5;protocol=legacy 1.2.3.4:6"),
            ("[::1]:1, 1.2.3.4:5;base=/x/", "[::1]:1 1.2.3.4:5;base=/x/"),
        ] {
            assert_eq!(read(value).as_deref(), Ok(elements), "{value:?}");
        }
        for wrong in
            ["1.2.3.4:5,", ",1.2.3.4:5", "1.2.3.4:5,,b:1", "1.2.3.4:5 b:1", "1.2.3.4:5;", "1.2.3.4:0", "1.2.3.4"]
        {
            assert_eq!(route(wrong).unwrap_err().reason, Reason::Malformed, "{wrong:?}");
        }
    }

    #[test]
    fn ranges_are_parsed_or_ignored() {
        assert_eq!(range("bytes=5-"), Some(ByteRange::From(5)));
        assert_eq!(range("bytes=5-9"), Some(ByteRange::Between(5, 9)));
        assert_eq!(range("bytes=-9"), Some(ByteRange::Last(9)));
        for ignored in ["bytes=9-5", "bytes=1-2,4-5", "lines=1-2", "bytes=", "bytes=-", "bytes=+1-2"] {
            assert_eq!(range(ignored), None, "{ignored}");
        }
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9, 10)));
        assert_eq!([content_range("bytes 5-9/*"), content_range("bytes 5-10/10")], [None, None]);
    }

    #[test]
    fn digest_fields_are_dictionaries() {
        assert_eq!(want_digest("sha-512=9, sha-256=3, blake3=8"), Some(Algorithm::Blake3));
        assert_eq!([want_digest("blake3=0"), want_digest("md5=10"), want_digest("")], [None, None, None]);
        let digest = Digest { algorithm: Algorithm::Sha256, value: [7; 32] };
        assert_eq!(digests(&format!("md5=:AAAA:, sha-256=:{}:", STANDARD.encode([7; 32]))), vec![digest]);
        assert_eq!(digests("blake3=:AAAA:"), vec![]);
    }

    #[test]
    fn foreign_timings_are_skipped() {
        let ours = "resolve;dur=0.000, connect;dur=0.250, wait;dur=1.500";
        let leg = Leg { resolve_ms: 0.0, connect_ms: 0.25, wait_ms: 1.5 };
        assert_eq!(legs(&format!("cdn-cache;desc=HIT, db;dur=5, {ours}, {ours}")), vec![leg; 2]);
        assert_eq!(legs(&vec![ours; MAX_HOPS + 1].join(",")).len(), MAX_HOPS);
        for foreign in ["wait;dur=5.000", "connect;dur=1.000, wait;dur=5.000"] {
            assert_eq!(legs(foreign), vec![], "{foreign}");
        }
        assert_eq!(milliseconds(b"18446744073709551.615"), Some(18_446_744_073_709_552.0));
        for strange in
            ["NaN", "inf", "", ".", "5", ".000", "-1.000", "+1.000", "1.0000", "1,000", "18446744073709552.000"]
        {
            assert_eq!(milliseconds(strange.as_bytes()), None, "{strange}");
        }
    }
}
