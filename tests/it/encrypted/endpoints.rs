//! Endpoints and control of a hop with a key, and the tokens that they need.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use chainview::faults::FaultChange;
use chainview::net::admin_client::{self, ControlAccess, Credentials};
use chainview::net::watch::{Tokens, Watcher};
use chainview::route::Route;
use chainview::secret::Secret;
use chainview::snapshot::{HopLink, HopSnapshot};

use super::*;

const READ: &str = "token-that-reads-0123456789";
const CONTROL: &str = "token-that-controls-0123456789";
/// What must be on no wire.
const SECRETS: &[&[u8]] = &[READ.as_bytes(), CONTROL.as_bytes(), NAME.as_bytes()];
/// Parts of requests, snapshots and orders, which must not be on that of a hop with a key.
const PARTS: &[&[u8]] = &[b"/v1/events", b"/v1/faults", b"\"connections\"", b"5000", b"limit"];

/// Writes a token that only this user can read.
fn write_token(path: &Path, token: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, token).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A scene whose origin has tokens, and is named with the read token in the input file.
fn scene() -> Scene {
    let mut scene = Scene::start(Harm::Nothing, 0);
    let path = |name: &str| scene.dir.path().join(name);
    write_token(&path("read"), READ);
    write_token(&path("control"), CONTROL);
    write_token(&path(".config/chainview/origin"), READ);
    let files = ["key", "read", "control"].map(|name| path(name).to_str().unwrap().to_owned());
    let flags =
        ["--identity", &files[0], "--read-token-file", &files[1], "--control-token-file", &files[2]].map(str::to_owned);
    let origin = Node::chainview(&path("root"), &flags.each_ref().map(String::as_str));
    scene.forwarders[1] = Forwarder::start(origin.address(), Harm::Nothing, 0);
    scene.nodes[2] = origin;
    scene.write_input(&format!("{} token-file=origin", scene.key));
    scene
}

fn route(scene: &Scene) -> Route {
    Route::parse(&fs::read(scene.dir.path().join("in.txt")).unwrap()).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Watches the route until every hop is identified.
async fn watched(route: &Route, tokens: Tokens) -> Vec<HopSnapshot> {
    let watcher = Watcher::start(route, &tokens, None);
    tokio::time::timeout(Duration::from_secs(20), watcher.all_known()).await.unwrap();
    watcher.hops()
}

fn secret(token: &str) -> Secret {
    Secret::new(token).unwrap()
}

#[test]
fn a_token_of_a_hop_with_a_key_is_sent_inside_tls_only() {
    let scene = scene();
    let route = route(&scene);
    let token = Some(secret(READ));
    let hops = block_on(watched(&route, Tokens { hops: vec![None, None, token.clone()], ..Tokens::default() }));
    assert!(hops.iter().all(|hop| hop.link == HopLink::Attached && hop.node.is_some()), "{:?}", hops[2].link);
    assert_eq!(scene.forwarders[0].found(PARTS), ["/v1/events", "\"connections\"", "limit"], "of a hop without a key");
    let credentials = Credentials { token: token.as_ref(), identity: None };
    let listing = block_on(admin_client::list(&route, None, None, credentials)).unwrap();
    assert_eq!(listing.entries.len(), 1);
    let without = block_on(admin_client::list(&route, None, None, Credentials::default())).unwrap_err();
    assert_eq!((without.hop, without.reason.as_str()), (3, "token missing or wrong"), "{without}");
    scene.write_input_for("./", &format!("{} token-file=origin", scene.key));
    let folder = chainview(scene.dir.path(), "--fetch in.txt -o got -q");
    assert_eq!(folder.status.code(), Some(0), "{}", said(&folder));
    assert!(fs::read(scene.dir.path().join("got").join(NAME)).unwrap() == scene.content);
    assert_eq!(scene.leaks_of(SECRETS), Vec::<String>::new());
    assert_eq!(scene.forwarders[1].found(PARTS), Vec::<String>::new());
}

#[test]
fn a_check_names_the_keys_and_whether_the_chain_is_encrypted() {
    let scene = Scene::start(Harm::Nothing, 0);
    let proven = format!(" has the key {}, as the input file says", scene.key);
    let reported = format!(" reports the key {}, which", scene.key);
    let check = |more: &str| {
        let checked = chainview(scene.dir.path(), &format!("--check in.txt {more}"));
        assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
        String::from_utf8(checked.stdout).unwrap()
    };
    let text = check("");
    assert!(text.contains(&proven) && text.contains("\nencrypted from end to end: "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&check("--json")).unwrap();
    assert_eq!(
        (json["check"]["encrypted"].as_bool(), &json["check"]["hops"][2]["key"]),
        (Some(true), &scene.key.as_str().into())
    );
    assert_eq!(scene.leaks(), Vec::<String>::new());
    let plain =
        fs::read_to_string(scene.dir.path().join("in.txt")).unwrap().replace(&format!(" key={}", scene.key), "");
    fs::write(scene.dir.path().join("in.txt"), plain).unwrap();
    let text = check("");
    let line = text.lines().find(|line| line.contains(&reported)).expect(&text);
    assert!(line.starts_with("hop 3 (") && text.contains("\nnot encrypted from end to end: "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&check("--json")).unwrap();
    assert_eq!(
        (json["check"]["encrypted"].as_bool(), &json["check"]["hops"][2]["reported_key"]),
        (Some(false), &scene.key.as_str().into())
    );
}

/// Reads an endpoint in clear text, up to its end or these words.
fn read_plain(node: SocketAddr, path: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(node).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n\r\n").unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
        if !until.is_empty() && String::from_utf8_lossy(&bytes).contains(until) {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads an endpoint inside TLS, with another line in the head.
fn read_encrypted(node: SocketAddr, path: &str, line: &str) -> String {
    let url = format!("https://{node}{path}");
    let read = Command::new("curl").args(["-sSk", "-m", "20", "-H", line, &url]).output().unwrap();
    assert!(read.status.success(), "{}", said(&read));
    String::from_utf8(read.stdout).unwrap()
}

#[test]
fn only_encrypted_reports_name_an_encrypted_file() {
    let mut scene = Scene::start(Harm::Nothing, 0);
    let identity = scene.dir.path().join("key");
    // Slow enough to be seen.
    let flags = ["--identity", identity.to_str().unwrap(), "--limit", "2M"];
    let origin = Node::chainview(&scene.dir.path().join("root"), &flags);
    let address = origin.address();
    scene.forwarders[1] = Forwarder::start(address, Harm::Nothing, 0);
    scene.nodes[2] = origin;
    scene.write_input(&scene.key);
    thread::scope(|scope| {
        let fetching = scope.spawn(|| scene.fetch(""));
        let mut reports = vec![read_plain(address, "/v1/events?interval=50ms", "\"(encrypted)\"")];
        for node in &scene.nodes {
            reports
                .extend(["/v1/connections", "/v1/node", "/metrics"].map(|path| read_plain(node.address(), path, "")));
        }
        assert!(reports[0].contains("\"(encrypted)\"") && !fetching.is_finished(), "{}", reports[0]);
        let hops = block_on(watched(&route(&scene), Tokens::default()));
        let named = |hop: &HopSnapshot| {
            let node = hop.node.as_ref().unwrap();
            node.connections.iter().any(|conn| conn.name.as_str() == NAME)
        };
        assert_eq!(hops.iter().map(named).collect::<Vec<_>>(), [false, false, true]);
        assert!(read_encrypted(address, "/v1/connections", "").contains(NAME));
        // A relay between them may pass it on to anyone.
        assert!(!read_encrypted(address, "/v1/connections", "Via: 1.1 relay").contains(NAME));
        let fetched = fetching.join().unwrap();
        assert_eq!(fetched.status.code(), Some(0), "{}", said(&fetched));
        let report: serde_json::Value = serde_json::from_slice(&fetched.stdout).unwrap();
        let id = report["transfers"][0]["id"].as_str().unwrap();
        let record = read_plain(address, &format!("/v1/transfers/{id}"), "");
        assert!(record.starts_with("HTTP/1.1 200 ") && record.contains("(encrypted)"), "{record}");
        assert!(read_encrypted(address, &format!("/v1/transfers/{id}"), "").contains(NAME));
        assert_eq!(report["transfers"][0]["hops"][2]["record"]["name"], NAME);
        reports.push(record);
        assert!(reports.iter().all(|report| report.starts_with("HTTP/1.1 200 ") && !report.contains(NAME)));
    });
}

#[test]
fn control_of_a_hop_with_a_key_is_encrypted() {
    let scene = scene();
    let origin = route(&scene).hops()[2].clone();
    let access = ControlAccess::Token(secret(CONTROL));
    let faults = block_on(admin_client::set_fault(&origin, &access, FaultChange::Limit(Some(5000)))).unwrap();
    assert_eq!(faults.limit, Some(5000));
    let wrong = ControlAccess::Token(secret(READ));
    assert!(block_on(admin_client::drain(&origin, &wrong)).is_err());
    assert!(scene.forwarders[1].connections.load(Relaxed) >= 2);
    assert_eq!(scene.leaks_of(SECRETS), Vec::<String>::new());
    assert_eq!(scene.forwarders[1].found(PARTS), Vec::<String>::new());
}

#[test]
fn tokens_of_the_other_hops_are_not_sent_in_clear_text() {
    let scene = scene();
    let route = route(&scene);
    // As another program might configure it: the input file refuses such a token.
    let tokens = Tokens { hops: [CONTROL, CONTROL, READ].map(|token| Some(secret(token))).into(), ..Tokens::default() };
    let hops = block_on(watched(&route, tokens));
    assert!(hops.iter().all(|hop| hop.link == HopLink::Attached));
    assert_eq!(scene.leaks_of(&[READ.as_bytes(), CONTROL.as_bytes()]), Vec::<String>::new());
    // Without the key, they are.
    let plain = fs::read_to_string(scene.dir.path().join("in.txt")).unwrap();
    let plain = plain.replace(&format!(" key={}", scene.key), "");
    let tokens = Tokens { hops: vec![Some(secret(CONTROL)), None, Some(secret(READ))], ..Tokens::default() };
    block_on(watched(&Route::parse(plain.as_bytes()).unwrap(), tokens));
    assert_eq!(scene.leaks_of(&[READ.as_bytes(), CONTROL.as_bytes()]), [CONTROL, READ]);
}

#[test]
fn a_watched_hop_with_another_key_is_down_with_both_fingerprints() {
    let scene = scene();
    let other = format!("sha256:{}=", "A".repeat(43));
    scene.write_input(&other);
    let hops = block_on(watched(&route(&scene), Tokens::default()));
    let HopLink::Down { reason } = &hops[2].link else { panic!("{:?}", hops[2].link) };
    let reason = reason.to_string();
    assert!(reason.contains(&scene.key) && reason.contains(&other), "{reason}");
}
