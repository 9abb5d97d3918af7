//! The input thread: keys, the mouse, pasted text and resizes become events; a second thread notices that the terminal
//! died.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::event::PollFlags;
use rustix::io::Errno;
use signal_hook::SigId;
use signal_hook::consts::SIGWINCH;
use signal_hook::low_level::unregister;

use super::input::{Event, Parser};
use super::terminal::{is_gone, is_taken, keyboard, waits};

/// Events that may wait; a person types no faster, and pasted text is one event.
pub(super) const QUEUE: usize = 256;
/// How often the threads look whether they are still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// After so long without a byte, pasted text is over, even if its end was lost on the way: until then every key would
/// be a part of it. A link that stands still for so long in the middle of a paste is the rarer case.
const PASTE_ENDS: Duration = Duration::from_secs(5);

/// The events, and the threads behind them; dropping it lets the threads end.
pub(crate) struct InputEvents {
    /// What happened, in order.
    pub queue: Receiver<Event>,
    done: Arc<AtomicBool>,
    resizes: SigId,
}

impl InputEvents {
    /// Starts listening to the terminal.
    pub(crate) fn listen() -> io::Result<Self> {
        let (sender, queue) = sync_channel(QUEUE);
        let done = Arc::new(AtomicBool::new(false));
        let tty = keyboard()?;
        // The size is asked for by each frame; one that changed before this is no news to the first.
        let resized = Arc::new(AtomicBool::new(false));
        let resizes = signal_hook::flag::register(SIGWINCH, Arc::clone(&resized))?;
        let watched = tty.try_clone()?;
        let (stop, keys) = (Arc::clone(&done), sender.clone());
        thread::Builder::new().name("keys".to_owned()).spawn(move || listen(&tty, &resized, &keys, &stop))?;
        let stop = Arc::clone(&done);
        thread::Builder::new().name("terminal watch".to_owned()).spawn(move || watch(&watched, &sender, &stop))?;
        Ok(Self { queue, done, resizes })
    }
}

impl Drop for InputEvents {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        unregister(self.resizes);
    }
}

/// Reads only when there is something to read: a read from a dead terminal would return nothing, for ever and at once.
fn listen(tty: &OwnedFd, resized: &AtomicBool, events: &SyncSender<Event>, done: &AtomicBool) {
    let (mut parser, mut heard) = (Parser::default(), Instant::now());
    let mut bytes = [0; 4096];
    while !done.load(Ordering::Relaxed) {
        if !is_taken() {
            // What is typed now is for the shell, and the kernel stops a program in the background that reads it.
            thread::sleep(LOOK);
            parser = Parser::default();
            continue;
        }
        let flags = waits(tty.as_fd(), PollFlags::IN, LOOK);
        let mut found = Vec::new();
        if resized.swap(false, Ordering::Relaxed) {
            found.push(Event::Resize);
        }
        if is_gone(flags) {
            return;
        }
        if !is_taken() {
            continue;
        }
        if flags.contains(PollFlags::IN) {
            match rustix::io::read(tty, &mut bytes) {
                Ok(count @ 1..) => parser.feed(&bytes[..count], count == bytes.len(), |event| found.push(event)),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // Without keys there would be no way out.
                Ok(0) | Err(_) => found.push(Event::HungUp),
            }
            heard = Instant::now();
        } else if parser.is_pasting() && heard.elapsed() >= PASTE_ENDS {
            parser.end_paste(|event| found.push(event));
        }
        for event in found {
            let is_last = event == Event::HungUp;
            if events.send(event).is_err() || is_last {
                return;
            }
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
