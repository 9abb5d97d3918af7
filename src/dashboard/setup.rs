//! What the start screen and the dashboard both need: options of the screen, a runtime, and an end by signals.

use std::time::Duration;

use signal_hook::consts::SIGTSTP;
use tokio::runtime::{Builder, Runtime};

use crate::cli::OutputOptions;
use crate::console::signals::Signals;
use crate::error::{Error, plain};
use crate::net::os::kernel::is_ignored;
use crate::on_done::OnDone;
use crate::ui::{self, Keymap, Preferences, ScreenStop, ThemeSet};

/// Time limit of the shutdown: the supervisor's own limit, and a margin.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);
/// Time that the screen has to exit after a signal, before the terminal is restored without it.
const SCREEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the options of the screen, and what is wrong with theme files of the user.
///
/// # Errors
/// `Error::Usage` if the file of the wanted theme is invalid.
pub(super) fn screen_options(
    output: &OutputOptions,
    keymap: Keymap,
    preferences: Preferences,
) -> Result<(ui::Options, Vec<String>), Error> {
    let (themes, invalid) = ThemeSet::with(&output.themes);
    if let Some((_, reason)) = invalid.iter().find(|(name, _)| Some(name) == output.theme.as_ref()) {
        return Err(Error::Usage(reason.clone()));
    }
    let is_remote = ["SSH_CONNECTION", "SSH_TTY"].iter().any(|name| std::env::var_os(name).is_some());
    let options = ui::Options {
        ascii: output.ascii,
        color: output.color,
        themes,
        theme: output.theme.clone(),
        preferences,
        alerts: output.alerts,
        mouse: !is_remote,
        keymap,
        no_suspend: is_ignored(SIGTSTP),
    };
    Ok((options, invalid.into_iter().map(|(_, reason)| format!("theme ignored: {reason}")).collect()))
}

/// Builds the runtime, with two workers: one may copy a body while the other follows the hops.
pub(super) fn runtime() -> Result<Runtime, Error> {
    let built = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|error| Error::Other(format!("cannot start: {}", plain(&error))))
}

/// Requests the screen to exit at the first signal, and kills the user's commands; ends the process if it does not, or
/// at the second signal.
pub(super) async fn quit_on_signal(mut signals: Signals, stop: ScreenStop, on_done: Option<OnDone>) {
    let mut ending = signals.next().await;
    ending.record();
    stop.set();
    if let Some(on_done) = on_done {
        on_done.close();
    }
    tokio::select! {
        () = tokio::time::sleep(SCREEN_TIMEOUT + SHUTDOWN_TIMEOUT) => {}
        second = signals.next() => ending = second,
        () = screen_timeout() => {}
    }
    ui::restore();
    ending.end_process();
}

/// Completes if the terminal is not restored a second after the screen was requested to exit.
async fn screen_timeout() {
    tokio::time::sleep(SCREEN_TIMEOUT).await;
    if !ui::is_taken() {
        std::future::pending::<()>().await;
    }
}
