//! Job control: Ctrl-Z suspends the program, and `fg` restores the screen.
//!
//! While the program is stopped nothing of it runs, transfers included; resumed with `bg`, it runs without a screen.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{Signal, getpgrp, getsid, kill_current_process_group};
use rustix::termios::tcgetpgrp;
use signal_hook::SigId;
use signal_hook::consts::{SIGCONT, SIGTSTP};
use signal_hook::low_level::unregister;

use super::terminal::{keyboard, restore};

/// Job control signals, caught until it is dropped.
pub(crate) struct JobSignals {
    stop: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl JobSignals {
    /// Registers the signals; with `no_suspend`, only SIGCONT.
    pub(crate) fn register(no_suspend: bool) -> io::Result<Self> {
        let mut jobs = Self { stop: Arc::default(), continued: Arc::default(), registered: Vec::new() };
        jobs.registered.push(signal_hook::flag::register(SIGCONT, Arc::clone(&jobs.continued))?);
        if !no_suspend {
            jobs.registered.push(signal_hook::flag::register(SIGTSTP, Arc::clone(&jobs.stop))?);
        }
        Ok(jobs)
    }

    /// Returns whether SIGTSTP has arrived since the last call.
    pub(crate) fn stop_requested(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    /// Returns whether SIGCONT has arrived since the last call.
    pub(crate) fn continued(&self) -> bool {
        self.continued.swap(false, Ordering::SeqCst)
    }
}

impl Drop for JobSignals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

/// Restores the terminal and stops the program until SIGCONT; returns false if no shell could send that.
pub(crate) fn stop() -> bool {
    // The shell that started this program is in another group of the session. Without one, as in a terminal that runs
    // only this program, the stop would last forever, and the kernel does not stop such groups either.
    if getsid(None).is_ok_and(|session| session == getpgrp()) {
        return false;
    }
    restore();
    // Stops the whole job, such as a script that started this program: the shell waits for all of it.
    kill_current_process_group(Signal::STOP).is_ok()
}

/// Returns whether this program is in the foreground process group of the terminal.
pub(crate) fn is_foreground() -> bool {
    match keyboard().map(|tty| tcgetpgrp(tty.as_fd())) {
        Ok(Ok(group)) => group == getpgrp(),
        // A terminal that controls no session has no jobs: any program that has it open is in the foreground.
        Ok(Err(Errno::NOTTY)) => true,
        Ok(Err(_)) | Err(_) => false,
    }
}
