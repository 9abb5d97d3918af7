//! Help: it opens at the focused panel, explains every column, and can be searched; lists show meanings.

use chainview::ui::input::Gesture;
use chainview::ui::state::Mode;

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, streaming};

/// The first row of the screen that contains this text.
fn row_of(screen: &str, text: &str) -> usize {
    screen.lines().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text:?} is missing:\n{screen}"))
}

#[test]
fn the_help_opens_at_the_focused_panel() {
    for (keys, name, own, word) in [
        ("", "Keys: Hops", "faults of the selected hop", "Hops: columns"),
        ("2", "Keys: Connections", "close the selected connection", "Connections: columns"),
        ("3", "Keys: Transfers", "pause or resume the selected transfer", "Transfers: a row"),
        ("4", "Keys: Nodes", "restart the selected node", "Nodes: columns"),
        ("5", "Keys: Log", "show log lines from the next higher level", "Log: a line"),
    ] {
        on_every_screen(&busy(), |script| {
            let screen = script.keys(keys).keys("?").screen();
            let first = row_of(&screen, name);
            assert!(first < 4, "{screen}");
            let mut seen = screen.clone();
            for _ in 0..6 {
                seen += &script.keys("<c-d>").screen();
            }
            // Two columns are read one after the other.
            let wide = script.state.area.width >= 120;
            assert!(row_of(&seen, own) < row_of(&seen, word) || wide, "{seen}");
            assert_eq!(script.keys("?").state.mode, Mode::Browse);
        });
    }
}

#[test]
fn wide_screens_show_two_columns() {
    on_every_screen(&busy(), |script| {
        let width = script.state.area.width;
        let screen = script.keys("?").screen();
        // On a wide screen the text to the right of the first heading belongs to a further row of the help.
        let line = screen.lines().nth(row_of(&screen, "Keys: Hops")).unwrap();
        let further = line.split("Keys: Hops").nth(1).unwrap().trim_matches(['│', ' ']);
        assert_eq!(!further.is_empty(), width >= 120, "{screen}");
    });
}

#[test]
fn the_help_scrolls_through_all_rows_and_cuts_none() {
    on_every_screen(&busy(), |script| {
        script.keys("?");
        let (mut seen, mut last, mut screen) = (String::new(), String::new(), script.screen());
        while last != screen {
            seen += &screen;
            last = std::mem::replace(&mut screen, script.keys("<c-d>").screen());
        }
        for word in ["do not quit", "bytes in the kernel's", "the digest of what was written", "toward the client"] {
            assert!(seen.contains(word), "{word} is missing");
        }
        let popup = seen.lines().filter(|line| line.contains('│'));
        assert!(!popup.clone().any(|line| line.contains("~ │") || line.contains("~│")), "nothing is cut");
    });
}

#[test]
fn the_help_is_searched() {
    on_every_screen(&busy(), |script| {
        let screen = script.keys("? / c o n g e s t").screen();
        assert!(screen.contains("search: congest") && screen.contains("cwnd"), "{screen}");
        assert!(!screen.contains("fetch the file of the route"), "{screen}");
        let screen = script.keys("<enter>").screen();
        assert!(screen.contains("search: congest") && screen.contains("cwnd"), "the result stays: {screen}");
        let screen = script.keys("/ x x").screen();
        assert!(screen.contains("no matches"), "{screen}");
        let screen = script.keys("<esc>").screen();
        assert!(screen.contains("Keys: Hops"), "{screen}");
        assert_eq!(script.keys("<esc>").state.mode, Mode::Browse);
    });
}

#[test]
fn the_current_tab_is_not_marked_as_inactive() {
    for tab in ["1", "2", "3", "4", "5"] {
        let mut script = Script::new(200, 60, streaming());
        let screen = script.keys(tab).keys("? / s h o w - <enter>").screen();
        for line in screen.lines().filter(|line| line.contains("  the ")) {
            assert!(!line.contains("not now"), "{tab}: {line}");
        }
        assert!(screen.contains("the connections of all hops"), "{screen}");
    }
}

#[test]
fn the_list_of_columns_shows_what_they_mean() {
    on_every_screen(&busy(), |script| {
        let screen = script.keys("c").screen();
        assert!(screen.contains("[x] Conn") && screen.contains("open connections of the node"), "{screen}");
        script.keys("<esc> 4 c");
        assert!(script.screen().contains("process id"), "{}", script.screen());
    });
}

#[test]
fn the_column_to_sort_by_is_chosen_by_its_name() {
    on_every_screen(&busy(), |script| {
        script.keys("2 s");
        assert!(script.screen().contains("Sort by"), "{}", script.screen());
        let screen = script.keys("r e x").screen();
        assert!(screen.contains("TCP segments sent again"), "{screen}");
        let screen = script.keys("<enter>").screen();
        assert!(screen.contains("sorted by Rexmit: TCP segments"), "{screen}");
        let order = |script: &Script| script.state.lists.sort().map(|sort| sort.down);
        assert_eq!(order(script), Some(true));
        script.keys("s <enter>");
        assert_eq!(order(script), Some(false), "the same column reverses the order");
        script.keys("s a r r i <enter>");
        assert_eq!(order(script), None);
        let screen = script.keys("s x q <enter>").screen();
        assert!(screen.contains("no column matches"), "{screen}");
        assert!(script.keys("<esc>").state.mode == Mode::Browse && script.sent.is_empty());
    });
}

#[test]
fn a_click_on_a_column_title_shows_its_meaning() {
    let mut script = Script::new(120, 40, busy());
    let screen = script.keys("2").screen();
    let row = row_of(&screen, "Out peer");
    let column = screen.lines().nth(row).unwrap().find("RTT").unwrap();
    script.mouse(Gesture::Click, u16::try_from(column).unwrap() + 1, u16::try_from(row).unwrap());
    assert!(
        script.screen().contains("sorted by RTT: TCP round-trip time to the out peer, in ms"),
        "{}",
        script.screen()
    );
}

#[test]
fn settings_show_what_they_mean() {
    on_every_screen(&busy(), |script| {
        assert!(script.keys(",").screen().contains("colors and weights of the screen"), "{}", script.screen());
        assert!(script.keys("j j").screen().contains("time span of the"), "{}", script.screen());
    });
}
