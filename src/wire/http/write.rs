//! Encoding of heads by appending pieces: every small file pays for a head, and `fmt` takes several times as long.

use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::route::{Hop, HostPort};
use crate::wire::{ByteRange, Digest, Leg, TransferId};

/// A value that can be written into a head.
pub(super) trait HeadValue {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
}

/// Returns a value as text.
pub(super) fn text(value: &impl HeadValue) -> String {
    let mut out = Vec::new();
    value.put(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Returns the value of `Chain-Route` for these hops, as it is signed.
pub(crate) fn encode_route(hops: &[Hop]) -> String {
    text(&hops)
}

/// Writes one header line, if there is a value; `name` includes the colon and a space.
pub(super) fn line(out: &mut Vec<u8>, name: &str, value: Option<impl HeadValue>) {
    if let Some(value) = value {
        name.put(out);
        value.put(out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends all parts.
pub(super) fn put_all(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends values with a separator between them.
fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&T, &mut Vec<u8>)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        put(item, out);
    }
}

impl HeadValue for &str {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl HeadValue for String {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_str().put(out);
    }
}

impl HeadValue for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        itoa::Buffer::new().format(*self).put(out);
    }
}

impl HeadValue for TransferId {
    fn put(&self, out: &mut Vec<u8>) {
        let digit = |half: u8| b"0123456789abcdef"[usize::from(half & 15)];
        out.extend(self.0.to_be_bytes().into_iter().flat_map(|byte| [digit(byte >> 4), digit(byte)]));
    }
}

impl HeadValue for &HostPort {
    fn put(&self, out: &mut Vec<u8>) {
        self.write_pieces(|piece| piece.put(out));
    }
}

impl HeadValue for &[Hop] {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(out, self, |hop, out| {
            // Nearly every element is a plain address, for which no text is made.
            match (hop.protocol, &hop.base, hop.key) {
                (None, None, None) => (&hop.address).put(out),
                _ => hop.element().as_str().put(out),
            }
        });
    }
}

impl HeadValue for &[Digest] {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(out, self, |digest, out| {
            put_all(out, &[digest.algorithm.as_str(), "=:", &STANDARD.encode(digest.value), ":"]);
        });
    }
}

impl HeadValue for ByteRange {
    fn put(&self, out: &mut Vec<u8>) {
        let _ = match self {
            Self::From(first) => write!(out, "bytes={first}-"),
            Self::Between(first, last) => write!(out, "bytes={first}-{last}"),
            Self::Last(count) => write!(out, "bytes=-{count}"),
        };
    }
}

/// Formats a leg as entries of `Server-Timing`.
pub(super) fn leg_entries(leg: &Leg) -> String {
    let mut entries = String::with_capacity(64);
    for (name, ms) in
        [("resolve;dur=", leg.resolve_ms), (", connect;dur=", leg.connect_ms), (", wait;dur=", leg.wait_ms)]
    {
        entries.push_str(name);
        push_ms(ms, &mut entries);
    }
    entries
}

/// Formats milliseconds with three decimals from integers: formatting a float exactly takes ten times as long.
fn push_ms(ms: f64, text: &mut String) {
    let us = (ms * 1000.0).round() as u64;
    let mut digits = itoa::Buffer::new();
    text.push_str(digits.format(us / 1000));
    text.push('.');
    // The leading 1 keeps leading zeros.
    text.push_str(&digits.format(1000 + us % 1000)[1..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Fingerprint;

    #[test]
    fn head_values_match_their_display_form() {
        for address in ["127.0.0.1:80", "0.255.10.9:65535", "[2001:db8::1]:9", "host-1.example:1"] {
            let parsed: HostPort = address.parse().unwrap();
            assert_eq!((text(&&parsed), parsed.to_string()), (address.to_owned(), address.to_owned()));
        }
        let keyed = format!("h:1;base=/x/;key={}", Fingerprint::new([7; 32]));
        for element in ["h:1", "h:1;protocol=legacy", "10.0.0.1:2;protocol=http;base=/pub/", &keyed] {
            let hop = Hop::parse_element(element).unwrap();
            assert_eq!(
                (encode_route(&[hop.clone(), hop.clone()]), hop.element()),
                (format!("{element}, {element}"), element.to_owned())
            );
        }
        let id = TransferId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(text(&id), id.to_string());
        assert_eq!([text(&0), text(&u64::MAX)], ["0".to_owned(), u64::MAX.to_string()]);
        for (ms, shown) in [(0.0, "0.000"), (0.0009, "0.001"), (1.05, "1.050")] {
            let leg = Leg { resolve_ms: ms, connect_ms: 12.0, wait_ms: 999.9996 };
            assert_eq!(leg_entries(&leg), format!("resolve;dur={shown}, connect;dur=12.000, wait;dur=1000.000"));
        }
    }
}
