//! The copy menu: its entries for each panel, one key each, and what lands on the clipboard.

use std::path::Path;
use std::sync::Arc;

use chainview::command::Command;
use chainview::route::Route;
use chainview::snapshot::ChainSnapshot;
use chainview::ui::state::Effect;

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, idle, streaming};

fn routed(chain: ChainSnapshot) -> ChainSnapshot {
    let input = b"assets/sample.bin\n127.0.0.1 7001\n127.0.0.1 7002\n127.0.0.1 7003\n";
    let route = Some(Arc::new(Route::parse(input).unwrap()));
    ChainSnapshot { route, input: Some(Path::new("/my files/input.txt").into()), ..chain }
}

/// Presses keys; returns what was copied.
fn copied(script: &mut Script, keys: &str) -> Option<String> {
    script.keys(keys);
    let effect = script.state.next_effect();
    match effect {
        Some(Effect::Copy(text)) => Some(text),
        _ => None,
    }
}

const CURL: &str = "curl -H 'Chain-Route: 127.0.0.1:7002, 127.0.0.1:7003' -o sample.bin \
                    http://127.0.0.1:7001/files/assets/sample.bin";

#[test]
fn each_entry_has_one_key() {
    on_every_screen(&routed(streaming()), |script| {
        let screen = script.keys("y").screen();
        for words in ["Copy", "p path of the file", "s sentence as Mark", "u curl command", "f chainview comm"] {
            assert!(screen.contains(words), "{words}: {screen}");
        }
        assert!(!screen.contains("error") || !screen.contains("x error"), "no error to copy: {screen}");
        script.keys("<esc>");
        assert_eq!(copied(script, "y u").as_deref(), Some(CURL));
        assert_eq!(copied(script, "y f").as_deref(), Some("chainview --fetch '/my files/input.txt'"));
        let sentence = copied(script, "y s").unwrap();
        assert!(sentence.starts_with("`assets/sample.bin`: streaming, "), "{sentence}");
        assert!(sentence.ends_with("confidence low**"), "{sentence}");
        assert!(copied(script, "y p").unwrap().ends_with("sample.bin"));
        assert!(script.screen().contains("copied: "), "{}", script.screen());
    });
}

#[test]
fn the_entry_of_the_focused_panel_is_first() {
    let mut script = Script::new(120, 40, routed(busy()));
    assert_eq!(copied(&mut script, "y y").as_deref(), Some("127.0.0.1:7002"));
    assert_eq!(copied(&mut script, "<tab> <tab> y <enter>").unwrap(), "127.0.0.1:52803");
    let line = copied(&mut script, "5 y <enter>").unwrap();
    assert!(line.contains("the rate limit of 50.0 MB/s"), "{line}");
    let path = copied(&mut script, "3 y <enter>").unwrap();
    assert!(path.ends_with("sample.bin"), "{path}");
    assert_eq!(copied(&mut script, "y j <enter>").map(|text| text.starts_with('`')), Some(true));
}

#[test]
fn without_a_transfer_and_an_input_file_only_what_applies_is_offered() {
    let mut script = Script::new(80, 24, ChainSnapshot { input: None, ..routed(idle()) });
    let screen = script.keys("y").screen();
    assert!(screen.contains("curl command") && screen.contains("address of the hop"), "{screen}");
    assert!(!screen.contains("chainview command") && !screen.contains("path of the file"), "{screen}");
    assert_eq!(copied(&mut script, "p"), None);
    assert!(script.screen().contains("nothing to copy"), "{}", script.screen());
}

#[test]
fn the_picture_is_that_of_the_screen_without_the_menu() {
    let mut script = Script::new(80, 24, routed(streaming()));
    script.keys("y E");
    let [Command::SaveScreen(svg)] = script.sent.as_slice() else { panic!("{:?}", script.sent) };
    assert!(svg.contains("chainview") && !svg.contains("curl"), "the menu is on the picture");
}
