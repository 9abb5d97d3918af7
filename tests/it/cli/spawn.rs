//! `--fetch --spawn`: nodes that are started for one fetch.

use std::net::{TcpListener, TcpStream};

use super::{chain, code, err, out, run};

#[test]
fn a_fetch_starts_and_stops_only_missing_nodes() {
    let (folder, nodes) = chain(1);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(folder.path().join("input.txt"), format!("data.bin\n{}\n{free}\n", nodes[0].address)).unwrap();
    let refused = run(folder.path(), "--fetch -o out --retries 0");
    assert_eq!(code(&refused), 5, "{}", err(&refused));
    let fetched = run(folder.path(), "--fetch --spawn -o out --limit 2=100M");
    assert_eq!(code(&fetched), 0, "{}", err(&fetched));
    assert!(out(&fetched).contains("data.bin: 300000 bytes"), "{}", out(&fetched));
    assert_eq!(std::fs::read(folder.path().join("out/data.bin")).unwrap(), vec![7; 300_000]);
    assert!(TcpStream::connect(free).is_err(), "the started node has ended");
    assert!(TcpStream::connect(&nodes[0].address).is_ok(), "the one that ran before still runs");
}
