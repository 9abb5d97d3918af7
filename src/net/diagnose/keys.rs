//! Asks the hops without `key=` which key they have, for a check of the chain.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinSet;

use crate::keys::{Fingerprint, KeyPair};
use crate::net::endpoint_client::EndpointClient;
use crate::net::http_client::Credentials;
use crate::net::os::deadline::within;
use crate::net::os::machine::Machine;
use crate::net::supervisor::is_near;
use crate::route::{Hop, Route};

/// Time limit for all replies: a check must not wait long for a hop that says nothing.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Largest report accepted; a normal one has some kilobytes.
const MAX_REPORT: usize = 64 * 1024;

/// What is read of a node's report.
#[derive(Debug, Deserialize)]
struct NodeKey {
    key: Option<Fingerprint>,
}

/// Returns the keys that the first `reach` hops of a route report, hop 1 first; those with `key=` are not asked. The
/// reports come in clear text, so that they prove nothing.
pub(crate) async fn reported_keys(
    route: &Route,
    reach: usize,
    identity: Option<&Arc<KeyPair>>,
) -> Vec<Option<Fingerprint>> {
    let hops: Arc<[Hop]> = route.hops().into();
    let mut keys = vec![None; hops.len()];
    let mut asking = JoinSet::new();
    for at in (0..reach.min(hops.len())).filter(|at| hops[*at].key.is_none()) {
        let (hops, identity) = (Arc::clone(&hops), identity.cloned());
        asking.spawn(async move {
            let through = reported(&hops[0], &hops[1..=at], identity.as_ref());
            let direct = async {
                if at > 0 && is_near(&hops, at) { reported(&hops[at], &[], identity.as_ref()).await } else { None }
            };
            let (through, direct) = tokio::join!(through, direct);
            (at, direct.or(through))
        });
    }
    while let Some(asked) = asking.join_next().await {
        if let Ok((at, key)) = asked {
            keys[at] = key;
        }
    }
    keys
}

/// Returns the key that the last of these hops reports.
async fn reported(first: &Hop, behind: &[Hop], identity: Option<&Arc<KeyPair>>) -> Option<Fingerprint> {
    let credentials = Credentials { token: None, identity };
    let client = EndpointClient { machine: Machine::default(), credentials, connect: TIMEOUT, reply: TIMEOUT };
    let asking = async {
        let conn = client.open(first, behind).await?;
        let parse = |body: &[u8]| serde_json::from_slice(body).map_err(|_| "it is no report of a node");
        client.request(conn, "/v1/node").await?.read::<NodeKey>(MAX_REPORT, TIMEOUT, parse).await
    };
    within(TIMEOUT, asking).await.ok()?.ok()?.key
}
