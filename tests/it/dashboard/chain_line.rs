//! The chain line: the cause as a word in its stretch, long chains folded, watched nodes outside.

use chainview::options::ColorScheme;
use chainview::snapshot::verdict::{Limit, LinkCause, Resource, Verdict};
use chainview::snapshot::{ChainSnapshot, DownReason, HopLink};
use ratatui::style::Color;

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, idle, streaming};

/// The row of the chain line.
const ROW: usize = 2;

fn line(script: &mut Script) -> String {
    script.screen().lines().nth(ROW).unwrap_or_default().to_owned()
}

/// A chain of this many hops with traffic, of which one is limited to 3.0 MB/s.
fn long(hops: usize, limited: usize) -> ChainSnapshot {
    let mut chain = streaming();
    let [relay, origin] = [chain.hops[0].clone(), chain.hops[2].clone()];
    chain.hops = (1..=hops)
        .map(|number| {
            let mut hop = if number == hops { origin.clone() } else { relay.clone() };
            hop.number = number;
            hop.address = format!("127.0.0.1:{}", 7000 + number).into();
            hop.label = hop.address.clone();
            (hop.starved_share, hop.blocked_share, hop.limited_share) = match number {
                _ if number < limited => (Some(0.97), Some(0.0), Some(0.0)),
                _ if number == limited => (Some(0.02), Some(0.02), Some(0.95)),
                _ => (Some(0.01), Some(0.96), Some(0.0)),
            };
            hop
        })
        .collect();
    chain.verdict = Verdict { limit: Limit::RateLimit { hop: limited, rate: 3_000_000 }, ..chain.verdict };
    chain
}

#[test]
fn the_cause_is_a_word_in_its_stretch() {
    let mut chain = busy();
    chain.hops[1].label = "proxy-2".into();
    assert!(line(&mut Script::new(120, 40, chain.clone())).contains("[2 proxy-2▅ limit 50 MB/s]"));
    assert!(line(&mut Script::new(200, 60, chain.clone())).contains("[2 proxy-2▅ limit 50 MB/s]"));
    let usual = line(&mut Script::new(80, 24, chain.clone()));
    assert!(usual.contains("[2 proxy-2▅ limit 50 MB/s]") && usual.contains("41.2 MB/s"), "{usual}");
    let mut script = Script::new(120, 40, chain.clone());
    let column = line(&mut script).chars().position(|c| c == '[').unwrap();
    assert_eq!(script.buffer()[(column as u16, ROW as u16)].fg, Color::Yellow);
    chain.verdict.limit = Limit::Link { from: 3, to: 2, cause: LinkCause::Loss };
    let lossy = line(&mut Script::new(120, 40, chain.clone()));
    assert!(lossy.contains("2 proxy-2▅ ◀╌╌ [41.3 MB/s packet loss] ╌╌ 3 origin"), "{lossy}");
    chain.verdict.limit = Limit::Client { resource: Resource::Disk };
    assert!(line(&mut Script::new(120, 40, chain)).contains("[client its disk]"));
}

#[test]
fn down_is_at_the_hop_and_not_on_the_link() {
    let mut chain = idle();
    chain.hops[1].link = HopLink::Down { reason: DownReason::Killed };
    chain.hops[2].link = HopLink::Down { reason: "connection refused".into() };
    let text = line(&mut Script::new(120, 40, chain.clone()));
    assert!(text.contains("[2 :7002 down]") && text.contains("3 origin down"), "{text}");
    let links = text.split('◀').skip(1).map(|link| link.split_once('╌').unwrap().1);
    assert!(
        links
            .map(|link| link.trim_start_matches(['╌', ' ']))
            .all(|link| link.starts_with('-') || link.starts_with('?')),
        "{text}"
    );
    let small = line(&mut Script::new(80, 24, chain));
    assert!(small.contains("2 :7002 down]") && small.contains("3 down"), "{small}");
}

#[test]
fn a_long_chain_is_folded_with_the_cause_in_view() {
    let text = line(&mut Script::new(120, 40, long(12, 7)));
    assert!(text.contains("client ◀ 41.2 MB/s ◀ 1-6 starved ▏7 :7007 limit 3 MB/s▏ 8-12 blocked"), "{text}");
    let text = line(&mut Script::new(80, 24, long(32, 20)));
    assert!(text.contains("1-19 starved ▏20 :7020 limit 3 MB/s▏ 21-32 blocked"), "{text}");
    for columns in 40..=200 {
        for (hops, limited) in [(3, 2), (12, 7), (12, 1), (32, 20), (32, 32)] {
            let text = line(&mut Script::new(columns, 30, long(hops, limited)));
            assert!(text.contains("limit 3 MB/s") && !text.contains('~'), "{columns}: {text}");
            assert!(
                text.contains(&format!("▏{limited} ")) || text.contains(&format!("[{limited}")),
                "{columns}: {text}"
            );
        }
    }
    let text = line(&mut Script::new(80, 24, long(12, 7)).themed(true, ColorScheme::Mono));
    assert!(text.is_ascii() && text.contains("1-6 starved |7 :7007 limit 3 MB/s| 8-12 blocked"), "{text}");
    let mut lossy = long(12, 7);
    lossy.verdict.limit = Limit::Link { from: 7, to: 6, cause: LinkCause::Loss };
    let text = line(&mut Script::new(80, 24, lossy));
    assert!(text.contains("1-6 starved ▏link 7 to 6 packet loss▏ 7 limited, 8-12 blocked"), "{text}");
}

#[test]
fn the_row_of_the_cause_is_always_in_the_table() {
    for (columns, rows) in [(120, 40), (80, 24), (60, 15)] {
        let mut script = Script::new(columns, rows, long(32, 20));
        for keys in ["", "g", "G", "<esc>"] {
            let screen = script.keys(keys).screen();
            assert!(screen.contains("✖ 20") || screen.contains("✖20"), "{keys}: {screen}");
        }
        // A click on it selects it.
        let screen = script.keys("g").screen();
        let y = screen.lines().position(|line| line.starts_with(" ✖20")).expect("the pinned row");
        script.mouse(chainview::ui::input::Gesture::Click, 8, y as u16);
        assert!(script.screen().contains("▌✖20"), "{}", script.screen());
    }
}

#[test]
fn watched_nodes_are_outside_the_chain_and_its_counts() {
    let mut chain = busy();
    let mut extra = chain.hops[0].clone();
    (extra.number, extra.extra) = (4, true);
    extra.link = HopLink::Down { reason: "connection refused".into() };
    chain.hops.push(extra);
    on_every_screen(&chain, |script| {
        let screen = script.screen();
        assert!(screen.contains("3/3 up"), "{screen}");
        let text = screen.lines().nth(ROW).unwrap();
        assert!(!text.contains("7001 ◀") && !text.contains("down"), "{text}");
        assert!(screen.lines().nth(1).unwrap().contains("hop 2"), "{screen}");
    });
}

#[test]
fn a_silent_hop_is_not_called_down() {
    let mut chain = idle();
    chain.hops[1].link = HopLink::Down { reason: DownReason::Silent };
    let text = line(&mut Script::new(120, 40, chain));
    assert!(text.contains("[2 :7002 silent]") && !text.contains("down"), "{text}");
}
