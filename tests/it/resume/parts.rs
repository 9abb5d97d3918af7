//! A file over several connections and routes, fetched by clients that are killed; the next client resumes.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::scene::{Client, Dice, Scene, is_full};
use super::{IN_BUFFERS, MAX_RESENT};
use crate::support::TIMEOUT;
use crate::support::process::release_clients;

/// Ways to the third node.
const ROUTES: [&[usize]; 4] = [&[1, 3], &[3], &[2, 3], &[1, 2, 3]];
const CONNECTIONS: [&str; 7] = ["auto", "1", "2", "3", "5", "8", "16"];
/// Bytes that are compared at a time.
const BLOCK: usize = 256 << 10;

/// Starts a client with random routes and connections; returns what they are, too.
fn fetch(scene: &Scene, dice: &mut Dice) -> (Client, String) {
    let mut routes = ROUTES.to_vec();
    (1..routes.len()).rev().for_each(|at| routes.swap(at, dice.roll(0, at as u64 + 1) as usize));
    routes.truncate(dice.roll(1, 4) as usize);
    let connections = CONNECTIONS[dice.roll(0, CONNECTIONS.len() as u64) as usize];
    let client = scene.fetch_by(&routes, &["--connections", connections]);
    (client, format!("{connections} connections over {routes:?}"))
}

/// Returns the number of bytes of the partial file that are those of the file.
fn written(scene: &Scene) -> u64 {
    let part = fs::read(scene.part()).unwrap_or_default();
    let blocks = part.chunks(BLOCK).zip(scene.content.chunks(BLOCK));
    blocks.filter(|(found, expected)| found == expected).map(|(found, _)| found.len() as u64).sum()
}

#[test]
fn a_killed_client_resumes_over_other_connections_and_routes() {
    let (size, kills) = if is_full() { (64 << 20, 200) } else { (32 << 20, 4) };
    let scene = Scene::new(3, size, "50M", &[]);
    let began = Instant::now();
    assert!(scene.fetch_by(&ROUTES[..2], &["--connections", "4"]).wait().status.success());
    let lasting = began.elapsed().as_micros() as u64;
    scene.clear();
    let (mut most, mut resumed, mut killed) = (0, 0, 0);
    for seed in 0..kills {
        let mut dice = Dice::new(seed + 1);
        let watcher = scene.watch();
        let (client, first) = fetch(&scene, &mut dice);
        // Any moment of it is one to test, so nothing is waited for.
        sleep(Duration::from_micros(dice.roll(0, lasting)));
        killed += u64::from(client.kill().status.code().is_none());
        let (kept, is_there) = (written(&scene), scene.target().exists());
        let (client, second) = fetch(&scene, &mut dice);
        let ended = client.wait();
        watcher.end();
        let what = format!("seed {seed}: {first}, then {second}");
        assert!(ended.status.success(), "{what}: {}", ended.stderr);
        scene.is_whole();
        if !is_there {
            assert_eq!(ended.transfer["integrity"], "verified", "{what}");
            let from = ended.transfer["resumed_from"].as_u64().unwrap();
            let again = (kept + IN_BUFFERS).saturating_sub(from);
            assert!(again <= MAX_RESENT, "{what}: {kept} bytes were written, and it resumed with {from}");
            (most, resumed) = (most.max(again), resumed + u64::from(from > 0));
        }
        scene.clear();
    }
    println!("{kills} of {kills} identical, {killed} killed, {resumed} resumed; at most {most} bytes sent again");
    // A few may all come too late on a loaded machine.
    assert!(!is_full() || killed * 2 > kills, "{killed} of {kills} were killed during the fetch");
    let nodes = [1, 2, 3].map(|hop| scene.node(hop));
    assert!(release_clients(&nodes, TIMEOUT), "connections are left");
}
