//! Bounded deserialization of lists from other nodes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Deserializes at most `MAX` elements and skips the rest: no report may take more memory than a valid one.
pub(super) fn bounded<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Beginning<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Beginning<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < MAX {
                match list.next_element()? {
                    Some(element) => kept.push(element),
                    None => return Ok(kept),
                }
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }

    deserializer.deserialize_seq(Beginning::<T, MAX>(PhantomData))
}

#[cfg(test)]
mod tests {
    use crate::snapshot::{MAX_CONNECTIONS, NodeSnapshot};

    #[test]
    fn a_list_that_is_too_long_keeps_its_beginning() {
        let conns = vec!["{}"; MAX_CONNECTIONS + 7].join(",");
        let node: NodeSnapshot = serde_json::from_str(&format!("{{\"connections\":[{conns}],\"pid\":5}}")).unwrap();
        assert_eq!((node.connections.len(), node.pid, node.protocols.len()), (MAX_CONNECTIONS, 5, 0));
    }
}
