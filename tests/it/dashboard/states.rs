//! States of hops and transfers: what the screen shows of a hop that does not answer.

use std::time::Duration;

use chainview::snapshot::{Awaited, ChainSnapshot, DownReason, HopLink, Phase, Wait};

use super::script::on_every_screen;
use super::snapshots::{idle, transfer};

/// Hop 2 accepts connections and does not answer.
fn silent() -> ChainSnapshot {
    let mut chain = idle();
    chain.hops[1].link = HopLink::Down { reason: DownReason::Silent };
    chain.hops[1].node = None;
    chain
}

#[test]
fn a_silent_hop_is_not_up_and_no_http_server() {
    on_every_screen(&silent(), |script| {
        let screen = script.screen();
        assert!(screen.contains("hop 2") && screen.contains("is silent"), "{screen}");
        assert!(screen.contains("2/3 up"), "{screen}");
        assert!(!screen.contains("foreign") && !screen.contains("HTTP server"), "{screen}");
    });
}

#[test]
fn a_transfer_that_waits_for_a_silent_hop_shows_for_how_long() {
    let mut chain = silent();
    chain.transfers = vec![transfer(1, Phase::Connecting)];
    let (lasting, limit) = (Duration::from_secs(9), Duration::from_secs(15));
    chain.transfers[0].wait = Some(Wait { awaited: Awaited::Reply, hop: Some(2), lasting, limit });
    on_every_screen(&chain, |script| {
        let screen = script.screen();
        let headline = screen.lines().nth(1).unwrap();
        assert!(headline.contains("hop 2") && headline.contains("no answer for 9 s"), "{screen}");
    });
}
