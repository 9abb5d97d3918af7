//! (De)serialization of a protocol as its name, for fields of snapshots.
//!
//! An unknown name is read as `None`, so that a newer node's report is not rejected as a whole.

use serde::{Deserialize, Deserializer, Serializer};

use crate::route::Protocol;
use crate::text::SafeText;

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
pub(super) fn serialize<S: Serializer>(protocol: &Option<Protocol>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(protocol.map_or("", Protocol::as_str))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Protocol>, D::Error> {
    SafeText::deserialize(deserializer).map(|text| text.as_str().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::super::ConnSnapshot;
    use crate::route::Protocol;

    #[test]
    fn protocols_round_trip_and_unknown_ones_are_none() {
        for (json, protocol) in
            [("\"http\"", Some(Protocol::Http)), ("\"legacy\"", Some(Protocol::Legacy)), ("\"\"", None)]
        {
            let conn: ConnSnapshot = serde_json::from_str(&format!("{{\"protocol\":{json}}}")).unwrap();
            assert_eq!(conn.protocol, protocol, "{json}");
            let written = serde_json::to_value(&conn).unwrap();
            assert_eq!(written["protocol"].to_string(), json);
        }
        let newer: ConnSnapshot = serde_json::from_str("{\"protocol\":\"quic\",\"id\":7}").unwrap();
        assert_eq!((newer.protocol, newer.id), (None, 7));
    }
}
