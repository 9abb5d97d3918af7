//! Encrypted transfers: the lock on links, hops and transfers, tunnels, and whose key signed a request.

use chainview::options::ColorScheme;
use chainview::snapshot::{ChainSnapshot, ConnRole};

use super::expect;
use super::script::{Script, on_every_screen};
use super::snapshots::streaming;

const KEY: &str = "sha256:xghOvMfq...";

/// The streaming chain with a key on its last hop; the relays have a tunnel, and their request is signed.
fn encrypted() -> ChainSnapshot {
    let mut chain = streaming();
    chain.hops[2].key = KEY.into();
    let transfer = &mut chain.transfers[0];
    (transfer.key, transfer.tunnel) = (KEY.into(), "ab120001".into());
    for hop in &mut chain.hops {
        let conn = &mut hop.node.as_mut().unwrap().connections[0];
        if hop.origin {
            conn.name = "(encrypted)".into();
        } else {
            conn.role = ConnRole::Tunnel;
            (conn.transfer, conn.name, conn.size) = ("ab120001".into(), "127.0.0.1:7003".into(), None);
            conn.key = "backup-host".into();
        }
    }
    chain
}

#[test]
fn screens_of_an_encrypted_transfer() {
    for (columns, rows) in [(120, 40), (80, 24), (60, 15)] {
        expect(&format!("encrypted-{columns}x{rows}"), &mut Script::new(columns, rows, encrypted()));
    }
    expect("encrypted-connections-120x40", Script::new(120, 40, encrypted()).keys("2"));
    expect("encrypted-transfer-80x24", Script::new(80, 24, encrypted()).keys("3 <enter>"));
}

#[test]
fn the_lock_is_on_every_link_and_has_an_ascii_form() {
    for (ascii, lock) in [(false, '◘'), (true, '&')] {
        let locks = |chain: ChainSnapshot| {
            let mut script = Script::new(120, 40, chain).themed(ascii, ColorScheme::Mono);
            script.screen().lines().nth(2).unwrap().matches(lock).count()
        };
        assert_eq!((locks(streaming()), locks(encrypted())), (0, 3));
        // Only the link to a relay with a key.
        let mut relay = streaming();
        relay.hops[1].key = KEY.into();
        assert_eq!(locks(relay), 1);
    }
}

#[test]
fn relays_list_the_tunnel_as_part_of_the_transfer_with_the_name_of_its_key() {
    let screen = Script::new(160, 40, encrypted()).keys("2").screen();
    let signed = |row: &&str| ["#1", "tunnel", "backup-host"].iter().all(|text| row.contains(text));
    assert_eq!(screen.lines().filter(signed).count(), 2, "{screen}");
    assert_eq!(screen.matches("◘ ").count(), 3, "{screen}");
    let plain = Script::new(160, 40, streaming()).keys("2").screen();
    assert!(!plain.contains("Key"), "no request is signed: {plain}");
    let path = Script::new(120, 40, encrypted()).keys("3 <enter>").screen();
    assert!(path.contains(&format!("to {KEY}, through a tunnel")), "{path}");
    assert_eq!(path.lines().filter(|row| row.contains("tunnel   in")).count(), 2, "{path}");
}

#[test]
fn keys_are_shortened_wherever_they_are_shown() {
    on_every_screen(&encrypted(), |script| {
        for keys in ["", "2", "2 <enter>", "<esc> 3 <enter>", "<esc> 1 j j <enter>"] {
            let screen = script.keys(keys).screen();
            assert!(!screen.contains("xghOvMfq1"), "{screen}");
        }
    });
}
