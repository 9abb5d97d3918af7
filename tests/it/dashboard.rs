//! The screen without a terminal: key strings in, screens and commands out, at every size and with hostile text.

mod access;
mod browse;
mod chain_line;
mod clicks;
mod copying;
mod encryption;
mod folders;
mod follow;
mod frame_cost;
mod gauges;
mod headline;
mod help;
mod hops;
mod keys;
mod layout;
mod palette;
mod picker;
mod random_input;
mod refusals;
mod routes;
mod sharing;
mod start;
mod states;
mod tour;
mod why;
use crate::support::script;
use crate::support::snapshots;

use std::path::PathBuf;
use std::time::Duration;

use chainview::options::ColorScheme;
use chainview::snapshot::verdict::{FaultKind, Limit, LinkCause, Verdict};
use chainview::snapshot::{HopLink, Integrity, Phase, Stall};
use ratatui::style::Color;
use script::{Script, on_every_screen, styles};
use snapshots::{busy, idle, mixed, streaming, transfer};

/// Compares a screen, including its colors and weights, with the one stored under this name; `UPDATE_PICTURES=1` stores
/// the new one instead.
fn expect(name: &str, script: &mut Script) {
    let buffer = script.buffer();
    let screen = &format!("{}styles {}\n", script.screen(), styles(&buffer));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        std::fs::write(&path, screen).expect("the pictures can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == *screen, "{name} looks different now:\n{screen}\nbut the stored screen was:\n{kept}");
}

#[test]
fn screens_at_common_sizes() {
    expect("streaming-120x40", &mut Script::new(120, 40, streaming()));
    expect("streaming-80x24", &mut Script::new(80, 24, streaming()));
    expect("streaming-60x15", &mut Script::new(60, 15, streaming()));
    expect("streaming-40x8", &mut Script::new(40, 8, streaming()));
    expect("streaming-39x7", &mut Script::new(39, 7, streaming()));
    for (columns, rows) in [(120, 40), (80, 24), (60, 15), (40, 8)] {
        let mut mono = Script::new(columns, rows, streaming()).themed(false, ColorScheme::Mono);
        expect(&format!("mono-{columns}x{rows}"), &mut mono);
    }
    expect("idle-80x24", &mut Script::new(80, 24, idle()));
    expect("mixed-120x40", &mut Script::new(120, 40, mixed()));
    expect("mixed-80x24", &mut Script::new(80, 24, mixed()));
}

#[test]
fn the_limit_is_named_at_every_size_with_and_without_color() {
    on_every_screen(&busy(), |script| {
        let screen = script.screen();
        assert!(screen.contains("hop 2") && screen.contains("50.0 MB/s"), "{screen}");
    });
}

#[test]
fn limits_of_other_clients_are_named_and_flagged() {
    let mut data = idle();
    let limit = Limit::RateLimit { hop: 2, rate: 5_000_000 };
    data.others = Some(Verdict { limit, share: 0.9, ..Verdict::default() });
    let screen = Script::new(120, 40, data).screen();
    assert!(screen.contains("other clients: hop 2 is the bottleneck: rate limit 5.0 MB/s"), "{screen}");
    assert!(screen.contains("✖ 2  127.0.0.1:7002") && screen.contains("limit 5 MB/s"), "{screen}");
}

#[test]
fn screens_with_popups() {
    expect("help-80x24", Script::new(80, 24, streaming()).keys("?"));
    expect("help-120x40", Script::new(120, 40, streaming()).keys("?"));
    expect("prompt-80x24", Script::new(80, 24, streaming()).keys("n a . t x t <left>"));
}

#[test]
fn screens_of_the_other_tabs_and_details() {
    for (name, keys) in [("connections", "2"), ("transfers", "3"), ("nodes", "4"), ("log", "5 k"), ("hop", "<enter>")] {
        for (columns, rows) in [(120, 40), (80, 24), (60, 15)] {
            let mut script = Script::new(columns, rows, streaming());
            expect(&format!("{name}-{columns}x{rows}"), script.keys(keys));
        }
    }
    for (name, scheme) in [("light", ColorScheme::Light), ("contrast", ColorScheme::Contrast)] {
        expect(&format!("{name}-80x24"), &mut Script::new(80, 24, mixed()).themed(false, scheme));
    }
    expect("palette-80x24", Script::new(80, 24, streaming()).keys(": n o d e"));
    expect("faults-80x24", Script::new(80, 24, streaming()).keys("j !"));
}

#[test]
fn screen_in_ascii_without_color() {
    let mut plain = Script::new(80, 24, streaming()).themed(true, ColorScheme::Mono);
    let screen = plain.keys("j").screen();
    assert!(screen.is_ascii(), "{screen}");
    expect("ascii-80x24", &mut plain);
    let mut help = Script::new(80, 24, streaming()).themed(true, ColorScheme::Mono);
    assert!(help.keys("?").screen().is_ascii());
}

#[test]
fn without_color_states_are_words() {
    let mut plain = Script::new(120, 40, mixed()).themed(false, ColorScheme::Mono);
    let buffer = plain.buffer();
    assert!(buffer.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let screen = plain.screen();
    let transfers = plain.keys("3").screen();
    for word in ["stale 4s", "legacy", "foreign", "down", "starting", "draining", "failed", "cancelled", "WARN"] {
        assert!(screen.contains(word) || transfers.contains(word), "{word} is missing:\n{screen}");
    }
    let mut colored = Script::new(120, 40, mixed());
    assert!(colored.buffer().content().iter().any(|cell| cell.fg == Color::Red));
    assert_eq!(colored.screen(), screen, "color changes no character");
}

#[test]
fn rates_of_connections_come_from_two_snapshots() {
    let mut script = Script::new(120, 40, streaming());
    script.keys("g");
    let mut next = streaming();
    next.generation = 3;
    let node = next.hops[0].node.as_mut().unwrap();
    node.uptime_us += 1_000_000;
    node.connections[0].flow.bytes_in += 40_500_000;
    node.connections[0].flow.bytes_out += 39_900_000;
    script.see(next);
    let screen = script.screen();
    let line = screen.lines().find(|line| line.contains("127.0.0.1:51812")).unwrap();
    assert!(line.contains("40.5 MB   39.9 MB"), "{line}");
}

#[test]
fn a_transfer_that_waits_for_another_fetch_shows_it() {
    for (columns, rows) in [(120, 40), (80, 24), (60, 15)] {
        let mut script = Script::new(columns, rows, idle());
        let mut waits = transfer(1, Phase::Locked);
        waits.error = Some("waiting for another fetch of sample.bin".into());
        script.chain.transfers = vec![waits];
        // A narrow screen has the sentence on several lines.
        let words = |screen: &str| screen.replace('▌', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        let list = words(&script.keys("3").screen());
        assert!(list.contains("locked waiting for another fetch of sample.bin"), "{list}");
        let details = words(&script.keys("<enter>").screen());
        assert!(details.contains("waiting for another fetch of sample.bin") && !details.contains("error"), "{details}");
    }
}

#[test]
fn transfers_show_how_they_ended() {
    let mut script = Script::new(120, 40, idle());
    script.chain.transfers = vec![transfer(1, Phase::Done), transfer(2, Phase::Failed), transfer(3, Phase::Cancelled)];
    let mut plain = transfer(4, Phase::Done);
    plain.integrity =
        Integrity::SizeChecked { digest: "blake3:00".to_owned(), reason: "the origin offers no digest".into() };
    script.chain.transfers.push(plain);
    let screen = script.keys("3").screen();
    for words in [
        "2.73 GB in  32.0 s at  41.2 MB/s  verified: digest equal",
        "hop 2 (127.0.0.1:7002): connection refused, reported by hop 1 after 0.8 ms",
        "1.31 GB received and kept, resumable",
        "size-checked: the origin offers no digest",
    ] {
        assert!(screen.contains(words), "{words:?} is missing:\n{screen}");
    }
}

#[test]
fn the_slow_link_is_flagged_and_named() {
    let mut script = Script::new(120, 40, streaming());
    script.chain.verdict =
        Verdict { limit: Limit::Link { from: 3, to: 2, cause: LinkCause::Unknown }, share: 0.88, ..Verdict::default() };
    let screen = script.screen();
    assert!(screen.contains("2 :7002▅ ◀╌╌ [41.3 MB/s network] ╌╌ 3 origin█"), "{screen}");
    assert!(screen.lines().nth(1).unwrap().starts_with(" ✖ "), "{screen}");
    script.chain.verdict = Verdict::default();
    assert!(
        !script.screen().lines().take(8).any(|line| line.contains('!')),
        "nothing is flagged before there is a verdict"
    );
}

#[test]
fn buffered_bytes_are_a_bar_and_a_number_on_one_scale() {
    let rows = |screen: &str| screen.lines().map(str::to_owned).collect::<Vec<_>>();
    let large = rows(&Script::new(120, 40, streaming()).screen());
    assert!(large[4].contains("Buffered  / 4 MB"), "{large:#?}");
    for (row, bar) in [(6, "65.0 KB  ━╌╌╌╌╌╌╌"), (7, "2.2 MB  ━━━━━╌╌╌"), (8, "3.9 MB  ━━━━━━━━")]
    {
        assert!(large[row].contains(bar), "{bar}: {large:#?}");
    }
    // With less space only the bars on the chain line and the numbers remain, then neither.
    let usual = rows(&Script::new(80, 24, streaming()).screen());
    assert!([" 1▁ ", "2 :7002▅", " 3█"].iter().all(|bar| usual[2].contains(bar)), "{usual:#?}");
    assert!(usual[4].contains("Buffered") && usual[7].contains("2.2 MB"), "{usual:#?}");
    let ascii = rows(&Script::new(80, 24, streaming()).themed(true, ColorScheme::Mono).screen());
    assert!([" 1_ ", "2 :7002=", " 3#"].iter().all(|bar| ascii[2].contains(bar)), "{ascii:#?}");
    let small = Script::new(60, 15, streaming()).screen();
    assert!(!small.contains("Buffered") && !small.contains("=4 MB"), "{small}");
}

#[test]
fn the_scale_of_buffered_bytes_grows_with_them() {
    let mut script = Script::new(120, 40, streaming());
    let mut seen = |held: [u64; 3]| {
        script.chain.generation += 1;
        for (hop, held) in script.chain.hops.iter_mut().zip(held) {
            hop.buffered = Some(held);
        }
        script.see(script.chain.clone());
        let screen = script.screen();
        screen.lines().nth(2).unwrap().chars().filter(|glyph| "▁▂▃▄▅▆▇█".contains(*glyph)).collect::<String>()
    };
    assert_eq!(seen([1_000_000, 0, 0]), "▂█", "the last is that of the scale");
    assert_eq!(seen([4_000_000, 2_000_000, 0]), "█▄█");
    assert_eq!(seen([4_000_000, 4_000_000, 3_000_000]), "██▆█");
    assert_eq!(seen([8_000_000, 4_000_000, 4_000_000]), "▄▂▂█", "a larger scale for all");
}

#[test]
fn an_injected_stall_is_named_before_the_missing_data() {
    let mut script = Script::new(80, 24, streaming());
    let stall = Stall { lasting: Duration::from_secs(9), last_moved: Some(3) };
    script.chain.transfers[0].stall = Some(stall);
    assert!(script.screen().contains(" ✖ #1 stalled for 9.0 s; hop 3 moved data last"));
    script.chain.verdict.limit = Limit::Fault { hop: 3, fault: FaultKind::Stall };
    assert!(script.screen().contains(" ✖ stalled: hop 3 (fault: stall)"), "{}", script.screen());
}

#[test]
fn quitting_is_shown_and_offers_no_new_work() {
    let mut script = Script::new(80, 24, streaming());
    script.chain.exiting = true;
    let screen = script.keys("f n x r").screen();
    assert!(screen.contains("SHUTTING DOWN") && screen.contains("q quit"), "{screen}");
    assert!(!screen.contains("f fetch") && !screen.contains("x cancel"), "{screen}");
    assert!(script.sent.is_empty());
}

#[test]
fn the_selected_transfer_shows_its_whole_sentence() {
    let mut script = Script::new(60, 24, idle());
    script.chain.transfers = vec![transfer(1, Phase::Done), transfer(2, Phase::Failed)];
    let screen = script.keys("3").screen();
    let lines: Vec<&str> = screen.lines().skip_while(|line| !line.contains("failed  hop 2")).take(3).collect();
    let sentence = lines.join(" ").replace(['▏', '▌'], "").split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted = "hop 2 (127.0.0.1:7002): connection refused, reported by hop 1 after 0.8 ms: is a node running there?";
    assert!(sentence.ends_with(wanted), "{screen}");
}

/// A figure and the next character, if that is not a blank.
fn touching(line: &str) -> Option<String> {
    let glyphs: Vec<char> = line.chars().collect();
    (1..glyphs.len()).find_map(|at| {
        let is_figure = glyphs[at - 1].is_ascii_digit() && "KMGTPE%".contains(glyphs[at]);
        let rest: String = glyphs[at + 1..].iter().collect();
        let next = rest.strip_prefix("/s").unwrap_or(&rest).chars().next();
        let bad = is_figure && next.is_some_and(|next| next.is_alphanumeric() || next == '~');
        bad.then(|| glyphs[at.saturating_sub(8)..].iter().collect())
    })
}

#[test]
fn no_columns_touch_at_any_width() {
    let mut data = streaming();
    let wide = [916_600, 999_949, 100_000_000];
    let phases =
        [Phase::Streaming, Phase::Streaming, Phase::Streaming, Phase::Verifying, Phase::Retrying, Phase::Paused];
    data.transfers = phases.iter().zip(1..).map(|(phase, number)| transfer(number, *phase)).collect();
    for (transfer, figure) in data.transfers.iter_mut().zip(wide.into_iter().cycle()) {
        (transfer.rate, transfer.rate_limit, transfer.attempt) = (figure, Some(figure), 12);
        (transfer.received, transfer.size) = (figure * 200, Some(figure * 200));
        transfer.eta = Some(Duration::from_secs(3599));
        transfer.elapsed = Duration::from_secs(3599);
    }
    data.transfers[1].eta = None;
    data.transfers[2].stall = Some(Stall { lasting: Duration::from_secs(3599), last_moved: Some(2) });
    for (hop, figure) in data.hops.iter_mut().zip(wide) {
        (hop.rate_in, hop.rate_out, hop.buffered) = (figure, figure, Some(figure));
        (hop.starved_share, hop.blocked_share) = (Some(1.0), Some(1.0));
        let node = hop.node.as_mut().unwrap();
        node.faults.limit = Some(figure);
        node.totals.flow.bytes_out = figure;
        node.totals.open = 4096;
        node.connections[0].queued_out = figure;
        node.connections[0].flow.bytes_out = figure;
    }
    let columns = ["916.6 KB/s", "999.9 KB/s", "100.0 MB/s", "streaming, 12", "59:59", "100%", "limit 916.6 KB/s"];
    for width in 60..=200 {
        let mut script = Script::new(width, 40, data.clone());
        let mut next = data.clone();
        next.generation += 1;
        for (hop, figure) in next.hops.iter_mut().zip(wide) {
            let node = hop.node.as_mut().unwrap();
            node.uptime_us += 1_000_000;
            node.connections[0].flow.bytes_in += figure;
            node.connections[0].flow.bytes_out += figure;
        }
        script.see(next);
        // The tables of the other tabs are laid out like the two of the first.
        let tabs: &[&str] = if width % 5 == 0 { &["1", "2", "3", "4"] } else { &["1", "3"] };
        for tab in tabs {
            let screen = script.keys(tab).screen();
            // The sentences of the log are no table.
            let table = screen.split("Log ─").next().unwrap();
            for line in table.lines() {
                assert_eq!(touching(line), None, "{width} {tab}: {line}");
            }
            for line in table.lines().filter(|line| line.contains("sample.b") || line.contains("assets")) {
                for column in columns {
                    for (at, found) in line.match_indices(column) {
                        let ends = [line[..at].chars().next_back(), line[at + found.len()..].chars().next()];
                        let is_separate = ends.iter().all(|end| end.is_none_or(|end| end == ' '));
                        assert!(is_separate, "{width} {tab}: {column:?} in {line}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_watched_node_is_not_part_of_the_chain() {
    for (columns, rows) in [(200, 40), (120, 40), (60, 15), (39, 7)] {
        let plain = Script::new(columns, rows, idle()).screen();
        let mut watched = idle();
        let mut extra = watched.hops[0].clone();
        (extra.number, extra.extra) = (4, true);
        extra.link = HopLink::Down { reason: "connection refused".into() };
        watched.hops.push(extra);
        let screen = Script::new(columns, rows, watched).screen();
        let top = |screen: &str| screen.lines().take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(top(&screen), top(&plain));
        assert!(screen.contains("3/3 up"), "{screen}");
        assert!(columns < 200 || screen.contains("not in the chain"), "{screen}");
    }
}

#[test]
fn help_scrolls_no_further_than_its_last_line() {
    let mut script = Script::new(80, 24, idle());
    script.keys("? G j j j");
    let bottom = script.screen();
    assert!(bottom.contains("value of a full bar of buffered bytes"), "{bottom}");
    assert_ne!(script.keys("k").screen(), bottom, "one step back is one row");
    assert!(script.keys("g").screen().contains("Keys: Hops"));
}
