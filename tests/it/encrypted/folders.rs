//! Folders, listings and control through encrypted chains.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chainview::net::admin_client::{self, Credentials};
use chainview::route::{FileName, Route};
use chainview::snapshot::Listing;
use chainview::wire::Problem;

use super::*;

const FOLDER: &str = "minutes-of-the-board";
/// In a folder of the folder.
const DRAFT: &str = "budget-draft.txt";
/// Several pages of the decoder's queue, and few enough to be made quickly.
const FILES: usize = 40;

/// What must not be on the wire.
const SECRETS: &[&[u8]] = &[FOLDER.as_bytes(), DRAFT.as_bytes(), b"protocol-17", MARK];

/// Files of a folder by their path.
type Tree = BTreeMap<String, Vec<u8>>;

/// Fills the folder at the origin; returns its files.
fn fill(scene: &Scene) -> Tree {
    let tree: Tree = (0..FILES)
        .map(|number| (format!("protocol-{number}"), MARK.repeat(1 + number * 60)))
        .chain([(format!("later/{DRAFT}"), MARK.repeat(20_000))])
        .collect();
    for (path, content) in &tree {
        let path = scene.dir.path().join("root").join(FOLDER).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    scene.write_input_for(&format!("{FOLDER}/"), &scene.key);
    tree
}

/// The files that have arrived.
fn arrived(scene: &Scene) -> Tree {
    fn walk(folder: &Path, prefix: &str, tree: &mut Tree) {
        for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{path}/"), tree);
            } else {
                tree.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut tree = Tree::new();
    walk(&scene.dir.path().join("got").join(FOLDER), "", &mut tree);
    tree
}

fn fetch_folder(scene: &Scene, more: &str) -> Output {
    let got = scene.dir.path().join("got");
    let _ = fs::remove_dir_all(&got);
    fs::create_dir(&got).unwrap();
    chainview(scene.dir.path(), &format!("--fetch in.txt -o got -q --json {more}"))
}

/// Lists the folder as the dashboard does.
fn list(scene: &Scene) -> Result<Listing, Problem> {
    let route = Route::parse(&fs::read(scene.dir.path().join("in.txt")).unwrap()).unwrap();
    let folder = FileName::new(FOLDER.as_bytes()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(admin_client::list(&route, Some(&folder), None, Credentials::default()))
}

#[test]
fn a_folder_and_its_listing_are_on_no_wire() {
    let scene = Scene::start(Harm::Nothing, 0);
    let tree = fill(&scene);
    let whole = fetch_folder(&scene, "");
    assert_eq!(whole.status.code(), Some(0), "{}", said(&whole));
    assert!(arrived(&scene) == tree);
    let report: serde_json::Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(report["transfers"][0]["integrity"], "verified");
    fs::create_dir(scene.dir.path().join("other")).unwrap();
    let summary = chainview(scene.dir.path(), "--fetch in.txt -o other").stdout;
    let summary = String::from_utf8(summary).unwrap();
    assert!(summary.contains(&format!(", verified from the origin {}, in ", scene.key)), "{summary}");
    // With a selection, the listing is read first, and then the parts over several connections.
    let some = fetch_folder(&scene, "--include **/*draft* --include protocol-1*");
    assert_eq!(some.status.code(), Some(0), "{}", said(&some));
    let selected: Tree =
        tree.clone().into_iter().filter(|(path, _)| path.contains("draft") || path.starts_with("protocol-1")).collect();
    assert_eq!(arrived(&scene).keys().collect::<Vec<_>>(), selected.keys().collect::<Vec<_>>());
    let listing = list(&scene).unwrap();
    assert_eq!(listing.entries.len(), FILES + 1);
    assert!(scene.forwarders.iter().all(|forwarder| forwarder.connections.load(Relaxed) > 0));
    assert_eq!(scene.leaks_of(SECRETS), Vec::<String>::new());
    // Without a key, the forwarders see all of it.
    let plain =
        fs::read_to_string(scene.dir.path().join("in.txt")).unwrap().replace(&format!(" key={}", scene.key), "");
    fs::write(scene.dir.path().join("in.txt"), plain).unwrap();
    assert_eq!(fetch_folder(&scene, "").status.code(), Some(0));
    assert_eq!(scene.leaks_of(SECRETS).len(), 2 * SECRETS.len());
}

/// The same numbers in each run.
fn seeded(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    }
}

#[test]
fn a_folder_over_a_cut_or_altered_tunnel_has_no_wrong_file() {
    let scene = Scene::start(Harm::Nothing, 0);
    let tree = fill(&scene);
    let mut random = seeded(0x2545_f491_4f6c_dd1d);
    for round in 0..20 {
        // Of the connection before the origin: the reply to CONNECT, the handshake, the head, the stream.
        let place = random([400, 900, 3_000, 300_000, 1_700_000][round % 5]);
        let harm = if round % 10 < 5 { Harm::Cuts(place) } else { Harm::Alters(place) };
        scene.forwarders[1].harm_next(harm);
        let once = fetch_folder(&scene, "--retries 0");
        let first = arrived(&scene);
        assert!(first.iter().all(|(path, content)| tree[path] == *content), "{harm:?}");
        assert!(matches!(once.status.code(), Some(0 | 5 | 6)), "{harm:?}: {:?} {}", once.status, said(&once));
        assert!(once.status.code() == Some(0) || said(&once).contains("hop "), "{harm:?}: {}", said(&once));
        // Another one that fails loses nothing that had been verified.
        scene.forwarders[1].harm_next(harm);
        let twice = chainview(scene.dir.path(), "--fetch in.txt -o got -q --retries 0");
        assert!(matches!(twice.status.code(), Some(0 | 5 | 6)), "{harm:?}: {:?} {}", twice.status, said(&twice));
        let second = arrived(&scene);
        assert!(first.keys().all(|path| second.contains_key(path)), "{harm:?}");
        let again = chainview(scene.dir.path(), "--fetch in.txt -o got -q");
        assert_eq!(again.status.code(), Some(0), "{harm:?}: {}", said(&again));
        assert!(arrived(&scene) == tree, "{harm:?}");
    }
    assert_eq!(scene.leaks_of(SECRETS), Vec::<String>::new());
}

#[test]
fn a_listing_over_a_cut_or_altered_tunnel_is_whole_or_an_error() {
    let scene = Scene::start(Harm::Nothing, 0);
    fill(&scene);
    let (mut random, mut errors) = (seeded(0x9e37_79b9_7f4a_7c15), 0);
    for round in 0..160 {
        // More than half are in the reply to CONNECT and in the handshake, which has fewer than 900 bytes.
        let place = random(if round % 3 == 0 { 8_000 } else { 900 });
        let harm = if round % 2 == 0 { Harm::Cuts(place) } else { Harm::Alters(place) };
        scene.forwarders[1].harm_next(harm);
        match list(&scene) {
            Ok(listing) => assert_eq!(listing.entries.len(), FILES + 1, "{harm:?}"),
            Err(problem) => {
                assert!((1..=3).contains(&problem.hop), "{harm:?}: {problem:?}");
                errors += 1;
            }
        }
    }
    assert!(errors > 100, "{errors} of 160");
    assert_eq!(list(&scene).unwrap().entries.len(), FILES + 1);
    assert_eq!(scene.leaks_of(SECRETS), Vec::<String>::new());
}

#[test]
fn a_server_without_tls_gets_no_name() {
    let scene = Scene::start(Harm::Nothing, 0);
    // A web server, which answers whatever comes, and one that closes.
    for reply in ["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (server, relay) = (listener.local_addr().unwrap(), scene.forwarders[0].address);
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let mut bytes = [0; 4096];
                let read = client.read(&mut bytes).unwrap_or(0);
                log.lock().unwrap().extend_from_slice(&bytes[..read]);
                let _ = (client.write_all(reply.as_bytes()), client.shutdown(Shutdown::Write));
            }
        });
        for (hops, hop) in [(format!("{server}"), "hop 1"), (format!("{relay}\n{server}"), "hop 2")] {
            for name in [NAME, &format!("{FOLDER}/")] {
                fs::write(scene.dir.path().join("in.txt"), format!("{name}\n{hops} key={}\n", scene.key)).unwrap();
                let fetched = fetch_folder(&scene, "");
                assert_eq!(fetched.status.code(), Some(5), "{reply:?} {hops}: {}", said(&fetched));
                assert!(said(&fetched).contains(hop), "{reply:?}: {}", said(&fetched));
                assert_eq!(fs::read_dir(scene.dir.path().join("got")).unwrap().count(), 0, "nothing is written");
            }
            let problem = list(&scene).unwrap_err();
            assert!(hop.ends_with(&problem.hop.to_string()), "{reply:?}: {problem:?}");
        }
        let seen = seen.lock().unwrap();
        assert!(!seen.is_empty());
        let has = |words: &[u8]| seen.windows(words.len()).any(|window| window == words);
        assert!(!SECRETS.iter().any(|words| has(words)) && !has(NAME.as_bytes()));
    }
}

#[test]
fn a_listing_of_a_node_with_another_key_names_both() {
    let scene = Scene::start(Harm::Nothing, 0);
    fill(&scene);
    let other = format!("sha256:{}=", "A".repeat(43));
    scene.write_input_for(&format!("{FOLDER}/"), &other);
    let problem = list(&scene).unwrap_err();
    assert_eq!(problem.hop, 3);
    assert!(problem.to_string().contains(&scene.key), "{problem}");
    let fetched = fetch_folder(&scene, "");
    assert_eq!(fetched.status.code(), Some(5), "{}", said(&fetched));
    assert!(arrived(&scene).is_empty());
}
