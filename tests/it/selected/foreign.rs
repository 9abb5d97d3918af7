//! Lists of files of a plain web server, which sends neither listings nor tar streams.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::scene::client;
use crate::support::content;
use crate::support::process::Node;

/// A web server with the files of a folder; kept alive, GET and HEAD.
struct WebServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Bodies sent.
    bodies: Arc<AtomicUsize>,
}

impl WebServer {
    fn start(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let bodies = Arc::new(AtomicUsize::new(0));
        let (count, sent) = (Arc::clone(&connections), Arc::clone(&bodies));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                count.fetch_add(1, SeqCst);
                let (root, sent) = (root.clone(), Arc::clone(&sent));
                thread::spawn(move || serve(&root, stream, &sent));
            }
        });
        Self { address, connections, bodies }
    }
}

fn serve(root: &std::path::Path, stream: TcpStream, bodies: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        let mut line = String::new();
        while reader.read_line(&mut line).ok()? > 2 {
            line.clear();
        }
        let (method, path) = first.split_once(' ')?;
        let path = path.split(' ').next()?.trim_start_matches('/');
        let path = root.join(path);
        let (status, body) = match fs::read(&path) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", b"<html>no such file</html>".to_vec()),
        };
        let modified = fs::metadata(&path).ok().and_then(|found| found.modified().ok()).map(httpdate::fmt_http_date);
        let modified = modified.map(|date| format!("Last-Modified: {date}\r\n")).unwrap_or_default();
        write!(writer, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{modified}\r\n", body.len()).ok()?;
        if method == "GET" {
            bodies.fetch_add(1, SeqCst);
            writer.write_all(&body).ok()?;
        }
    }
}

#[test]
fn a_list_is_fetched_file_by_file_over_kept_chains() {
    let (served, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(served.path().join("d")).unwrap();
    let mut list = String::new();
    for number in 0..60 {
        fs::write(served.path().join(format!("d/f{number}")), content(1000 + number)).unwrap();
        list.extend(["f", &number.to_string(), "\n"]);
    }
    let server = WebServer::start(served.path().to_owned());
    let relay = Node::chainview(served.path(), &[]);
    let input = |name: &str| {
        let text = format!("{name}\n{}\n{} base=/\n", relay.address(), server.address);
        fs::write(folder.path().join("input.txt"), text).unwrap();
    };
    input("d/");
    let without = client(folder.path(), "").output().unwrap();
    let err = String::from_utf8(without.stderr).unwrap();
    assert_eq!(without.status.code(), Some(4), "{err}");
    assert!(err.contains("--list-from"), "{err}");
    fs::write(folder.path().join("list"), format!("{list}none\n")).unwrap();
    let output = client(folder.path(), "--list-from list --json -j 3").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let files = &json["transfers"][0]["folder"];
    assert_eq!((output.status.code(), files["fetched"].as_u64()), (Some(4), Some(60)), "{err}");
    assert_eq!((files["failed"].as_u64(), files["total"].as_u64()), (Some(1), Some(61)));
    assert!(err.contains("d/none: ") && files["files"][0]["outcome"] == "size-checked", "{err}");
    for number in 0..60 {
        assert_eq!(fs::read(folder.path().join(format!("out/d/f{number}"))).unwrap(), content(1000 + number));
    }
    // A connection for each of the three chains, and some for the attempts to list the folder.
    assert!(server.connections.load(SeqCst) < 20, "{} connections", server.connections.load(SeqCst));
    let before = server.bodies.load(SeqCst);
    let again = client(folder.path(), "--list-from list --exclude none").output().unwrap();
    let out = String::from_utf8(again.stdout).unwrap();
    assert!(again.status.success() && out.contains("60 here already"), "{}", String::from_utf8_lossy(&again.stderr));
    // The attempt to list the folder gets a body.
    assert!(server.bodies.load(SeqCst) <= before + 1, "sizes and times are compared");
}
