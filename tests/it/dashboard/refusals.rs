//! Keys act in every panel, and a key that has no effect is answered with the reason.

use chainview::command::Command;
use chainview::faults::FaultChange;
use chainview::snapshot::Phase;
use chainview::ui::focus::Panel;
use chainview::ui::state::Mode;

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, idle, mixed, streaming, transfer};

/// The last row of the screen.
fn footer(script: &mut Script) -> String {
    script.screen().lines().last().unwrap().to_owned()
}

/// Focuses every panel of the first tab in turn.
fn in_every_panel(script: &mut Script, mut check: impl FnMut(&mut Script)) {
    for panel in script.state.panels() {
        while script.state.panel != panel {
            script.keys("<tab>");
        }
        check(script);
        script.keys("<esc>");
    }
}

#[test]
fn keys_of_the_selected_hop_act_in_every_panel() {
    on_every_screen(&busy(), |script| {
        in_every_panel(script, |script| {
            script.keys("!");
            assert_eq!(script.state.mode, Mode::Faults { hop: 2, at: 0 }, "{:?}", script.state.panel);
            script.keys("<esc> d");
            assert!(footer(script).contains("d again to drain hop 2"), "{}", script.screen());
            script.sent.clear();
            script.keys("d R R D D X X");
            let wanted = [Command::DrainNode(2), Command::RestartNode(2), Command::Detach(2), Command::KillNode(2)];
            assert_eq!(script.sent, wanted, "{:?}", script.state.panel);
            script.keys("a");
            assert!(script.state.mode.line().is_some(), "{:?}", script.state.panel);
        });
    });
}

#[test]
fn keys_of_the_running_transfer_act_in_every_panel() {
    on_every_screen(&busy(), |script| {
        in_every_panel(script, |script| {
            let number = 3;
            script.sent.clear();
            script.keys("p");
            assert_eq!(script.sent, [Command::Pause(number)], "{:?}", script.state.panel);
            script.keys("b 4 0 0 K <enter>");
            let limit = Command::LimitTransfer { number, rate: Some(400_000) };
            assert_eq!(script.sent.last(), Some(&limit), "{:?}", script.state.panel);
            script.keys("[");
            let lowered = Command::LimitTransfer { number, rate: Some(360_000) };
            assert_eq!(script.sent.last(), Some(&lowered), "{:?}", script.state.panel);
        });
    });
}

#[test]
fn a_key_without_effect_shows_the_reason() {
    on_every_screen(&busy(), |script| {
        for (keys, reason) in [
            ("r", "r: #3 is streaming, only ended transfers can be retried"),
            ("0", "0: #3 has no rate limit"),
            ("u", "u: hop 2 is already running"),
            ("s", "s: only in Connections"),
            ("J", "J: only in Transfers"),
            ("l", "l: only in Log"),
            ("<", "<: only in Connections"),
            ("<esc>", "esc: nothing to close"),
            ("v", "v has no action here, ? lists the keys"),
        ] {
            assert!(footer(script.keys(keys)).contains(reason), "{keys}: {}", script.screen());
            assert!(script.sent.is_empty() && script.state.mode == Mode::Browse, "{keys}");
        }
        script.keys("3 G k k p");
        assert!(
            footer(script).contains("p: #14 is queued, only running transfers can be paused"),
            "{}",
            script.screen()
        );
        script.keys("J");
        assert!(footer(script).contains("J: #14 is at that end of the queue"), "{}", script.screen());
        assert!(!footer(script.keys("k")).contains("#14"), "the notice ends with the next key");
    });
}

#[test]
fn a_hop_that_cannot_be_controlled_shows_the_reason() {
    on_every_screen(&mixed(), |script| {
        for (hop, keys, reason) in [
            (2, "R", "R: hop 2 was not started by this program"),
            (3, "!", "!: hop 3 sends no reports"),
            (4, "d", "d: hop 4 sends no reports"),
            (5, "!", "!: hop 5 is not running"),
            (6, "u", "u: hop 6 is starting"),
            (7, "!", "!: hop 7 has not reported yet"),
            (9, "d", "d: hop 9 is already draining"),
        ] {
            script.keys("g").keys(&"j ".repeat(hop - 1)).keys(keys);
            assert!(footer(script).contains(reason), "{reason}: {}", script.screen());
        }
        assert!(script.sent.is_empty());
    });
}

#[test]
fn typed_ahead_letters_do_no_harm() {
    on_every_screen(&idle(), |script| {
        in_every_panel(script, |script| {
            assert!(footer(script.keys("b")).contains("b: no transfer is selected"), "{}", script.screen());
            // `a` asks for an address, which `bc` is not.
            script.keys("a b c <enter>");
            assert!(script.sent.is_empty() && script.state.mode.line().is_some(), "{:?}", script.state.panel);
        });
    });
}

#[test]
fn a_key_without_effect_ends_a_confirmation() {
    let mut script = Script::new(120, 40, streaming());
    script.keys("X r X");
    assert!(script.sent.is_empty(), "{:?}", script.sent);
    script.keys("v X");
    assert!(script.sent.is_empty(), "{:?}", script.sent);
    script.keys("X");
    assert_eq!(script.sent, [Command::KillNode(2)]);
    script.keys("q v");
    assert!(footer(&mut script).contains("1 transfer is running: q quit"), "the question stays: {}", script.screen());
}

#[test]
fn cancelling_never_takes_a_queued_transfer_that_was_not_selected() {
    let mut waiting = idle();
    waiting.transfers =
        [Phase::Done, Phase::Paused, Phase::Queued].into_iter().zip(1..).map(|(p, n)| transfer(n, p)).collect();
    on_every_screen(&waiting, |script| {
        assert!(footer(script.keys("x")).contains("x: no transfer is running"), "{}", script.screen());
        script.keys("<c-c>");
        assert_eq!(script.state.mode, Mode::ConfirmQuit, "others wait, so it asks");
        script.keys("<esc> 3 G k x");
        assert_eq!(script.sent, [Command::Cancel(3)], "the selected one");
    });
    on_every_screen(&busy(), |script| {
        script.keys("x");
        assert_eq!(script.sent, [Command::Cancel(3)]);
        assert!(footer(script).contains("cancelling #3: received bytes are kept"), "{}", script.screen());
    });
}

#[test]
fn keys_act_on_what_the_selected_connection_belongs_to() {
    let mut script = Script::new(120, 40, busy());
    // The second hop's second connection is that of the second running transfer.
    script.keys("2 / h o p : 2 <enter> j p ! 0 <esc>");
    assert_eq!(script.state.focus(), Panel::Connections);
    let unlimited = Command::SetFault { hop: 2, change: FaultChange::Limit(None) };
    assert_eq!(script.sent, [Command::Pause(4), unlimited]);
}
