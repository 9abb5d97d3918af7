//! Job control: Ctrl-Z gives the terminal to the shell, and `fg` brings the screen back.
//!
//! While the program is stopped nothing of it runs, transfers included; sent on with `bg`, it works without a screen.

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

/// The signals of job control, from when it is made to when it is dropped.
pub(crate) struct JobSignals {
    stop: Arc<AtomicBool>,
    went_on: Arc<AtomicBool>,
    listening: Vec<SigId>,
}

impl JobSignals {
    /// Listens from now on; where Ctrl-Z is to do nothing, to what sends the program on alone.
    pub(crate) fn listen(no_suspend: bool) -> io::Result<Self> {
        let mut jobs = Self { stop: Arc::default(), went_on: Arc::default(), listening: Vec::new() };
        jobs.listening.push(signal_hook::flag::register(SIGCONT, Arc::clone(&jobs.went_on))?);
        if !no_suspend {
            jobs.listening.push(signal_hook::flag::register(SIGTSTP, Arc::clone(&jobs.stop))?);
        }
        Ok(jobs)
    }

    /// Somebody has asked the program to stop; true once for each time.
    pub(crate) fn stop_asked(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    /// The program was stopped and goes on; true once for each time.
    pub(crate) fn went_on(&self) -> bool {
        self.went_on.swap(false, Ordering::SeqCst)
    }
}

impl Drop for JobSignals {
    fn drop(&mut self) {
        for id in self.listening.drain(..) {
            unregister(id);
        }
    }
}

/// Gives the terminal back and stops, until somebody sends the program on; false if nobody could.
pub(crate) fn stop() -> bool {
    // The shell that started us is in another group of our session. Without one, as in a terminal that runs nothing but
    // this program, the stop would be for ever, and the kernel's own rule is not to.
    if getsid(None).is_ok_and(|session| session == getpgrp()) {
        return false;
    }
    restore();
    // All of the job, such as a script that started us: the shell waits for the whole of it.
    kill_current_process_group(Signal::STOP).is_ok()
}

/// The terminal listens to us and not to the shell, or to a job of its own in front of us.
pub(crate) fn in_front() -> bool {
    match keyboard().map(|tty| tcgetpgrp(tty.as_fd())) {
        Ok(Ok(front)) => front == getpgrp(),
        // A terminal that controls nobody has no jobs, so that whoever has it open is in front.
        Ok(Err(Errno::NOTTY)) => true,
        Ok(Err(_)) | Err(_) => false,
    }
}
