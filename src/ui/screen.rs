//! Screen loop: takes events, applies them, and draws at most once per interval and only if something changed.
//!
//! The calling thread owns the terminal and is never a worker of a runtime: a terminal that accepts no bytes blocks
//! only this thread. Nothing here awaits; commands are sent with `try_send`.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rustix::event::PollFlags;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch::Receiver;

use super::event::{InputEvents, QUEUE};
use super::input::Event;
use super::state::{Effect, Mode, UiState};
use super::suspend::{self, JobSignals};
use super::terminal::{self, Screen, is_hung_up, is_taken, keyboard, poll_events};
use super::theme::Theme;
use super::{Options, Preferences, alerts, dispatch, mouse, print, view};
use crate::command::Command;
use crate::options::ColorMode;
use crate::snapshot::{ChainSnapshot, HopSnapshot};

/// Minimum time between two frames: events in a burst, such as a turn of the wheel, share one. A key pressed right
/// after a frame waits this long, which must not be noticeable.
const FRAME_INTERVAL: Duration = Duration::from_millis(8);
/// Time between two polls for a snapshot, so that figures stay readable; also the delay until a stop takes effect.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Minimum time between two frames for data alone while nothing moves.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// Why the screen closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// The user quit; `Command::Quit` was sent.
    Quit,
    /// The stop was set.
    Stopped,
    /// The sender of the snapshots was dropped.
    Ended,
    /// The terminal has hung up; nothing more can be shown.
    HungUp,
}

/// Error of the terminal.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// Output does not go to a terminal, or there is none to read keys from.
    #[error("the dashboard needs a terminal: {0}")]
    NoTerminal(io::Error),
    /// A frame could not be written.
    #[error("cannot draw on the terminal: {0}")]
    Draw(io::Error),
}

/// Ends the screen from another thread; clones share one flag.
#[derive(Clone, Debug, Default)]
pub struct ScreenStop(Arc<AtomicBool>);

impl ScreenStop {
    /// Makes `run` return, within a tenth of a second unless the terminal accepts no bytes.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether it was set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs the screen on the calling thread until the user quits, `stop` is set, the snapshots end, or the terminal hangs
/// up. The terminal is always restored before this returns. Also returns what to remember for the next run.
///
/// # Errors
/// `NoTerminal` if there is no terminal to draw on or to read keys from; `Draw` if a frame cannot be written.
pub fn run(
    options: &Options,
    snapshots: Receiver<Arc<ChainSnapshot>>,
    commands: Sender<Command>,
    stop: &ScreenStop,
) -> (Result<ExitReason, ScreenError>, Preferences) {
    let mut state = UiState::new(theme_of(options), options.keymap.clone());
    state.mouse = options.mouse;
    state.alerts = options.alerts;
    state.apply_preferences(&options.preferences);
    let (before, mut after) = (state.preferences(), state.preferences());
    let reason = show(options, state, snapshots, commands, stop, &mut after);
    (reason, options.preferences.clone().changed(&before, after))
}

/// Returns the theme at the start of a screen.
pub(crate) fn theme_of(options: &Options) -> Theme {
    let name = options.theme.as_deref().or(options.preferences.theme.as_deref()).unwrap_or_default();
    Theme::for_options(options.ascii, options.color, options.themes, name)
}

/// Shows the screen; `after` is what the user wants again.
fn show(
    options: &Options,
    state: UiState,
    snapshots: Receiver<Arc<ChainSnapshot>>,
    commands: Sender<Command>,
    stop: &ScreenStop,
    after: &mut Preferences,
) -> Result<ExitReason, ScreenError> {
    if options.color == ColorMode::Always {
        // The terminal library reads NO_COLOR too, and would remove the colors again.
        crossterm::style::force_color_output(true);
    }
    let jobs = JobSignals::register(options.no_suspend).map_err(ScreenError::NoTerminal)?;
    let mut screen = Screen::new().map_err(ScreenError::NoTerminal)?;
    // Started in the background, the program runs without a screen until `fg`: if it set the modes of the terminal,
    // the kernel would stop it midway.
    if suspend::is_foreground() {
        screen.take().map_err(ScreenError::NoTerminal)?;
    }
    let no_suspend = options.no_suspend;
    let events = InputEvents::listen().map_err(ScreenError::NoTerminal)?;
    let (opened, newest) = (Instant::now(), Arc::default());
    let (dirty, drawn, polled) = (true, None, None);
    let mut all =
        ScreenLoop { state, screen, jobs, no_suspend, opened, newest, snapshots, commands, dirty, drawn, polled };
    let reason = all.run(&events, stop);
    *after = all.state.preferences();
    let kept = (all.state.keeps_frame() && reason.is_ok()).then(|| all.last_frame());
    drop(all);
    if let Some(frame) = kept {
        terminal::print_after(&print::lines(&frame));
    }
    match reason {
        // A frame that fails because the terminal has hung up is not an error.
        Err(ScreenError::Draw(_)) if terminal_is_hung_up() => Ok(ExitReason::HungUp),
        reason => reason,
    }
}

struct ScreenLoop {
    state: UiState,
    screen: Screen,
    jobs: JobSignals,
    no_suspend: bool,
    opened: Instant,
    newest: Arc<ChainSnapshot>,
    snapshots: Receiver<Arc<ChainSnapshot>>,
    commands: Sender<Command>,
    dirty: bool,
    drawn: Option<Instant>,
    polled: Option<Instant>,
}

impl ScreenLoop {
    fn run(&mut self, events: &InputEvents, stop: &ScreenStop) -> Result<ExitReason, ScreenError> {
        loop {
            if stop.is_set() {
                return Ok(ExitReason::Stopped);
            }
            if self.polled.is_none_or(|at| at.elapsed() >= POLL_INTERVAL) && !self.poll_snapshot() {
                return Ok(ExitReason::Ended);
            }
            self.run_effects().map_err(ScreenError::Draw)?;
            if self.dirty && is_taken() && self.drawn.is_none_or(|at| at.elapsed() >= FRAME_INTERVAL) {
                self.draw().map_err(ScreenError::Draw)?;
            }
            let mut next = match events.queue.recv_timeout(self.wait()) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(ExitReason::HungUp),
            };
            // At most one queue of events: endless input must not keep the loop from drawing and from ending.
            let mut more = QUEUE;
            while let Some(event) = next {
                if let Some(reason) = self.handle(event) {
                    return Ok(reason);
                }
                more -= 1;
                next = if more > 0 { events.queue.try_recv().ok() } else { None };
            }
        }
    }

    /// Returns the time until the next frame may be drawn, or the next poll is due.
    fn wait(&self) -> Duration {
        let left = |since: Option<Instant>, gap: Duration| gap.saturating_sub(since.map_or(gap, |at| at.elapsed()));
        let poll = left(self.polled, POLL_INTERVAL);
        if self.dirty && is_taken() { poll.min(left(self.drawn, FRAME_INTERVAL)) } else { poll }
    }

    /// Takes the newest snapshot, if any; false if no more will come.
    fn poll_snapshot(&mut self) -> bool {
        let first = self.polled.is_none();
        self.polled = Some(Instant::now());
        let calm = self.drawn.is_some_and(|at| at.elapsed() < IDLE_INTERVAL);
        // While the display is frozen, only its age changes.
        self.dirty |= self.state.frozen.is_some() && !calm;
        match self.snapshots.has_changed() {
            Err(_) => return false,
            Ok(false) if !first && !self.state.is_fading() => return true,
            Ok(_) => {}
        }
        if calm && !is_urgent(&self.newest, &self.snapshots.borrow()) {
            return true;
        }
        self.newest = Arc::clone(&self.snapshots.borrow_and_update());
        self.state.now = self.opened.elapsed();
        self.state.observe(&self.newest);
        self.dirty |= self.state.frozen.is_none();
        true
    }

    fn handle(&mut self, event: Event) -> Option<ExitReason> {
        self.dirty = true;
        self.state.now = self.opened.elapsed();
        let chain = self.state.shown(&self.newest);
        let was_frozen = self.state.frozen.is_some();
        let command = match event {
            Event::Key(key) => dispatch::press(&mut self.state, &chain, key),
            Event::Mouse(gesture, column, row) => mouse::gesture(&mut self.state, &chain, gesture, column, row),
            Event::Paste(text) => {
                dispatch::paste(&mut self.state, &chain, &text);
                None
            }
            Event::Resize => None,
            Event::HungUp => return Some(ExitReason::HungUp),
        };
        if was_frozen && self.state.frozen.is_none() {
            self.state.settle(&self.newest);
        }
        if let Some(command) = command {
            self.send(command);
        }
        if self.state.take_screenshot() {
            self.send(Command::SaveScreen(view::screenshot(&self.state, &chain)));
        }
        self.state.quitting().then_some(ExitReason::Quit)
    }

    /// Executes the pending effects, and takes the terminal again after a suspension.
    fn run_effects(&mut self) -> io::Result<()> {
        let mut stop_requested = self.jobs.stop_requested();
        if is_taken() {
            self.screen.report_mouse(self.state.mouse)?;
            self.show_title()?;
        }
        while let Some(effect) = self.state.next_effect() {
            match effect {
                Effect::Suspend => stop_requested = true,
                Effect::Repaint if is_taken() => self.screen.repaint()?,
                Effect::Copy(text) if is_taken() => self.screen.copy(&text)?,
                Effect::Announce(text) if is_taken() => self.screen.announce(&text, self.state.alerts)?,
                // A screenshot needs no terminal: the loop sends it as a command right after its key.
                Effect::Repaint | Effect::Copy(_) | Effect::Announce(_) | Effect::SaveScreen => {}
            }
        }
        if stop_requested && (self.no_suspend || !suspend::stop()) {
            self.state.notice = Some("not suspended: no shell could resume it".to_owned());
            self.dirty = true;
        }
        if self.jobs.continued() {
            // The program may have been stopped before it could restore the terminal.
            terminal::set_lost();
        }
        if !is_taken() && suspend::is_foreground() {
            self.screen.take()?;
            self.dirty = true;
        }
        Ok(())
    }

    /// Updates the title of the window and the progress of its icon, from the newest snapshot even while the display is
    /// frozen.
    fn show_title(&mut self) -> io::Result<()> {
        if self.newest.generation == 0 {
            // Before the first snapshot there is nothing to name.
            return Ok(());
        }
        if self.state.alerts.title {
            let title = alerts::title(&self.newest);
            self.screen.set_title(Some((title, alerts::progress(&self.newest))))
        } else {
            self.screen.set_title(None)
        }
    }

    fn send(&mut self, command: Command) {
        self.state.notice = match self.commands.try_send(command) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => Some("command queue full, command dropped: try again".to_owned()),
            Err(TrySendError::Closed(_)) => Some("the controller has ended: press q".to_owned()),
        };
    }

    fn draw(&mut self) -> io::Result<()> {
        self.state.now = self.opened.elapsed();
        let chain = self.state.shown(&self.newest);
        let state = &mut self.state;
        self.screen.draw(|area, buffer| {
            if state.area != area {
                state.area = area;
                state.settle(&chain);
            }
            view::limit_scroll(state, &chain);
            view::draw(state, &chain, area, buffer);
        })?;
        self.dirty = false;
        self.drawn = Some(Instant::now());
        Ok(())
    }
}

impl ScreenLoop {
    /// Draws the last frame without its last row, whose keys no longer work.
    fn last_frame(&mut self) -> Buffer {
        self.state.mode = Mode::Browse;
        let area = self.state.area;
        let mut buffer = Buffer::empty(area);
        view::draw(&self.state, &self.state.shown(&self.newest), area, &mut buffer);
        buffer.resize(Rect { height: area.height.saturating_sub(u16::from(area.height > 1)), ..area });
        buffer
    }
}

/// Returns whether the new snapshot needs a frame immediately: bytes move, or a state changed. The rest can wait a
/// second.
fn is_urgent(old: &ChainSnapshot, new: &ChainSnapshot) -> bool {
    let moving = |chain: &ChainSnapshot| {
        chain.transfers.iter().any(|t| !t.phase.is_over()) || chain.hops.iter().any(|hop| hop.rate_out > 0)
    };
    let line = |chain: &ChainSnapshot| chain.log.last().map(|line| line.number);
    let faults = |hop: &HopSnapshot| hop.node.as_ref().map(|node| (node.faults, node.draining));
    old.generation != new.generation
        && (moving(old)
            || moving(new)
            || line(old) != line(new)
            || old.exiting != new.exiting
            || old.transfers.len() != new.transfers.len()
            || old.listing != new.listing
            || !old.hops.iter().map(faults).eq(new.hops.iter().map(faults))
            || !old.hops.iter().map(|hop| &hop.link).eq(new.hops.iter().map(|hop| &hop.link)))
}

fn terminal_is_hung_up() -> bool {
    keyboard().map_or(true, |tty| is_hung_up(poll_events(tty.as_fd(), PollFlags::empty(), Duration::ZERO)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{HopLink, NodeSnapshot};

    #[test]
    fn changes_are_drawn_immediately_and_ages_are_not() {
        let hop =
            HopSnapshot { link: HopLink::Attached, node: Some(NodeSnapshot::default()), ..HopSnapshot::default() };
        let old = ChainSnapshot { generation: 1, hops: vec![hop], ..ChainSnapshot::default() };
        let mut new = ChainSnapshot { generation: 2, ..old.clone() };
        new.hops[0].age = Duration::from_millis(250);
        assert!(!is_urgent(&old, &new));
        new.hops[0].link = HopLink::Down { reason: "connection refused".into() };
        assert!(is_urgent(&old, &new), "a failed node is shown immediately");
        new.generation = 1;
        assert!(!is_urgent(&old, &new), "the same number means the same snapshot");
    }

    #[test]
    fn clones_share_one_stop() {
        let stop = ScreenStop::default();
        let other = stop.clone();
        assert!(!stop.is_set());
        other.set();
        assert!(stop.is_set());
    }
}
