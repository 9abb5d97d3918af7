//! Input thread: keys, the mouse, pasted text and resizes become events; a second thread detects that the terminal
//! has hung up.

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
use super::terminal::{is_hung_up, is_taken, keyboard, poll_events};

/// Length of the event queue; users type more slowly, and pasted text is one event.
pub(super) const QUEUE: usize = 256;
/// Time between two checks of whether the threads must end.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time without a byte after which pasted text ends, even if its end was lost on the way: until then every key would
/// be a part of it. A link that stalls for that long in the middle of a paste is rarer.
const PASTE_TIMEOUT: Duration = Duration::from_secs(5);

/// Input events, with the threads that read them; dropping it ends the threads.
pub(crate) struct InputEvents {
    /// Events, in order.
    pub queue: Receiver<Event>,
    done: Arc<AtomicBool>,
    resizes: SigId,
}

impl InputEvents {
    /// Starts reading from the terminal.
    pub(crate) fn listen() -> io::Result<Self> {
        let (sender, queue) = sync_channel(QUEUE);
        let done = Arc::new(AtomicBool::new(false));
        let tty = keyboard()?;
        // Each frame reads the size, so the first frame needs no event for an earlier change.
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

/// Reads only when there is something to read: from a terminal that has hung up, a read returns nothing, immediately.
fn listen(tty: &OwnedFd, resized: &AtomicBool, events: &SyncSender<Event>, done: &AtomicBool) {
    let (mut parser, mut last_read) = (Parser::default(), Instant::now());
    let mut bytes = [0; 4096];
    while !done.load(Ordering::Relaxed) {
        if !is_taken() {
            // What is typed now is for the shell; the kernel stops a background program that reads it.
            thread::sleep(POLL_INTERVAL);
            parser = Parser::default();
            continue;
        }
        let flags = poll_events(tty.as_fd(), PollFlags::IN, POLL_INTERVAL);
        let mut found = Vec::new();
        if resized.swap(false, Ordering::Relaxed) {
            found.push(Event::Resize);
        }
        if is_hung_up(flags) {
            return;
        }
        // What is typed after the end of this screen is for the next one.
        if !is_taken() || done.load(Ordering::Relaxed) {
            continue;
        }
        if flags.contains(PollFlags::IN) {
            match rustix::io::read(tty, &mut bytes) {
                Ok(count @ 1..) => parser.feed(&bytes[..count], count == bytes.len(), |event| found.push(event)),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // Without keys the user could not quit.
                Ok(0) | Err(_) => found.push(Event::HungUp),
            }
            last_read = Instant::now();
        } else if parser.is_pasting() && last_read.elapsed() >= PASTE_TIMEOUT {
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

/// Polls the terminal without reading from it: the reader does not reliably detect a hangup.
fn watch(tty: &OwnedFd, events: &SyncSender<Event>, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        if is_hung_up(poll_events(tty.as_fd(), PollFlags::empty(), POLL_INTERVAL * 5)) {
            // With a full queue the loop is busy and will fail at its next frame.
            let _ = events.try_send(Event::HungUp);
            thread::sleep(POLL_INTERVAL);
        }
    }
}
