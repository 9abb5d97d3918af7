//! Termination signals: the first starts a graceful shutdown, the second ends the process. Signals ignored at startup
//! stay ignored.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::flush;
use crate::error::{Error, plain};
use crate::net::os::kernel::is_ignored;

/// SIGXFSZ, sent on a write past the file size limit; the same number on every Linux that Rust supports, except MIPS.
const SIGXFSZ: i32 = 25;

/// Termination signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// SIGINT: ctrl-c in a terminal.
    Interrupt,
    /// SIGTERM: a service manager, or `kill`.
    Terminate,
    /// SIGHUP: the terminal has closed.
    Hangup,
}

/// Number of the signal that ends the program; 0 is none.
static CAUGHT: AtomicU8 = AtomicU8::new(0);

impl Termination {
    const ALL: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::Hangup];

    fn kind(self) -> SignalKind {
        match self {
            Self::Interrupt => SignalKind::interrupt(),
            Self::Terminate => SignalKind::terminate(),
            Self::Hangup => SignalKind::hangup(),
        }
    }

    /// Records that the program ends because of this signal, for `caught`.
    pub fn record(self) {
        CAUGHT.store(u8::try_from(self.kind().as_raw_value()).unwrap_or_default(), Relaxed);
    }

    /// Returns the signal that ends the program, if one does.
    pub fn caught() -> Option<Self> {
        let number = i32::from(CAUGHT.load(Relaxed));
        Self::ALL.into_iter().find(|ending| ending.kind().as_raw_value() == number)
    }

    /// Ends the process as the signal would without a handler, so that a shell ends its loop, too.
    pub fn end_process(self) -> ! {
        flush();
        let number = self.kind().as_raw_value();
        // The kernel delivers no signal without a handler to the first process of a container.
        if std::process::id() != 1 {
            // Returns only on an error: then the exit code remains.
            let _ = emulate_default_handler(number);
        }
        std::process::exit(128 + number)
    }
}

/// Listener for SIGINT, SIGTERM and SIGHUP.
#[derive(Debug)]
pub struct Signals {
    /// `None` if it was ignored at startup: by a shell without job control, for background processes.
    interrupt: Option<Signal>,
    terminate: Signal,
    /// `None` if it was ignored at startup: by `nohup`.
    hangup: Option<Signal>,
}

impl Signals {
    /// Starts to listen, so that no signal is lost before the first wait. Must be called once: it checks which signals
    /// were ignored before.
    ///
    /// # Errors
    /// `Error::Other` if the system registers no handler for one of the signals.
    pub fn new() -> Result<Self, Error> {
        // Handled and discarded: the write past the limit fails too, and its caller reports that. Without a handler it
        // would end the program.
        drop(listen(SignalKind::from_raw(SIGXFSZ))?);
        let unless_ignored = |ending: Termination| {
            (!is_ignored(ending.kind().as_raw_value())).then(|| listen(ending.kind())).transpose()
        };
        Ok(Self {
            interrupt: unless_ignored(Termination::Interrupt)?,
            terminate: listen(Termination::Terminate.kind())?,
            hangup: unless_ignored(Termination::Hangup)?,
        })
    }

    /// Waits for the next signal. Cancel-safe.
    pub async fn next(&mut self) -> Termination {
        tokio::select! {
            () = arrives(&mut self.interrupt) => Termination::Interrupt,
            _ = self.terminate.recv() => Termination::Terminate,
            () = arrives(&mut self.hangup) => Termination::Hangup,
        }
    }
}

/// Starts to listen for a signal.
pub(crate) fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|error| Error::Other(format!("cannot listen for signals: {}", plain(&error))))
}

async fn arrives(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Returns a token that the first signal cancels; the second ends the process. The task runs as long as the handle
/// exists.
///
/// # Errors
/// The same as for [`Signals::new`].
pub fn stop_on_signals() -> Result<(CancellationToken, AbortOnDropHandle<()>), Error> {
    let stop = CancellationToken::new();
    let mut signals = Signals::new()?;
    let cancel = stop.clone();
    let task = tokio::spawn(async move {
        signals.next().await.record();
        cancel.cancel();
        signals.next().await.end_process();
    });
    Ok((stop, AbortOnDropHandle::new(task)))
}
