//! Detects whether a reader still reads, by what the kernel knows about the other end, not only by acknowledgments.
//!
//! A receiver reopens a full window in steps of up to a segment or a sixteenth of its buffer, whichever is larger: on
//! loopback up to 128 KiB. A reader of 60 kB/s then acknowledges nothing for 2.2 s, one of 5 kB/s for 26 s, and a relay
//! that waits for such a reader reads nothing from its own source meanwhile. So while a write is blocked, the kernel is
//! polled after each quarter of the limit:
//! - Bytes were acknowledged since the last poll: it reads, and the limit starts again.
//! - Its window is closed, and its kernel answers window probes: inconclusive before `STEP` has passed.
//! - Anything else: no progress.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::net::os::deadline::Deadline;
use crate::net::os::kernel::{self, Sending};
use crate::net::os::socket::Socket;

/// Longest time in which a reader of 5 kB/s acknowledges nothing: the time to free one step of its window, plus the
/// delay of a window probe. With a limit of at least this, a reader counts as slow down to one step in that time.
pub(in crate::net) const STEP: Duration = Duration::from_secs(30);
/// Unanswered window probes from which on the other kernel counts as dead; one is always in flight.
const MAX_UNANSWERED_PROBES: u8 = 2;

/// Destination of a body.
pub trait Reader: AsyncRead + AsyncWrite + Unpin {
    /// Returns the connection; `None` if there is no kernel socket.
    fn socket(&self) -> Option<&TcpStream>;

    /// Writes pieces in one call. The last packet may be held back until something follows it: more bytes, or the end
    /// by [`Reader::end`].
    fn poll_write_more(self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, pieces)
    }

    /// Ends the direction of the body, after everything that was written.
    fn end(&self) {}
}

impl Reader for Socket {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn poll_write_more(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send_more(cx, pieces)
    }

    fn end(&self) {
        // TLS has an end of its own, which is written when the connection is closed.
        if self.is_plain() {
            // A connection that is lost shows when it is closed.
            let _ = shutdown(&**self, Shutdown::Write);
        }
    }
}

/// Writes as soon as the reader accepts bytes. It may acknowledge nothing for the limit, or for the step if its window
/// is closed; the error is the time waited.
pub(in crate::net) async fn write_some<D: Reader>(
    reader: &mut D,
    (stall, step): (Duration, Duration),
    mut write: impl FnMut(Pin<&mut D>, &mut Context<'_>) -> Poll<io::Result<usize>>,
) -> Result<io::Result<usize>, Duration> {
    // Most writes succeed immediately, and need no clock.
    if let Poll::Ready(written) = poll_fn(|cx| Poll::Ready(write(Pin::new(&mut *reader), cx))).await {
        return Ok(written);
    }
    let mut deadline = Deadline::after(stall);
    let mut progress = ReadProgress::new((stall, step), Instant::now());
    loop {
        if let Ok(written) = deadline.part(poll_fn(|cx| write(Pin::new(&mut *reader), cx))).await {
            return Ok(written);
        }
        if let Some(longer) = reader.socket().and_then(|socket| progress.sample(socket)) {
            deadline.prolong(longer);
        }
        if deadline.has_passed() {
            return Err(progress.began.elapsed());
        }
    }
}

/// Progress of a reader during a wait.
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
    /// Returns the state of a wait since an instant, with the limit and the time that a closed window may take to open.
    pub(super) fn new((stall, step): (Duration, Duration), since: Instant) -> Self {
        Self { stall, step, acknowledged: None, began: since, read: since }
    }

    /// Polls a reader that accepts nothing; returns how much longer to wait for it at least.
    pub(super) fn sample(&mut self, reader: &TcpStream) -> Option<Duration> {
        self.evaluate(kernel::sending(reader)?, Instant::now())
    }

    fn evaluate(&mut self, seen: Sending, now: Instant) -> Option<Duration> {
        if self.acknowledged.replace(seen.acknowledged).is_some_and(|before| before != seen.acknowledged) {
            self.read = now;
            return Some(self.stall);
        }
        // With data to send and none in flight, the window is closed.
        let closed = seen.under_way == 0 && seen.probes < MAX_UNANSWERED_PROBES;
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
    async fn an_acknowledgment_extends_the_wait_and_a_closed_window_gets_one_step() {
        let at = |acknowledged, under_way, probes| Sending { acknowledged, under_way, probes };
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let mut progress = ReadProgress::new((STALL, STEP), began);
        assert_eq!(progress.evaluate(at(7, 0, 1), after(500)), Some(Duration::from_millis(29_500)));
        assert_eq!(progress.evaluate(at(9, 3, 0), after(2_000)), Some(STALL), "acknowledged");
        assert_eq!(progress.evaluate(at(9, 0, 0), after(12_000)), Some(Duration::from_secs(20)));
        assert_eq!(progress.evaluate(at(9, 0, 1), after(90_000)), Some(Duration::ZERO));
        assert_eq!(progress.evaluate(at(9, 3, 0), after(91_000)), None, "data in flight is not acknowledged");
        assert_eq!(
            progress.evaluate(at(9, 0, MAX_UNANSWERED_PROBES), after(92_000)),
            None,
            "its probes are unanswered"
        );
    }
}
