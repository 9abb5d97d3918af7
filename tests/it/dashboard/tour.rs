//! The caption of the demo's tour, and the keys that act on it.

use std::time::Duration;

use chainview::command::{Command, TourCommand};
use chainview::snapshot::verdict::{Limit, Verdict};
use chainview::snapshot::{ActCaption, ActOutcome, ChainSnapshot, NamedCause, TourSnapshot};
use chainview::ui::input::Gesture;

use super::script::{Script, on_every_screen};
use super::snapshots::streaming;

fn with(tour: TourSnapshot) -> ChainSnapshot {
    ChainSnapshot { tour: Some(tour), ..streaming() }
}

fn act() -> TourSnapshot {
    TourSnapshot::Act(ActCaption {
        number: 1,
        acts: 4,
        title: "Rate limit",
        text: "hop 2 sends at most 4.0 MB/s".to_owned(),
        hint: "{faults} then {popup-off} removes the limit",
        left: Duration::from_secs(9),
        named: Some(Duration::from_millis(1234)),
    })
}

fn summary() -> TourSnapshot {
    let named = |title, cause| ActOutcome { title, named: Some((cause, Duration::from_millis(1800))), skipped: false };
    let verdict = Verdict { limit: Limit::RateLimit { hop: 2, rate: 4_000_000 }, share: 0.9, ..Verdict::default() };
    let interrupted =
        NamedCause::Interrupted { hop: 2, error: "hop 2: connection refused".into(), resumed_from: Some(12_300_000) };
    TourSnapshot::Over(vec![
        named("Rate limit", NamedCause::Verdict(verdict)),
        ActOutcome { title: "Slow processor", named: None, skipped: true },
        ActOutcome { title: "Long link", named: None, skipped: false },
        named("Killed hop", interrupted),
    ])
}

#[test]
fn an_act_says_what_happens_and_what_to_press_at_every_size() {
    on_every_screen(&with(act()), |script| {
        let rows = script.state.area.height;
        let screen = script.screen();
        let lines: Vec<&str> = screen.lines().collect();
        // The caption is above the footer, which stays.
        let caption = lines[lines.len() - 3..lines.len() - 1].join("\n");
        assert!(caption.contains("Rate limit") && caption.contains("! then 0 removes the limit"), "{screen}");
        assert!(caption.contains("T next"), "{screen}");
        assert!(lines[lines.len() - 1].contains("q quit"), "{screen}");
        if rows >= 20 {
            for text in ["Demo 1/4", "hop 2 sends at most 4.0 MB/s", "named after 1.2 s", "0:09", "ctrl-t stop"] {
                assert!(caption.contains(text), "{text}: {screen}");
            }
        }
    });
    let mut small = Script::new(60, 12, with(act()));
    assert!(!small.screen().contains("Rate limit:") && small.state.caption_rows <= 1);
}

#[test]
fn the_summary_has_what_was_named_and_what_comes_next() {
    on_every_screen(&with(summary()), |script| {
        let rows = script.state.area.height;
        let screen = script.screen();
        assert!(screen.contains("Demo over: 2 of 4 causes named") && screen.contains("T again"), "{screen}");
        if rows >= 20 {
            for text in [
                "hop 2 is the bottleneck: rate limit 4.0 MB/s",
                "resumed at 12.3 MB",
                "after 1.8 s",
                "not named",
                "skipped",
                "f fetch",
            ] {
                assert!(screen.contains(text), "{text}: {screen}");
            }
            assert!(screen.contains("own chain: chainview FILE"), "{screen}");
        }
    });
}

#[test]
fn keys_start_the_next_act_and_stop_the_tour() {
    let (next, stop) = (Command::Tour(TourCommand::Next), Command::Tour(TourCommand::Stop));
    let mut script = Script::new(80, 24, with(act()));
    script.keys("T <c-t>");
    assert_eq!(script.sent, [next.clone(), stop.clone()]);
    let mut script = Script::new(80, 24, with(TourSnapshot::Stopped));
    script.keys("T <c-t>");
    assert_eq!(script.sent, [next]);
    assert!(script.screen().contains("the tour is not running"), "{}", script.screen());
    let mut script = Script::new(80, 24, streaming());
    script.keys("T <c-t>");
    assert_eq!(script.sent, []);
    assert!(script.screen().contains("only the demo without limits has a tour"), "{}", script.screen());
}

#[test]
fn the_next_act_selects_its_own_hop() {
    let mut chain = with(act());
    let mut script = Script::new(120, 40, chain.clone());
    // Hop 2 limits; a selection of the user stays for the act.
    script.keys("j");
    assert!(script.screen().contains("Connections of hop 3"), "{}", script.screen());
    script.see(chain.clone());
    assert!(script.screen().contains("Connections of hop 3"), "{}", script.screen());
    if let Some(TourSnapshot::Act(act)) = &mut chain.tour {
        act.number = 2;
    }
    script.see(chain);
    assert!(script.screen().contains("Connections of hop 2"), "{}", script.screen());
}

#[test]
fn keys_of_the_hints_are_those_of_the_user() {
    let config = [("faults".to_owned(), vec!["F7".to_owned()])];
    let mut script = Script::new(80, 24, with(act()));
    script.state.keymap = std::sync::Arc::new(chainview::ui::Keymap::with(&config).unwrap());
    assert!(script.screen().contains("now you: f7 then 0 removes the limit"), "{}", script.screen());
}

#[test]
fn keys_of_the_caption_are_buttons() {
    for (tour, label, other) in [(act(), "T next", "ctrl-t stop"), (summary(), "T again", "ctrl-t close")] {
        on_every_screen(&with(tour), |script| {
            let screen = script.screen();
            for (text, command) in [(label, TourCommand::Next), (other, TourCommand::Stop)] {
                let found = screen.lines().enumerate().find_map(|(row, line)| Some((row, line.split_once(text)?.0)));
                let Some((row, before)) = found else { continue };
                let column = u16::try_from(before.chars().count()).unwrap();
                script.mouse(Gesture::Click, column, u16::try_from(row).unwrap());
                assert_eq!(script.sent.pop(), Some(Command::Tour(command)), "{text}: {screen}");
            }
        });
    }
}
