//! Command palette: synonyms, commands that cannot be run now, and text that matches none.

use chainview::command::Command;
use chainview::ui::state::Mode;

use super::script::on_every_screen;
use super::snapshots::{busy, idle};

#[test]
fn commands_are_found_by_synonyms() {
    on_every_screen(&busy(), |script| {
        for (typed, wanted) in [
            ("r e s u m e", "pause"),
            ("d o w n l o a d", "fetch"),
            ("e x i t", "quit"),
            ("d a r k", "theme"),
            ("a b o r t", "cancel"),
        ] {
            let screen = script.keys(":").keys(typed).screen();
            assert!(screen.lines().any(|line| line.contains(&format!("▌ {wanted} "))), "{typed}: {screen}");
            script.keys("<esc>");
        }
    });
}

#[test]
fn commands_that_cannot_be_run_come_last_with_the_reason() {
    on_every_screen(&busy(), |script| {
        let screen = script.keys(": r e s u m e").screen();
        let row = |text: &str| screen.lines().position(|line| line.contains(text));
        let (pause, retry) = (row("pause or resume"), row("not now: #"));
        assert!(pause.is_some() && pause < retry, "{screen}");
        let screen = script.keys("<down> <enter>").screen();
        assert!(screen.contains("retry: #") && screen.contains("only ended transfers can be retried"), "{screen}");
        assert!(matches!(script.state.mode, Mode::Palette { .. }), "another one can be chosen");
        script.keys("<up> <enter>");
        assert!(matches!(script.sent[..], [Command::Pause(_)]), "{:?}", script.sent);
        assert_eq!(script.state.mode, Mode::Browse);
    });
    on_every_screen(&idle(), |script| {
        let screen = script.keys(":").screen();
        assert!(!screen.lines().take(6).any(|line| line.contains("not now")), "{screen}");
    });
}

#[test]
fn text_that_matches_no_command_is_announced() {
    on_every_screen(&busy(), |script| {
        let screen = script.keys(": x y z z y").screen();
        assert!(screen.contains("no command matches"), "{screen}");
        let screen = script.keys("<enter>").screen();
        assert!(screen.contains("enter: nothing matches"), "{screen}");
        assert!(script.sent.is_empty());
    });
}
