//! Which hop a transfer waits for, by the reports of the hops that its request has reached.

use crate::snapshot::{Awaited, ConnRole, ConnState, HopSnapshot, TransferSnapshot, Wait};

/// Returns the transfer's wait, at the hop where its request stopped: hops before it report what they wait for.
pub fn refine_wait(wait: Wait, transfer: &TransferSnapshot, hops: &[HopSnapshot]) -> Wait {
    if !matches!(wait.awaited, Awaited::Connection | Awaited::Reply) {
        return wait;
    }
    let hops = || hops.iter().filter(|hop| !hop.extra);
    let farthest = hops().rev().find_map(|hop| {
        let connections = hop.node.iter().flat_map(|node| &node.connections);
        let ours = connections.filter(|conn| transfer.reported_ids().any(|id| *id == conn.transfer));
        ours.map(|conn| (hop.number, conn.role, conn.state)).next_back()
    });
    let Some((reached, role, state)) = farthest else { return wait };
    let last = hops().count();
    let next = (reached + 1).min(last);
    let (awaited, hop) = match state {
        // The tunnel is open as far as its end, which has the request.
        ConnState::Streaming if role == ConnRole::Tunnel => (Awaited::Reply, last),
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
        assert_eq!(refine_wait(wait, &transfer, std::slice::from_ref(&silent)), wait);
        let tunnel = TransferSnapshot { id: "cd".into(), tunnel: "ab".into(), ..TransferSnapshot::default() };
        let opening = [hop(1, &[("ab", ConnState::Connecting)]), silent.clone(), silent.clone()];
        let of_tunnel =
            |hops: &[HopSnapshot]| (refine_wait(wait, &tunnel, hops).awaited, refine_wait(wait, &tunnel, hops).hop);
        assert_eq!(of_tunnel(&opening), (Awaited::Connection, Some(2)));
        let mut open = [hop(1, &[("ab", ConnState::Streaming)]), silent.clone(), silent.clone()];
        open[0].node.as_mut().unwrap().connections[0].role = ConnRole::Tunnel;
        assert_eq!(of_tunnel(&open), (Awaited::Reply, Some(3)), "what is inside is not seen before its end");
        let data = Wait { awaited: Awaited::Data, hop: None, ..wait };
        assert_eq!(refine_wait(data, &transfer, &last), data);
    }
}
