//! Folders of an origin that requires a read token.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::scene::{Ended, client, files, write};
use crate::support::free::Chain;
use crate::support::process::Node;

#[test]
fn the_token_of_started_nodes_is_sent_with_streams() {
    let chain = Chain::new(2, 10);
    let folder = chain.folder.path();
    write(&folder.join("tree/a/f"), b"content");
    write(&folder.join("token"), b"open-sesame");
    fs::set_permissions(folder.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.join("input.txt"), format!("tree/\n{}\n{}\n", chain.address(1), chain.address(2))).unwrap();
    let ended = Ended::of(&client(folder, "--spawn --json --read-token-file token").output().unwrap());
    assert_eq!((ended.code, ended.count("fetched")), (0, 1), "{}", ended.err);
}

#[test]
fn the_token_of_the_last_hop_is_sent_with_streams_and_listings() {
    let (served, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(&served.path().join("tree/a/f"), b"content");
    let token = folder.path().join("chainview/token");
    write(&token, b"open-sesame");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let origin = Node::chainview(served.path(), &["--read-token-file", token.to_str().unwrap()]);
    let relay = Node::chainview(served.path(), &[]);
    let fetch = |key: &str| {
        let input = format!("tree/\n{}\n{} {key}\n", relay.address(), origin.address());
        fs::write(folder.path().join("input.txt"), input).unwrap();
        let mut client = client(folder.path(), "--json");
        Ended::of(&client.env("XDG_CONFIG_HOME", folder.path()).output().unwrap())
    };
    let refused = fetch("");
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(refused.err.contains("hop 2"), "{}", refused.err);
    assert_eq!(fetch("token-file=none").code, 3);
    for (count, name) in [(1, "fetched"), (1, "present")] {
        let ended = fetch("token-file=token");
        assert_eq!((ended.code, ended.count(name)), (0, count), "{}", ended.err);
    }
    assert!(files(&folder.path().join("out/tree")) == files(&served.path().join("tree")));
}
