//! Resuming with real processes: nodes and clients that are killed, files that change.

mod folder;
mod parts;
pub(crate) mod scene;
use crate::support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;
use scene::{Dice, NAME, Scene, is_full, served};

/// Maximum bytes that are sent again after a kill.
const MAX_RESENT: u64 = 16 << 20;
/// What a client may have received and not written when it is killed.
const IN_BUFFERS: u64 = 2 << 20;

#[test]
fn a_killed_client_resumes_from_disk() {
    let (size, kills) = if is_full() { (96 << 20, 200) } else { (40 << 20, 3) };
    // Slower than a disk under load: bytes that arrive during a sync are sent again as well.
    let scene = Scene::new(2, size, "60M", &[]);
    let mut most = 0;
    for seed in 0..kills {
        let mut dice = Dice::new(seed + 1);
        let client = scene.fetch(&[]);
        let watcher = scene.watch();
        scene.arrives(dice.roll(0, size as u64 - (1 << 20)));
        client.kill();
        let written = fs::metadata(scene.part()).unwrap().len();
        let ended = scene.fetch(&[]).wait();
        watcher.end();
        assert!(ended.status.success(), "seed {seed}: {}", ended.stderr);
        assert_eq!(ended.transfer["integrity"], "verified");
        scene.is_whole();
        let resumed = ended.transfer["resumed_from"].as_u64().unwrap();
        let again = (written + IN_BUFFERS).saturating_sub(resumed);
        assert!(again <= MAX_RESENT, "seed {seed}: {written} bytes were written, and it resumed at {resumed}");
        most = most.max(again);
        scene.clear();
    }
    println!("{kills} of {kills} identical; at most {most} bytes sent again");
}

#[test]
fn a_restarted_hop_is_resumed_from_in_the_same_run() {
    let mut scene = Scene::new(4, 24 << 20, "24M", &[]);
    for hop in 1..=4 {
        let client = scene.fetch(&[]);
        let watcher = scene.watch();
        scene.arrives(6 << 20);
        scene.kill(hop);
        scene.until("a retry", || client.stderr().contains("retrying"));
        scene.start(hop);
        let ended = client.wait();
        watcher.end();
        assert!(ended.status.success(), "hop {hop}: {}", ended.stderr);
        assert!(ended.stderr.contains("resumes from"), "hop {hop}: {}", ended.stderr);
        assert!(
            ended.transfer["attempts"].as_u64() >= Some(2) && ended.transfer["resumed_from"].as_u64() >= Some(6 << 20)
        );
        let (here, origin) = (&ended.transfer["here"], &ended.transfer["origin"]);
        assert!(here == origin && here["size"] == 24 << 20, "{here} and {origin}");
        scene.is_whole();
        scene.clear();
    }
}

#[test]
fn the_limit_of_a_retry_is_reported_while_it_runs() {
    let mut scene = Scene::new(2, 8 << 20, "800k", &[]);
    let client = scene.fetch(&[]);
    // Too short for a verdict on the first attempt.
    scene.arrives(100_000);
    scene.kill(2);
    scene.until("a retry", || client.stderr().contains("retrying"));
    scene.start(2);
    scene.until("the verdict is logged", || {
        client.stderr().contains(&format!("{NAME}: slowest: hop 2, rate-limited to 800.0 KB/s"))
    });
    client.signal(Signal::INT);
    let ended = client.wait();
    assert_eq!((ended.status.signal(), &ended.transfer["verdict"]["limit"]), (Some(2), &"rate-limit".into()));
}

#[test]
fn an_interrupt_during_backoff_takes_effect_immediately() {
    let mut scene = Scene::new(1, 8 << 20, "8M", &[]);
    let client = scene.fetch(&["--retries", "100"]);
    scene.arrives(1 << 20);
    scene.kill(1);
    // The fourth pause is of 4 s: long enough to distinguish its end from an interrupt.
    scene.until("several retries", || client.stderr().matches("retrying").count() >= 4);
    let started = std::time::Instant::now();
    client.signal(Signal::INT);
    let ended = client.wait();
    assert_eq!(ended.status.signal(), Some(2));
    assert!(started.elapsed().as_secs() < 3, "it took {:?}", started.elapsed());
    assert_eq!(scene.names(), [format!("{NAME}.part"), format!("{NAME}.part.state")]);
}

#[test]
fn a_file_that_changes_during_a_transfer_is_never_a_success() {
    let rewrite: fn(&Scene) = |scene| {
        let file = fs::File::options().write(true).open(served(scene)).unwrap();
        file.write_all_at(b"another beginning", 0).unwrap();
    };
    let truncate: fn(&Scene) = |scene| {
        fs::File::options().write(true).open(served(scene)).unwrap().set_len(5 << 20).unwrap();
    };
    for (how, change) in [("rewrite", rewrite), ("truncate", truncate)] {
        let scene = Scene::new(2, 12 << 20, "16M", &[]);
        let client = scene.fetch(&[]);
        scene.arrives(2 << 20);
        change(&scene);
        let ended = client.wait();
        assert_eq!(ended.status.code(), Some(6), "{how}: {}", ended.stderr);
        assert!(ended.stderr.contains("changed at the origin"), "{how}: {}", ended.stderr);
        assert!(!scene.target().exists(), "{how}");
        // The partial file is not resumed: it may mix both versions.
        assert_eq!(scene.names(), [format!("{NAME}.part"), format!("{NAME}.part.state")], "{how}");
    }
}

#[test]
fn a_replaced_file_is_fetched_as_either_version() {
    let scene = Scene::new(2, 12 << 20, "16M", &[]);
    let client = scene.fetch(&[]);
    scene.arrives(2 << 20);
    let other = support::content(9 << 20);
    fs::write(scene.served.path().join("other"), &other).unwrap();
    fs::rename(scene.served.path().join("other"), served(&scene)).unwrap();
    let ended = client.wait();
    if ended.status.success() {
        // The origin had it open: what it sent is the requested file, and verified.
        assert_eq!((ended.transfer["integrity"].as_str(), scene.names()), (Some("verified"), vec![NAME.to_owned()]));
        assert!(fs::read(scene.target()).unwrap() == scene.content);
    } else {
        assert!(ended.status.code() == Some(6) && !scene.target().exists(), "{}", ended.stderr);
    }
    // The partial file is of the old version: the next fetch has to detect that.
    let _ = fs::remove_file(scene.target());
    let ended = scene.fetch(&[]).wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(fs::read(scene.target()).unwrap() == other);
}

#[test]
fn expect_accepts_only_the_named_digest() {
    let scene = Scene::new(2, 1 << 20, "100M", &[]);
    let right = format!("blake3:{}", blake3::hash(&scene.content).to_hex());
    let ended = scene.fetch(&["--expect", &right.replace(['a', 'b'], "c").replace("clcke3", "blake3")]).wait();
    assert_eq!(ended.status.code(), Some(6), "{}", ended.stderr);
    assert!(ended.stderr.contains("--expect states") && !scene.target().exists(), "{}", ended.stderr);
    let ended = scene.fetch(&["--expect", &right]).wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(ended.transfer["here"]["digest"], right.as_str());
    scene.is_whole();
}
