//! The page that explains the headline: rule, confidence, evidence, what helps, and what mattered before.

use std::time::Duration;

use chainview::options::ColorScheme;
use chainview::snapshot::verdict::{Confidence, Limit, LinkCause, Resource};
use chainview::snapshot::{ChainSnapshot, DownReason, Flow, HopLink, HopRecord, Load, Phase};

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, idle, streaming, transfer};

fn limited() -> ChainSnapshot {
    let mut chain = busy();
    (chain.verdict.since_ms, chain.verdict.confidence) = (12_000, Confidence::High);
    chain
}

/// Scrolls to the end of the page and joins all that was seen.
fn whole_page(script: &mut Script) -> String {
    let mut all = script.screen();
    for _ in 0..8 {
        all += &script.keys("<c-d>").screen();
    }
    all
}

/// The words of a screen, one blank between two.
fn words(screen: &str) -> String {
    screen.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn w_explains_the_headline_on_every_tab_and_esc_closes_it() {
    on_every_screen(&limited(), |script| {
        for tab in ["1", "2", "3", "4", "5"] {
            let before = script.keys(tab).screen();
            let page = script.keys("w").screen();
            assert!(page.contains("Why") && page.contains("Rule") && page.contains("Confidence"), "{tab}: {page}");
            assert_eq!(script.keys("<esc>").screen(), before, "{tab}");
            assert_eq!(script.keys("w w").screen(), before, "{tab}");
        }
    });
}

#[test]
fn the_page_has_rule_confidence_evidence_and_keys() {
    on_every_screen(&limited(), |script| {
        let page = whole_page(script.keys("w"));
        for part in [
            "A stage that waits for its own rate limit at least half of the time is the bottleneck",
            "high: supported by the stages on both sides and by the kernel",
            "88% of the time",
            "! change it",
            "starved",
            "blocked",
            "limited",
            "busy",
        ] {
            assert!(words(&page).contains(part), "{part:?} is missing:\n{page}");
        }
        let row = page.lines().find(|line| line.trim_start().starts_with("2  127")).expect("the row of hop 2");
        assert!(row.contains("5%") && row.contains("6%") && row.contains("88%") && row.contains("1%"), "{row}");
    });
    let screen = Script::new(80, 24, limited()).keys("w").screen();
    assert!(screen.contains("limited") && screen.contains("88%"), "the evidence needs no scrolling: {screen}");
}

#[test]
fn figures_of_the_kernel_and_the_processor_are_those_of_the_last_reports() {
    let mut script = Script::new(120, 40, limited());
    let mut next = limited();
    next.generation = 9;
    let hop = &mut next.hops[1];
    let node = hop.node.as_mut().unwrap();
    node.uptime_us += 1_000_000;
    node.load = Some(Load { busy_us: 420_000, run_delay_us: 70_000, ..Load::default() });
    let tcp = hop.tcp.as_mut().unwrap();
    tcp.retransmits += 17;
    tcp.busy_us += 1_000_000;
    tcp.receiver_limited_us += 630_000;
    script.see(next);
    let screen = script.keys("w").screen();
    let row = screen.lines().find(|line| line.trim_start().starts_with("2  127")).unwrap();
    let figures: Vec<&str> = row.split_whitespace().collect();
    for figure in ["42%", "17", "38.2", "63%", "7%"] {
        assert!(figures.contains(&figure), "{figure}: {row}");
    }
    for meaning in ["CPU: CPU time", "RTT: round trip in ms", "delay: time in which"] {
        assert!(words(&screen).contains(meaning), "{meaning}: {screen}");
    }
}

#[test]
fn changes_of_the_bottleneck_are_a_strip_and_a_list() {
    on_every_screen(&idle(), |script| {
        let see = |script: &mut Script, second: u64, limit| {
            let mut chain = limited();
            (chain.generation, chain.verdict.limit) = (second, limit);
            script.state.now = Duration::from_secs(second);
            script.see(chain);
        };
        let (cap, link) =
            (Limit::RateLimit { hop: 2, rate: 6_000_000 }, Limit::Link { from: 3, to: 2, cause: LinkCause::Loss });
        for second in 0..40 {
            see(script, second, cap);
        }
        for second in 40..50 {
            see(script, second, link);
        }
        let page = whole_page(script.keys("w"));
        for part in ["a  00:00-00:39  hop 2: rate limit 6.0 MB/s", "b  00:40-00:49  link 3 to 2: packet loss"] {
            assert!(page.contains(part), "{part:?}: {page}");
        }
        let strip = page.lines().find(|line| line.contains("-60 s ")).expect("the strip");
        assert!(strip.contains("aaaaaaaaaa") && strip.contains("bbbbb") && strip.contains("now"), "{strip}");
        assert!(strip.find('a') < strip.find('b'), "{strip}");
    });
}

#[test]
fn a_finished_transfer_is_explained_by_the_records_of_its_hops() {
    let mut chain = streaming();
    chain.transfers = vec![transfer(1, Phase::Done)];
    let record = |starved_us, limited_us| {
        let flow = Flow { starved_us, limited_us, active_us: 1_000_000, ..Flow::default() };
        Some(HopRecord { flow, status: 200, body_error: None })
    };
    chain.transfers[0].hop_records = vec![record(930_000, 0), record(0, 770_000), None];
    chain.transfers[0].verdict = Some(chain.verdict);
    chain.verdict = chainview::snapshot::verdict::Verdict::default();
    on_every_screen(&chain, |script| {
        let page = whole_page(script.keys("w"));
        assert!(page.contains("Evidence of #1, over the whole transfer"), "{page}");
        let row = |number: &str| page.lines().find(|line| line.trim_start().starts_with(number)).unwrap().to_owned();
        assert!(row("1  127").contains("93%") && row("2  127").contains("77%"), "{page}");
        assert!(page.contains("Rule"), "{page}");
    });
}

#[test]
fn problems_other_than_limits_are_explained_too() {
    let mut down = idle();
    down.hops[2].link = HopLink::Down { reason: DownReason::Killed };
    on_every_screen(&down, |script| {
        let page = whole_page(script.keys("w"));
        assert!(words(&page).contains("The node of this hop has ended"), "{page}");
        assert!(page.contains("u start it"), "{page}");
        assert!(page.contains("a  00:00-00:00  hop 3 is down: killed"), "{page}");
    });
    let mut disk = limited();
    disk.verdict.limit = Limit::Client { resource: Resource::Disk };
    on_every_screen(&disk, |script| {
        let page = words(&whole_page(script.keys("w")));
        assert!(page.contains("What helps a faster disk, or another folder (-o)"), "{page}");
    });
    on_every_screen(&idle(), |script| {
        assert!(whole_page(script.keys("w")).contains("nothing so far"));
    });
}

#[test]
fn a_long_page_scrolls_to_its_end_and_no_further() {
    let mut chain = limited();
    let relay = chain.hops[0].clone();
    chain.hops.splice(0..1, (1..=30).map(|_| relay.clone()));
    for (hop, number) in chain.hops.iter_mut().zip(1..) {
        hop.number = number;
    }
    for (columns, rows) in [(120, 40), (80, 24), (60, 15)] {
        let mut script = Script::new(columns, rows, chain.clone());
        let top = script.keys("w").screen();
        let end = script.keys("G").screen();
        assert_ne!(top, end);
        assert!(words(&end).contains("waiting for its own rate limit"), "{end}");
        assert_eq!(script.keys("j j j").screen(), end, "the end");
        assert_ne!(script.keys("k").screen(), end, "one step back is one row");
        assert_eq!(script.keys("g").screen(), top);
        let wheel = script.mouse(chainview::ui::input::Gesture::WheelDown, 5, rows / 2).screen();
        assert_ne!(wheel, top);
    }
}

#[test]
fn the_page_is_ascii_and_colorless_where_the_screen_is() {
    let mut script = Script::new(80, 24, limited()).themed(true, ColorScheme::Mono);
    assert!(whole_page(script.keys("w")).is_ascii());
}
