//! The headline: what it says while something limits, waits, is stalled or broken, and which keys it offers.

use std::time::Duration;

use chainview::options::ColorScheme;
use chainview::snapshot::verdict::{Confidence, FaultKind, Limit, LinkCause, Resource, Verdict};
use chainview::snapshot::{Awaited, ChainSnapshot, DownReason, HopLink, Phase, Retry, Stall, Wait};
use chainview::ui::Keymap;
use ratatui::style::{Color, Modifier};

use super::script::{Script, on_every_screen};
use super::snapshots::{idle, streaming, transfer};

/// The row of the headline.
const ROW: usize = 1;

fn headline(script: &mut Script) -> String {
    script.screen().lines().nth(ROW).unwrap_or_default().to_owned()
}

/// The streaming chain with names, so that a hop is more than a number.
fn with_names() -> ChainSnapshot {
    let mut chain = streaming();
    for (hop, name) in chain.hops.iter_mut().zip(["edge", "proxy-2", "relay-three"]) {
        hop.label = name.into();
    }
    (chain.verdict.since_ms, chain.verdict.confidence) = (12_000, Confidence::High);
    chain
}

/// Its hop 3 is down for this reason, and its transfer in this phase.
fn broken(reason: DownReason, phase: Phase) -> ChainSnapshot {
    let mut chain = with_names();
    chain.hops[2].link = HopLink::Down { reason };
    chain.transfers = vec![transfer(11, phase)];
    chain.transfers[0].size = Some(100);
    chain.transfers[0].received = 81;
    chain.transfers[0].retry = Some(Retry { left: Duration::from_millis(1600), number: 2, of: 5 });
    chain.verdict = Verdict::default();
    chain
}

/// Checks words and keys at every size, with and without color.
fn says(chain: &ChainSnapshot, keys: &str, words: &[&str], not: &[&str]) {
    on_every_screen(chain, |script| {
        let line = headline(script.keys(keys));
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line:?}");
        assert!(!not.iter().any(|word| line.contains(word)), "{not:?} not in {line:?}");
        assert!(!line.contains('~'), "nothing is cut: {line}");
    });
}

#[test]
fn the_bottleneck_is_named_with_its_cause_and_the_key_that_changes_it() {
    says(&with_names(), "", &["✖ hop 2", "rate limit 50.0 MB/s", "! change it"], &["slowest"]);
    let line = headline(&mut Script::new(120, 40, with_names()));
    assert!(
        line.starts_with(" ✖ hop 2 (proxy-2) is the bottleneck: rate limit 50.0 MB/s, for 12 s, confidence high"),
        "{line}"
    );
    let line = headline(&mut Script::new(40, 20, with_names()));
    assert!(line.starts_with(" ✖ hop 2: rate limit 50.0 MB/s"), "{line}");
}

#[test]
fn a_down_hop_is_named_with_its_reason_and_the_affected_transfer() {
    let killed = broken(DownReason::Killed, Phase::Retrying);
    says(&killed, "", &["hop 3", "is down: killed", "#11 retries", "u start it"], &["too short"]);
    let line = headline(&mut Script::new(120, 40, killed));
    assert!(line.contains("hop 3 (relay-three) is down: killed; #11 retries in 2 s, retry 2 of 5"), "{line}");
    let failed = broken("connection refused: is a node running there?".into(), Phase::Failed);
    says(&failed, "", &["hop 3", "is down: connection refused", "u start it"], &["nothing"]);
    assert!(headline(&mut Script::new(120, 40, failed)).contains("#11 failed at 81%"));
}

#[test]
fn a_hop_that_was_stopped_on_request_is_no_error() {
    let background = |reason| {
        let mut script = Script::new(80, 24, broken(reason, Phase::Retrying));
        script.buffer()[(0, ROW as u16)].bg
    };
    assert_eq!(background(DownReason::Killed), Color::Yellow);
    assert_eq!(background("connection refused".into()), Color::Red);
}

#[test]
fn a_watched_node_and_a_hop_beside_the_flow_are_no_headline() {
    let mut chain = with_names();
    chain.hops[2].link = HopLink::Down { reason: "connection refused".into() };
    says(&chain, "", &["hop 2", "rate limit"], &["down"]);
    let mut watched = idle();
    let mut extra = watched.hops[0].clone();
    (extra.number, extra.extra) = (4, true);
    extra.link = HopLink::Down { reason: "connection refused".into() };
    watched.hops.push(extra);
    says(&watched, "", &["idle", "f fetch"], &["down"]);
}

#[test]
fn a_hop_that_does_not_answer_is_named() {
    let mut chain = idle();
    chain.transfers = vec![transfer(1, Phase::Waiting)];
    let wait = |awaited, seconds| Wait {
        awaited,
        hop: Some(2),
        lasting: Duration::from_secs(seconds),
        limit: Duration::from_secs(15),
    };
    chain.transfers[0].wait = Some(wait(Awaited::Reply, 9));
    says(&chain, "", &["hop 2: no answer for 9 s", "x cancel"], &["too short", "measuring"]);
    let line = headline(&mut Script::new(80, 24, chain.clone()));
    assert!(line.contains("waiting for hop 2: no answer for 9 s, gives up at 15 s"), "{line}");
    chain.transfers[0].wait = Some(wait(Awaited::Connection, 9));
    says(&chain, "", &["connecting to hop 2: no answer for 9 s"], &[]);
    chain.transfers[0].wait = Some(wait(Awaited::Delay, 9));
    says(&chain, "", &["hop 2", "delay"], &["no answer"]);
    chain.transfers[0].wait = Some(wait(Awaited::Digest { done: 21, size: 50 }, 9));
    says(&chain, "", &["digest", "42%"], &["no answer"]);
    chain.hops[1].age = Duration::from_secs(8);
    says(&chain, "", &["hop 2 is silent", "8 s"], &[]);
    chain.hops[1].age = Duration::ZERO;
    chain.transfers[0].wait = None;
    says(&chain, "", &["measuring"], &["no answer"]);
}

#[test]
fn an_injected_stall_is_said_as_such() {
    let mut chain = with_names();
    chain.verdict.limit = Limit::Fault { hop: 2, fault: FaultKind::Stall };
    chain.transfers[0].stall = Some(Stall { lasting: Duration::from_secs(9), last_moved: Some(3) });
    says(&chain, "", &["stalled: hop 2 (fault: stall)", "! change it"], &["slowest", "bottleneck", "#1"]);
    chain.verdict = Verdict::default();
    says(&chain, "", &["#1 stalled for 9.0 s; hop 3 moved"], &["bottleneck"]);
}

#[test]
fn a_failed_transfer_stays_until_the_next_one_starts() {
    let mut chain = idle();
    chain.transfers = vec![transfer(1, Phase::Done), transfer(2, Phase::Failed)];
    (chain.transfers[1].size, chain.transfers[1].received) = (Some(100), 81);
    chain.transfers[1].resumable = Some(81);
    says(&chain, "", &["#2 failed", "connection refused", "r resume"], &["idle"]);
    let line = headline(&mut Script::new(120, 40, chain.clone()));
    assert!(line.contains("#2 failed at 81%: hop 2 (127.0.0.1:7002): connection refused"), "{line}");
    chain.transfers.push(transfer(3, Phase::Queued));
    says(&chain, "", &["#2 failed"], &[]);
    chain.transfers[2] = transfer(3, Phase::Streaming);
    says(&chain, "", &["measuring"], &["failed"]);
    // The key acts on the selected transfer, so that of another one is not offered.
    chain.transfers.pop();
    let line = headline(Script::new(120, 40, chain).keys("3 j"));
    assert!(line.contains("#2 failed") && !line.contains("r resume"), "{line}");
}

#[test]
fn states_without_traffic_have_a_headline_of_their_own() {
    let only = |phase| {
        let mut chain = idle();
        chain.transfers = vec![transfer(1, phase)];
        chain.transfers[0].resumable = Some(1_310_000_000);
        chain
    };
    says(&only(Phase::Locked), "", &["#1", "another fetch"], &["idle"]);
    says(&only(Phase::Verifying), "", &["#1", "verif"], &["idle"]);
    says(&only(Phase::Paused), "", &["#1 paused at 47%", "p resume"], &["idle"]);
    says(&only(Phase::Cancelled), "", &["#1 cancelled", "r resume"], &["idle"]);
    says(&only(Phase::Done), "", &["#1 finished"], &["idle", "!"]);
    says(&only(Phase::Connecting), "", &["measuring"], &["idle"]);
    says(&idle(), "", &["idle", "f fetch"], &["!"]);
    let mut drains = idle();
    drains.hops[1].node.as_mut().unwrap().draining = true;
    says(&drains, "", &["hop 2 is draining"], &["idle"]);
    let mut starts = idle();
    starts.hops[1].link = HopLink::Starting;
    says(&starts, "", &["hop 2 is starting"], &["idle"]);
}

#[test]
fn a_finished_transfer_keeps_its_bottleneck() {
    let mut chain = with_names();
    chain.transfers = vec![transfer(1, Phase::Done)];
    chain.transfers[0].verdict = Some(chain.verdict);
    says(&chain, "", &["#1", "hop 2", "rate limit 50.0 MB/s"], &["slowest", "!"]);
    let line = headline(&mut Script::new(200, 60, chain));
    assert!(line.contains("#1 finished: 2.73 GB in 32.0 s at 41.2 MB/s; hop 2 (proxy-2) was the bottleneck"), "{line}");
}

#[test]
fn every_limit_fits_the_narrowest_screen_with_its_place_and_its_cause() {
    let limits = [
        (Limit::RateLimit { hop: 0, rate: 999_900_000 }, "client: rate limit 999.9 MB/s"),
        (Limit::Fault { hop: 32, fault: FaultKind::Delay }, "hop 32: injected delay"),
        (Limit::Fault { hop: 3, fault: FaultKind::Fragment }, "hop 3: fault: fragments"),
        (Limit::Client { resource: Resource::Either }, "client: its disk or processor"),
        (Limit::Origin { hop: 3, resource: Resource::Disk }, "origin (hop 3): its disk"),
        (Limit::Relay { hop: 2 }, "hop 2: its processor"),
        (Limit::Link { from: 3, to: 2, cause: LinkCause::Loss }, "link 3 to 2: packet loss"),
        (Limit::Link { from: 1, to: 0, cause: LinkCause::Congestion }, "link 1 to client: network at capacity"),
        (Limit::Receiver { from: 2, to: 1 }, "hop 1: not reading"),
        (Limit::Unobserved { after: 1, before: 3 }, "between hop 1 and hop 3: no reports"),
    ];
    for (limit, sentence) in limits {
        let mut chain = streaming();
        chain.verdict = Verdict { limit, share: 0.88, since_ms: 125_000, ..Verdict::default() };
        let line = headline(&mut Script::new(42, 20, chain));
        let (place, cause) = sentence.split_once(": ").unwrap();
        assert!(line.starts_with(&format!(" ✖ {place}")) && line.contains(cause), "{line}");
    }
}

#[test]
fn the_headline_is_a_bar_only_while_something_is_wrong() {
    for colors in [ColorScheme::Terminal, ColorScheme::Mono] {
        let looks = |chain| {
            let buffer = Script::new(80, 24, chain).themed(false, colors).buffer();
            let row: Vec<_> = (0..80).map(|x| buffer[(x, ROW as u16)].clone()).collect();
            row.iter().all(|cell| cell.bg != Color::Reset || cell.modifier.contains(Modifier::REVERSED))
        };
        assert!(looks(with_names()), "over the whole width");
        assert!(!looks(idle()));
    }
}

#[test]
fn keys_are_those_of_the_user() {
    let own = Keymap::with(&[("fetch".to_owned(), vec!["F5".to_owned()])]).expect("this key is free");
    let mut script = Script::new(80, 24, idle());
    script.state.keymap = std::sync::Arc::new(own);
    assert!(headline(&mut script).contains("f5 fetch"), "{}", headline(&mut script));
}

#[test]
fn the_headline_is_on_every_tab() {
    for tab in ["1", "2", "3", "4", "5"] {
        let line = headline(Script::new(80, 24, with_names()).keys(tab));
        assert!(line.contains("hop 2") && line.contains("rate limit 50.0 MB/s"), "{tab}: {line}");
    }
}

#[test]
fn one_line_keeps_place_and_cause() {
    for (columns, wanted) in
        [(120, "41.2 MB/s ETA 0:35 hop 2 (proxy-2) is the bottleneck"), (39, "47% hop 2: rate limit 50.0 MB/s")]
    {
        let screen = Script::new(columns, 7, with_names()).screen();
        assert!(screen.lines().next().unwrap_or_default().contains(wanted), "{screen}");
    }
}

#[test]
fn the_hop_of_the_headline_is_selected_until_the_user_selects_one() {
    let selected = |script: &mut Script| {
        let screen = script.screen();
        let at = screen.find("Connections of hop ").expect("the heading of the connections");
        screen[at + "Connections of hop ".len()..].chars().next().and_then(|c| c.to_digit(10)).unwrap_or(0)
    };
    let mut script = Script::new(120, 40, idle());
    assert_eq!(selected(&mut script), 1);
    script.see(with_names());
    assert_eq!(selected(&mut script), 2, "the bottleneck");
    let mut measuring = with_names();
    (measuring.generation, measuring.verdict) = (3, Verdict::default());
    script.see(measuring);
    assert_eq!(selected(&mut script), 2, "kept while nothing is measured");
    let mut link = with_names();
    (link.generation, link.verdict.limit) = (4, Limit::Link { from: 3, to: 2, cause: LinkCause::Loss });
    script.see(link.clone());
    assert_eq!(selected(&mut script), 3, "the sending hop of a link");
    assert_eq!(selected(script.keys("k k")), 1, "the user's choice");
    script.see(link);
    assert_eq!(selected(&mut script), 1, "stays");
    assert!(headline(&mut script).contains("esc select it"), "{}", headline(&mut script));
    assert_eq!(selected(script.keys("<esc>")), 3, "automatic again");
    let mut client = with_names();
    (client.generation, client.verdict.limit) = (5, Limit::Client { resource: Resource::Disk });
    script.see(client);
    assert_eq!(selected(&mut script), 1, "next to the client");
}

#[test]
fn details_stay_at_their_hop() {
    let mut script = Script::new(120, 40, with_names());
    assert!(script.keys("<enter>").screen().contains("Hop 2"));
    let mut link = with_names();
    (link.generation, link.verdict.limit) = (4, Limit::Link { from: 3, to: 2, cause: LinkCause::Loss });
    script.see(link);
    assert!(script.screen().contains("Hop 2"), "{}", script.screen());
}

#[test]
fn a_failure_is_at_the_typed_hop_whatever_its_text_names() {
    let mut chain = idle();
    chain.transfers = vec![transfer(1, Phase::Failed)];
    chain.transfers[0].error = Some("hop 1: relayed an error".into());
    chain.transfers[0].failed_hop = Some(3);
    on_every_screen(&chain, |script| {
        let screen = script.screen();
        assert!(screen.lines().any(|line| line.starts_with("▌✖ 3") || line.starts_with("▌✖3")), "{screen}");
    });
}
