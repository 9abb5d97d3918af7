//! The loop: drain what happened, apply it, draw at most once per interval and only if something changed.
//!
//! The calling thread owns the terminal and is never a runtime's worker: a terminal that takes no bytes holds up
//! this thread and nothing else. Nothing here awaits; commands go by `try_send`.

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
use super::terminal::{self, Screen, is_gone, is_taken, keyboard, waits};
use super::theme::Theme;
use super::{Options, dispatch, mouse, print, view};
use crate::command::Command;
use crate::options::ColorMode;
use crate::snapshot::{ChainSnapshot, HopSnapshot};

/// Least time between two frames: what comes in a burst, such as a turn of the wheel, shares one. A key pressed right
/// after a frame waits for this long, and nobody is to feel it.
const FRAME: Duration = Duration::from_millis(8);
/// Least time between two looks at the data, so that figures stay readable; also how soon a stop is seen.
const DATA: Duration = Duration::from_millis(100);
/// Least time between two frames for data alone while nothing moves.
const CALM: Duration = Duration::from_secs(1);

/// Why the screen closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// The person asked for it; `Command::Quit` was sent.
    Quit,
    /// Somebody set the stop.
    Stopped,
    /// There will be no more snapshots: their sender is gone.
    Ended,
    /// The terminal is gone; nothing more can be shown.
    HungUp,
}

/// What went wrong with the terminal.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// Output does not go to a terminal, or there is none to read keys from.
    #[error("the dashboard needs a terminal: {0}")]
    NoTerminal(io::Error),
    /// A frame could not be written.
    #[error("the terminal does not take the screen: {0}")]
    Draw(io::Error),
}

/// Ends the screen from another thread; clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct ScreenStop(Arc<AtomicBool>);

impl ScreenStop {
    /// Makes `run` leave, within a tenth of a second unless the terminal takes no bytes.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// It was set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs the screen on the calling thread until the person leaves, `stop` is set, the snapshots end, or the terminal
/// dies. The terminal is given back before this returns, whatever the reason.
///
/// # Errors
/// `NoTerminal` if there is no terminal to draw on or to read keys from; `Draw` if it stops taking frames.
pub fn run(
    options: &Options,
    snapshots: Receiver<Arc<ChainSnapshot>>,
    commands: Sender<Command>,
    stop: &ScreenStop,
) -> Result<ExitReason, ScreenError> {
    if options.color == ColorMode::Always {
        // The terminal library looks at NO_COLOR too, and would take the colours out again.
        crossterm::style::force_color_output(true);
    }
    let mut state =
        UiState::new(Theme::for_options(options.ascii, options.color, options.colors), options.keymap.clone());
    state.mouse = options.mouse;
    let jobs = JobSignals::listen(options.no_suspend).map_err(ScreenError::NoTerminal)?;
    let mut screen = Screen::new().map_err(ScreenError::NoTerminal)?;
    // Started in the background, the program works without a screen until `fg`: setting the terminal's modes would have
    // the kernel stop it half-way.
    if suspend::in_front() {
        screen.take().map_err(ScreenError::NoTerminal)?;
    }
    let no_suspend = options.no_suspend;
    let events = InputEvents::listen().map_err(ScreenError::NoTerminal)?;
    let (opened, newest) = (Instant::now(), Arc::default());
    let (dirty, drawn, looked) = (true, None, None);
    let mut all =
        ScreenLoop { state, screen, jobs, no_suspend, opened, newest, snapshots, commands, dirty, drawn, looked };
    let left = all.run(&events, stop);
    let kept = (all.state.keeps_frame() && left.is_ok()).then(|| all.last_frame());
    drop(all);
    if let Some(frame) = kept {
        terminal::leave_behind(&print::lines(&frame));
    }
    match left {
        // A frame that fails because the terminal is gone is no error of ours.
        Err(ScreenError::Draw(_)) if terminal_is_gone() => Ok(ExitReason::HungUp),
        left => left,
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
    looked: Option<Instant>,
}

impl ScreenLoop {
    fn run(&mut self, events: &InputEvents, stop: &ScreenStop) -> Result<ExitReason, ScreenError> {
        loop {
            if stop.is_set() {
                return Ok(ExitReason::Stopped);
            }
            if self.looked.is_none_or(|at| at.elapsed() >= DATA) && !self.look() {
                return Ok(ExitReason::Ended);
            }
            self.run_effects().map_err(ScreenError::Draw)?;
            if self.dirty && is_taken() && self.drawn.is_none_or(|at| at.elapsed() >= FRAME) {
                self.draw().map_err(ScreenError::Draw)?;
            }
            let mut next = match events.queue.recv_timeout(self.wait()) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(ExitReason::HungUp),
            };
            // No more than fit into the queue: input that never ends must not keep the loop from its frames and its
            // end.
            let mut more = QUEUE;
            while let Some(event) = next {
                if let Some(left) = self.handle(event) {
                    return Ok(left);
                }
                more -= 1;
                next = if more > 0 { events.queue.try_recv().ok() } else { None };
            }
        }
    }

    /// Until the next frame may be drawn, or the next look is due.
    fn wait(&self) -> Duration {
        let left = |since: Option<Instant>, gap: Duration| gap.saturating_sub(since.map_or(gap, |at| at.elapsed()));
        let look = left(self.looked, DATA);
        if self.dirty && is_taken() { look.min(left(self.drawn, FRAME)) } else { look }
    }

    /// Takes the newest snapshot if there is one; false if there will be none again.
    fn look(&mut self) -> bool {
        let first = self.looked.is_none();
        self.looked = Some(Instant::now());
        let calm = self.drawn.is_some_and(|at| at.elapsed() < CALM);
        // While a picture is held, its age is all that changes.
        self.dirty |= self.state.frozen.is_some() && !calm;
        match self.snapshots.has_changed() {
            Err(_) => return false,
            Ok(false) if !first && !self.state.is_fading() => return true,
            Ok(_) => {}
        }
        if calm && !is_news(&self.newest, &self.snapshots.borrow()) {
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
        let was_held = self.state.frozen.is_some();
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
        if was_held && self.state.frozen.is_none() {
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
        let mut stop_asked = self.jobs.stop_asked();
        if is_taken() {
            self.screen.listen_to_mouse(self.state.mouse)?;
        }
        while let Some(effect) = self.state.next_effect() {
            match effect {
                Effect::Suspend => stop_asked = true,
                Effect::Repaint if is_taken() => self.screen.repaint()?,
                Effect::Copy(text) if is_taken() => self.screen.copy(&text)?,
                // A screenshot needs no terminal: the loop sends it as a command right after its key.
                Effect::Repaint | Effect::Copy(_) | Effect::SaveScreen => {}
            }
        }
        if stop_asked && (self.no_suspend || !suspend::stop()) {
            self.state.notice = Some("no shell is there to come back from: not stopped".to_owned());
            self.dirty = true;
        }
        if self.jobs.went_on() {
            // Whoever stopped us may not have waited for us to give it back.
            terminal::lost();
        }
        if !is_taken() && suspend::in_front() {
            self.screen.take()?;
            self.dirty = true;
        }
        Ok(())
    }

    fn send(&mut self, command: Command) {
        self.state.notice = match self.commands.try_send(command) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => Some("too many wishes at once: that one was dropped, try again".to_owned()),
            Err(TrySendError::Closed(_)) => Some("nobody is left to carry that out: press q".to_owned()),
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
            view::draw(state, &chain, area, buffer);
        })?;
        self.dirty = false;
        self.drawn = Some(Instant::now());
        Ok(())
    }
}

impl ScreenLoop {
    /// What stands on the screen, but for its last row: the keys there mean nothing any more.
    fn last_frame(&mut self) -> Buffer {
        self.state.mode = Mode::Browse;
        let area = self.state.area;
        let mut buffer = Buffer::empty(area);
        view::draw(&self.state, &self.state.shown(&self.newest), area, &mut buffer);
        buffer.resize(Rect { height: area.height.saturating_sub(u16::from(area.height > 1)), ..area });
        buffer
    }
}

/// The new snapshot is worth a frame at once: bytes move, or something is not as it was. The rest can wait a second.
fn is_news(old: &ChainSnapshot, new: &ChainSnapshot) -> bool {
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

fn terminal_is_gone() -> bool {
    keyboard().map_or(true, |tty| is_gone(waits(tty.as_fd(), PollFlags::empty(), Duration::ZERO)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{HopLink, NodeSnapshot};

    #[test]
    fn ageing_reports_can_wait_and_changes_cannot() {
        let hop =
            HopSnapshot { link: HopLink::Attached, node: Some(NodeSnapshot::default()), ..HopSnapshot::default() };
        let old = ChainSnapshot { generation: 1, hops: vec![hop], ..ChainSnapshot::default() };
        let mut new = ChainSnapshot { generation: 2, ..old.clone() };
        new.hops[0].age = Duration::from_millis(250);
        assert!(!is_news(&old, &new));
        new.hops[0].link = HopLink::Down { reason: "connection refused".into() };
        assert!(is_news(&old, &new), "a dead node is shown at once");
        new.generation = 1;
        assert!(!is_news(&old, &new), "the same number means the same picture");
    }

    #[test]
    fn a_stop_is_one_and_the_same_in_all_its_clones() {
        let stop = ScreenStop::default();
        let other = stop.clone();
        assert!(!stop.is_set());
        other.set();
        assert!(stop.is_set());
    }
}
