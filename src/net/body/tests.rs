//! All paths of a body behave the same: bytes, counters, waits and errors, over seeded schedules on real sockets.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpListener;

use super::splice::from_file;
use super::*;
use crate::meter::Meter;
use crate::net::faults::LiveFaults;
use crate::net::os::clock::Clock;
use crate::snapshot::Flow;

/// A socket whose bytes may or may not be taken directly.
struct Upstream {
    socket: TcpStream,
    direct: bool,
    available: Vec<u8>,
}

impl AsyncRead for Upstream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl Source for Upstream {
    fn socket(&self) -> Option<Arc<TcpStream>> {
        None
    }

    fn peek(&mut self, max: usize) -> io::Result<&[u8]> {
        self.available.resize(max, 0);
        let read = match self.socket.try_read(&mut self.available) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            read => read,
        };
        self.available.truncate(read?);
        Ok(&self.available)
    }

    fn direct(&self) -> Option<Direct<'_>> {
        self.direct.then_some(Direct::Socket(Incoming { stream: &self.socket, low_rtt: true }))
    }

    fn consume(&mut self, _bytes: u64) {}
}

/// A small pseudorandom generator: the same seed gives the same schedule.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: u64) -> u64 {
        // Xorshift, as in every textbook.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What happens to one body.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Whole,
    /// The source closes after this many bytes.
    Closes(u64),
    /// The source resets the connection before anything is read.
    Resets,
    /// The source goes silent after this many bytes.
    Silent(u64),
    /// The reader accepts nothing.
    NotReading,
    /// The reader disconnects immediately, while the source is silent.
    Disconnects,
}

/// The paths of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Read and written by the copy loop.
    Looped,
    /// From socket to socket without a pipe.
    Copied,
    /// From socket to socket through a pipe, once it flows.
    Spliced,
}

/// Result of a run.
#[derive(Debug, PartialEq)]
struct Outcome {
    ended: &'static str,
    received: Vec<u8>,
    flow: (u64, u64),
    /// If a limit ended it, that much time was counted as waiting for the responsible side.
    waited: bool,
}

/// Short for a limit that is to be reached; otherwise long enough for a loaded host.
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(20);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

async fn run(seed: u64, length: u64, ending: Ending, way: Way) -> Outcome {
    let (mut origin, socket) = pair().await;
    let (reader, mut client) = pair().await;
    let mut reader = Socket::new(reader);
    // Every third body's socket is also held by a report.
    let held = seed.is_multiple_of(3).then(|| reader.held());
    let content: Vec<u8> = (0..length).map(|at| (at * 31 + seed) as u8).collect();
    let feeding = tokio::spawn(async move {
        let mut random = Seeded(seed);
        let end = match ending {
            Ending::Closes(at) | Ending::Silent(at) => at as usize,
            Ending::Resets | Ending::Disconnects => 0,
            Ending::Whole | Ending::NotReading => content.len(),
        };
        let mut sent = 0;
        while sent < end {
            let piece = (1 + random.below(90_000) as usize).min(end - sent);
            if origin.write_all(&content[sent..sent + piece]).await.is_err() {
                break;
            }
            sent += piece;
            if random.below(3) == 0 {
                tokio::task::yield_now().await;
            }
        }
        if matches!(ending, Ending::Resets) {
            let _ = origin.set_zero_linger();
        } else if !matches!(ending, Ending::Closes(_)) {
            // Kept open until the body ends.
            let _ = origin.read(&mut [0; 1]).await;
        }
    });
    let taking = tokio::spawn(async move {
        let mut random = Seeded(seed ^ 0xabcd);
        let mut received = Vec::new();
        match ending {
            Ending::Disconnects => return (received, None),
            Ending::NotReading => return (received, Some(client)),
            _ => {}
        }
        let mut space = vec![0; 1 + random.below(100_000) as usize];
        while let Ok(read) = client.read(&mut space).await {
            received.extend_from_slice(&space[..read]);
            if read == 0 {
                break;
            }
        }
        (received, Some(client))
    });
    let (meter, clock, faults) = (Meter::default(), Clock::start(), LiveFaults::default());
    let limit = if matches!(ending, Ending::Silent(_) | Ending::NotReading) { SHORT } else { LONG };
    let options = CopyOptions::of_test(&meter, clock, &faults, limit);
    let mut source = Upstream { socket, direct: way != Way::Looped, available: Vec::new() };
    let pipes = Arc::new(if way == Way::Copied { Pipes::exhausted() } else { Pipes::default() });
    meter.begin(clock.now_us());
    // Every other body has a head before it, which does not count.
    let head = if seed.is_multiple_of(2) { b"the head\n".to_vec() } else { Vec::new() };
    let sent = send(head.clone(), &mut source, &mut reader, length, options, EarlyInput::Discard, &pipes).await;
    drop((reader, held, source));
    feeding.await.unwrap();
    let (mut received, _client) = taking.await.unwrap();
    if !received.is_empty() {
        assert!(received.starts_with(&head), "seed {seed}: the head comes first");
        received.drain(..head.len());
    }
    meter.end(clock.now_us());
    let Flow { bytes_in, bytes_out, starved_us, blocked_us, .. } = meter.flow(clock.now_us());
    let ended = match sent {
        Ok(()) => "whole",
        Err(CopyError::Short { .. }) => "short",
        Err(CopyError::Source(_)) => "source failed",
        Err(CopyError::Idle(_)) => "idle",
        Err(CopyError::Stalled(_)) => "stalled",
        Err(CopyError::ReaderClosed | CopyError::ReaderReset) => "gone",
        Err(CopyError::Truncated(_) | CopyError::StalledByFault(_) | CopyError::DailyLimit(_)) => "disturbed",
    };
    // How much a socket of a reader that accepts nothing buffers is up to the kernel.
    let flow = if matches!(ending, Ending::NotReading) { (0, 0) } else { (bytes_in, bytes_out) };
    let limit = limit.as_micros() as u64;
    let waited = match ended {
        "idle" => starved_us >= limit,
        "stalled" => blocked_us >= limit,
        _ => true,
    };
    Outcome { ended, received, flow, waited }
}

#[tokio::test]
async fn all_paths_behave_the_same() {
    let mut random = Seeded(0x5eed);
    for seed in 1..=30 {
        // Half of them are long enough for a pipe.
        let length = 1 + random.below(3_000_000);
        let at = random.below(length);
        let (ending, expected) = match random.below(5) {
            0 => (Ending::Closes(at), "short"),
            1 => (Ending::Resets, "source failed"),
            _ => (Ending::Whole, "whole"),
        };
        let looped = run(seed, length, ending, Way::Looped).await;
        assert_eq!(looped.ended, expected, "seed {seed}: {ending:?} of {length}");
        assert_eq!(looped.flow.1, looped.received.len() as u64, "seed {seed}: bytes are counted as they are written");
        for way in [Way::Copied, Way::Spliced] {
            let other = run(seed, length, ending, way).await;
            assert!(
                looped == other,
                "seed {seed}: {ending:?} of {length}: {} but {way:?} {}",
                looped.ended,
                other.ended
            );
        }
    }
}

#[tokio::test]
async fn all_paths_have_the_same_limits() {
    for (ending, expected) in [
        (Ending::Silent(300_000), "idle"),
        (Ending::Silent(3_000_000), "idle"),
        (Ending::NotReading, "stalled"),
        (Ending::Disconnects, "gone"),
    ] {
        // Larger than what the sockets can buffer.
        let length = 16_000_000;
        let each = |way| run(7, length, ending, way);
        let (looped, copied, spliced) = tokio::join!(each(Way::Looped), each(Way::Copied), each(Way::Spliced));
        assert_eq!((looped.ended, looped.waited), (expected, true), "{ending:?}");
        for (way, other) in [(Way::Copied, copied), (Way::Spliced, spliced)] {
            assert!(looped == other, "{ending:?}: {way:?} {} {:?} {}", other.ended, other.flow, other.waited);
        }
    }
}

/// Premature ends of a connection that the kernel reports like a clean end.
#[derive(Clone, Copy, Debug)]
enum ResetKind {
    /// The socket's error (`SO_ERROR`) is read after a reset: it is reported once.
    ErrorRead,
    /// Data is sent after a reset.
    Sent,
    /// The reset follows a FIN.
    Ended,
}

#[tokio::test]
async fn a_reset_that_looks_like_a_clean_end_is_short() {
    const CAME: usize = 100_000;
    for kind in [ResetKind::ErrorRead, ResetKind::Sent, ResetKind::Ended] {
        for way in [Way::Looped, Way::Copied, Way::Spliced] {
            let (mut origin, mut socket) = pair().await;
            let (reader, mut client) = pair().await;
            let mut reader = Socket::new(reader);
            // Bytes that the origin has not read when it closes make its kernel send a reset.
            socket.write_all(b"unread").await.unwrap();
            origin.readable().await.unwrap();
            origin.write_all(&vec![7; CAME]).await.unwrap();
            match kind {
                ResetKind::ErrorRead | ResetKind::Sent => origin.set_zero_linger().unwrap(),
                ResetKind::Ended => origin.shutdown().await.unwrap(),
            }
            drop(origin);
            socket.ready(tokio::io::Interest::ERROR | tokio::io::Interest::READABLE).await.unwrap();
            match kind {
                ResetKind::ErrorRead => drop(socket.take_error().unwrap()),
                ResetKind::Sent => drop(socket.try_write(b"more")),
                ResetKind::Ended => {}
            }
            let (meter, clock, faults) = (Meter::default(), Clock::start(), LiveFaults::default());
            let options = CopyOptions::of_test(&meter, clock, &faults, LONG);
            let mut source = Upstream { socket, direct: way != Way::Looped, available: Vec::new() };
            let pipes = Arc::new(if way == Way::Copied { Pipes::exhausted() } else { Pipes::default() });
            let length = 2 * CAME as u64;
            let sent = send(Vec::new(), &mut source, &mut reader, length, options, EarlyInput::Discard, &pipes).await;
            assert!(matches!(sent, Err(CopyError::Short { .. } | CopyError::Source(_))), "{kind:?} {way:?}: {sent:?}");
            drop(reader);
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            assert!(received.len() <= CAME, "{kind:?} {way:?}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_the_kernel_gives_up_on_is_stalled() {
    const LENGTH: usize = 16_000_000;
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, &vec![7; LENGTH]).unwrap();
    let file = Arc::new(file);
    for way in [None, Some(Way::Looped), Some(Way::Copied), Some(Way::Spliced)] {
        let (mut origin, socket) = pair().await;
        let (reader, _client) = pair().await;
        rustix::net::sockopt::set_tcp_user_timeout(&reader, 300).unwrap();
        let (meter, clock, faults) = (Meter::default(), Clock::start(), LiveFaults::default());
        let options = CopyOptions::of_test(&meter, clock, &faults, LONG);
        let sent = if let Some(way) = way {
            let feeding = tokio::spawn(async move {
                let _ = origin.write_all(&vec![7; LENGTH]).await;
                // Kept open until the body ends.
                let _ = origin.read(&mut [0; 1]).await;
            });
            let mut source = Upstream { socket, direct: way != Way::Looped, available: Vec::new() };
            let pipes = Arc::new(if way == Way::Copied { Pipes::exhausted() } else { Pipes::default() });
            let mut reader = Socket::new(reader);
            let sent =
                send(Vec::new(), &mut source, &mut reader, LENGTH as u64, options, EarlyInput::Discard, &pipes).await;
            feeding.abort();
            sent
        } else {
            from_file(&file, 0, LENGTH as u64, &reader, options).await.map(|_| ())
        };
        assert!(matches!(sent, Err(CopyError::Stalled(_))), "{way:?}: {sent:?}");
    }
}

#[tokio::test]
async fn only_the_last_body_of_a_connection_ends_it_and_with_its_own_bytes() {
    for (length, last) in [(0, true), (4096, true), (4096, false)] {
        let (mut origin, socket) = pair().await;
        let (reader, mut client) = pair().await;
        let (mut reader, content) = (Socket::new(reader), vec![7; length]);
        origin.write_all(&content).await.unwrap();
        socket.readable().await.unwrap();
        let (meter, clock, faults) = (Meter::default(), Clock::start(), LiveFaults::default());
        let options = CopyOptions { last, ..CopyOptions::of_test(&meter, clock, &faults, LONG) };
        let mut source = Upstream { socket, direct: false, available: Vec::new() };
        let head = b"the head\n".to_vec();
        send(head.clone(), &mut source, &mut reader, length as u64, options, EarlyInput::Discard, &Arc::default())
            .await
            .unwrap();
        let mut received = vec![0; head.len() + length];
        client.read_exact(&mut received).await.unwrap();
        assert_eq!(received, [head, content].concat());
        // What was sent in one packet is there already.
        client.readable().await.unwrap();
        let end = client.try_read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(end, if last { Ok(0) } else { Err(io::ErrorKind::WouldBlock) });
        drop(reader);
    }
}
