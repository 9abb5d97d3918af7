//! The input thread: keys, the mouse, pasted text and resizes become events; a second thread notices that the terminal died.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use std::{io, thread};

use crossterm::event::{Event as Input, KeyEvent, KeyEventKind, MouseButton, MouseEventKind, poll, read};
use rustix::event::PollFlags;

use super::mouse::Gesture;
use super::terminal::{is_gone, is_taken, keyboard, waits};

/// Events that may wait; a person types no faster, and pasted text is one event.
pub(super) const QUEUE: usize = 256;
/// How long a poll for events that are there already may wait: with the feature `use-dev-tty`, the library does not look
/// at all when the timeout is zero.
const AT_HAND: Duration = Duration::from_millis(1);
/// How often the threads look whether they are still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// What can happen to the screen from outside the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key went down, or repeats.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The mouse did something, at this column and row.
    Mouse(Gesture, u16, u16),
    /// The terminal has another size, which the next frame asks for itself.
    Resize,
    /// The terminal is gone.
    HungUp,
}

/// The events, and the threads behind them; dropping it lets the threads end.
pub struct Events {
    /// What happened, in order.
    pub queue: Receiver<Event>,
    done: Arc<AtomicBool>,
}

impl Events {
    /// Starts listening to the terminal.
    pub fn listen() -> io::Result<Self> {
        let (sender, queue) = sync_channel(QUEUE);
        let done = Arc::new(AtomicBool::new(false));
        let tty = keyboard()?;
        let watched = tty.try_clone()?;
        let (stop, keys) = (Arc::clone(&done), sender.clone());
        thread::Builder::new().name("keys".to_owned()).spawn(move || listen(&tty, &keys, &stop))?;
        let stop = Arc::clone(&done);
        thread::Builder::new().name("terminal watch".to_owned()).spawn(move || watch(&watched, &sender, &stop))?;
        Ok(Self { queue, done })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Reads only when there is something to read: a read from a dead terminal would return nothing, for ever and at once.
fn listen(tty: &OwnedFd, events: &SyncSender<Event>, done: &AtomicBool) {
    let mut hears_resizes = false;
    while !done.load(Ordering::Relaxed) {
        if !is_taken() {
            // What is typed now is for the shell, and the kernel stops a program in the background that reads it.
            thread::sleep(LOOK);
            continue;
        }
        if !hears_resizes {
            // The library installs its handler for SIGWINCH at the first poll; what changed before is read now.
            let _ = poll(AT_HAND);
            hears_resizes = true;
            if events.send(Event::Resize).is_err() {
                return;
            }
        }
        let flags = waits(tty.as_fd(), PollFlags::IN, LOOK);
        if is_gone(flags) {
            return;
        }
        if !is_taken() {
            continue;
        }
        // Also after a wait that ended with nothing: a resize arrives as a signal, not as bytes.
        let mut any = false;
        while is_taken() && poll(AT_HAND).unwrap_or(false) {
            any = true;
            let Ok(input) = read() else {
                // Without keys there would be no way out.
                let _ = events.send(Event::HungUp);
                return;
            };
            if let Some(event) = event(input)
                && events.send(event).is_err()
            {
                return;
            }
        }
        if flags.contains(PollFlags::IN) && !any {
            // Half a key sequence: the rest comes in a moment, and asking again at once would burn a core.
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Looks at the terminal without reading from it; the reader cannot be relied on to notice that it is gone.
fn watch(tty: &OwnedFd, events: &SyncSender<Event>, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        if is_gone(waits(tty.as_fd(), PollFlags::empty(), LOOK * 5)) {
            // With a full queue the loop is busy and will fail at its next frame.
            let _ = events.try_send(Event::HungUp);
            thread::sleep(LOOK);
        }
    }
}

/// Releases and the pointer's mere moving are nobody's business here, and must not cause a frame.
fn event(input: Input) -> Option<Event> {
    match input {
        Input::Key(key) if key.kind != KeyEventKind::Release => Some(Event::Key(key)),
        Input::Mouse(mouse) => {
            let gesture = match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => Gesture::Click,
                MouseEventKind::ScrollUp => Gesture::WheelUp,
                MouseEventKind::ScrollDown => Gesture::WheelDown,
                _ => return None,
            };
            Some(Event::Mouse(gesture, mouse.column, mouse.row))
        }
        Input::Paste(text) => Some(Event::Paste(text)),
        Input::Resize(..) => Some(Event::Resize),
        _ => None,
    }
}
