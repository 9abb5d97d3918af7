//! Figures on the screen compared with those of the disk and the kernel.

use std::time::Instant;

use chainview::units::Bytes;

use super::free::{Chain, established};
use super::terminal::{TIMEOUT, Terminal};
use super::{quit, up};

/// The open connections that the nodes tab shows for a hop.
fn open_shown(terminal: &Terminal, address: &str) -> Option<usize> {
    let screen = terminal.until("the nodes", |screen| screen.contents().contains("Accepted"));
    let words: Vec<&str> = screen.lines().find(|line| line.contains(address))?.split_whitespace().collect();
    // State, process, version, time, open.
    let state = words.iter().position(|word| *word == "up")?;
    words.get(state + 4)?.parse().ok()
}

fn connections_agree(terminal: &Terminal, chain: &Chain) {
    for hop in 1..=chain.ports.len() {
        let end = Instant::now() + TIMEOUT;
        loop {
            let (shown, counted) = (open_shown(terminal, &chain.address(hop)), established(chain.ports[hop - 1]));
            if shown == Some(counted) {
                break;
            }
            assert!(Instant::now() < end, "hop {hop}: shown {shown:?}, counted {counted}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn screen_figures_match_the_disk_and_the_kernel() {
    let chain = Chain::new(2, 3_000_000);
    let mut terminal = up(&chain, "--limit 1=600K", 120, 40);
    terminal.keys("f");
    terminal.shows(&["1 active", "%"]);
    terminal.keys("4");
    connections_agree(&terminal, &chain);
    terminal.keys("3p");
    terminal.shows(&["paused"]);
    let kept = std::fs::metadata(chain.fetched("data.bin.part")).unwrap().len();
    assert!(kept > 0);
    terminal.shows(&[&format!("{} / {}", Bytes(kept), Bytes(3_000_000))]);
    terminal.keys("4");
    connections_agree(&terminal, &chain);
    terminal.keys("3p");
    terminal.shows(&["1 done", "verified"]);
    assert_eq!(std::fs::read(chain.fetched("data.bin")).unwrap(), chain.content);
    terminal.shows(&[&Bytes(3_000_000).to_string()]);
    quit(&mut terminal);
}
