//! Job control: Ctrl-Z gives the terminal to the shell, and `fg` brings the screen back.
//!
//! While the program is stopped nothing of it runs, transfers included; sent on with `bg`, it works without a screen.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, getpgrp, getsid, kill_current_process_group};
use rustix::termios::tcgetpgrp;
use signal_hook::SigId;
use signal_hook::consts::{SIGCONT, SIGTSTP};
use signal_hook::low_level::unregister;

use super::terminal::{keyboard, restore};

/// The signals of job control, from when it is made to when it is dropped.
pub struct Jobs {
    stop: Arc<AtomicBool>,
    went_on: Arc<AtomicBool>,
    listening: [SigId; 2],
}

impl Jobs {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        let (stop, went_on) = (Arc::default(), Arc::default());
        let listening = [
            signal_hook::flag::register(SIGTSTP, Arc::clone(&stop))?,
            signal_hook::flag::register(SIGCONT, Arc::clone(&went_on))?,
        ];
        Ok(Self { stop, went_on, listening })
    }

    /// Somebody has asked the program to stop; true once for each time.
    pub fn stop_asked(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    /// The program was stopped and goes on; true once for each time.
    pub fn went_on(&self) -> bool {
        self.went_on.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for id in self.listening {
            unregister(id);
        }
    }
}

/// Gives the terminal back and stops, until somebody sends the program on; false if nobody could.
pub fn stop() -> bool {
    // The shell that started us is in another group of our session. Without one, as in a terminal that runs nothing but
    // this program, the stop would be for ever, and the kernel's own rule is not to.
    if getsid(None).is_ok_and(|session| session == getpgrp()) {
        return false;
    }
    restore();
    // All of the job, such as a script that started us: the shell waits for the whole of it.
    kill_current_process_group(Signal::STOP).is_ok()
}

/// The terminal listens to us and not to the shell.
pub fn in_front() -> bool {
    keyboard().and_then(|tty| Ok(tcgetpgrp(tty.as_fd())?)).is_ok_and(|front| front == getpgrp())
}
