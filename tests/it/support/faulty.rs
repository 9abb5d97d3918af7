//! Faults from a seed: what happens to the bytes that one end of a connection sends, where, and in which chunks.
#![allow(dead_code, reason = "the simulation and each test binary use their own part of this")]

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::sleep;

/// A small generator of pseudorandom numbers: the same seed gives the same run.
#[derive(Clone, Debug)]
pub(crate) struct Seeded(u64);

impl Seeded {
    /// Adjacent seeds give runs that are not alike.
    pub(crate) fn new(seed: u64) -> Self {
        let mut mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 31;
        Self(mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    /// The next number, over the full range.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 5 ^ self.0 << 59
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in this many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize]
    }
}

/// A fault of the bytes of one direction at one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Both directions end cleanly: nothing more is sent.
    Truncate,
    /// The connection is reset.
    Reset,
    /// Nothing more is read, nothing closes.
    Stall,
    /// Nothing moves for this long.
    Delay(Duration),
    /// One bit of the next byte is flipped.
    Flip(u8),
    /// This many extra bytes are inserted.
    Insert(usize),
    /// The next bytes, this many, are repeated.
    Duplicate(usize),
    /// The next bytes, this many, and as many after them are swapped.
    Swap(usize),
    /// The next bytes, this many, are lost.
    Lose(usize),
}

impl Fault {
    /// Whether the bytes that arrive differ from those sent, though they may be as many.
    pub(crate) fn alters(self) -> bool {
        !matches!(self, Self::Truncate | Self::Reset | Self::Stall | Self::Delay(_))
    }

    /// A random fault.
    pub(crate) fn any(random: &mut Seeded) -> Self {
        let few = 1 + random.below(64) as usize;
        match random.below(10) {
            0 | 1 => Self::Truncate,
            2 | 3 => Self::Reset,
            4 => Self::Stall,
            5 => Self::Delay(Duration::from_millis(random.below(40_000))),
            6 => Self::Flip(1 << random.below(8)),
            _ => random.pick(&[Self::Insert(few), Self::Duplicate(few), Self::Swap(few), Self::Lose(few)]),
        }
    }
}

/// Sizes of the chunks in which the bytes are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slices {
    /// As they arrive.
    AsTheyCome,
    /// At most this many at a time.
    AtMost(usize),
    /// Of any size up to this, with pauses of up to this many ms between them; waiting merges what was apart.
    Ragged(usize, u64),
}

/// All faults of one direction of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The offsets, counted in bytes sent, ascending; and the faults.
    pub(crate) faults: Vec<(u64, Fault)>,
    /// The chunks of the rest.
    pub(crate) slices: Slices,
    /// Seed of the random parts.
    pub(crate) random: Seeded,
}

/// How one direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The sender closed, and that was forwarded.
    Closed,
    /// The receiver has disconnected.
    Disconnected,
    /// A fault ends both directions.
    Truncated,
    /// A fault resets the connection.
    Reset,
}

impl Plan {
    /// No fault.
    pub(crate) fn none() -> Self {
        Self { faults: Vec::new(), slices: Slices::AsTheyCome, random: Seeded::new(0) }
    }

    /// One fault.
    pub(crate) fn one(at: u64, fault: Fault) -> Self {
        Self { faults: vec![(at, fault)], ..Self::none() }
    }

    /// Only chunks, with sizes from a seed.
    pub(crate) fn sliced(slices: Slices, seed: u64) -> Self {
        Self { faults: Vec::new(), slices, random: Seeded::new(seed) }
    }

    /// Forwards bytes from one end to the other until the direction ends.
    pub(crate) async fn carry<R, W>(mut self, from: &mut R, to: &mut W, moved: fn(usize)) -> End
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut taken = 0;
        self.faults.reverse();
        let mut space = vec![0; 64 * 1024];
        loop {
            while let Some((_, fault)) = self.faults.pop_if(|(at, _)| *at <= taken) {
                let ended = match fault {
                    Fault::Truncate => Some(End::Truncated),
                    Fault::Reset => Some(End::Reset),
                    Fault::Stall => std::future::pending().await,
                    Fault::Delay(time) => {
                        sleep(time).await;
                        None
                    }
                    fault => self.alter(fault, from, to, &mut taken).await,
                };
                if let Some(end) = ended {
                    return end;
                }
            }
            let until_fault = self.faults.last().map_or(u64::MAX, |(at, _)| at - taken);
            let most = (space.len() as u64).min(until_fault) as usize;
            let read = match from.read(&mut space[..most]).await {
                Ok(read @ 1..) => read,
                Ok(_) => return if to.shutdown().await.is_ok() { End::Closed } else { End::Disconnected },
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return End::Reset,
                Err(_) => return End::Truncated,
            };
            taken += read as u64;
            moved(read);
            if self.write(to, &space[..read]).await.is_err() {
                return End::Disconnected;
            }
        }
    }

    /// Applies a fault that changes the bytes; `Some` ends the direction.
    async fn alter<R, W>(&mut self, fault: Fault, from: &mut R, to: &mut W, taken: &mut u64) -> Option<End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let wanted = match fault {
            Fault::Flip(_) => 1,
            Fault::Insert(_) => 0,
            Fault::Duplicate(bytes) | Fault::Lose(bytes) => bytes,
            Fault::Swap(bytes) => 2 * bytes,
            Fault::Truncate | Fault::Reset | Fault::Stall | Fault::Delay(_) => return None,
        };
        let mut chunk = Vec::new();
        // The sender may send fewer: then it applies to those.
        let stopped = {
            let mut limited = from.take(wanted as u64);
            let quiet = tokio::time::timeout(QUIET, limited.read_to_end(&mut chunk)).await;
            quiet.is_ok_and(|read| read.is_err() || chunk.len() < wanted)
        };
        *taken += chunk.len() as u64;
        match fault {
            Fault::Flip(bit) => chunk.iter_mut().for_each(|byte| *byte ^= bit),
            Fault::Insert(bytes) => chunk.extend((0..bytes).map(|_| self.random.next() as u8)),
            Fault::Duplicate(_) => chunk.extend_from_within(..),
            Fault::Swap(bytes) => {
                let middle = bytes.min(chunk.len());
                chunk.rotate_left(middle);
            }
            _ => chunk.clear(),
        }
        let written = self.write(to, &chunk).await.is_ok();
        if written && !stopped { None } else { Some(End::Truncated) }
    }

    async fn write<W: AsyncWrite + Unpin>(&mut self, to: &mut W, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let most = match self.slices {
                Slices::AsTheyCome => bytes.len(),
                Slices::AtMost(most) => most,
                Slices::Ragged(most, pause) => {
                    if pause > 0 && self.random.one_in(4) {
                        sleep(Duration::from_millis(self.random.below(pause))).await;
                    }
                    1 + self.random.below(most as u64) as usize
                }
            };
            let (chunk, rest) = bytes.split_at(most.min(bytes.len()));
            to.write_all(chunk).await?;
            to.flush().await?;
            bytes = rest;
            if !bytes.is_empty() {
                // The reader gets to run between two chunks, or they would be merged again.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// How long a fault waits for its bytes: a head arrives at once or not at all.
const QUIET: Duration = Duration::from_millis(50);

/// Joins two connections, with a plan for each direction, until both ends are done or a fault ends both.
pub(crate) async fn join<A, B>(a: A, b: B, there: Plan, back: Plan, moved: fn(usize)) -> (End, A, B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut a_read, mut a_write) = split(a);
    let (mut b_read, mut b_write) = split(b);
    let end = {
        let mut there = std::pin::pin!(there.carry(&mut a_read, &mut b_write, moved));
        let mut back = std::pin::pin!(back.carry(&mut b_read, &mut a_write, moved));
        let (mut there_done, mut back_done) = (false, false);
        loop {
            let (end, done) = tokio::select! {
                biased;
                end = &mut there, if !there_done => (end, &mut there_done),
                end = &mut back, if !back_done => (end, &mut back_done),
                else => break End::Closed,
            };
            *done = true;
            // A clean end leaves the other direction open; everything else ends both.
            if end != End::Closed {
                break end;
            }
        }
    };
    (end, a_read.unsplit(a_write), b_read.unsplit(b_write))
}

/// A stream whose reads meet the plan's faults, and whose writes are unchanged.
pub(crate) fn faulty<S>(stream: S, plan: Plan) -> DuplexStream
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (outer, inner) = duplex(64 * 1024);
    tokio::spawn(async move { drop(join(inner, stream, Plan::none(), plan, |_| {}).await) });
    outer
}
