//! Whether a reader still reads, counted where bytes leave: by what the kernel knows of the other end, not only by what
//! it acknowledges.
//!
//! A receiver opens a window that was full in steps of up to a segment or a sixteenth of its buffer, whichever is more:
//! on loopback up to 128 KiB. A reader of 60 kB/s then acknowledges nothing for 2.2 s, one of 5 kB/s for 26 s, and a
//! relay that waits for such a reader takes nothing from its own source meanwhile. So where a write is blocked, the
//! kernel is asked after each quarter of the limit:
//! - Bytes were acknowledged since the last time: it reads, and the limit begins anew.
//! - Its window is closed, and its kernel answers probes of it: nothing is known before `STEP` has passed.
//! - Anything else: nothing moves.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::net::os::deadline::Deadline;
use crate::net::os::kernel::{self, Sending};
use crate::net::os::socket::Socket;

/// The longest that a reader of 5 kB/s acknowledges nothing: the time in which it makes room for one step of its
/// window, and what a probe of that window may come late. With a limit of this or more, a reader is slow down to one
/// step in that time.
pub(in crate::net) const STEP: Duration = Duration::from_secs(30);
/// Probes of a closed window without an answer, from which on the other kernel counts as gone; one is always on its
/// way.
const UNANSWERED: u8 = 2;

/// What a body is written to.
pub trait Reader: AsyncRead + AsyncWrite + Unpin {
    /// The connection; `None` where the kernel knows nothing of it.
    fn socket(&self) -> Option<&TcpStream>;
}

impl Reader for Socket {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// Writes something, as soon as the reader takes it. It may acknowledge nothing for the limit, or the step where its
/// window is closed; the error is how long it was waited for.
pub(in crate::net) async fn write_some<D: Reader>(
    reader: &mut D,
    (stall, step): (Duration, Duration),
    mut write: impl FnMut(Pin<&mut D>, &mut Context<'_>) -> Poll<io::Result<usize>>,
) -> Result<io::Result<usize>, Duration> {
    let mut deadline = Deadline::after(stall);
    let mut progress = ReadProgress::new((stall, step), Instant::now());
    loop {
        if let Ok(written) = deadline.part(poll_fn(|cx| write(Pin::new(&mut *reader), cx))).await {
            return Ok(written);
        }
        if let Some(longer) = reader.socket().and_then(|socket| progress.look(socket)) {
            deadline.prolong(longer);
        }
        if deadline.has_passed() {
            return Err(progress.began.elapsed());
        }
    }
}

/// How far a reader came while it was waited for.
#[derive(Debug)]
pub(super) struct ReadProgress {
    stall: Duration,
    step: Duration,
    acknowledged: Option<u64>,
    began: Instant,
    /// When it was last known to read.
    read: Instant,
}

impl ReadProgress {
    /// A wait since then, with the limit, and how long a closed window may take to open.
    pub(super) fn new((stall, step): (Duration, Duration), since: Instant) -> Self {
        Self { stall, step, acknowledged: None, began: since, read: since }
    }

    /// Looks at a reader that takes nothing; how much longer it is to be waited for at least.
    pub(super) fn look(&mut self, reader: &TcpStream) -> Option<Duration> {
        self.judge(kernel::sending(reader)?, Instant::now())
    }

    fn judge(&mut self, seen: Sending, now: Instant) -> Option<Duration> {
        if self.acknowledged.replace(seen.acknowledged).is_some_and(|before| before != seen.acknowledged) {
            self.read = now;
            return Some(self.stall);
        }
        // With something to send and nothing under way, it is the window that is closed.
        let closed = seen.under_way == 0 && seen.probes < UNANSWERED;
        closed.then(|| self.step.saturating_sub(now - self.read))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    impl Reader for DuplexStream {
        fn socket(&self) -> Option<&TcpStream> {
            None
        }
    }

    const STALL: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn whoever_acknowledges_is_waited_for_and_who_has_closed_its_window_is_given_one_step() {
        let at = |acknowledged, under_way, probes| Sending { acknowledged, under_way, probes };
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let mut progress = ReadProgress::new((STALL, STEP), began);
        assert_eq!(progress.judge(at(7, 0, 1), after(500)), Some(Duration::from_millis(29_500)));
        assert_eq!(progress.judge(at(9, 3, 0), after(2_000)), Some(STALL), "acknowledged");
        assert_eq!(progress.judge(at(9, 0, 0), after(12_000)), Some(Duration::from_secs(20)));
        assert_eq!(progress.judge(at(9, 0, 1), after(90_000)), Some(Duration::ZERO));
        assert_eq!(progress.judge(at(9, 3, 0), after(91_000)), None, "what is under way is not acknowledged");
        assert_eq!(progress.judge(at(9, 0, UNANSWERED), after(92_000)), None, "nobody answers its probes");
    }
}
