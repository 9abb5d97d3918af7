//! A node: one listener, what it may do, and the sessions it owns.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::access::Access;
use super::clock::Clock;
use super::limits::Limits;
use super::policy::Policy;
use super::registry::Registry;
use crate::meter::Bucket;
use crate::snapshot::NodeSnapshot;

/// What a node is told when it starts.
#[derive(Debug)]
pub struct NodeConfig {
    /// Whom it may dial.
    pub policy: Policy,
    /// Who may read its pages.
    pub access: Access,
    /// How long anything may take.
    pub limits: Limits,
    /// Bytes per second it may send downstream, all connections together.
    pub limit: Option<u64>,
    /// How long it holds each reply back.
    pub delay: Duration,
    /// Most connections at once.
    pub max_connections: usize,
}

/// A listening node; its sessions share it.
#[derive(Debug)]
pub struct Node {
    /// What it was told.
    pub config: NodeConfig,
    /// The listener's own address.
    pub address: SocketAddr,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// The cap, if there is one.
    pub bucket: Option<Mutex<Bucket>>,
    id: String,
    draining: AtomicBool,
}

impl Node {
    /// A node for a listener that is bound to `address`.
    pub fn new(config: NodeConfig, address: SocketAddr, id: String) -> Arc<Self> {
        let bucket = config.limit.map(|rate| Mutex::new(Bucket::new(rate)));
        Arc::new(Self {
            config,
            address,
            registry: Registry::new(Clock::start()),
            bucket,
            id,
            draining: AtomicBool::new(false),
        })
    }

    /// The node takes no new work from now on.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// The node takes no new work.
    pub fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// The node at this moment.
    pub fn snapshot(&self) -> NodeSnapshot {
        let mut snapshot = NodeSnapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.id.as_str().into(),
            pid: std::process::id(),
            address: self.address.to_string().into(),
            policy: self.config.policy.to_string().into(),
            wires: vec!["http".into(), "seed".into()],
            draining: self.draining(),
            limit: self.config.limit,
            delay_ms: self.config.delay.as_millis() as u64,
            ..NodeSnapshot::default()
        };
        self.registry.fill(&mut snapshot);
        snapshot
    }
}
