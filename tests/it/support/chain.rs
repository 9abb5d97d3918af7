//! Chains of both programs: the program at each position, the running nodes, one fetch through them.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Outcome, Pace, process, standin};

/// One of the two programs at a position of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The legacy program, or its stand-in.
    Legacy,
    /// chainview.
    Chainview,
}

/// The program at each position: the client, the relays, the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape(pub(crate) Vec<Program>);

/// A running node of either program.
pub(crate) enum Node {
    StandIn(standin::Node),
    Legacy(process::Node),
    Chainview(process::Node),
}

/// A running chain: the nodes, the folder they serve, and one for its clients.
pub(crate) struct Chain {
    shape: Shape,
    nodes: Vec<Node>,
    protocol: &'static str,
    scratch: TempDir,
}

/// How the nodes of a chain became idle.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdleReport {
    /// What each chainview node holds, if they do not release all clients.
    pub(crate) ours: Vec<String>,
    /// The legacy nodes that still hold sockets or threads, and what they hold.
    pub(crate) legacy: Vec<String>,
    /// The time until the chainview nodes had released all clients.
    pub(crate) longest: Duration,
}

impl fmt::Display for Shape {
    /// One letter a position, the client first: `o` is the legacy program, `C` is chainview.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.0.iter().map(|program| if *program == Program::Legacy { "o" } else { "C" });
        f.pad(&letters.collect::<Vec<_>>().join("-"))
    }
}

impl Shape {
    /// Every combination of a client, this many relays and an origin.
    pub(crate) fn all(relays: usize) -> Vec<Self> {
        let positions = relays + 2;
        let program = |bits: usize, position: usize| match bits >> (positions - 1 - position) & 1 {
            0 => Program::Legacy,
            _ => Program::Chainview,
        };
        (0..1 << positions).map(|bits| Self((0..positions).map(|position| program(bits, position)).collect())).collect()
    }

    /// Whether no chainview program takes part.
    pub(crate) fn is_all_legacy(&self) -> bool {
        !self.0.contains(&Program::Chainview)
    }

    /// Whether two legacy relays are adjacent, and so wait for each other forever.
    pub(crate) fn has_adjacent_legacy_relays(&self) -> bool {
        self.0[1..self.0.len() - 1].windows(2).any(|pair| pair == [Program::Legacy; 2])
    }
}

impl Node {
    /// Starts the stand-in, or the legacy program if it is available.
    pub(crate) fn legacy(root: &Path) -> Self {
        match process::legacy_dir() {
            Some(program) => Self::Legacy(process::Node::legacy(&program, root)),
            None => Self::StandIn(standin::Node::start(root)),
        }
    }

    /// The address of its listener.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::StandIn(node) => node.address(),
            Self::Legacy(node) | Self::Chainview(node) => node.address(),
        }
    }

    /// Waits until it holds nothing for any client; the legacy program keeps its newest connection until the next one.
    pub(crate) fn becomes_idle(&self, timeout: Duration) -> bool {
        match self {
            Self::StandIn(node) => node.becomes_idle(timeout),
            Self::Legacy(node) => node.becomes_idle(1, 1, timeout),
            Self::Chainview(node) => node.becomes_idle(0, usize::MAX, timeout),
        }
    }

    /// What it holds, as text.
    pub(crate) fn holding(&self) -> String {
        let (sockets, threads) = match self {
            Self::StandIn(node) => (node.held().sockets, node.held().threads),
            // The main thread only accepts.
            Self::Legacy(node) => (node.held().0, node.held().1 - 1),
            Self::Chainview(node) => return format!("{} sockets", node.held().0),
        };
        format!("{sockets} sockets, {threads} threads")
    }
}

impl Chain {
    /// Starts the nodes of a shape, all serving one folder; chainview nodes use this protocol to their next hops.
    pub(crate) fn start(shape: &Shape, root: &Path, protocol: &'static str) -> Self {
        let node = |program: &Program| match program {
            Program::Legacy => Node::legacy(root),
            Program::Chainview => Node::Chainview(process::Node::chainview(root, &["--protocol", protocol])),
        };
        let nodes = shape.0[1..].iter().map(node).collect();
        Self { shape: shape.clone(), nodes, protocol, scratch: tempfile::tempdir().unwrap() }
    }

    /// Fetches a file over the chain with its own client; returns how that ended, and whether the bytes are right.
    pub(crate) fn fetch(&self, name: &str, expected: &[u8], pace: Pace) -> (Outcome, bool) {
        let folder = self.scratch.path();
        let input = folder.join("input.txt");
        let hops = self.nodes.iter().map(|node| format!("\n{} {}", node.address().ip(), node.address().port()));
        // No final newline: with one, the legacy program takes an origin for a relay.
        fs::write(&input, format!("{name}{}", hops.collect::<String>())).unwrap();
        let output = folder.join(name);
        let _ = fs::remove_file(&output);
        let outcome = match (self.shape.0[0], process::legacy_dir()) {
            (Program::Chainview, _) => process::fetch_chainview(&input, folder, pace, &["--protocol", self.protocol]),
            (Program::Legacy, Some(program)) => process::fetch_legacy(&program, &input, folder, pace),
            (Program::Legacy, None) => standin::fetch(&input, folder, pace),
        };
        let verified = fs::read(&output).is_ok_and(|bytes| bytes == expected);
        (outcome, verified)
    }

    /// Waits until every node holds nothing for any client; reports those that still do.
    ///
    /// Legacy nodes are only waited for where their faults do not keep them busy forever.
    pub(crate) fn wait_idle(&self) -> IdleReport {
        let start = Instant::now();
        let mut report = IdleReport::default();
        let holds = |(hop, node): (usize, &Node)| format!("hop {hop} holds {}", node.holding());
        let ours = |node: &Node| matches!(node, Node::Chainview(_));
        let (ours, legacy): (Vec<_>, Vec<_>) = (1..).zip(&self.nodes).partition(|(_, node)| ours(node));
        let nodes =
            ours.iter().filter_map(|(_, node)| if let Node::Chainview(node) = node { Some(node) } else { None });
        if !process::release_clients(&nodes.collect::<Vec<_>>(), RELEASE_TIMEOUT) {
            report.ours = ours.into_iter().map(holds).collect();
        }
        report.longest = start.elapsed();
        let others_idle = !self.shape.has_adjacent_legacy_relays();
        let end = Instant::now() + if others_idle { IDLE_TIMEOUT } else { Duration::ZERO };
        let left = || end.saturating_duration_since(Instant::now());
        report.legacy = legacy.into_iter().filter(|(_, node)| !node.becomes_idle(left())).map(holds).collect();
        report
    }
}

/// A report that a client requested through a relay is waited for until the setup timeout, 15 s, when the client has
/// disconnected: a client may close its sending half. A next hop that is a legacy node does not reply. The rest is a
/// margin for busy machines.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(18);
/// A chainview node lingers for 2 s, and then drains unread bytes for at most as long; the rest is a margin for busy
/// machines.
const IDLE_TIMEOUT: Duration = Duration::from_secs(6);
