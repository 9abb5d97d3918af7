//! Tests of faults and limits on bodies, on a simulated clock.

use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::net::TcpStream;
use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::faults::{FaultChange, Faults};
use crate::meter::Meter;
use crate::net::body::copy::copy_body;
use crate::net::faults::LiveFaults;
use crate::net::os::clock::Clock;

const STALL: Duration = Duration::from_mins(1);

struct Scene {
    meter: Meter,
    clock: Clock,
    faults: LiveFaults,
    content: Vec<u8>,
}

impl Scene {
    fn new(length: usize, changes: &[FaultChange]) -> Self {
        let content = (0..length).map(|at| (at * 7 % 251) as u8).collect();
        let (faults, clock) = (LiveFaults::default(), Clock::start());
        faults.apply(changes);
        let meter = Meter::default();
        meter.begin(0);
        Self { meter, clock, faults, content }
    }

    /// Sends one body, in as many rounds as there are changes of its mode.
    async fn send(&self, mut reader: impl Reader) -> Result<(), CopyError> {
        let Self { meter, clock, faults, .. } = self;
        let options = CopyOptions::of_test(meter, *clock, faults, STALL);
        let mut source = &self.content[..];
        while !source.is_empty() {
            let left = source.len() as u64;
            copy_body(&mut source, &mut reader, left, options, &mut EarlyInput::Discard).await?;
        }
        Ok(())
    }
}

async fn all(mut client: DuplexStream) -> Vec<u8> {
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    got
}

/// A reader that records each write.
#[derive(Default)]
struct Pieces(Vec<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        self.0.push(piece.to_vec());
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Reader for &mut Pieces {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn detects_a_disconnect_while_a_fault_delays_the_body() {
    for change in [FaultChange::Limit(Some(1)), FaultChange::Stall(true)] {
        let scene = Scene::new(5000, &[change]);
        let (reader, client) = duplex(1000);
        drop(client);
        let ended = scene.send(reader).await;
        assert!(matches!(ended, Err(CopyError::ReaderClosed)), "{change}: {ended:?}");
        assert!(scene.clock.now_us() < 1000, "{change}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_holds_and_its_time_is_counted() {
    let scene = Scene::new(2_000_000, &[FaultChange::Limit(Some(1_000_000))]);
    let (reader, client) = duplex(1 << 20);
    let (sent, got) = tokio::join!(scene.send(reader), all(client));
    sent.unwrap();
    let flow = scene.meter.flow(scene.clock.now_us());
    assert!((1_950_000..2_100_000).contains(&flow.limited_us), "{flow:?}");
    assert!(got == scene.content);
}

#[tokio::test(start_paused = true)]
async fn all_bodies_that_share_a_rate_limit_progress() {
    const BODIES: u64 = 60;
    let faults = Arc::new(LiveFaults::default());
    faults.apply(&[FaultChange::Limit(Some(300_000))]);
    let clock = Clock::start();
    let meters: Vec<Arc<Meter>> = (0..BODIES).map(|_| Arc::default()).collect();
    let mut bodies = tokio::task::JoinSet::new();
    for meter in &meters {
        let (faults, meter) = (Arc::clone(&faults), Arc::clone(meter));
        bodies.spawn(async move {
            meter.begin(0);
            let options = CopyOptions::of_test(&meter, clock, &faults, STALL);
            let (mut reader, _client) = duplex(1 << 20);
            copy_body(&mut tokio::io::repeat(7), &mut reader, 1 << 20, options, &mut EarlyInput::Discard)
                .await
                .unwrap();
        });
    }
    let sent = || meters.iter().map(|meter| meter.sent()).collect::<Vec<u64>>();
    sleep(Duration::from_secs(3)).await;
    let mut before = sent();
    for _ in 0..20 {
        sleep(Duration::from_millis(500)).await;
        let now = sent();
        let moved: Vec<u64> = before.iter().zip(&now).map(|(before, now)| now - before).collect();
        // Each gets 2,500 of the 150,000 bytes.
        assert!(moved.iter().all(|bytes| (1500..=3500).contains(bytes)), "{moved:?}");
        before = now;
    }
    let all: u64 = before.iter().sum();
    assert!((3_800_000..=4_000_000).contains(&all), "{all} bytes in 13 s");
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_reached_although_timers_are_late() {
    let scene = Scene::new(1_600_000, &[FaultChange::Limit(Some(400_000))]);
    let (reader, client) = duplex(1 << 20);
    let (mut ended, began) = (pin!(async { tokio::join!(scene.send(reader), all(client)) }), Instant::now());
    let (sent, got) = loop {
        // The clock advances in these steps only, so no timer fires before the next one.
        tokio::select! {
            biased;
            ended = &mut ended => break ended,
            () = advance(Duration::from_millis(60)) => {}
        }
    };
    sent.unwrap();
    assert!(got == scene.content);
    assert!((3.9..=4.1).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn truncates_at_the_byte_and_keeps_shorter_bodies() {
    for (cut, gets) in [(0, 0), (1, 1), (70_000, 70_000), (99_999, 99_999), (100_000, 100_000), (100_001, 100_000)] {
        let scene = Scene::new(100_000, &[FaultChange::Truncate(Some(cut)), FaultChange::Limit(Some(9_000_000))]);
        let (reader, client) = duplex(1000);
        let (sent, got) = tokio::join!(scene.send(reader), all(client));
        assert!(got == scene.content[..gets], "{cut}: {}", got.len());
        assert_eq!(matches!(sent, Err(CopyError::Truncated(at)) if at == cut), gets < 100_000, "{cut}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fragments_carry_the_same_bytes_in_irregular_lengths() {
    let scene = Scene::new(20_000, &[FaultChange::Fragment(Some(7))]);
    let mut pieces = Pieces::default();
    scene.send(&mut pieces).await.unwrap();
    assert!(pieces.0.concat() == scene.content);
    let lengths: BTreeSet<usize> = pieces.0.iter().map(Vec::len).collect();
    assert_eq!(lengths, (1..=7).collect());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_resumes_or_times_out() {
    let scene = Scene::new(100_000, &[FaultChange::Stall(true)]);
    let (reader, client) = duplex(1 << 20);
    let release = async {
        sleep(STALL / 2).await;
        assert_eq!(scene.meter.sent(), 0);
        scene.faults.apply(&[FaultChange::Stall(false)]);
    };
    let (sent, got, ()) = tokio::join!(scene.send(reader), all(client), release);
    sent.unwrap();
    let capped = scene.meter.flow(scene.clock.now_us()).limited_us;
    assert!(got == scene.content && capped >= (STALL / 2).as_micros() as u64, "{capped}");

    let scene = Scene::new(100_000, &[FaultChange::Stall(true)]);
    let began = Instant::now();
    let (reader, _client) = duplex(1 << 20);
    let ended = scene.send(reader).await;
    assert!(matches!(ended, Err(CopyError::StalledByFault(_))) && began.elapsed() >= STALL, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_applies_immediately_to_a_rate_limited_body() {
    // One byte a second, and a chunk that would take a day.
    let scene = Scene::new(100_000, &[FaultChange::Limit(Some(1))]);
    let (reader, client) = duplex(1 << 20);
    let release = async {
        sleep(Duration::from_secs(5)).await;
        assert!((1..10).contains(&scene.meter.sent()), "{}", scene.meter.sent());
        scene.faults.apply(&[FaultChange::Limit(None)]);
    };
    let began = Instant::now();
    let (sent, got, ()) = tokio::join!(scene.send(reader), all(client), release);
    sent.unwrap();
    assert!(got == scene.content && began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn changes_of_faults_never_change_the_bytes() {
    let scene = Scene::new(3_000_000, &[]);
    let (reader, client) = duplex(4096);
    let turning = async {
        for (at, change) in [
            FaultChange::Fragment(Some(5000)),
            FaultChange::Limit(Some(2_000_000)),
            FaultChange::Fragment(None),
            FaultChange::Stall(true),
            FaultChange::Delay(1),
            FaultChange::Stall(false),
            FaultChange::Limit(Some(1_000_000)),
            FaultChange::Limit(None),
            FaultChange::Truncate(Some(1 << 40)),
        ]
        .into_iter()
        .enumerate()
        {
            while scene.meter.sent() < at as u64 * 100_000 && !scene.faults.now().stall {
                sleep(Duration::from_millis(1)).await;
            }
            scene.faults.apply(&[change]);
            sleep(Duration::from_millis(10)).await;
        }
    };
    let (sent, got, ()) = tokio::join!(scene.send(reader), all(client), turning);
    sent.unwrap();
    assert!(got == scene.content);
    assert_eq!(scene.faults.now(), Faults { delay_ms: 1, truncate: Some(1 << 40), ..Faults::default() });
}

/// A source of which only a few bytes are available at a time.
struct Dribble(usize);

impl AsyncRead for Dribble {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let available = self.0.min(space.remaining());
        space.initialize_unfilled_to(available);
        space.advance(available);
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_get_equal_shares_whatever_is_available_at_a_time() {
    const BODIES: usize = 64;
    let faults = Arc::new(LiveFaults::default());
    faults.apply(&[FaultChange::Limit(Some(BODIES as u64 * 65_536))]);
    let clock = Clock::start();
    let meters: Vec<Arc<Meter>> = (0..BODIES).map(|_| Arc::default()).collect();
    let mut bodies = tokio::task::JoinSet::new();
    for (at, meter) in meters.iter().enumerate() {
        let (faults, meter) = (Arc::clone(&faults), Arc::clone(meter));
        bodies.spawn(async move {
            meter.begin(0);
            let (meter, faults) = (&*meter, &*faults);
            let options = CopyOptions::of_test(meter, clock, faults, STALL);
            let mut source = Dribble(if at % 2 == 0 { 700 } else { 1 << 20 });
            let (mut reader, mut client) = duplex(1 << 20);
            let mut sink = tokio::io::sink();
            let early = &mut EarlyInput::Discard;
            let sending = copy_body(&mut source, &mut reader, 1 << 30, options, early);
            tokio::join!(sending, tokio::io::copy(&mut client, &mut sink)).0
        });
    }
    let sent = || meters.iter().map(|meter| meter.sent()).collect::<Vec<u64>>();
    sleep(Duration::from_secs(1)).await;
    let before = sent();
    sleep(Duration::from_secs(2)).await;
    let moved: Vec<u64> = before.iter().zip(sent()).map(|(before, now)| now - before).collect();
    let (least, most) = (moved.iter().min().unwrap(), moved.iter().max().unwrap());
    assert!((most - least) * 10 <= *most, "{least} to {most} bytes: {moved:?}");
}
