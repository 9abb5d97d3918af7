//! What an origin guarantees about files that change, digests, and its folder, with real processes.

use crate::resume::scene;
use crate::support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{panic, thread};

use base64::Engine as _;
use scene::{Dice, Scene, is_full, served};
use support::process::{Node, chainview};
use support::{TIMEOUT, content};

/// Appends a line every 0.2 s while `work` runs.
fn while_it_grows<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = File::options().append(true).open(path).unwrap();
            while !stop.load(Relaxed) {
                log.write_all(b"one more line\n").unwrap();
                thread::sleep(Duration::from_millis(200));
            }
        });
        let done = panic::catch_unwind(panic::AssertUnwindSafe(work));
        stop.store(true, Relaxed);
        done.unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// Sends one request on a connection of its own; returns status, head, and the body received.
fn send_request(node: SocketAddr, request: &str, lines: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(node).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let head = format!("{request} HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    while all.starts_with(b"HTTP/1.1 102") {
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        all.drain(..end);
    }
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let body = all.split_off(end);
    let head = String::from_utf8(all).unwrap();
    (head[9..12].parse().unwrap(), head, body)
}

/// Repeats a request until the reply is as expected; no event shows when a node checks its folder.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !is() {
        assert!(Instant::now() < end, "{what}: not in time");
        thread::sleep(Duration::from_millis(20));
    }
}

fn etag(head: &str) -> &str {
    head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap()
}

#[test]
fn a_growing_file_is_fetched_as_of_opening() {
    let scene = Scene::new(2, 2_000_000, "1M", &[]);
    let path = served(&scene);
    let ended = while_it_grows(&path, || scene.fetch(&[]).wait());
    assert!(ended.status.success(), "{}", ended.stderr);
    let (fetched, now) = (fs::read(scene.target()).unwrap(), fs::read(&path).unwrap());
    assert_eq!(ended.transfer["integrity"], "verified");
    assert!(fetched.len() >= 2_000_000 && fetched.len() < now.len(), "{} of {}", fetched.len(), now.len());
    assert!(now.starts_with(&fetched));
    let (status, head, body) =
        while_it_grows(&path, || send_request(scene.node(2).address(), "GET /files/data.bin", ""));
    let length = format!("Content-Length: {}\r\n", body.len());
    assert!(status == 200 && head.contains(&length) && fs::read(&path).unwrap().starts_with(&body), "{head}");
}

#[test]
fn a_growing_file_is_complete_over_the_legacy_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.log");
    fs::write(&path, content(1_000_000)).unwrap();
    let nodes = [0, 1].map(|_| Node::chainview(folder.path(), &["--limit", "1M"]));
    let out = tempfile::tempdir().unwrap();
    let hops = nodes.iter().map(|node| format!("{} {} protocol=legacy\n", node.address().ip(), node.address().port()));
    fs::write(out.path().join("input.txt"), format!("app.log\n{}", hops.collect::<String>())).unwrap();
    let mut fetch = chainview();
    fetch.arg("--fetch").arg(out.path().join("input.txt")).arg("-o").arg(out.path());
    let ended = while_it_grows(&path, || fetch.output().unwrap());
    assert!(ended.status.success(), "{ended:?}");
    let (fetched, now) = (fs::read(out.path().join("app.log")).unwrap(), fs::read(&path).unwrap());
    assert!(fetched.len() >= 1_000_000 && fetched.len() < now.len() && now.starts_with(&fetched));
}

#[test]
fn a_grown_file_keeps_its_digest_and_an_altered_one_loses_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let node = Node::chainview(folder.path(), &[]);
    let digest = |content: &[u8]| blake3::hash(content).to_string();
    for size in [10, 1 << 20] {
        let before = content(size);
        fs::write(&path, &before).unwrap();
        let (_, head, _) = send_request(node.address(), "GET /files/f", "Want-Repr-Digest: blake3=10\r\n");
        let digest_fields = format!("If-Match: {}\r\nWant-Repr-Digest: blake3=10\r\n", etag(&head));
        let request_digest = || send_request(node.address(), "HEAD /files/f", &digest_fields);
        let announced = |head: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix("Repr-Digest: blake3=:")).unwrap().to_owned();
            let bytes = base64::engine::general_purpose::STANDARD.decode(line.trim_end_matches(':')).unwrap();
            blake3::Hash::from_bytes(bytes.try_into().unwrap()).to_string()
        };
        File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        let (status, grown, _) = request_digest();
        assert_eq!((status, announced(&grown)), (200, digest(&before)));
        assert!(grown.contains(&format!("Content-Length: {size}\r\n")) && etag(&grown) == etag(&head), "{grown}");
        assert!(grown.contains(&format!("Chain-Grown: {}\r\n", size + 4)), "{grown}");
        // Changed and longer: the digest it sends is not that of the bytes it sent.
        File::options().write(true).open(&path).unwrap().write_all_at(b"!", size as u64 / 2).unwrap();
        assert_ne!(announced(&request_digest().1), digest(&before));
        File::options().write(true).open(&path).unwrap().set_len(size as u64).unwrap();
        assert_eq!(request_digest().0, 412);
    }
}

#[test]
fn no_changed_file_is_ever_verified() {
    const SIZE: u64 = 4 << 20;
    let seeds = if is_full() { 200 } else { 8 };
    let shm = Path::new("/dev/shm");
    for base in [std::env::temp_dir().as_path(), shm].into_iter().filter(|base| base.is_dir()) {
        let folder = tempfile::tempdir_in(base).unwrap();
        let path = folder.path().join("data.bin");
        let nodes = [0, 1].map(|_| Node::chainview(folder.path(), &["--limit", "40M"]));
        let hops =
            nodes.iter().map(|node| format!("{} {} protocol=http\n", node.address().ip(), node.address().port()));
        let hops: String = hops.collect();
        let (mut verified, mut refused) = (0, 0);
        for seed in 0..seeds {
            let mut dice = Dice::new(seed + 1);
            let before = content(SIZE as usize + seed as usize);
            fs::write(&path, &before).unwrap();
            let out = tempfile::tempdir().unwrap();
            fs::write(out.path().join("input.txt"), format!("data.bin\n{hops}")).unwrap();
            let mut fetch = chainview();
            fetch.arg("--fetch").arg(out.path().join("input.txt")).arg("-o").arg(out.path()).arg("--json");
            fetch.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            let fetch = fetch.spawn().unwrap();
            thread::sleep(Duration::from_micros(dice.roll(0, 250_000)));
            let file = File::options().write(true).open(&path).unwrap();
            let at = dice.roll(0, SIZE - 100_000);
            match seed % 4 {
                0 => file.set_len(at).unwrap(),
                1 => file.write_all_at(&vec![0x5a; 100_000], at).unwrap(),
                2 => {
                    file.write_all_at(&vec![0x5a; 100_000], at).unwrap();
                    file.write_all_at(b"longer", before.len() as u64).unwrap();
                }
                _ => {
                    file.set_len(at).unwrap();
                    file.write_all_at(&vec![0x5a; SIZE as usize], at).unwrap();
                }
            }
            let ended = fetch.wait_with_output().unwrap();
            let (after, fetched) = (fs::read(&path).unwrap(), fs::read(out.path().join("data.bin")));
            let document: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap_or_default();
            if ended.status.success() {
                assert_eq!(document["transfers"][0]["integrity"], "verified", "seed {seed}");
                let fetched = fetched.unwrap();
                let whole = fetched == before || after.starts_with(&fetched) && fetched.len() as u64 >= at;
                assert!(whole, "seed {seed} in {base:?}: a mixture is reported as verified");
                verified += 1;
            } else {
                assert!(fetched.is_err() && ended.status.code() == Some(6), "seed {seed}: {ended:?}");
                refused += 1;
            }
        }
        println!("{}: {verified} verified, {refused} refused", base.display());
    }
}

#[test]
fn a_change_after_the_last_byte_is_counted_without_a_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let node = Node::chainview(folder.path(), &[]);
    let counted = || {
        let page = String::from_utf8(send_request(node.address(), "GET /metrics", "").2).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix("chainview_late_changes_total ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let connect = || {
        let stream = TcpStream::connect(node.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    };
    let mut expected = 0;
    for (name, lines, changes) in [("a", "", false), ("b", "Want-Repr-Digest: blake3=10\r\n", true), ("c", "", true)] {
        // A file of its own: the node may check the one before only now.
        let path = folder.path().join(name);
        fs::write(&path, content(100_000)).unwrap();
        let mut stream = connect();
        let request = format!("GET /files/{name} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", node.address());
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(&content(100_000)) {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0, "it ended early");
            reply.extend_from_slice(&chunk[..read]);
        }
        if changes {
            fs::write(&path, vec![7; 100_000]).unwrap();
        }
        // Only its next message shows that it is done with the file.
        assert_eq!(counted(), expected);
        expected += u64::from(changes && lines.is_empty());
        drop(stream);
        until("the change is counted", || counted() == expected);
    }
    fs::write(&path, content(100_000)).unwrap();
    let mut legacy = connect();
    legacy.write_all(format!("f\n127.0.0.1 {}", node.address().port()).as_bytes()).unwrap();
    legacy.read_exact(&mut [0; 6]).unwrap();
    legacy.write_all(b"ack_").unwrap();
    let mut body = vec![0; 100_000];
    legacy.read_exact(&mut body).unwrap();
    assert!(body == content(100_000));
    fs::write(&path, vec![7; 100_000]).unwrap();
    drop(legacy);
    until("the change is counted on the legacy protocol, too", || counted() == expected + 1);
}

#[test]
fn replaced_and_missing_served_folders_are_detected() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["rel1", "rel2"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("f"), name).unwrap();
    }
    let current = folder.path().join("current");
    symlink("rel1", &current).unwrap();
    let node = Node::chainview(&current, &[]);
    let get = |path: &str| send_request(node.address(), &format!("GET {path}"), "");
    assert_eq!(get("/files/f").2, b"rel1");
    symlink("rel2", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), &current).unwrap();
    until("the new folder is served", || get("/files/f").2 == b"rel2");
    fs::remove_dir_all(folder.path().join("rel1")).unwrap();
    assert_eq!((get("/files/f").0, get("/healthz").0), (200, 200));
    fs::remove_dir_all(folder.path().join("rel2")).unwrap();
    for _ in 0..3 {
        let (status, _, body) = get("/healthz");
        assert_eq!((status, String::from_utf8(body).unwrap().as_str()), (503, "the served folder is missing\n"));
        for path in ["/files/f", "/files/"] {
            let (status, _, body) = get(path);
            let message = String::from_utf8(body).unwrap();
            assert!(status == 404 && message.contains("the served folder is missing"), "{path}: {status} {message}");
        }
    }
    assert_eq!(node.stderr().matches("is missing").count(), 1, "{}", node.stderr());
    fs::create_dir(folder.path().join("rel2")).unwrap();
    assert_eq!(get("/healthz").0, 200);
}

#[test]
fn large_digests_do_not_delay_small_ones() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        File::create(folder.path().join(name)).unwrap().set_len(2 << 40).unwrap();
    }
    fs::write(folder.path().join("small"), content(4096)).unwrap();
    fs::write(folder.path().join("medium"), content(1 << 20)).unwrap();
    let node = Node::chainview(folder.path(), &[]);
    let mut large = ["one", "two"].map(|name| {
        let mut stream = TcpStream::connect(node.address()).unwrap();
        let head =
            format!("HEAD /files/{name} HTTP/1.1\r\nHost: {}\r\nWant-Repr-Digest: blake3=10\r\n\r\n", node.address());
        stream.write_all(head.as_bytes()).unwrap();
        stream
    });
    for name in ["small", "medium"] {
        let began = Instant::now();
        let (status, head, _) =
            send_request(node.address(), &format!("HEAD /files/{name}"), "Want-Repr-Digest: blake3=10\r\n");
        let took = began.elapsed();
        assert!(status == 200 && head.contains("Repr-Digest: blake3=:"), "{head}");
        println!("{name}: its digest arrived after {took:?}");
        assert!(took < Duration::from_secs(3), "{name}: {took:?}");
    }
    let mut message = [0; 27];
    large[0].set_read_timeout(Some(TIMEOUT)).unwrap();
    large[0].read_exact(&mut message).unwrap();
    let mut progress = [0; 32];
    large[0].read_exact(&mut progress).unwrap();
    let message = String::from_utf8([&message[..], &progress].concat()).unwrap();
    assert!(message.starts_with("HTTP/1.1 102 Processing\r\nChain-Progress: done="), "{message}");
}

#[test]
fn a_node_without_threads_replies_503_and_keeps_serving() {
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let program = folder.path().join("chainview");
    fs::copy(chainview().get_program(), &program).unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("small"), content(4096)).unwrap();
    fs::write(root.join("large"), content(1 << 20)).unwrap();
    let node = Node::without_threads(&program, &root);
    let get = |request: &str, lines: &str| send_request(node.address(), request, lines);
    for _ in 0..3 {
        let (status, head, _) = get("GET /files/", "");
        assert!(status == 503 && head.to_lowercase().contains("retry-after: 1\r\n"), "{head}");
        let (status, head, _) = get("GET /files/", "Accept: application/x-tar\r\n");
        assert!(status == 503 && head.contains("Retry-After: 1\r\n"), "{head}");
        let (status, head, _) = get("HEAD /files/large", "Want-Repr-Digest: blake3=10\r\n");
        assert!(status == 503 && head.contains("Retry-After: 1\r\n"), "{head}");
        let (status, head, _) = get("HEAD /files/small", "Want-Repr-Digest: blake3=10\r\n");
        assert!(status == 200 && head.contains("Repr-Digest: blake3=:"), "{head}");
        assert_eq!(get("GET /files/large", "").2, content(1 << 20));
    }
    assert!(!node.stderr().contains("panicked"), "{}", node.stderr());
}

#[test]
fn many_listings_of_a_large_folder_are_bounded() {
    let (files, readers) = if is_full() { (200_000, 200) } else { (10_000, 60) };
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
    let large = folder.path().join("large");
    fs::create_dir(&large).unwrap();
    for number in 0..files {
        File::create(large.join(format!("file-{number:06}"))).unwrap();
    }
    fs::write(folder.path().join("small"), content(4096)).unwrap();
    let node = Node::chainview(folder.path(), &[]);
    let address = node.address();
    let (listed, refused) = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..readers).map(|_| scope.spawn(move || send_request(address, "GET /files/large/", ""))).collect();
        let began = Instant::now();
        let (status, _, body) = send_request(address, "GET /files/small", "");
        let took = began.elapsed();
        assert!(status == 200 && body == content(4096) && took < Duration::from_secs(3), "{took:?}");
        println!("beside {} listings: {took:?}", readers.len());
        let ended = readers.into_iter().map(|reader| reader.join().unwrap());
        let (listed, refused): (Vec<_>, Vec<_>) = ended.partition(|(status, ..)| *status == 200);
        assert!(refused.iter().all(|(status, head, _)| *status == 503 && head.contains("retry-after: 1")));
        (listed, refused.len())
    });
    let memory = fs::read_to_string(format!("/proc/{}/status", node.pid().as_raw_nonzero())).unwrap();
    let most: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .unwrap();
    println!("{} listed, {refused} refused, {} MiB at most", listed.len(), most >> 10);
    assert!(!listed.is_empty() && most < 128 << 10, "{most} kB");
    let mut page: serde_json::Value = serde_json::from_slice(&listed[0].2).unwrap();
    let mut names = 0;
    loop {
        names += page["entries"].as_array().unwrap().len();
        assert_eq!(page["omitted"], files - names);
        let Some(next) = page["next"].as_str() else { break };
        let (status, _, body) = send_request(address, &format!("GET /files/large/?x=1&next={next}"), "");
        assert_eq!(status, 200);
        page = serde_json::from_slice(&body).unwrap();
    }
    assert_eq!(names, files);
    // A browser or a mirror reaches every name too, by following links.
    let (mut query, mut links) = (String::new(), 0);
    loop {
        let (status, _, body) = send_request(address, &format!("GET /files/large/{query}"), "Accept: text/html\r\n");
        assert_eq!(status, 200);
        let page = String::from_utf8(body).unwrap();
        links += page.matches("<a href=\"file-").count();
        let Some((_, next)) = page.split_once("<a rel=\"next\" href=\"") else { break };
        query = next.split('"').next().unwrap().to_owned();
    }
    assert_eq!(links, files);
}
