//! Applies faults and limits to a body: when its next piece is sent, and how long that piece is.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::options::{CopyError, CopyOptions, EarlyInput, poll_early};
use super::reader::Reader;
use crate::meter::{TokenBucket, WaitKind};
use crate::net::faults::FaultState;

impl CopyOptions<'_> {
    /// Returns how many bytes to read now; waits while the body is stalled, and ends it at the truncation offset.
    pub(super) async fn readable_len<D>(
        &self,
        max: usize,
        reader: &mut D,
        early: &mut EarlyInput<'_>,
    ) -> Result<usize, CopyError>
    where
        D: Reader,
    {
        let mut changes = self.faults.subscribe();
        let state = self.wait_not_stalled(&mut changes, reader, early).await?;
        Ok(self.max_len(&state, max))
    }

    /// Waits until a piece may be sent; returns its length. A change applies to bodies that already wait, and a reader
    /// that disconnects meanwhile is detected.
    pub(super) async fn admit<D>(
        &self,
        max: usize,
        reader: &mut D,
        early: &mut EarlyInput<'_>,
    ) -> Result<usize, CopyError>
    where
        D: Reader,
    {
        let mut changes = self.faults.subscribe();
        loop {
            let state = self.wait_not_stalled(&mut changes, reader, early).await?;
            let piece = self.fragment_len(&state, max);
            let Some(bucket) = &state.bucket else { return Ok(piece) };
            let pause = lock(bucket).take(piece as u64, self.clock.now_us());
            // Many bodies share the rate limit, so this one's turn may be far off.
            if pause.is_zero() || !self.pause(pause, &mut changes, reader, early).await? {
                return Ok(piece);
            }
        }
    }

    /// Waits until the body is not stalled by a fault; returns the faults at that time.
    async fn wait_not_stalled<D>(
        &self,
        changes: &mut watch::Receiver<FaultState>,
        reader: &mut D,
        early: &mut EarlyInput<'_>,
    ) -> Result<FaultState, CopyError>
    where
        D: Reader,
    {
        loop {
            let state = changes.borrow_and_update().clone();
            if let Some(at) = state.faults.truncate.filter(|at| self.meter.sent() >= *at) {
                return Err(CopyError::Truncated(at));
            }
            if !state.faults.stall {
                return Ok(state);
            }
            if !self.pause(self.stall, changes, reader, early).await? {
                return Err(CopyError::StalledByFault(self.stall));
            }
        }
    }

    /// Waits for a duration, or until a fault is changed; returns true for the latter.
    async fn pause<D>(
        &self,
        pause: Duration,
        changes: &mut watch::Receiver<FaultState>,
        reader: &mut D,
        early: &mut EarlyInput<'_>,
    ) -> Result<bool, CopyError>
    where
        D: Reader,
    {
        // A pause that an injected fault makes counts as rate-limited: this node causes it, not its neighbors.
        self.meter.wait(WaitKind::RateLimit, self.clock.now_us());
        let closed = poll_fn(|cx| poll_early(Pin::new(&mut *reader), cx, early, *self));
        let changed = tokio::select! {
            () = tokio::time::sleep(pause) => false,
            // The sender is owned by the node.
            _ = changes.changed() => true,
            closed = closed => return Err(closed),
        };
        self.meter.resume(|| self.clock.now_us());
        Ok(changed)
    }

    /// Returns the length of the next piece.
    fn fragment_len(&self, state: &FaultState, max: usize) -> usize {
        let max = self.max_len(state, max);
        let Some(longest) = state.faults.fragment else { return max };
        let longest = longest.min(max as u64).max(1);
        // Any hash will do: irregular lengths, which are the same in every run.
        let mixed = (self.meter.sent() ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (mixed % longest) as usize + 1
    }

    /// Limits a length to what the rate limit allows without a visible burst, and to the truncation offset.
    fn max_len(&self, state: &FaultState, max: usize) -> usize {
        // The bodies that wait for the bucket hold it, and so do the fault state and this body.
        let sharers = |bucket: &Arc<Mutex<TokenBucket>>| Arc::strong_count(bucket).saturating_sub(1);
        let max = state.bucket.as_ref().map_or(max, |bucket| max.min(lock(bucket).chunk(sharers(bucket))));
        let uncut = state.faults.truncate.map(|at| at.saturating_sub(self.meter.sent()));
        uncut.and_then(|left| usize::try_from(left).ok()).map_or(max, |left| max.min(left))
    }
}

fn lock(bucket: &Mutex<TokenBucket>) -> MutexGuard<'_, TokenBucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::pin::pin;
    use std::task::{Context, Poll};

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
            let options =
                CopyOptions { meter, clock: *clock, faults, idle: STALL, stall: STALL, step: STALL, fixed: false };
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
            if let Some(bucket) = scene.faults.bucket() {
                lock(&bucket).take(1_000_000, scene.clock.now_us());
            }
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
                let options = CopyOptions {
                    meter: &meter,
                    clock,
                    faults: &faults,
                    idle: STALL,
                    stall: STALL,
                    step: STALL,
                    fixed: false,
                };
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
        for (cut, gets) in [(0, 0), (1, 1), (70_000, 70_000), (99_999, 99_999), (100_000, 100_000), (100_001, 100_000)]
        {
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
}
