//! A protocol as its name in JSON, for fields of snapshots.
//!
//! A name that this version does not know is read as none, so that a newer node's report is not lost as a whole.

use serde::{Deserialize, Deserializer, Serializer};

use crate::route::Wire;
use crate::text::SafeText;

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
pub(super) fn serialize<S: Serializer>(wire: &Option<Wire>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(wire.map_or("", Wire::as_str))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Wire>, D::Error> {
    SafeText::deserialize(deserializer).map(|text| text.as_str().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::super::ConnSnapshot;
    use crate::route::Wire;

    #[test]
    fn a_protocol_travels_by_name_and_an_unknown_one_is_none() {
        for (json, protocol) in [("\"http\"", Some(Wire::Http)), ("\"seed\"", Some(Wire::Seed)), ("\"\"", None)] {
            let conn: ConnSnapshot = serde_json::from_str(&format!("{{\"wire\":{json}}}")).unwrap();
            assert_eq!(conn.wire, protocol, "{json}");
            let written = serde_json::to_value(&conn).unwrap();
            assert_eq!(written["wire"].to_string(), json);
        }
        let newer: ConnSnapshot = serde_json::from_str("{\"wire\":\"quic\",\"id\":7}").unwrap();
        assert_eq!((newer.wire, newer.id), (None, 7));
    }
}
