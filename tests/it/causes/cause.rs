//! Causes of slowness: what, where and how much, and the correct verdict on each.

use std::fmt;
use std::process::{Command, Stdio};

/// Relays in the chain; the hop after them is the origin.
pub(crate) const RELAYS: usize = 3;
/// All hops.
pub(crate) const HOPS: usize = RELAYS + 1;

/// One cause.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// None; the client is ours, or another one that is only watched.
    Nothing { watched: bool },
    /// This hop has a rate limit, in bytes per second.
    RateLimit { hop: usize, rate: u64 },
    /// This stage, 0 for the client, is stopped repeatedly: this long out of this many ms.
    Starved { stage: usize, stopped_ms: u64, of_ms: u64 },
    /// Every read of the origin's disk takes this many µs longer.
    OriginDisk { slower_us: u64 },
    /// Every write to the client's disk takes this many µs longer.
    ClientDisk { slower_us: u64 },
    /// The link from this hop down has this capacity, in Mbit/s.
    Link { from: usize, mbit: u64 },
    /// A client that is not ours requests from this hop, and reads this many bytes a second, a chunk at a time, through
    /// a receive buffer of this size.
    Reader { at: usize, rate: u64, chunk: usize, buffer: usize },
    /// One of the others, in a chain where this hop speaks the legacy protocol and sends no reports.
    Beside { foreign: usize, cause: Box<Cause> },
    /// One of the others, in a chain whose client and origin encrypt the transfer from end to end.
    Encrypted(Box<Cause>),
}

/// A cause without its position and strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    RateLimit,
    Starved,
    OriginDisk,
    ClientDisk,
    Link,
    Reader,
    Beside,
    Encrypted,
    Nothing,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Kind {
    /// Every kind of cause.
    pub(crate) const ALL: [Self; 8] = [
        Self::RateLimit,
        Self::Starved,
        Self::OriginDisk,
        Self::ClientDisk,
        Self::Link,
        Self::Reader,
        Self::Beside,
        Self::Encrypted,
    ];

    /// What is needed to inject it.
    pub(crate) fn needs(self) -> &'static str {
        match self {
            Self::OriginDisk | Self::ClientDisk => "strace makes a disk slow, and is not here",
            Self::Link => "a narrow link needs root, ip and tc with tbf",
            Self::RateLimit | Self::Starved | Self::Reader | Self::Beside | Self::Encrypted | Self::Nothing => {
                "nothing"
            }
        }
    }

    pub(crate) fn can_be_made(self) -> bool {
        match self {
            Self::OriginDisk | Self::ClientDisk => runs("strace -f --seccomp-bpf -e trace=pread64 true"),
            Self::Link => super::scene::Narrow::new(1, 8).is_some(),
            Self::RateLimit | Self::Starved | Self::Reader | Self::Beside | Self::Encrypted | Self::Nothing => true,
        }
    }
}

/// Whether a command line, its words separated by spaces, succeeds.
pub(crate) fn runs(line: &str) -> bool {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Cause {
    /// The causes of this kind that are unambiguous.
    pub(crate) fn clear(kind: Kind) -> Vec<Self> {
        match kind {
            Kind::Nothing => vec![Self::Nothing { watched: false }, Self::Nothing { watched: true }],
            Kind::RateLimit => vec![Self::RateLimit { hop: 2, rate: 4_000_000 }],
            Kind::Starved => vec![Self::Starved { stage: 3, stopped_ms: 190, of_ms: 200 }],
            Kind::OriginDisk => vec![Self::OriginDisk { slower_us: 20_000 }],
            Kind::ClientDisk => vec![Self::ClientDisk { slower_us: 150_000 }],
            Kind::Link => vec![Self::Link { from: 3, mbit: 20 }],
            Kind::Reader => vec![Self::Reader { at: 1, rate: 500_000, chunk: 10_000, buffer: 60_000 }],
            Kind::Beside => {
                vec![Self::Starved { stage: 2, stopped_ms: 190, of_ms: 200 }.beside(2)]
            }
            Kind::Encrypted => {
                let limits = (1..=HOPS).map(|hop| Self::RateLimit { hop, rate: 4_000_000 });
                let others = [Kind::Starved, Kind::OriginDisk, Kind::ClientDisk, Kind::Link];
                let others = others.into_iter().filter(|kind| kind.can_be_made()).flat_map(Self::clear);
                let nothing = Self::Nothing { watched: false };
                limits.chain(others).chain([nothing]).map(|cause| Self::Encrypted(Box::new(cause))).collect()
            }
        }
    }

    /// One of this kind, at a random position and of random strength, but always the slowest in the chain.
    pub(crate) fn at_random(kind: Kind, random: &mut Random) -> Self {
        match kind {
            Kind::Nothing => Self::Nothing { watched: random.from(0, 1) == 1 },
            Kind::RateLimit => {
                Self::RateLimit { hop: random.from(1, HOPS as u64) as usize, rate: random.from(1_000_000, 30_000_000) }
            }
            Kind::Starved => {
                let of_ms = random.from(100, 400);
                let stopped_ms = of_ms * random.from(85, 95) / 100;
                Self::Starved { stage: random.from(0, HOPS as u64) as usize, stopped_ms, of_ms }
            }
            Kind::OriginDisk => Self::OriginDisk { slower_us: random.from(3_000, 30_000) },
            Kind::ClientDisk => Self::ClientDisk { slower_us: random.from(30_000, 200_000) },
            Kind::Link => Self::Link { from: random.from(1, HOPS as u64) as usize, mbit: random.from(8, 200) },
            Kind::Reader => Self::Reader {
                at: random.from(1, HOPS as u64) as usize,
                rate: random.from(20_000, 4_000_000),
                chunk: random.from(1_000, 40_000) as usize,
                buffer: random.from(8_000, 200_000) as usize,
            },
            Kind::Encrypted => {
                let kinds = [Kind::RateLimit, Kind::Starved, Kind::OriginDisk, Kind::ClientDisk, Kind::Link];
                let kinds: Vec<Kind> = kinds.into_iter().filter(|kind| kind.can_be_made()).collect();
                let kind = kinds[random.from(0, kinds.len() as u64 - 1) as usize];
                Self::Encrypted(Box::new(Self::at_random(kind, random)))
            }
            Kind::Beside => {
                let foreign = random.from(1, RELAYS as u64);
                let stage = random.from(foreign - 1, foreign + 1);
                // A stand-in has no rate limit, and neither has a client; whether a link can be made does not change
                // the rest.
                let kind = match random.from(0, 2) {
                    0 if Kind::Link.can_be_made() => Kind::Link,
                    1 if stage != foreign && stage != 0 => Kind::RateLimit,
                    _ => Kind::Starved,
                };
                let stage = if kind == Kind::Link { random.from(foreign, foreign + 1) } else { stage };
                Self::at_random(kind, random).moved_to(stage as usize).beside(foreign as usize)
            }
        }
    }

    /// The same in a chain where this hop speaks the legacy protocol.
    fn beside(self, foreign: usize) -> Self {
        Self::Beside { foreign, cause: Box::new(self) }
    }

    /// The same at another stage, or on the link from there down.
    fn moved_to(self, stage: usize) -> Self {
        match self {
            Self::RateLimit { rate, .. } => Self::RateLimit { hop: stage, rate },
            Self::Starved { stopped_ms, of_ms, .. } => Self::Starved { stage, stopped_ms, of_ms },
            Self::Link { mbit, .. } => Self::Link { from: stage, mbit },
            other => other,
        }
    }

    /// The hop that speaks the legacy protocol, if one does, and what is made slow.
    pub(crate) fn parts(&self) -> (Option<usize>, &Self) {
        match self {
            Self::Beside { foreign, cause } => (Some(*foreign), cause),
            Self::Encrypted(cause) => (None, cause),
            cause => (None, cause),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Nothing { .. } => Kind::Nothing,
            Self::RateLimit { .. } => Kind::RateLimit,
            Self::Starved { .. } => Kind::Starved,
            Self::OriginDisk { .. } => Kind::OriginDisk,
            Self::ClientDisk { .. } => Kind::ClientDisk,
            Self::Link { .. } => Kind::Link,
            Self::Reader { .. } => Kind::Reader,
            Self::Beside { .. } => Kind::Beside,
            Self::Encrypted(_) => Kind::Encrypted,
        }
    }

    /// Whether the verdict names it: the stage and the position, and no part of it that is not the cause; a client may
    /// report that it cannot distinguish its disk from its CPU. Without a cause, only naming one is wrong, and on a
    /// machine that all stages share, some CPU is always the slowest.
    pub(crate) fn is(&self, verdict: &serde_json::Value) -> bool {
        let is = |name: &str, value: usize| verdict[name].as_u64() == Some(value as u64);
        let (disk, processor) = (verdict["resource"] == "disk", verdict["resource"] == "processor");
        match (self, verdict["limit"].as_str().unwrap_or_default()) {
            (Self::Nothing { .. }, limit) => {
                !matches!(limit, "link" | "rate-limit" | "fault" | "receiver" | "unobserved")
            }
            (Self::RateLimit { hop, .. }, "rate-limit") => is("hop", *hop),
            (Self::Starved { stage: 0, .. }, "client") | (Self::Starved { stage: HOPS, .. }, "origin") => !disk,
            (Self::Starved { stage, .. }, "relay") => is("hop", *stage),
            (Self::OriginDisk { .. }, "origin") => disk,
            (Self::ClientDisk { .. }, "client") => !processor,
            (Self::Link { from, .. }, "link") => is("from", *from),
            (Self::Reader { at, .. }, "receiver") => is("from", *at) && is("to", 0),
            (Self::Beside { foreign, cause }, "unobserved") => {
                let ends = ["after", "before"].map(|end| verdict[end].as_u64().unwrap_or_default() as usize);
                let holds = |stage: usize| ends[0] < stage && stage < ends[1];
                holds(*foreign)
                    && match **cause {
                        Self::Link { from, .. } => ends[0] < from && from <= ends[1],
                        ref cause => cause.stage().is_some_and(holds),
                    }
            }
            (Self::Beside { cause, .. } | Self::Encrypted(cause), _) => cause.is(verdict),
            _ => false,
        }
    }

    /// The slow stage, if there is one.
    fn stage(&self) -> Option<usize> {
        match self {
            Self::RateLimit { hop, .. } => Some(*hop),
            Self::Starved { stage, .. } => Some(*stage),
            _ => None,
        }
    }
}

/// A generator of numbers that are the same in every run with the same seed.
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by `CHAINVIEW_CAUSES_SEED`.
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("CHAINVIEW_CAUSES_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        println!("CHAINVIEW_CAUSES_SEED={seed}");
        Self(0x9e37_79b9_7f4a_7c15 ^ seed)
    }

    /// One of the numbers from the first to the last.
    fn from(&mut self, first: u64, last: u64) -> u64 {
        // Xorshift; its first numbers after a small seed are alike, its high bits are not.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        first + (self.0 >> 16) % (last - first + 1)
    }
}
