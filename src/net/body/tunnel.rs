//! Both directions of a tunnel: each is moved like a body, and ends by itself with the stream of its source.
//!
//! The end of one direction is passed on, and the other direction stays open: a client may close its half after its
//! request and wait for the answer, and a server may answer before it has read everything. A connection that fails ends
//! both, but what it sent before is delivered first: a server that closes without having read everything resets the
//! connection behind its answer. After a failure both connections are reset, because a plain end of stream would pass
//! for the end of the data.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::copy::copy_body;
use super::options::{CopyError, CopyOptions, EarlyInput};
use super::sockbuf::{self, Incoming};
use super::splice::{self, Pipes};
use crate::meter::Meter;
use crate::net::os::deadline::{Deadline, within};
use crate::net::os::kernel;
use crate::net::os::socket::Socket;
use crate::snapshot::BodyError;
use crate::units::HumanDuration;

/// Silence after which the kernel asks whether a peer is still there: shorter than the time for which firewalls and
/// address translators usually remember a silent connection.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// Time between two such questions without an answer; after nine, the kernel's default, the connection is lost.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Limit on the silence of one direction: none of its own, because it may be silent while the other one moves. The
/// silence of both together is limited, see [`TunnelLimits`].
const ONE_DIRECTION: Duration = Duration::from_hours(365 * 24);
/// Time between two looks at what a peer has acknowledged.
const DELIVERY_INTERVAL: Duration = Duration::from_millis(10);

/// One end of a tunnel.
#[derive(Debug)]
pub struct TunnelEnd<'a> {
    /// The connection.
    pub socket: Socket,
    /// Bytes that were read from it before.
    pub early: Vec<u8>,
    /// See [`sockbuf::has_low_rtt`].
    pub low_rtt: bool,
    /// Counters of the direction that begins here.
    pub meter: &'a Meter,
}

/// Limits on the silence of a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct TunnelLimits {
    /// While both directions are open, and on the time for which a peer accepts nothing.
    pub idle: Duration,
    /// After one direction has ended.
    pub half_closed: Duration,
}

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// From the next hop to the client.
    Client,
    /// From the client to the next hop.
    NextHop,
}

/// Why a tunnel has ended before both of its directions had.
#[derive(Debug)]
pub enum TunnelError {
    /// One direction failed.
    Direction(Toward, CopyError),
    /// Both directions were open and silent for this long.
    Idle(Duration),
    /// One direction had ended, and the other was silent for this long.
    HalfClosed(Duration),
}

impl TunnelError {
    /// Classifies the error for the record of the tunnel, whose source is the next hop and whose reader is the client.
    pub fn body_error(&self) -> BodyError {
        match self {
            Self::Direction(Toward::Client, error) => error.body_error(),
            Self::Direction(Toward::NextHop, CopyError::Source(_)) => BodyError::ReaderLeft,
            Self::Direction(Toward::NextHop, CopyError::ReaderClosed | CopyError::ReaderReset) => {
                BodyError::SourceFailed
            }
            Self::Direction(Toward::NextHop, error)
                if matches!(
                    error,
                    CopyError::Truncated(_) | CopyError::StalledByFault(_) | CopyError::DailyLimit(_)
                ) =>
            {
                error.body_error()
            }
            Self::Direction(Toward::NextHop, _) | Self::Idle(_) | Self::HalfClosed(_) => BodyError::SourceSilent,
        }
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direction(Toward::NextHop, CopyError::Source(error)) => write!(f, "the client failed: {error}"),
            Self::Direction(Toward::NextHop, CopyError::ReaderClosed) => f.write_str("the next hop disconnected"),
            Self::Direction(Toward::NextHop, CopyError::ReaderReset) => {
                f.write_str("the next hop reset the connection")
            }
            Self::Direction(Toward::NextHop, CopyError::Stalled(time)) => {
                write!(f, "the next hop accepted no data for {}", HumanDuration(*time))
            }
            Self::Direction(Toward::Client, CopyError::Source(error)) => write!(f, "the next hop failed: {error}"),
            Self::Direction(_, error) => error.fmt(f),
            Self::Idle(time) => write!(f, "no data in either direction for {}", HumanDuration(*time)),
            Self::HalfClosed(time) => {
                write!(f, "one direction had ended, and no data came in the other for {}", HumanDuration(*time))
            }
        }
    }
}

/// Resets a connection when dropped, unless it ended as it should: its peer then sees that data may be missing. This
/// also covers a task that is aborted.
struct ResetOnDrop(Option<Arc<TcpStream>>);

impl ResetOnDrop {
    fn of(end: &TunnelEnd<'_>) -> Self {
        Self(Some(end.socket.held()))
    }

    /// Waits for the delivery of what was sent, and resets the connection.
    async fn after_delivery(mut self, limit: Duration) {
        let Some(stream) = &self.0 else { return };
        let delivered = async {
            while kernel::unacknowledged(&**stream) > 0 && !kernel::is_over(&**stream) {
                sleep(DELIVERY_INTERVAL).await;
            }
        };
        let _ = within(limit, delivered).await;
        self.reset();
    }

    fn reset(&mut self) {
        if let Some(stream) = self.0.take() {
            // One that is closed already has nothing to reset.
            let _ = stream.set_zero_linger();
        }
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        self.reset();
    }
}

/// A tunnel that has ended, and its connections: dropped as they are, they are reset.
pub struct Ended {
    /// What ended the tunnel, if not the ends of both directions.
    pub result: Result<(), TunnelError>,
    resets: [ResetOnDrop; 2],
}

impl Ended {
    /// Closes both connections. After a failure they are reset once what was sent before is delivered.
    ///
    /// # Errors
    /// The [`TunnelError`] that ended the tunnel.
    pub async fn close(self, linger: Duration) -> Result<(), TunnelError> {
        let Self { result, resets: [of_client, of_next_hop] } = self;
        if result.is_ok() {
            of_client.keep();
            of_next_hop.keep();
        } else {
            tokio::join!(of_client.after_delivery(linger), of_next_hop.after_delivery(linger));
        }
        result
    }
}

/// Moves both directions to their ends.
///
/// `options` are those of a body; its meter and its limits on silence are replaced for each direction.
pub async fn run(
    client: TunnelEnd<'_>,
    next_hop: TunnelEnd<'_>,
    limits: TunnelLimits,
    options: CopyOptions<'_>,
    pipes: &Arc<Pipes>,
) -> Ended {
    let resets = [ResetOnDrop::of(&client), ResetOnDrop::of(&next_hop)];
    keep_alive(&client.socket);
    keep_alive(&next_hop.socket);
    let options = CopyOptions { idle: ONE_DIRECTION, stall: limits.idle, last: false, ..options };
    Ended { result: both(client, next_hop, limits, options, pipes).await, resets }
}

async fn both(
    client: TunnelEnd<'_>,
    next_hop: TunnelEnd<'_>,
    limits: TunnelLimits,
    options: CopyOptions<'_>,
    pipes: &Arc<Pipes>,
) -> Result<(), TunnelError> {
    let (to_client, to_next_hop) = (client.socket.another(), next_hop.socket.another());
    let meters = [next_hop.meter, client.meter];
    for meter in meters {
        meter.begin(options.clock.now_us());
    }
    // After a reset has been reported, the kernel shows the end of a stream that had none.
    let reset = AtomicBool::new(false);
    let mut down = pin!(direction(next_hop, to_client, options, &reset, pipes));
    let mut up = pin!(direction(client, to_next_hop, options, &reset, pipes));
    let (first, ended) = {
        // They take turns in being polled first: one that always has data would use up the turns of this task.
        let mut turn = false;
        let any = poll_fn(|cx| {
            turn = !turn;
            for toward in if turn { [Toward::Client, Toward::NextHop] } else { [Toward::NextHop, Toward::Client] } {
                let polled = match toward {
                    Toward::Client => down.as_mut().poll(cx),
                    Toward::NextHop => up.as_mut().poll(cx),
                };
                if let Poll::Ready(ended) = polled {
                    return Poll::Ready((toward, ended));
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            first = any => first,
            () = silent(limits.idle, &meters, options) => return Err(TunnelError::Idle(limits.idle)),
        }
    };
    let failed = match ended {
        Ok(()) => None,
        // A peer that accepts no more may have sent its answer before, which is still to be read.
        Err(error @ (CopyError::ReaderClosed | CopyError::ReaderReset)) => {
            reset.store(matches!(error, CopyError::ReaderReset), Relaxed);
            Some(error)
        }
        Err(error) => return Err(TunnelError::Direction(first, error)),
    };
    let (second, other, meter): (Pin<&mut (dyn Future<Output = Result<(), CopyError>> + Send)>, _, _) = match first {
        Toward::Client => (up, Toward::NextHop, meters[1]),
        Toward::NextHop => (down, Toward::Client, meters[0]),
    };
    let meter = [meter];
    let ended = tokio::select! {
        biased;
        ended = second => ended,
        () = silent(limits.half_closed, &meter, options) => return Err(TunnelError::HalfClosed(limits.half_closed)),
    };
    match failed {
        Some(error) => Err(TunnelError::Direction(first, error)),
        None => ended.map_err(|error| TunnelError::Direction(other, error)),
    }
}

/// Moves one direction until its source ends, and passes that end on.
async fn direction(
    source: TunnelEnd<'_>,
    mut reader: Socket,
    options: CopyOptions<'_>,
    reset: &AtomicBool,
    pipes: &Arc<Pipes>,
) -> Result<(), CopyError> {
    let options = CopyOptions { meter: source.meter, ..options };
    let moved = move_all(source, &mut reader, options, pipes).await;
    options.meter.end(options.clock.now_us());
    moved?;
    if !reset.load(Relaxed) {
        // The end of TLS is a message that the reader has to accept. A connection that is lost shows when it is closed.
        let _ = within(options.stall, reader.shutdown()).await;
    }
    Ok(())
}

async fn move_all(
    source: TunnelEnd<'_>,
    reader: &mut Socket,
    options: CopyOptions<'_>,
    pipes: &Arc<Pipes>,
) -> Result<(), CopyError> {
    let TunnelEnd { socket: mut source, early: before, low_rtt, .. } = source;
    let mut early = EarlyInput::OtherDirection;
    if !before.is_empty() {
        options.meter.record_read(before.len() as u64);
        options.send(reader, &before, &mut early).await?;
        drop(before);
    }
    loop {
        let disturbed = options.disturbed();
        let moved = if disturbed || !(source.is_plain() && reader.is_plain()) {
            if disturbed {
                sockbuf::bound(reader, options.fixed);
            }
            copy_body(&mut source, reader, u64::MAX, options, &mut early).await.map(drop)
        } else {
            let incoming = Incoming { stream: &source, low_rtt };
            match splice::from_socket(incoming, reader, u64::MAX, options, &mut early, pipes).await {
                Ok(taken) => options.send(reader, &taken.unsent, &mut early).await,
                Err(error) => Err(error),
            }
        };
        match moved {
            // A tunnel has no announced length: this is its end.
            Err(CopyError::Short { .. }) => return Ok(()),
            // Faults were set or lifted, so there is another way from here on.
            Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Completes when none of these directions has moved a byte for the limit.
async fn silent(limit: Duration, meters: &[&Meter], options: CopyOptions<'_>) {
    let moved = || -> u64 { meters.iter().map(|meter| meter.flow(0).bytes_in + meter.flow(0).bytes_out).sum() };
    let (mut seen, mut left) = (moved(), limit);
    loop {
        Deadline::after(left).passed().await;
        let now = moved();
        if now == seen {
            return;
        }
        let idle_us = meters.iter().map(|meter| meter.idle_us(options.clock.now_us())).min().unwrap_or_default();
        (seen, left) = (now, limit.saturating_sub(Duration::from_micros(idle_us)));
    }
}

/// Lets the kernel detect a peer that is gone without a word.
fn keep_alive(stream: &TcpStream) {
    let options = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE_INTERVAL);
    // A kernel that refuses leaves it to the limit on silence.
    let _: io::Result<()> = SockRef::from(stream).set_tcp_keepalive(&options);
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
