//! Audit lines of tunnels.

use std::net::TcpListener;

use super::*;

#[test]
fn a_tunnel_has_a_line_with_its_target_and_the_bytes_of_both_directions() {
    let folder = folder(5, &[]);
    let path = |name: &str| folder.path().join(name);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap().to_string();
    let relay = Node::start(chainview(folder.path()), &format!("--audit relay.jsonl --allow-connect {target}"));
    let mut client = TcpStream::connect(&relay.address).unwrap();
    client.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nquestion").as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut server = server.accept().unwrap().0;
    let (mut asked, mut answered) = (String::new(), String::new());
    server.read_to_string(&mut asked).unwrap();
    server.write_all(b"answer").unwrap();
    drop(server);
    client.read_to_string(&mut answered).unwrap();
    assert!(asked == "question" && answered.ends_with("\r\n\r\nanswer"), "{asked} {answered}");
    let entry = line(
        &path("relay.jsonl"),
        &serde_json::json!({ "method": "CONNECT", "name": target, "next": target, "status": 200, "bytes": 6,
                "upstream_bytes": 8, "ended": "complete" }),
    );
    assert!(entry.get("transfer").is_some(), "{entry}");
    relay.send_request("CONNECT 192.0.2.1:22 HTTP/1.1\r\nHost: 192.0.2.1:22\r\n\r\n");
    line(
        &path("relay.jsonl"),
        &serde_json::json!({ "method": "CONNECT", "name": "192.0.2.1:22", "status": 403, "ended": "refused",
                "upstream_bytes": 0, "reason": "policy" }),
    );
}

#[test]
fn a_tunnel_that_is_refused_at_once_has_lines_too() {
    let folder = folder(5, &[]);
    fs::write(folder.path().join("keys"), "anonymous fetch=/\n").unwrap();
    let node = Node::start(chainview(folder.path()), "--authorized-keys keys --audit a.jsonl --log l.log -v");
    let id = "0123456789abcdef0123456789abcdef";
    let signed = format!("Chain-Transfer: {id}\r\nSignature-Input: =\r\nSignature: =\r\nChain-Key: none\r\n");
    let reply = node.send_request(&format!("CONNECT h:22 HTTP/1.1\r\nHost: h:22\r\n{signed}\r\n"));
    assert!(reply.starts_with("HTTP/1.1 401"), "{reply}");
    line(
        &folder.path().join("a.jsonl"),
        &serde_json::json!({ "method": "CONNECT", "name": "h:22", "transfer": id, "status": 401, "ended": "refused",
                "reason": "bad-signature" }),
    );
    until("a line of the log", || {
        let log = fs::read_to_string(folder.path().join("l.log")).unwrap();
        log.contains("DEBUG refused peer=127.0.0.1:") && log.contains(" status=401 ")
    });
}
