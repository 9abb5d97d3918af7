//! The spliced way and the copied way do the same: bytes, counters and ends, over seeded schedules on real sockets.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpListener;

use super::*;
use crate::meter::Meter;
use crate::net::clock::Clock;
use crate::snapshot::Flow;

/// A socket whose bytes may or may not be taken directly.
struct Upstream {
    socket: TcpStream,
    direct: bool,
}

impl AsyncRead for Upstream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl Source for Upstream {
    fn direct(&self) -> Option<Direct<'_>> {
        self.direct.then_some(Direct::Socket(Incoming { stream: &self.socket, dial_ms: 0.0 }))
    }

    fn skip(&mut self, _bytes: u64) {}
}

/// A small generator of numbers that look random: the same seed gives the same schedule.
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

/// What is done to one body.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Whole,
    /// The source closes after so many bytes.
    Closes(u64),
    /// The source resets the connection before anything is read.
    Resets,
    /// The source falls silent after so many bytes.
    Silent(u64),
    /// The reader takes nothing.
    Deaf,
    /// The reader leaves at once, while the source is silent.
    Leaves,
}

/// What came of it.
#[derive(Debug, PartialEq)]
struct Outcome {
    ended: &'static str,
    received: Vec<u8>,
    flow: (u64, u64),
}

const LIMIT: Duration = Duration::from_millis(200);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn run(seed: u64, length: u64, ending: Ending, direct: bool) -> Outcome {
    let (mut origin, socket) = pair().await;
    let (mut reader, mut client) = pair().await;
    let content: Vec<u8> = (0..length).map(|at| (at * 31 + seed) as u8).collect();
    let feeding = tokio::spawn(async move {
        let mut random = Seeded(seed);
        let end = match ending {
            Ending::Closes(at) | Ending::Silent(at) => at as usize,
            Ending::Resets | Ending::Leaves => 0,
            Ending::Whole | Ending::Deaf => content.len(),
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
            // Held open until the body is over.
            let _ = origin.read(&mut [0; 1]).await;
        }
    });
    let taking = tokio::spawn(async move {
        let mut random = Seeded(seed ^ 0xabcd);
        let mut received = Vec::new();
        match ending {
            Ending::Leaves => return (received, None),
            Ending::Deaf => return (received, Some(client)),
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
    let (meter, clock) = (Meter::default(), Clock::start());
    let pace = Pace { meter: &meter, clock, bucket: None, idle: LIMIT, stall: LIMIT };
    let mut source = Upstream { socket, direct };
    let sent = send(&mut source, &mut reader, length, pace, Early::Discard, &Arc::default()).await;
    drop((reader, source));
    feeding.await.unwrap();
    let (received, _client) = taking.await.unwrap();
    let Flow { bytes_in, bytes_out, .. } = meter.flow(clock.now_us());
    let ended = match sent {
        Ok(()) => "whole",
        Err(PumpError::Short { .. }) => "short",
        Err(PumpError::Source(_)) => "source failed",
        Err(PumpError::Idle(_)) => "idle",
        Err(PumpError::Stalled(_)) => "stalled",
        Err(PumpError::Gone) => "gone",
    };
    // How much a deaf reader's socket takes is the kernel's affair.
    let flow = if matches!(ending, Ending::Deaf) { (0, 0) } else { (bytes_in, bytes_out) };
    Outcome { ended, received, flow }
}

#[tokio::test]
async fn splicing_and_copying_do_the_same() {
    let mut random = Seeded(0x5eed);
    for seed in 1..=60 {
        let length = 1 + random.below(1_500_000);
        let at = random.below(length);
        let (ending, expected) = match random.below(5) {
            0 => (Ending::Closes(at), "short"),
            1 => (Ending::Resets, "source failed"),
            _ => (Ending::Whole, "whole"),
        };
        let copied = run(seed, length, ending, false).await;
        let spliced = run(seed, length, ending, true).await;
        assert_eq!(copied.ended, expected, "seed {seed}: {ending:?} of {length}");
        assert_eq!(copied.flow.1, copied.received.len() as u64, "seed {seed}: bytes are counted as they leave");
        assert!(copied == spliced, "seed {seed}: {ending:?} of {length}: {} and {}", copied.ended, spliced.ended);
    }
}

#[tokio::test]
async fn both_ways_have_the_same_limits() {
    for (ending, expected) in [(Ending::Silent(300_000), "idle"), (Ending::Deaf, "stalled"), (Ending::Leaves, "gone")] {
        // Larger than what the sockets on the way can hold.
        let length = 64_000_000;
        let (copied, spliced) = tokio::join!(run(7, length, ending, false), run(7, length, ending, true));
        assert_eq!((copied.ended, spliced.ended), (expected, expected), "{ending:?}");
        assert_eq!((copied.received, copied.flow), (spliced.received, spliced.flow), "{ending:?}");
    }
}

#[tokio::test]
async fn without_a_pipe_the_body_is_copied() {
    // Every pipe that may be made is in use.
    let pipes = Arc::new(Pipes::exhausted());
    let (mut origin, socket) = pair().await;
    let (mut reader, mut client) = pair().await;
    let content: Vec<u8> = (0..400_000u32).map(|at| at as u8).collect();
    let sent = content.clone();
    let feeding = tokio::spawn(async move { origin.write_all(&sent).await.map(|()| origin) });
    let taking = tokio::spawn(async move {
        let mut received = vec![0; 400_000];
        client.read_exact(&mut received).await.map(|_| received)
    });
    let (meter, clock) = (Meter::default(), Clock::start());
    let pace = Pace { meter: &meter, clock, bucket: None, idle: LIMIT, stall: LIMIT };
    let mut source = Upstream { socket, direct: true };
    send(&mut source, &mut reader, 400_000, pace, Early::Discard, &pipes).await.unwrap();
    feeding.await.unwrap().unwrap();
    assert!(taking.await.unwrap().unwrap() == content);
}
