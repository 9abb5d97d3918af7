//! Panics while the screen is active. The program has no key for that, so this test binary runs itself in the terminal,
//! with the screen of the library and a panic of its own.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use chainview::command::Command;
use chainview::snapshot::{ChainSnapshot, Level, LogLine};
use chainview::ui::terminal::Screen;
use chainview::ui::{self, ExitReason, Options, ScreenStop};
use portable_pty::CommandBuilder;
use ratatui::widgets::Widget;
use tokio::sync::{mpsc as tokio_mpsc, watch};

use super::again;
use super::terminal::{TIMEOUT, Terminal, listens_to_mouse, settle};

/// Runs one of the ignored tests below in a terminal.
fn run(test: &str) -> (tempfile::TempDir, Terminal) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("terminal::panics::{test}"), "--ignored", "--nocapture"]);
    settle(&mut command, folder.path());
    (folder, Terminal::start(command, 150, 30))
}

#[test]
fn on_the_thread_that_draws() {
    again("a panic in a frame", || {
        let (_folder, mut terminal) = run("draws_and_panics");
        terminal.until("a screen", |screen| {
            screen.alternate_screen() && listens_to_mouse(screen) && screen.contents().contains("all is well")
        });
        terminal.keys("!");
        assert_ne!(terminal.ends(TIMEOUT).exit_code(), 0);
        terminal.is_given_back();
        terminal.shows(&["panicked at", "a mistake in a frame"]);
    });
}

#[test]
fn on_another_thread_and_in_a_task() {
    again("a panic elsewhere", || {
        let (_folder, mut terminal) = run("panics_elsewhere");
        let text = terminal.until("both panics in the log of the living screen", |screen| {
            let text = screen.contents();
            screen.alternate_screen() && text.contains("a mistake in a thread") && text.contains("a mistake in a task")
        });
        assert!(text.contains("thread helper panicked at"), "{text}");
        terminal.keys("q");
        assert_eq!(terminal.ends(TIMEOUT).exit_code(), 0);
        terminal.is_given_back();
    });
}

#[test]
#[ignore = "run by another test, in a terminal"]
fn draws_and_panics() {
    ui::install_panic_hook(|_| {});
    let mut screen = Screen::new().unwrap();
    screen.take().unwrap();
    screen.report_mouse(true).unwrap();
    screen.draw(|area, buffer| "all is well".render(area, buffer)).unwrap();
    crossterm::event::read().unwrap();
    screen.draw(|_, _| panic!("a mistake in a frame")).unwrap();
}

#[test]
#[ignore = "run by another test, in a terminal"]
fn panics_elsewhere() {
    let (reports, received) = mpsc::channel();
    ui::install_panic_hook(move |report| reports.send(report).unwrap());
    let (screen, snapshots) = watch::channel(Arc::new(ChainSnapshot::default()));
    let (commands, _commands) = tokio_mpsc::channel::<Command>(4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || {
        // The hook checks whether the screen is active.
        while !ui::is_taken() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let helper = std::thread::Builder::new().name("helper".to_owned());
        let _ = helper.spawn(|| panic!("a mistake in a thread")).unwrap().join();
        let _ = handle.block_on(handle.spawn(async { panic!("a mistake in a task") }));
        let mut chain = ChainSnapshot::default();
        for report in received {
            chain.generation += 1;
            let (number, text) = (chain.generation, report.as_str().into());
            chain.log.push(LogLine { number, second_of_day: 0, level: Level::Error, hop: None, text });
            screen.send_replace(Arc::new(chain.clone()));
        }
    });
    let options = Options { mouse: true, ..Options::default() };
    let (left, _) = ui::run(&options, snapshots, commands, &ScreenStop::default());
    assert_eq!(left.unwrap(), ExitReason::Quit);
}
