//! `key=` on relays: each connection to such a hop is encrypted.

use std::fs;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Forwarder, Harm, MARK, NAME, SIZE, chainview, said};
use crate::support::process::{Node, release_clients};

/// Long enough for a loaded host.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Two relays and an origin, each with a key, and a recorder before each.
struct Chain {
    dir: tempfile::TempDir,
    content: Vec<u8>,
    keys: Vec<String>,
    nodes: Vec<Node>,
    recorders: Vec<Forwarder>,
}

impl Chain {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("folder")).unwrap();
        let content: Vec<u8> = MARK.iter().copied().cycle().take(SIZE).collect();
        fs::write(root.join(NAME), &content).unwrap();
        fs::write(root.join("folder").join(NAME), &content).unwrap();
        let (mut keys, mut nodes, mut recorders) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..3 {
            let key = chainview(dir.path(), &format!("--new-key key{at}")).stdout;
            keys.push(String::from_utf8(key).unwrap().trim_end().to_owned());
            let identity = dir.path().join(format!("key{at}"));
            let node = Node::chainview(&root, &["--identity", identity.to_str().unwrap()]);
            recorders.push(Forwarder::start(node.address(), Harm::Nothing, 0));
            nodes.push(node);
        }
        Self { dir, content, keys, nodes, recorders }
    }

    /// Writes an input file; `keyed` says which hops have `key=`.
    fn write_input(&self, name: &str, keyed: [bool; 3]) {
        let hop = |at: usize| {
            let address = self.recorders[at].address;
            if keyed[at] { format!("{address} key={}\n", self.keys[at]) } else { format!("{address}\n") }
        };
        fs::write(self.dir.path().join("in.txt"), format!("{name}\n{}{}{}", hop(0), hop(1), hop(2))).unwrap();
    }

    /// Returns before which nodes the name or the content was read, and before which the address of the origin.
    fn seen(&self) -> (Vec<usize>, Vec<usize>) {
        let origin = self.recorders[2].address.to_string();
        let before = |words: &[&[u8]]| -> Vec<usize> {
            let has = |at: &usize| {
                let seen = self.recorders[*at].seen.lock().unwrap();
                words.iter().any(|words| seen.windows(words.len()).any(|window| window == *words))
            };
            (0..3).filter(has).collect()
        };
        (before(&[NAME.as_bytes(), MARK]), before(&[origin.as_bytes()]))
    }
}

#[test]
fn a_connection_to_a_relay_with_a_key_shows_no_name_and_no_address() {
    for (keyed, names, addresses) in [
        // Before the origin, its address is that of the request for the tunnel.
        ([true, true, true], vec![], vec![2]),
        ([false, false, true], vec![], vec![0, 1, 2]),
        ([true, false, true], vec![], vec![1, 2]),
        ([false, true, true], vec![], vec![0, 2]),
        ([false, true, false], vec![0, 2], vec![0, 2]),
        ([true, true, false], vec![2], vec![2]),
    ] {
        let chain = Chain::start();
        chain.write_input(NAME, keyed);
        for run in ["-n 3 --force", "--connections 3 --force"] {
            let fetched = chainview(chain.dir.path(), &format!("--fetch in.txt -o got -q --json {run}"));
            assert_eq!(fetched.status.code(), Some(0), "{keyed:?} {run}: {}", said(&fetched));
            assert!(fs::read(chain.dir.path().join("got")).unwrap() == chain.content, "{keyed:?} {run}");
        }
        assert_eq!(chain.seen(), (names, addresses), "{keyed:?}");
    }
}

#[test]
fn a_folder_passes_relays_with_keys() {
    let chain = Chain::start();
    chain.write_input("folder/", [true, true, false]);
    let fetched = chainview(chain.dir.path(), "--fetch in.txt -o got -q");
    assert_eq!(fetched.status.code(), Some(0), "{}", said(&fetched));
    assert!(fs::read(chain.dir.path().join("got").join(NAME)).unwrap() == chain.content);
}

#[test]
fn files_one_after_the_other_share_the_connections() {
    let chain = Chain::start();
    fs::write(chain.dir.path().join("root/small"), "a few bytes").unwrap();
    chain.write_input("small", [true, true, false]);
    let fetched = chainview(chain.dir.path(), "--fetch in.txt -o got -q -n 20 --force --no-verify");
    assert_eq!(fetched.status.code(), Some(0), "{}", said(&fetched));
    let opened: Vec<u64> = chain.recorders.iter().map(|recorder| recorder.connections.load(Relaxed)).collect();
    assert!(opened.iter().all(|opened| *opened < 10), "{opened:?} connections for 20 files");
}

#[test]
fn the_relay_with_another_key_is_named() {
    let chain = Chain::start();
    for wrong in 0..2 {
        for end in [true, false] {
            chain.write_input(NAME, [true, true, end]);
            let input = fs::read_to_string(chain.dir.path().join("in.txt")).unwrap();
            fs::write(chain.dir.path().join("in.txt"), input.replace(&chain.keys[wrong], &chain.keys[2])).unwrap();
            let fetched = chainview(chain.dir.path(), "--fetch in.txt -o got -q --retries 0");
            let error = said(&fetched);
            assert_eq!(fetched.status.code(), Some(5), "{error}");
            assert!(error.contains(&format!("hop {}", wrong + 1)) && error.contains(&chain.keys[wrong]), "{error}");
        }
    }
    assert!(!chain.dir.path().join("got").exists());
}

#[test]
fn relays_count_no_failure_when_a_client_is_done() {
    let chain = Chain::start();
    for keyed in [[true, true, true], [true, true, false], [false, false, true]] {
        chain.write_input(NAME, keyed);
        let fetched = chainview(chain.dir.path(), "--fetch in.txt -o got -q -n 2 --force");
        assert_eq!(fetched.status.code(), Some(0), "{keyed:?}: {}", said(&fetched));
        assert!(release_clients(&chain.nodes.iter().collect::<Vec<_>>(), TIMEOUT), "{keyed:?}");
        for (hop, node) in (1..).zip(&chain.nodes) {
            assert_eq!(node.snapshot().totals.failed, 0, "hop {hop} {keyed:?}: {}", node.stderr());
        }
    }
}
