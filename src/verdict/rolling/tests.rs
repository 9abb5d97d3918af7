//! Stalls and evaluated bodies, at explicit times.

use std::time::Duration;

use super::*;
use crate::meter::{FairQueue, Turn};
use crate::snapshot::verdict::{Limit, LinkCause};
use crate::snapshot::{ConnSnapshot, HopLink};

/// Report of one hop on one body, at a time of its own clock.
fn hop(number: usize, now_us: u64, conn: ConnSnapshot) -> HopSnapshot {
    let conn = ConnSnapshot { id: 7, state: ConnState::Streaming, ..conn };
    let node = NodeSnapshot { uptime_us: now_us, connections: vec![conn], ..NodeSnapshot::default() };
    HopSnapshot { number, link: HopLink::Attached, node: Some(node), ..HopSnapshot::default() }
}

/// A body of transfer `t` that has moved no byte for `idle_us`, over a round trip of `rtt_us`.
fn idle_conn(idle_us: u64, rtt_us: u64) -> ConnSnapshot {
    let tcp = Some(TcpSnapshot { rtt_us, ..TcpSnapshot::default() });
    ConnSnapshot { transfer: "t".into(), idle_us, tcp, ..ConnSnapshot::default() }
}

fn transfer(bytes_in: u64) -> TransferSnapshot {
    let flow = Flow { bytes_in, ..Flow::default() };
    TransferSnapshot { number: 1, id: "t".into(), phase: Phase::Streaming, flow, ..TransferSnapshot::default() }
}

/// Stall of transfer 1 this many µs after its last byte, over these round trips.
fn stalls(after_us: u64, rtts_us: &[u64]) -> Option<Duration> {
    let mut rolling = Rolling::default();
    for (now_us, bytes) in [(0, 0), (500_000, 5), (500_000 + after_us, 5)] {
        let hops: Vec<_> = (1..).zip(rtts_us).map(|(number, rtt)| hop(number, now_us, idle_conn(0, *rtt))).collect();
        rolling.update(now_us, &hops, &[transfer(bytes)]);
    }
    rolling.stall(1).map(|stall| stall.lasting)
}

#[test]
fn a_second_or_three_round_trips_without_a_byte_is_a_stall() {
    let lasting = |us| Some(Duration::from_micros(us));
    assert_eq!((stalls(999_999, &[]), stalls(1_000_000, &[])), (None, lasting(1_000_000)));
    assert_eq!((stalls(999_999, &[9, 333_333]), stalls(1_000_000, &[9, 333_333])), (None, lasting(1_000_000)));
    assert_eq!((stalls(1_499_999, &[500_000, 9]), stalls(1_500_000, &[500_000, 9])), (None, lasting(1_500_000)));
    assert_eq!(stalls(60_000_000, &[u64::MAX]), None, "whatever a hop claims, it adds up");
}

#[test]
fn waiting_for_a_share_of_a_rate_limit_is_no_stall() {
    for (limited, faults, stalled) in [
        (1, Faults { limit: Some(1), ..Faults::default() }, false),
        (0, Faults { limit: Some(1), ..Faults::default() }, true),
        // An injected stall counts on the same clock.
        (1, Faults { stall: true, ..Faults::default() }, true),
    ] {
        let mut rolling = Rolling::default();
        for now_us in (0..=3_000_000).step_by(250_000) {
            let flow = Flow { limited_us: now_us * limited, ..Flow::default() };
            let mut hop = hop(1, now_us + 1, ConnSnapshot { flow, ..idle_conn(now_us, 0) });
            hop.node.as_mut().unwrap().faults = faults;
            rolling.update(now_us, &[hop], &[transfer(5)]);
        }
        assert_eq!(rolling.stall(1).is_some(), stalled, "{limited} {faults:?}");
        // A stale report explains nothing.
        rolling.update(6_000_000, &[], &[transfer(5)]);
        assert!(rolling.stall(1).is_some());
    }
}

#[test]
fn transfers_that_share_a_rate_limit_are_not_stalled() {
    for transfers in [3, 60] {
        let (mut queue, mut rolling) = (FairQueue::new(300_000), Rolling::default());
        let mut sent = vec![0; transfers];
        let mut places: Vec<_> = (0..transfers).map(|_| queue.wait(0, ())).collect();
        for now_us in (0..=20_000_000).step_by(5000) {
            for (place, sent) in places.iter_mut().zip(&mut sent) {
                if let Turn::Granted(bytes, tag) = queue.turn(*place, now_us, |()| ()) {
                    *sent += bytes;
                    *place = queue.wait(tag, ());
                }
            }
            if now_us % 250_000 == 0 {
                let numbered = |(number, bytes): (u64, &u64)| TransferSnapshot { number, ..transfer(*bytes) };
                rolling.update(now_us, &[], &(1..).zip(&sent).map(numbered).collect::<Vec<_>>());
                assert!((1..=transfers as u64).all(|number| rolling.stall(number).is_none()), "at {now_us}: {sent:?}");
            }
        }
    }
}

#[test]
fn a_gap_upstream_of_a_rate_limit_is_a_stall() {
    let lasting = |limited| {
        let mut rolling = Rolling::default();
        let mut began = None;
        for now_us in (0..=14_000_000).step_by(250_000) {
            // One body uses the rate limit of hop 1; the other has nothing to send from 2 s on.
            let flow = Flow { limited_us: now_us * limited, bytes_out: now_us, active_us: now_us, ..Flow::default() };
            let fills = ConnSnapshot { flow, ..idle_conn(0, 0) };
            let mut hop = hop(1, now_us + 1, fills);
            let node = hop.node.as_mut().unwrap();
            node.faults.limit = Some(1);
            let flow = Flow { starved_us: now_us, active_us: now_us, ..Flow::default() };
            let gets = ConnSnapshot { id: 8, transfer: "u".into(), flow, ..idle_conn(0, 0) };
            node.connections.push(ConnSnapshot { state: ConnState::Streaming, ..gets });
            let fills = TransferSnapshot { phase: Phase::Streaming, ..transfer(now_us) };
            let gets = TransferSnapshot { number: 2, id: "u".into(), ..transfer(now_us.min(2_000_000)) };
            rolling.update(now_us, &[hop], &[fills, gets]);
            assert!(rolling.stall(1).is_none());
            began = began.or(rolling.stall(2));
        }
        began.expect("it is reported in the end").lasting
    };
    for limited in [0, 1] {
        assert!((1..=2).contains(&lasting(limited).as_secs()), "{:?}", lasting(limited));
    }
}

#[test]
fn the_evaluation_before_debouncing_has_the_round_trips_of_its_link() {
    let mut rolling = Rolling::default();
    assert_eq!(rolling.latest(), (Limit::Measuring, None));
    for now_us in (0..=500_000).step_by(250_000) {
        let flow = Flow { bytes_in: now_us, bytes_out: now_us, active_us: now_us, ..Flow::default() };
        let starved = Flow { starved_us: now_us, ..flow };
        let (rtt_us, min_rtt_us) = (51_000, 50_000);
        let tcp = TcpSnapshot {
            busy_us: now_us,
            retransmits: now_us / 50_000,
            rtt_us,
            min_rtt_us,
            tolerates_loss: true,
            ..TcpSnapshot::default()
        };
        let receives = ConnSnapshot { flow: starved, ..idle_conn(0, 9_000) };
        let sends = ConnSnapshot { flow: Flow { blocked_us: now_us, ..flow }, tcp: Some(tcp), ..idle_conn(0, 0) };
        let hops = [hop(1, now_us + 1, receives), hop(2, now_us + 1, sends)];
        rolling.update(now_us, &hops, &[TransferSnapshot { flow: starved, ..transfer(now_us) }]);
    }
    let limit = Limit::Link { from: 2, to: 1, cause: LinkCause::Loss };
    assert_eq!(rolling.latest(), (limit, Some(LinkState { now_us: 51_000, least_us: 50_000, tolerates_loss: true })));
}

#[test]
fn a_byte_or_the_end_of_the_transfer_ends_a_stall() {
    let mut rolling = Rolling::default();
    let mut see = |now_us, transfer: TransferSnapshot| {
        rolling.update(now_us, &[], std::slice::from_ref(&transfer));
        rolling.stall(1).is_some()
    };
    assert!(!see(0, transfer(5)) && see(1_200_000, transfer(5)));
    assert!(!see(1_300_000, transfer(6)) && !see(2_200_000, transfer(6)) && see(2_300_000, transfer(6)));
    assert!(!see(2_400_000, TransferSnapshot { phase: Phase::Verifying, ..transfer(6) }));
    // The next attempt of the same transfer counts from its own start.
    assert!(!see(9_000_000, transfer(6)) && !see(9_900_000, transfer(6)) && see(10_000_000, transfer(6)));
}

#[test]
fn the_hop_that_moved_data_last_is_named() {
    let last_moved = |stills: &[Option<(u64, u64)>]| {
        let mut rolling = Rolling::default();
        for now_us in [0, 2_000_000] {
            let hops: Vec<_> = (1..)
                .zip(stills)
                .map(|(number, idle)| match idle {
                    Some((idle_us, age_us)) => {
                        let hop = hop(number, now_us + 1, idle_conn(*idle_us, 0));
                        HopSnapshot { age: Duration::from_micros(*age_us), ..hop }
                    }
                    None => HopSnapshot { number, link: HopLink::Foreign, ..HopSnapshot::default() },
                })
                .collect();
            rolling.update(now_us, &hops, &[transfer(5)]);
        }
        rolling.stall(1).expect("it is stalled").last_moved
    };
    assert_eq!(last_moved(&[Some((1_500_000, 0)), Some((200_000, 0)), Some((900_000, 0))]), Some(2));
    assert_eq!(last_moved(&[Some((500_000, 0)), Some((500_000, 0))]), Some(1), "the one nearest to the client");
    assert_eq!(last_moved(&[Some((500_000, 0)), Some((100_000, 600_000))]), Some(1), "a report ages");
    assert_eq!(last_moved(&[Some((500_000, 0)), Some((0, 1_600_000))]), Some(1), "an old one says nothing of now");
    assert_eq!(last_moved(&[None, Some((500_000, 0)), None]), Some(2));
    assert_eq!(last_moved(&[None, None]), None);
}

/// A body that is always blocked by its receiver, by the kernel's figures.
fn unread(now_us: u64, transfer: &str) -> ConnSnapshot {
    let flow = Flow { bytes_in: 9, bytes_out: now_us, blocked_us: now_us, active_us: now_us, ..Flow::default() };
    let tcp = TcpSnapshot { busy_us: now_us, receiver_limited_us: now_us, ..TcpSnapshot::default() };
    ConnSnapshot { transfer: transfer.into(), flow, tcp: Some(tcp), ..ConnSnapshot::default() }
}

#[test]
fn transfers_of_others_are_evaluated_from_their_first_hop() {
    let mut rolling = Rolling::default();
    let mut watch = |now_us, at: usize| {
        let idle = NodeSnapshot { uptime_us: now_us, ..NodeSnapshot::default() };
        let one = |number| {
            if number == at {
                return hop(number, now_us, unread(now_us, "theirs"));
            }
            HopSnapshot { number, link: HopLink::Attached, node: Some(idle.clone()), ..HopSnapshot::default() }
        };
        rolling.update_others(now_us, &[one(1), one(2)]).map(|verdict| verdict.limit)
    };
    for step in 0..20 {
        watch(step * 100_000, 2);
    }
    assert_eq!(watch(2_000_000, 2), Some(Limit::Receiver { from: 2, to: 0 }));
    assert_eq!(watch(2_100_000, 9), None);
    assert_eq!(watch(2_200_000, 2), Some(Limit::Measuring), "nothing of before counts");
}
