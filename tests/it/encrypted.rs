//! Encrypted chains in the real program: `key=` on the last hop, and TLS at a node with `--identity`.

mod certificate;
mod endpoints;
mod folders;
mod impostor;
mod relays;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::process::Node;

/// In the file, and looked for on the wire.
const MARK: &[u8] = b"only the ends may read this line\n";
const NAME: &str = "quarterly-figures.txt";
/// Several TLS records, and more than the buffers of a tunnel.
const SIZE: usize = 3 << 20;

/// What a forwarder does to the bytes from the origin of its first connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Nothing,
    /// Flips a bit of this byte.
    Alters(u64),
    /// Ends after this many bytes.
    Cuts(u64),
}

/// Forwards connections to a node, and records what passes.
struct Forwarder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicU64>,
    /// The number of the connection to harm next, and how.
    next: Arc<Mutex<(u64, Harm)>>,
}

impl Forwarder {
    /// Harms the next connection as well.
    fn harm_next(&self, harm: Harm) {
        *self.next.lock().unwrap() = (self.connections.load(Relaxed), harm);
    }

    /// Does harm to the first connections, and none to those after them.
    fn start(to: SocketAddr, harm: Harm, harmed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<AtomicU64>::default());
        let (log, count) = (Arc::clone(&seen), Arc::clone(&connections));
        let next = Arc::new(Mutex::new((u64::MAX, Harm::Nothing)));
        let later = Arc::clone(&next);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(to) else { return };
                let number = count.fetch_add(1, Relaxed);
                let (at, once) = *later.lock().unwrap();
                let harm = match number {
                    number if number == at => once,
                    number if number < harmed => harm,
                    _ => Harm::Nothing,
                };
                let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (log, log2) = (Arc::clone(&log), Arc::clone(&log));
                thread::spawn(move || forward(near, far2, Harm::Nothing, &log));
                thread::spawn(move || forward(far, near2, harm, &log2));
            }
        });
        Self { address, seen, connections, next }
    }

    /// Which of these words have passed.
    fn found(&self, words: &[&[u8]]) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let found = words.iter().filter(|words| seen.windows(words.len()).any(|window| window == **words));
        found.map(|words| String::from_utf8_lossy(words).into_owned()).collect()
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, harm: Harm, seen: &Mutex<Vec<u8>>) {
    let (mut buffer, mut at) = (vec![0; 64 * 1024], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..read];
        let within = |place: u64| (at..at + read as u64).contains(&place).then(|| (place - at) as usize);
        match harm {
            Harm::Alters(place) => within(place).into_iter().for_each(|place| bytes[place] ^= 1),
            Harm::Cuts(place) if within(place).is_some() => break,
            Harm::Cuts(_) | Harm::Nothing => {}
        }
        at += read as u64;
        seen.lock().unwrap().extend_from_slice(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}

fn chainview(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chainview"));
    command.env_clear().env("HOME", folder).current_dir(folder).stdin(Stdio::null());
    command.args(line.split_whitespace()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two relays and an origin with a key; forwarders before the first relay and before the origin.
struct Scene {
    dir: tempfile::TempDir,
    content: Vec<u8>,
    key: String,
    nodes: Vec<Node>,
    forwarders: Vec<Forwarder>,
}

impl Scene {
    fn start(harm: Harm, harmed: u64) -> Self {
        Self::with(harm, harmed, |_| "")
    }

    /// Starts each hop with the flags for its number.
    fn with(harm: Harm, harmed: u64, flags: impl Fn(usize) -> &'static str) -> Self {
        let flags = |hop| flags(hop).split_whitespace().collect::<Vec<_>>();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let content: Vec<u8> = MARK.iter().copied().cycle().take(SIZE).collect();
        fs::write(root.join(NAME), &content).unwrap();
        let key = String::from_utf8(chainview(dir.path(), "--new-key key").stdout).unwrap().trim_end().to_owned();
        let identity = dir.path().join("key");
        let relays = [1, 2].map(|hop| Node::chainview(&root, &flags(hop)));
        let of_origin = [vec!["--identity", identity.to_str().unwrap()], flags(3)].concat();
        let origin = Node::chainview(&root, &of_origin);
        let forwarders = vec![
            Forwarder::start(relays[0].address(), Harm::Nothing, 0),
            Forwarder::start(origin.address(), harm, harmed),
        ];
        let nodes = relays.into_iter().chain([origin]).collect();
        let scene = Self { dir, content, key, nodes, forwarders };
        scene.write_input(&scene.key);
        scene
    }

    fn write_input(&self, key: &str) {
        self.write_input_for(NAME, key);
    }

    fn write_input_for(&self, name: &str, key: &str) {
        let [first, last] = [0, 1].map(|at: usize| self.forwarders[at].address.to_string());
        let second = self.nodes[1].address();
        let input = format!("{name}\n{first}\n{second}\n{last} key={key}\n");
        fs::write(self.dir.path().join("in.txt"), input).unwrap();
    }

    fn fetch(&self, more: &str) -> Output {
        // What is here already would not be received.
        let _ = fs::remove_file(self.dir.path().join("got"));
        chainview(self.dir.path(), &format!("--fetch in.txt -o got -q --json {more}"))
    }

    fn got(&self) -> Option<Vec<u8>> {
        fs::read(self.dir.path().join("got")).ok()
    }

    /// What the wire before the first relay and before the origin had of the file's name and content.
    fn leaks(&self) -> Vec<String> {
        self.leaks_of(&[NAME.as_bytes(), MARK])
    }

    /// Which of these words were on the wire before the first relay, and before the origin.
    fn leaks_of(&self, words: &[&[u8]]) -> Vec<String> {
        self.forwarders.iter().flat_map(|forwarder| forwarder.found(words)).collect()
    }
}

#[test]
fn relays_see_neither_the_name_nor_a_line_of_the_file() {
    let scene = Scene::start(Harm::Nothing, 0);
    for more in ["", "--connections 3", "--expect PLAIN"] {
        let digest = format!("blake3:{}", blake3::hash(&scene.content).to_hex());
        let fetched = scene.fetch(&more.replace("PLAIN", &digest));
        assert_eq!(fetched.status.code(), Some(0), "{more}: {}", said(&fetched));
        let report: serde_json::Value = serde_json::from_slice(&fetched.stdout).unwrap();
        let integrity = report["transfers"][0]["integrity"].as_str();
        assert!(matches!(integrity, Some("verified" | "expected")), "{more}: {integrity:?}");
        assert_eq!(report["transfers"][0]["origin"]["key"], scene.key, "{more}");
        assert!(scene.got().unwrap() == scene.content, "{more}");
    }
    assert!(scene.forwarders.iter().all(|forwarder| forwarder.connections.load(Relaxed) > 0));
    assert_eq!(scene.leaks(), Vec::<String>::new());
    let _ = fs::remove_file(scene.dir.path().join("got"));
    let plain = chainview(scene.dir.path(), "--fetch in.txt -o got");
    let line = String::from_utf8(plain.stdout).unwrap();
    assert!(line.contains(&format!(") from the origin {}, in got", scene.key)), "{line}");
    // Without a key, both are there: the forwarders do look.
    scene.write_input("");
    let plain = fs::read_to_string(scene.dir.path().join("in.txt")).unwrap().replace(" key=", "");
    fs::write(scene.dir.path().join("in.txt"), plain).unwrap();
    let fetched = scene.fetch("");
    assert_eq!(fetched.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&fetched.stdout).unwrap();
    assert!(report["transfers"][0]["origin"].get("key").is_none());
    assert_eq!(scene.leaks().len(), 4);
}

#[test]
fn transfers_share_the_tunnels_of_those_before() {
    let scene = Scene::start(Harm::Nothing, 0);
    fs::write(scene.dir.path().join("root/small"), "a few bytes").unwrap();
    let input = fs::read_to_string(scene.dir.path().join("in.txt")).unwrap().replacen(NAME, "small", 1);
    fs::write(scene.dir.path().join("in.txt"), input).unwrap();
    // Without the report, for which records of the hops are read, each over a connection of its own.
    let fetched = chainview(scene.dir.path(), "--fetch in.txt -o got -q -n 12 -j 2 --force");
    assert_eq!(fetched.status.code(), Some(0), "{}", said(&fetched));
    let tunnels = scene.nodes[0].snapshot().totals.tunnels;
    assert!((1..=2).contains(&tunnels), "{tunnels} tunnels for 12 files, two at a time");
}

#[test]
fn another_key_ends_with_exit_5_and_both_fingerprints() {
    let scene = Scene::start(Harm::Nothing, 0);
    let other = chainview(scene.dir.path(), "--new-key other").stdout;
    let other = String::from_utf8(other).unwrap().trim_end().to_owned();
    scene.write_input(&other);
    let fetched = scene.fetch("");
    assert_eq!(fetched.status.code(), Some(5), "{}", said(&fetched));
    let error = said(&fetched);
    assert!(error.contains("hop 3") && error.contains(&scene.key) && error.contains(&other), "{error}");
    assert_eq!(scene.got(), None);
    let left: Vec<_> = fs::read_dir(scene.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("got")), "{left:?}");
}

#[test]
fn a_hop_without_a_key_is_named() {
    let scene = Scene::start(Harm::Nothing, 0);
    let (first, second) = (scene.nodes[0].address(), scene.nodes[1].address());
    for (hops, hop) in [(format!("{first}\n{second}"), "hop 2"), (first.to_string(), "hop 1")] {
        fs::write(scene.dir.path().join("in.txt"), format!("{NAME}\n{hops} key={}\n", scene.key)).unwrap();
        let fetched = scene.fetch("");
        let error = said(&fetched);
        assert_eq!(fetched.status.code(), Some(5), "{error}");
        assert!(error.contains(hop) && error.contains("--identity"), "{error}");
    }
}

#[test]
fn altered_and_cut_tunnels_end_in_the_same_file_or_an_error() {
    // Of the connection before the origin: the reply to CONNECT, the handshake, the head, the body.
    for place in [3, 400, 700, 1500, 5000, 100_000, 2_000_000, SIZE as u64 + 4000] {
        for harm in [Harm::Alters(place), Harm::Cuts(place)] {
            let scene = Scene::start(harm, 1);
            let fetched = scene.fetch("--retries 2");
            match fetched.status.code() {
                Some(0) => assert!(scene.got().unwrap() == scene.content, "{harm:?}"),
                Some(5 | 6) => assert_eq!(scene.got(), None, "{harm:?}: {}", said(&fetched)),
                code => panic!("{harm:?}: exit {code:?}: {}", said(&fetched)),
            }
            assert_eq!(scene.leaks(), Vec::<String>::new(), "{harm:?}");
        }
    }
}

#[test]
fn wrong_lines_with_a_key_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let key = "sha256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    for (lines, words) in [
        (format!("h 1 protocol=legacy\nh 2 key={key}\n"), "3: key= needs a hop before it without protocol=legacy"),
        (format!("h 1 token-file=t\nh 2 key={key}\n"), "2: token-file= needs key= on the same hop"),
        (format!("h 1 key={key} protocol=legacy\n"), "2: key= needs protocol=http"),
        (format!("h 1 key={}\n", key.replace("AwQ", "Aw-")), "2: key=: character 14 of the fingerprint is '-'"),
        (format!("h 1 key={key} key={key}\n"), "2: key= is repeated"),
    ] {
        fs::write(dir.path().join("in.txt"), format!("f\n{lines}")).unwrap();
        let fetched = chainview(dir.path(), "--fetch in.txt");
        assert_eq!(fetched.status.code(), Some(3), "{lines}");
        assert!(said(&fetched).contains(words), "{words}: {}", said(&fetched));
    }
}

#[test]
fn a_route_without_a_key_does_not_stand_in_for_one_with_a_key() {
    let scene = Scene::start(Harm::Nothing, 0);
    let plain = format!("{NAME}\n{}\n{}\n", scene.nodes[0].address(), scene.nodes[2].address());
    fs::write(scene.dir.path().join("plain.txt"), plain).unwrap();
    for (first, other) in [("in.txt", "plain.txt"), ("plain.txt", "in.txt")] {
        let fetched = chainview(scene.dir.path(), &format!("--fetch {first} --route {other} -o got -q"));
        let error = said(&fetched);
        assert_eq!(fetched.status.code(), Some(3), "{error}");
        assert!(error.contains(other) && error.contains("clear text"), "{error}");
    }
    assert!(scene.forwarders.iter().all(|forwarder| forwarder.connections.load(Relaxed) == 0));
    let both = scene.fetch("--route in.txt");
    assert_eq!(both.status.code(), Some(0), "{}", said(&both));
}

#[test]
fn curl_opens_a_tunnel_to_another_hop_inside_tls() {
    let scene = Scene::start(Harm::Nothing, 0);
    let [proxy, target] = [2, 0].map(|at: usize| scene.nodes[at].address());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-p", "-m", "20", "--proxy-insecure", "-x", &format!("https://{proxy}")]);
    let read = curl.arg(format!("http://{target}/files/{NAME}")).output().unwrap();
    assert!(read.status.success() && read.stdout == scene.content, "{}", said(&read));
}

#[test]
fn curl_reads_a_node_by_its_pinned_key() {
    let scene = Scene::start(Harm::Nothing, 0);
    let pin = scene.key.replace("sha256:", "sha256//");
    let curl = |words: &[&str]| {
        let url = format!("https://{}/files/{NAME}", scene.nodes[2].address());
        Command::new("curl").args(["-sSk", "-m", "20"]).args(words).arg(url).output().unwrap()
    };
    let read = curl(&["--pinnedpubkey", &pin]);
    assert!(read.status.success() && read.stdout == scene.content, "{}", said(&read));
    let wrong = curl(&["--pinnedpubkey", &format!("sha256//{}", "A".repeat(43) + "=")]);
    // 90: the key does not match.
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(90), 0));
    // 35: the handshake failed.
    assert_eq!(curl(&["--tls-max", "1.2"]).status.code(), Some(35));
    // The same port serves clients without TLS.
    let plain = format!("http://{}/files/{NAME}", scene.nodes[2].address());
    let plain = Command::new("curl").args(["-sS", "-m", "20", &plain]).output().unwrap();
    assert!(plain.stdout == scene.content);
    let node = format!("https://{}/v1/node", scene.nodes[2].address());
    let node = Command::new("curl").args(["-sSk", "-m", "20", "--pinnedpubkey", &pin, &node]).output().unwrap();
    assert!(String::from_utf8_lossy(&node.stdout).contains("\"connections\""), "{}", said(&node));
}

/// The verdict and the waterfall of each transfer of a run; its stages are numbered from the client, 0.
fn evaluated(fetched: &Output) -> Vec<(serde_json::Value, Vec<serde_json::Value>)> {
    let report: serde_json::Value = serde_json::from_slice(&fetched.stdout).unwrap();
    let transfers = report["transfers"].as_array().unwrap();
    let of =
        |transfer: &serde_json::Value| (transfer["verdict"].clone(), transfer["waterfall"].as_array().unwrap().clone());
    transfers.iter().map(of).collect()
}

#[test]
fn a_slow_relay_is_named_with_its_limit_or_delay() {
    for (faults, limit) in [("--limit 1500K", "rate-limit"), ("--delay 700ms", "fault")] {
        for hop in 1..=3 {
            let scene = Scene::with(Harm::Nothing, 0, |node| if node == hop { faults } else { "" });
            let fetched = scene.fetch("");
            assert_eq!(fetched.status.code(), Some(0), "{}", said(&fetched));
            let (verdict, waterfall) = evaluated(&fetched).remove(0);
            assert!(verdict["limit"] == limit && verdict["hop"] == hop, "hop {hop}, {faults}: {verdict}");
            let legs = |step: &str| -> Vec<u64> {
                let rows = waterfall.iter().filter(|row| row["step"] == step);
                rows.filter_map(|row| row["stage"].as_u64()).collect()
            };
            assert_eq!(legs("wait"), [0, 1, 2], "{waterfall:?}");
        }
    }
}

#[test]
fn a_file_is_not_blamed_on_what_others_met_in_the_same_tunnel() {
    let scene = Scene::with(Harm::Nothing, 0, |node| if node == 2 { "--delay 700ms" } else { "" });
    // Small enough to keep the tunnel.
    fs::write(scene.dir.path().join("root").join(NAME), b"short").unwrap();
    let _ = fs::remove_file(scene.dir.path().join("got"));
    let fetched = scene.fetch("-n 2");
    assert_eq!(fetched.status.code(), Some(0), "{}", said(&fetched));
    let report: serde_json::Value = serde_json::from_slice(&fetched.stdout).unwrap();
    let [first, second] = [0, 1].map(|at| &report["transfers"][at]);
    assert!(first["tunnel"].is_string() && first["tunnel"] == second["tunnel"], "{report:#}");
    let delayed_us = |transfer: &serde_json::Value| transfer["hops"][1]["record"]["flow"]["reply_us"].as_u64();
    assert!(delayed_us(first) >= Some(700_000) && delayed_us(second) == Some(0), "{report:#}");
    assert_eq!((&first["verdict"]["limit"], &first["verdict"]["hop"]), (&"fault".into(), &2.into()));
    assert_ne!(second["verdict"]["limit"], "fault");
}
