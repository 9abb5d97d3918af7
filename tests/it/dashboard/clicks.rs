//! Clicks: what looks like a key, a hop or an entry acts as one, at every size.

use std::time::Duration;

use chainview::ui::focus::ViewMode;
use chainview::ui::input::Gesture;
use chainview::ui::state::{Effect, Mode};

use super::script::{SIZES, Script, on_every_screen};
use super::snapshots::{busy, idle, streaming};

/// Column and row of a text on the screen, of its last occurrence in a line.
fn place(script: &mut Script, text: &str) -> Option<(u16, u16)> {
    let screen = script.screen();
    let lines: Vec<&str> = screen.lines().collect();
    let (row, line) = lines.iter().enumerate().rfind(|(_, line)| line.contains(text))?;
    let column = line[..line.rfind(text)?].chars().count();
    Some((u16::try_from(column).unwrap(), u16::try_from(row).unwrap()))
}

fn click(script: &mut Script, text: &str) {
    let (column, row) = place(script, text).unwrap_or_else(|| panic!("no {text:?} on:\n{}", script.screen()));
    script.mouse(Gesture::Click, column, row);
}

#[test]
fn keys_of_the_footer_are_buttons() {
    on_every_screen(&streaming(), |script| {
        click(script, "help");
        assert!(matches!(script.state.mode, Mode::Help { .. }), "{:?}", script.state.mode);
        click(script, "back");
        assert_eq!(script.state.mode, Mode::Browse);
        let last = script.screen().lines().last().unwrap().to_owned();
        assert!(last.contains("quit"), "{last}");
        click(script, "quit");
        assert_eq!(script.state.mode, Mode::ConfirmQuit, "a transfer runs");
        click(script, "stay");
        assert_eq!(script.state.mode, Mode::Browse);
    });
    let mut script = Script::new(120, 40, idle());
    click(&mut script, "fetch");
    assert_eq!(script.sent.len(), 1, "{:?}", script.sent);
    // Blanks between the keys are no button.
    let mut script = Script::new(200, 60, idle());
    script.mouse(Gesture::Click, 0, 59);
    assert_eq!((script.sent.len(), script.state.mode.clone()), (0, Mode::Browse));
}

#[test]
fn hints_of_the_headline_are_buttons() {
    on_every_screen(&streaming(), |script| {
        let headline = script.screen().lines().nth(1).unwrap().to_owned();
        // The culprit is selected from the start, so that its limit can be changed at once.
        if headline.contains("change it") {
            let column = headline[..headline.find("change it").unwrap()].chars().count() as u16;
            script.mouse(Gesture::Click, column, 1);
            assert!(matches!(script.state.mode, Mode::Faults { hop: 2, .. }), "{:?}: {headline}", script.state.mode);
        }
    });
    let mut script = Script::new(120, 40, streaming());
    click(&mut script, "change it");
    assert!(matches!(script.state.mode, Mode::Faults { hop: 2, .. }));
}

#[test]
fn hops_of_the_chain_line_are_selected() {
    for (columns, rows) in [(120, 40), (80, 24), (200, 60)] {
        let mut script = Script::new(columns, rows, busy());
        let line = script.screen().lines().nth(2).unwrap().to_owned();
        for (texts, hop) in [(["3 origin", " 3█"], 3), (["1 :7001", " 1▁"], 1)] {
            let at = texts.iter().find_map(|text| Some(line.find(text)? + 1)).unwrap_or_else(|| panic!("{line}"));
            script.mouse(Gesture::Click, line[..at].chars().count() as u16, 2);
            assert_eq!(script.state.hop(&script.chain).map(|hop| hop.number), Some(hop), "{line}");
        }
    }
}

#[test]
fn entries_of_popups_are_selected_and_run() {
    for (columns, rows) in SIZES {
        let mut script = Script::new(columns, rows, streaming());
        script.keys(",");
        click(&mut script, "long lines  ");
        assert_eq!(script.state.mode, Mode::Settings { at: 4 });
        assert!(!script.state.wrap);
        click(&mut script, "long lines  ");
        assert!(script.state.wrap, "a click on the selected entry changes it");
        script.mouse(Gesture::Click, 0, 1);
        assert_eq!(script.state.mode, Mode::Browse, "a click beside it closes it");

        script.keys("y");
        click(&mut script, "sentence as");
        click(&mut script, "sentence as");
        assert!(matches!(script.state.next_effect(), Some(Effect::Copy(text)) if text.contains("streaming")));

        script.keys("!");
        click(&mut script, " delay  ");
        click(&mut script, " delay  ");
        assert!(matches!(script.state.mode, Mode::Line(_)), "{:?}", script.state.mode);
        script.keys("<esc> <esc>");

        script.keys(": e x p o r t");
        click(&mut script, "export the snapshot");
        assert_eq!(script.sent, [chainview::command::Command::Export]);
        script.sent.clear();
        assert_eq!(script.state.mode, Mode::Browse);
    }
}

#[test]
fn a_double_click_opens_details() {
    for (columns, rows) in [(120, 40), (80, 24), (200, 60)] {
        let mut script = Script::new(columns, rows, streaming());
        let (column, row) = place(&mut script, " 3  127.0.0.1:7003").unwrap();
        script.mouse(Gesture::Click, column, row);
        assert_eq!(script.state.hop(&script.chain).map(|hop| hop.number), Some(3));
        script.state.now += Duration::from_secs(1);
        script.mouse(Gesture::Click, column, row);
        assert_ne!(script.state.view_mode, ViewMode::Detail, "two slow clicks");
        script.state.now += Duration::from_millis(200);
        script.mouse(Gesture::Click, column, row);
        assert!(script.state.view_mode == ViewMode::Detail && script.screen().contains("Hop 3"), "{}", script.screen());
    }
}
