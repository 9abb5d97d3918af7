//! States of hops and transfers: a hop that does not answer, and a transfer that is over in an instant.

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

#[test]
fn a_transfer_of_less_than_a_second_has_no_rate_that_contradicts_the_hops() {
    let mut chain = idle();
    chain.transfers = vec![transfer(1, Phase::Done)];
    let done = &mut chain.transfers[0];
    (done.size, done.received, done.rate, done.elapsed) =
        (Some(372_100), 372_100, 82_500_000, Duration::from_micros(4510));
    on_every_screen(&chain, |script| {
        let screen = script.screen();
        assert!(screen.contains("#1 finished: 372.1 KB in 4.51 ms"), "{screen}");
        assert!(!screen.contains("82.5 MB/s"), "{screen}");
    });
    chain.transfers[0].elapsed = Duration::from_secs(2);
    on_every_screen(&chain, |script| {
        let screen = script.screen();
        assert!(screen.contains("372.1 KB in  2.0 s at   82.5 MB/s") || screen.contains("at 82.5 MB/s"), "{screen}");
    });
}
