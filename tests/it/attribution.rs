//! Failure attribution with real processes: which hop failed a transfer, and how: killed, stopped, shut down.

use crate::resume::scene;
use crate::support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use scene::{Dice, Scene, is_full};
use support::{TIMEOUT, at_once};

/// Hops of the chain: three relays and the origin.
const HOPS: usize = 4;
/// Size of the file: at the origin's rate there is time to kill a hop in the middle.
const SIZE: u64 = 16 << 20;

#[test]
fn a_killed_hop_is_named_within_a_second() {
    let kills = if is_full() { 50 } else { 2 };
    let mut scene = Scene::new(HOPS, SIZE as usize, "24M", &[]);
    let (mut exact, mut adjacent, mut slowest, mut all) = (0, 0, Duration::ZERO, 0);
    for hop in 1..=HOPS {
        for seed in 0..kills {
            let mut dice = Dice::new((hop as u64) << 32 | (seed + 1));
            let client = scene.fetch(&["--retries", "0"]);
            let watcher = scene.watch();
            scene.arrives(dice.roll(0, SIZE / 2));
            let started = Instant::now();
            scene.kill(hop);
            let ended = client.wait();
            let took = started.elapsed();
            if ended.status.success() {
                // On a busy machine all of it was through the hop before the kill.
                watcher.end();
                scene.is_whole();
                scene.clear();
                scene.start(hop);
                continue;
            }
            assert_eq!(ended.status.code(), Some(6), "hop {hop}, seed {seed}: {}", ended.stderr);
            assert!(!scene.target().exists());
            let named = ended.transfer["error"]["hop"].as_u64().unwrap_or(0) as usize;
            exact += usize::from(named == hop);
            adjacent += usize::from(named.abs_diff(hop) <= 1);
            all += 1;
            if named != hop {
                println!("hop {hop}, seed {seed}: {}", ended.stderr.lines().last().unwrap_or_default());
            }
            slowest = slowest.max(took);
            scene.start(hop);
            let ended = scene.fetch(&[]).wait();
            watcher.end();
            assert!(ended.status.success() && ended.transfer["resumed_from"].as_u64() > Some(0), "{}", ended.stderr);
            scene.is_whole();
            scene.clear();
        }
    }
    println!(
        "{all} kills: the hop itself named in {exact}, it or an adjacent one in {adjacent}; slowest error {slowest:?}"
    );
    assert!(all * 2 > kills as usize * HOPS, "only {all} transfers failed");
    assert!(adjacent * 100 >= all * 99, "{adjacent} of {all}");
    // A busy machine may add to it; by itself it takes a few ms.
    assert!(slowest < Duration::from_secs(1) || !is_full(), "{slowest:?}");
}

#[test]
fn a_restarted_hop_is_named_as_restarted() {
    let mut scene = Scene::new(2, SIZE as usize, "24M", &[]);
    // The client is stopped while the node is killed and restarted, so that it only ever meets the new one.
    let client = scene.fetch(&["--retries", "0"]);
    scene.arrives(1 << 20);
    client.signal(Signal::STOP);
    scene.kill(2);
    scene.start(2);
    client.signal(Signal::CONT);
    let ended = client.wait();
    let error = &ended.transfer["error"];
    assert_eq!((error["hop"].as_u64(), error["reason"].as_str()), (Some(2), Some("restarted")), "{error}");
}

#[test]
fn a_silent_hop_is_named_during_the_wait() {
    at_once([(2, true), (3, false)], |(hop, continues)| {
        // All but the client give up sooner than by default.
        let scene = Scene::new(3, SIZE as usize, "8M", &["--idle-timeout", "10s", "--stall-timeout", "10s"]);
        let mut client = scene.fetch(&["--retries", "0"]);
        scene.arrives(1 << 20);
        let started = Instant::now();
        scene.signal(hop, Signal::STOP);
        let named = format!("hop {hop} ({}): does not respond", scene.node(hop).address());
        scene.until("it is named", || client.stderr().contains(&named) || !client.is_running());
        assert!(client.stderr().contains(&named), "{}", client.stderr());
        assert!(started.elapsed() < Duration::from_secs(15), "it took {:?}", started.elapsed());
        if continues {
            assert!(client.is_running());
            scene.signal(hop, Signal::CONT);
            let ended = client.wait();
            assert!(ended.status.success(), "{}", ended.stderr);
            scene.is_whole();
            return;
        }
        let ended = client.wait();
        let error = &ended.transfer["error"];
        assert_eq!((error["hop"].as_u64(), error["exit_code"].as_u64()), (Some(hop as u64), Some(8)), "{error}");
        // All others release what belonged to it.
        for other in (1..=3).filter(|other| *other != hop) {
            // Its kernel still acknowledges, so what is sent to it may be in transit for a step of its window.
            assert!(scene.node(other).becomes_idle(0, usize::MAX, 2 * TIMEOUT), "hop {other}");
        }
    });
}

#[test]
fn a_stopped_hop_is_named_with_a_short_idle_timeout() {
    at_once(1..=3, |hop| {
        let scene = Scene::new(3, SIZE as usize, "8M", &[]);
        let client = scene.fetch(&["--retries", "0", "--idle-timeout", "3s"]);
        scene.arrives(1 << 20);
        scene.signal(hop, Signal::STOP);
        let ended = client.wait();
        let error = &ended.transfer["error"];
        assert_eq!((error["hop"].as_u64(), error["exit_code"].as_u64()), (Some(hop as u64), Some(8)), "{error}");
        assert!(ended.stderr.contains("does not respond"), "{}", ended.stderr);
        scene.signal(hop, Signal::CONT);
    });
}

#[test]
fn a_chain_of_one_hop_gets_a_verdict() {
    at_once(["http", "auto", "legacy"], |protocol| {
        let ended = Scene::new(1, 6 << 20, "1M", &[]).fetch_over(protocol, &[]).wait();
        assert!(ended.status.success(), "{protocol}: {}", ended.stderr);
        if protocol == "legacy" {
            // A hop that cannot be queried is not called silent while it works.
            let running = ended.stderr.lines().take_while(|line| !line.contains(" bytes in "));
            assert_eq!(running.filter(|line| line.contains("slowest:")).count(), 0, "{}", ended.stderr);
            return;
        }
        let sentences: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("slowest:")).collect();
        assert!(
            !sentences.is_empty() && sentences.iter().all(|line| line.contains("hop 1, rate-limited to 1.0 MB/s")),
            "{protocol}: {sentences:?}"
        );
    });
}

#[test]
fn a_hop_that_shuts_down_reports_it() {
    let scene = Scene::new(3, SIZE as usize, "8M", &["--drain-timeout", "500ms"]);
    let client = scene.fetch(&["--retries", "0"]);
    scene.arrives(1 << 20);
    scene.signal(2, Signal::TERM);
    let ended = client.wait();
    let error = &ended.transfer["error"];
    assert_eq!(error["hop"], 2, "{error}");
    assert_eq!(ended.status.code(), Some(6), "{}", ended.stderr);
}
