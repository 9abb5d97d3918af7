//! Idle connections that relays share: counted apart from those with a request, at the hop that keeps them and at the
//! next one.

use chainview::snapshot::{ConnState, UpstreamTotals};

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, sharing};

#[test]
fn the_heading_counts_idle_connections_apart() {
    for (columns, rows, wanted) in [
        (120, 40, "4 active, 12 idle, 1 admin hidden   12 idle to hop 3, 98% reused"),
        (80, 24, "4 active, 12 idle, 1 admin hidden"),
        (200, 60, "4 active, 12 idle, 1 admin hidden   12 idle to hop 3, 98% reused"),
    ] {
        let screen = Script::new(columns, rows, sharing()).screen();
        assert!(screen.contains(wanted), "{screen}");
    }
    let screen = Script::new(120, 40, sharing()).keys("2").screen();
    assert!(screen.contains("12 active, 24 idle, 3 admin hidden"), "{screen}");
    let screen = Script::new(120, 40, sharing()).keys("2 / i d l e <enter>").screen();
    assert!(screen.contains("filter idle   24 of 39"), "{screen}");
    let screen = Script::new(120, 40, busy()).screen();
    assert!(screen.contains("4 of 5, 1 admin hidden") && !screen.contains("idle to hop"), "none is kept: {screen}");
}

#[test]
fn connections_with_a_request_come_before_idle_ones() {
    on_every_screen(&sharing(), |script| {
        script.keys("2");
        let (state, chain) = (&script.state, &script.chain);
        let states: Vec<ConnState> = state
            .lists
            .conns
            .iter()
            .map(|(hop, at)| chain.hops[*hop].node.as_ref().unwrap().connections[*at].state)
            .collect();
        assert_eq!(states.len(), 36);
        assert!(states[..12].iter().all(|state| *state == ConnState::Streaming), "{states:?}");
        assert!(states[12..].iter().all(|state| *state == ConnState::Idle), "{states:?}");
    });
}

#[test]
fn idle_connections_have_room_on_their_own_tab_only() {
    let mut chain = sharing();
    for node in chain.hops.iter_mut().filter_map(|hop| hop.node.as_mut()) {
        node.connections.retain(|conn| conn.state != ConnState::Streaming);
    }
    let idle = |screen: &str| screen.lines().filter(|line| line.contains("  idle  ") && line.contains("0:09")).count();
    let mut script = Script::new(120, 40, chain);
    assert_eq!(idle(&script.keys("j").screen()), 1, "{}", script.screen());
    let screen = script.keys("2").screen();
    assert!(idle(&screen) > 12, "{screen}");
}

#[test]
fn a_connection_that_became_idle_has_no_rate() {
    let mut script = Script::new(120, 40, sharing()).watched();
    let row = |script: &mut Script| {
        let screen = script.keys("2").screen();
        screen.lines().find(|line| line.contains("127.0.0.1:51803")).map(str::to_owned).unwrap()
    };
    assert!(row(&mut script).contains(" 10.3 MB "), "{}", row(&mut script));
    let mut chain = script.chain.clone();
    for conn in &mut chain.hops[0].node.as_mut().unwrap().connections {
        (conn.state, conn.transfer) = (ConnState::Idle, "".into());
    }
    script.see(chain);
    let row = row(&mut script);
    assert!(row.contains("idle") && !row.contains("10.3 MB"), "{row}");
}

#[test]
fn details_of_a_hop_state_how_many_requests_used_a_kept_connection() {
    let screen = Script::new(200, 60, sharing()).keys("<enter>").screen();
    assert!(screen.contains("17 open (12 idle), 4 accepted, 0 refused"), "{screen}");
    assert!(screen.contains("12 idle to hop 3, 100 opened; 98% of requests on a kept one"), "{screen}");
    let screen = Script::new(200, 60, sharing()).keys("G <enter>").screen();
    assert!(!screen.contains("next hop"), "the origin has none: {screen}");
}

#[test]
fn a_share_of_requests_is_known_after_the_first() {
    let share = |opened, reused| UpstreamTotals { opened, reused, ..UpstreamTotals::default() }.reused_share();
    assert_eq!([share(0, 0), share(4, 0), share(1, 3)], [None, Some(0.0), Some(0.75)]);
}
