//! The start screen without a terminal: at every size, with keys and the mouse.

use chainview::options::ColorScheme;
use chainview::ui::Theme;
use chainview::ui::input::Gesture;
use chainview::ui::start::{StartChoice, StartEntry, StartState};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::script::{SIZES, key};

fn state(chains: usize, colors: ColorScheme) -> StartState {
    let entry =
        |n| StartEntry { path: format!("/home/me/chains/{n}/input.txt").as_str().into(), age: format!("{n} h ago") };
    StartState::new(Theme::new(false, colors), (1..=chains).map(entry).collect())
}

fn screen(state: &mut StartState, columns: u16, rows: u16) -> String {
    let area = Rect::new(0, 0, columns, rows);
    let mut buffer = Buffer::empty(area);
    state.draw(area, &mut buffer);
    let rows = buffer.content().chunks(usize::from(columns));
    rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n").collect()
}

#[test]
fn chains_and_the_demo_are_offered_at_every_size() {
    for (columns, rows) in SIZES.into_iter().chain([(40, 8), (20, 3)]) {
        for colors in [ColorScheme::Terminal, ColorScheme::Mono] {
            let mut state = state(2, colors);
            let text = screen(&mut state, columns, rows);
            assert!(text.contains("chainview") && (text.contains("1  /home/me") || columns < 40), "{text}");
            if rows >= 15 {
                for words in ["2  /home/me/chains/2/input.txt", "2 h ago", "d  the demo", "enter open", "q quit"] {
                    assert!(text.contains(words), "{words}: {text}");
                }
            }
            if rows >= 24 {
                assert!(text.contains("the file to fetch, then") && text.contains("10.0.0.1 9101"), "{text}");
            }
        }
    }
}

#[test]
fn keys_select_and_open() {
    let mut state = state(20, ColorScheme::Terminal);
    assert_eq!(state.press(key("<enter>")), Some(StartChoice::Chain(0)));
    assert_eq!((state.press(key("j")), state.press(key("<down>"))), (None, None));
    assert_eq!(state.press(key("<enter>")), Some(StartChoice::Chain(2)));
    assert_eq!(state.press(key("7")), Some(StartChoice::Chain(6)));
    assert_eq!(state.press(key("G")), None);
    let text = screen(&mut state, 80, 24);
    assert!(text.contains("▌ d  the demo") && text.contains("chains/20/"), "the selected line is visible: {text}");
    assert_eq!(state.press(key("<enter>")), Some(StartChoice::Demo));
    for (name, choice) in [("d", StartChoice::Demo), ("q", StartChoice::Quit), ("<esc>", StartChoice::Quit)] {
        assert_eq!(state.press(key(name)), Some(choice), "{name}");
    }
    assert_eq!(state.press(key("<c-c>")), Some(StartChoice::Quit));
    assert_eq!(state.press(key("x")), None);
    assert!(screen(&mut state, 80, 24).contains("enter opens the selected line"), "an unknown key has an answer");
}

#[test]
fn clicks_select_and_open() {
    let mut state = state(3, ColorScheme::Terminal);
    let text = screen(&mut state, 80, 24);
    let row = text.lines().position(|line| line.contains("2  /home/me")).unwrap() as u16;
    assert_eq!(state.gesture(Gesture::Click, 10, row), None);
    assert_eq!(state.gesture(Gesture::Click, 10, row), Some(StartChoice::Chain(1)));
    assert_eq!(state.gesture(Gesture::WheelDown, 10, row), None);
    assert_eq!(state.press(key("<enter>")), Some(StartChoice::Chain(2)));
    assert_eq!(state.gesture(Gesture::Click, 10, 0), None, "nothing is there");
}

#[test]
fn without_recent_chains_only_the_demo_is_offered() {
    let mut state = state(0, ColorScheme::Terminal);
    assert!(screen(&mut state, 80, 24).contains("▌ d  the demo"));
    assert_eq!((state.press(key("1")), state.press(key("<enter>"))), (None, Some(StartChoice::Demo)));
}
