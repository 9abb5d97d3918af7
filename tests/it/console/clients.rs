//! `--clients`: who may connect to a node.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{Node, TIMEOUT, chainview, counter, folder, input, until};

/// Requests a file from this address of the machine; returns the reply.
fn get_from(source: IpAddr, to: SocketAddr, path: &str) -> String {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn only_listed_addresses_are_served_and_loopback_is_no_exception() {
    let folder = folder(10, &[]);
    let node = Node::start(chainview(folder.path()), "--clients 127.0.0.2,10.0.0.0/8 --audit a.jsonl --log l.log");
    let to: SocketAddr = node.address.parse().unwrap();
    let (listed, other) = (Ipv4Addr::new(127, 0, 0, 2).into(), Ipv4Addr::LOCALHOST.into());
    assert!(get_from(listed, to, "/files/data.bin").starts_with("HTTP/1.1 200"));
    for path in ["/files/data.bin", "/healthz", "/v1/node"] {
        let reply = get_from(other, to, path);
        assert!(reply.starts_with("HTTP/1.1 403") && reply.contains("does not serve the address"), "{path}: {reply}");
    }
    input(folder.path(), &[&node.address]);
    let fetch = chainview(folder.path()).args(["--fetch", "-o", "out"]).output().unwrap();
    let text = String::from_utf8(fetch.stderr).unwrap();
    assert!(fetch.status.code() == Some(5) && text.contains("does not serve the address"), "{text}");
    let metrics = get_from(listed, to, "/metrics");
    let denied = counter(&metrics, "chainview_connections_denied_total");
    assert!(denied >= 4 && counter(&metrics, "chainview_connections_refused_total") == 0, "{metrics}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    until("a line of the log", || read("l.log").contains("not served: --clients does not list its address"));
    assert!(read("l.log").contains(" to 127.0.0.2, 10.0.0.0/8, relays to loopback"));
    until("audit lines", || read("a.jsonl").lines().count() as u64 == denied + 1);
    let last: Value = serde_json::from_str(read("a.jsonl").lines().last().unwrap()).unwrap();
    assert_eq!((&last["status"], &last["ended"], &last["reason"]), (&403.into(), &"refused".into(), &"policy".into()));
}

#[test]
fn an_ipv4_client_of_an_ipv6_listener_is_compared_by_its_ipv4_address() {
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return println!("SKIPPED: there is no IPv6");
    }
    let folder = folder(10, &[]);
    let node = Node::start(chainview(folder.path()), "[::]:0 --clients 127.0.0.0/8");
    let port = node.address.parse::<SocketAddr>().unwrap().port();
    for (address, status) in [(IpAddr::from(Ipv4Addr::LOCALHOST), 200), (Ipv6Addr::LOCALHOST.into(), 403)] {
        let reply = get_from(address, SocketAddr::new(address, port), "/files/data.bin");
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{address}: {reply}");
    }
}

#[test]
fn a_list_with_an_error_names_its_entry_and_source() {
    let folder = folder(10, &[]);
    let run = |args: &[&str], variable: Option<&str>| {
        let mut command = chainview(folder.path());
        command.args(args).envs(variable.map(|value| ("CHAINVIEW_CLIENTS", value)));
        let run = command.output().unwrap();
        (run.status.code(), String::from_utf8(run.stderr).unwrap())
    };
    let (code, text) = run(&["--node", "--clients", "10.0.0.0/8,10.0.0.1/8"], None);
    assert_eq!(code, Some(2));
    assert!(text.contains("entry 2 (at character 12): \"10.0.0.1/8\": bits are set after the prefix"), "{text}");
    let (code, text) = run(&["--node"], Some("::1,nowhere"));
    assert!(code == Some(2) && text.contains("CHAINVIEW_CLIENTS") && text.contains("entry 2"), "{text}");
}

#[test]
fn nodes_that_a_fetch_starts_serve_it_whatever_the_configuration_lists() {
    let folder = folder(10, &["127.0.0.1 0"]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    input(folder.path(), &[&format!("127.0.0.1 {}", free.port())]);
    fs::create_dir_all(folder.path().join(".config/chainview")).unwrap();
    fs::write(folder.path().join(".config/chainview/config.toml"), "clients = [\"10.0.0.0/8\"]\n").unwrap();
    let fetch = chainview(folder.path()).args(["--fetch", "--spawn", "-o", "out"]).output().unwrap();
    assert!(fetch.status.success(), "{}", String::from_utf8_lossy(&fetch.stderr));
}
