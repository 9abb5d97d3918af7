//! Signals that end a run: the first asks, the second does not wait.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, plain};

/// Exit code of a run that a second signal ended.
const INTERRUPTED: i32 = 130;

/// What the system sends to who writes past a limit on file sizes; the same on every Linux that Rust knows, MIPS apart.
const FILE_SIZE: i32 = 25;

/// SIGINT, SIGTERM and SIGHUP, whichever comes.
#[derive(Debug)]
pub struct Signals([Signal; 3]);

impl Signals {
    /// Listens from now on, so that none is lost before the first wait.
    pub fn new() -> Result<Self, Error> {
        let listen =
            |kind| signal(kind).map_err(|error| Error::Other(format!("cannot listen for signals: {}", plain(&error))));
        // Heard and forgotten: the write that met the limit fails too, and whoever wrote says what that means. Unheard it
        // would end the program.
        drop(listen(SignalKind::from_raw(FILE_SIZE))?);
        Ok(Self([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// A token that the first signal cancels; the second ends the process. The task lives as long as the handle.
pub fn stop_on_signals() -> Result<(CancellationToken, AbortOnDropHandle<()>), Error> {
    let stop = CancellationToken::new();
    let mut signals = Signals::new()?;
    let cancel = stop.clone();
    let task = tokio::spawn(async move {
        signals.next().await;
        cancel.cancel();
        signals.next().await;
        std::process::exit(INTERRUPTED);
    });
    Ok((stop, AbortOnDropHandle::new(task)))
}
