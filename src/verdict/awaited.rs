//! Which hop a transfer waits for, by the reports of the hops that its request has reached.

use crate::snapshot::{Awaited, ConnState, HopSnapshot, TransferSnapshot, Wait};

/// Returns the transfer's wait, at the hop where its request stopped: hops before it report what they wait for.
pub fn refine_wait(wait: Wait, transfer: &TransferSnapshot, hops: &[HopSnapshot]) -> Wait {
    if !matches!(wait.awaited, Awaited::Connection | Awaited::Reply) {
        return wait;
    }
    let hops = || hops.iter().filter(|hop| !hop.extra);
    let farthest = hops().rev().find_map(|hop| {
        let connections = hop.node.iter().flat_map(|node| &node.connections);
        let ours = connections.filter(|conn| conn.transfer == transfer.id && !transfer.id.as_str().is_empty());
        ours.map(|conn| (hop.number, conn.state)).next_back()
    });
    let Some((reached, state)) = farthest else { return wait };
    let next = (reached + 1).min(hops().count());
    let (awaited, hop) = match state {
        ConnState::Connecting => (Awaited::Connection, next),
        ConnState::Delayed => (Awaited::Delay, reached),
        ConnState::Waiting => (Awaited::Reply, next),
        // It has the request, and is about to send it on, or has replied.
        _ => (Awaited::Reply, reached),
    };
    Wait { awaited, hop: Some(hop), ..wait }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::snapshot::{ConnSnapshot, NodeSnapshot};

    fn hop(number: usize, states: &[(&str, ConnState)]) -> HopSnapshot {
        let conn = |(id, state): &(&str, ConnState)| ConnSnapshot {
            transfer: (*id).into(),
            state: *state,
            ..ConnSnapshot::default()
        };
        let connections = states.iter().map(conn).collect();
        HopSnapshot {
            number,
            node: Some(NodeSnapshot { connections, ..NodeSnapshot::default() }),
            ..HopSnapshot::default()
        }
    }

    #[test]
    fn the_last_hop_that_the_request_reached_states_what_it_waits_for() {
        let transfer = TransferSnapshot { id: "ab".into(), ..TransferSnapshot::default() };
        let wait = Wait {
            awaited: Awaited::Reply,
            hop: Some(1),
            lasting: Duration::from_secs(9),
            limit: Duration::from_secs(15),
        };
        let silent = HopSnapshot { number: 3, ..HopSnapshot::default() };
        let of = |first: ConnState, second: &[(&str, ConnState)]| {
            let hops = [hop(1, &[("ab", first)]), hop(2, second), silent.clone()];
            let refined = refine_wait(wait, &transfer, &hops);
            assert_eq!((refined.lasting, refined.limit), (wait.lasting, wait.limit));
            (refined.awaited, refined.hop)
        };
        assert_eq!(of(ConnState::Connecting, &[]), (Awaited::Connection, Some(2)));
        assert_eq!(of(ConnState::Waiting, &[]), (Awaited::Reply, Some(2)));
        assert_eq!(of(ConnState::Waiting, &[("cd", ConnState::Connecting)]), (Awaited::Reply, Some(2)));
        assert_eq!(of(ConnState::Waiting, &[("ab", ConnState::Waiting)]), (Awaited::Reply, Some(3)));
        assert_eq!(of(ConnState::Waiting, &[("ab", ConnState::Delayed)]), (Awaited::Delay, Some(2)));
        assert_eq!(of(ConnState::Waiting, &[("ab", ConnState::Head)]), (Awaited::Reply, Some(2)));
        let last = [hop(1, &[("ab", ConnState::Waiting)])];
        assert_eq!(refine_wait(wait, &transfer, &last).hop, Some(1), "the origin itself");
        assert_eq!(refine_wait(wait, &transfer, &[silent]), wait);
        let data = Wait { awaited: Awaited::Data, hop: None, ..wait };
        assert_eq!(refine_wait(data, &transfer, &last), data);
    }
}
