//! Snapshots as a chain of nodes would report them, with every figure fixed.

use std::time::Duration;

use chainview::route::Protocol;
use chainview::snapshot::verdict::{Limit, LinkCause, Verdict};
use chainview::snapshot::{
    ChainSnapshot, ConnRole, ConnSnapshot, ConnState, ConnectionProgress, ConnectionState, ConnectionsProgress,
    ConnectionsStep, FileOutcome, FileResult, Flow, FolderProgress, HopLink, HopSnapshot, Integrity, Level, LogLine,
    NodeSnapshot, Phase, RATE_SAMPLES, ReceivedRange, RouteProgress, RouteState, TcpSnapshot, Totals, TransferSnapshot,
    UpstreamTotals,
};
use chainview::waterfall;
use chainview::wire::Leg;

/// Two relays and an origin, all started by this program, with nothing moving yet.
pub(crate) fn idle() -> ChainSnapshot {
    let hops = (1..=3).map(|number| hop(number, 7000 + number as u16, number == 3)).collect();
    ChainSnapshot {
        generation: 1,
        source: "demo".into(),
        folder: "/tmp/demo".into(),
        file: "assets/sample.bin".into(),
        hops,
        log: vec![log(1, Level::Info, Some(1), "listening on 127.0.0.1:7001, relays to loopback")],
        ..ChainSnapshot::default()
    }
}

/// The same chain with one transfer halfway; hop 2 is rate-limited.
pub(crate) fn streaming() -> ChainSnapshot {
    let mut chain = idle();
    chain.generation = 2;
    for hop in &mut chain.hops {
        let open = u64::from(hop.number == 2) + 2;
        hop.rate_in = if hop.origin { 0 } else { 41_300_000 };
        hop.rate_out = 41_200_000;
        hop.history = (0..RATE_SAMPLES as u64).map(|i| 20_000_000 + (i % 60) * 350_000).collect();
        (hop.starved_share, hop.blocked_share, hop.limited_share) = match hop.number {
            1 => (Some(0.96), Some(0.02), Some(0.0)),
            2 => (Some(0.05), Some(0.06), Some(0.88)),
            _ => (Some(0.01), Some(0.97), Some(0.0)),
        };
        hop.tcp = Some(tcp());
        // Hop 2 is limited, so that the buffers above it are full.
        hop.buffered = [None, Some(65_000), Some(2_230_000), Some(3_900_000)][hop.number];
        let (number, origin) = (hop.number, hop.origin);
        let node = hop.node.as_mut().expect("every hop of the fixture reports");
        node.totals.open = open;
        node.totals.flow.bytes_out = 9_720_000_000;
        node.connections = vec![conn(number, origin), page()];
    }
    chain.hops[1].node.as_mut().expect("hop 2 reports").faults.limit = Some(50_000_000);
    chain.transfers = vec![transfer(1, Phase::Streaming)];
    let leg = |connect_ms, wait_ms| Leg { resolve_ms: 0.0, connect_ms, wait_ms };
    chain.transfers[0].waterfall =
        waterfall::rows(&[leg(0.3, 78.9), leg(0.4, 78.2), leg(38.4, 39.6)], &[], (Some(79.5), None));
    chain.verdict = Verdict { limit: Limit::RateLimit { hop: 2, rate: 50_000_000 }, share: 0.88, ..Verdict::default() };
    chain.log.push(log(2, Level::Info, None, "#1 assets/sample.bin: fetching through 3 hops"));
    chain.log.push(log(3, Level::Warn, Some(2), "the rate limit of 50.0 MB/s delays every byte"));
    chain
}

/// The streaming chain with four running transfers, eight queued ones and two that ended, and a connection of each
/// running one at every hop.
pub(crate) fn busy() -> ChainSnapshot {
    let mut chain = streaming();
    let phases = [[Phase::Done; 2].as_slice(), &[Phase::Streaming; 4], &[Phase::Queued; 8]].concat();
    let setup = chain.transfers[0].waterfall.clone();
    chain.transfers = phases.into_iter().zip(1..).map(|(phase, number)| transfer(number, phase)).collect();
    for transfer in chain.transfers.iter_mut().filter(|t| t.phase == Phase::Streaming) {
        transfer.rate = 10_300_000;
        transfer.received -= transfer.number * 100_000_000;
        transfer.eta = Some(Duration::from_secs(100 + 10 * transfer.number));
        transfer.waterfall.clone_from(&setup);
    }
    for hop in &mut chain.hops {
        let (number, origin) = (hop.number, hop.origin);
        let node = hop.node.as_mut().expect("every hop of the fixture reports");
        node.totals.open = 5;
        let running = (3..=6).map(|n| ConnSnapshot {
            id: n,
            peer: format!("127.0.0.1:5{number}8{n:02}").into(),
            transfer: format!("6f1c{n:04}").into(),
            ..conn(number, origin)
        });
        node.connections = running.chain([page()]).collect();
    }
    chain
}

/// The streaming chain with a folder that is being received, one that has been, and one of which files failed.
pub(crate) fn folders() -> ChainSnapshot {
    let mut chain = streaming();
    let result = |number: u64, outcome| FileResult {
        path: format!("2024-06/IMG_{number:04}.jpg").into(),
        size: 4_096 + number,
        outcome,
        error: (outcome == FileOutcome::Failed)
            .then(|| "cannot write 2024-06/IMG_0007.jpg: no space left on device".into()),
    };
    let folder = |number, phase, failed, done| {
        let mut progress = FolderProgress { total: Some(2000), omitted: 2, ..FolderProgress::default() };
        (0..failed).for_each(|at| progress.record(result(7 + at, FileOutcome::Failed)));
        (0..done).for_each(|at| progress.record(result(100 + at, FileOutcome::Verified)));
        (0..4).for_each(|at| progress.record(result(at, FileOutcome::Present)));
        let name = "pictures/".into();
        TransferSnapshot {
            name,
            path: "/tmp/demo/pictures/".into(),
            size: Some(8_192_000),
            received: 4096 * (failed + done + 4),
            folder: Some(progress),
            integrity: Integrity::Pending,
            ..transfer(number, phase)
        }
    };
    let mut running = folder(1, Phase::Streaming, 3, 1200);
    running.waterfall = std::mem::take(&mut chain.transfers[0].waterfall);
    running.folder.as_mut().expect("a folder").current = Some("2024-06/IMG_1304.jpg".into());
    let mut failed = folder(3, Phase::Failed, 3, 1993);
    failed.error = Some("3 files of pictures/ were not received".into());
    chain.transfers = vec![running, folder(2, Phase::Done, 0, 1996), failed];
    chain
}

/// A chain of ten hops in every state a hop can be in, and transfers in every phase.
pub(crate) fn mixed() -> ChainSnapshot {
    let mut chain = streaming();
    chain.hops = (1..=10).map(|number| hop(number, 7000 + number as u16, number == 10)).collect();
    chain.hops[1].link = HopLink::Attached;
    chain.hops[1].age = Duration::from_millis(4200);
    chain.hops[2].link = HopLink::Legacy;
    chain.hops[2].node = None;
    chain.hops[3].link = HopLink::Foreign;
    chain.hops[3].node = None;
    chain.hops[4].link = HopLink::Down { reason: "connection refused: is a node running there?".into() };
    chain.hops[4].ours = true;
    chain.hops[5].link = HopLink::Starting;
    chain.hops[5].node = None;
    chain.hops[6].link = HopLink::Unknown;
    chain.hops[6].node = None;
    chain.hops[7].label = "dmz-jump-host".into();
    chain.hops[8].node.as_mut().expect("hop 9 reports").draining = true;
    let phases = [
        Phase::Queued,
        Phase::Connecting,
        Phase::Waiting,
        Phase::Streaming,
        Phase::Verifying,
        Phase::Done,
        Phase::Failed,
        Phase::Cancelled,
    ];
    chain.transfers = phases.iter().zip(1..).map(|(phase, number)| transfer(number, *phase)).collect();
    chain
}

/// A transfer in this phase, with the matching fields.
pub(crate) fn transfer(number: u64, phase: Phase) -> TransferSnapshot {
    let mut t = TransferSnapshot {
        number,
        id: format!("6f1c{number:04}").into(),
        name: "assets/sample.bin".into(),
        path: "/tmp/demo/sample.bin".into(),
        phase,
        elapsed: Duration::from_secs(32),
        ..TransferSnapshot::default()
    };
    match phase {
        Phase::Queued | Phase::Connecting | Phase::Waiting | Phase::Locked => {}
        Phase::Streaming | Phase::Retrying | Phase::Paused | Phase::Cancelled => {
            t.size = Some(2_730_000_000);
            t.received = 1_310_000_000;
            t.rate = 41_200_000;
            (t.flow.bytes_in, t.flow.bytes_out) = (t.received, t.received);
            t.eta = Some(Duration::from_secs(35));
        }
        Phase::Verifying | Phase::Done => {
            t.size = Some(2_730_000_000);
            t.received = 2_730_000_000;
            t.rate = 41_200_000;
            t.integrity = Integrity::Verified { digest: format!("blake3:{}", "6f1c9a20".repeat(8)) };
        }
        Phase::Failed => {
            t.error = Some(
                "hop 2 (127.0.0.1:7002): connection refused, reported by hop 1 after 0.8 ms: is a node running there?"
                    .into(),
            );
        }
    }
    t
}

fn hop(number: usize, port: u16, origin: bool) -> HopSnapshot {
    let address = format!("127.0.0.1:{port}");
    let node = NodeSnapshot {
        node: format!("run{number}").into(),
        pid: 810 + number as u32,
        address: address.as_str().into(),
        uptime_us: 5_000_000,
        totals: Totals { open: 1, accepted: 4, ..Totals::default() },
        ..NodeSnapshot::default()
    };
    HopSnapshot {
        number,
        address: address.as_str().into(),
        label: address.into(),
        origin,
        link: HopLink::Spawned { pid: 810 + number as u32 },
        ours: true,
        node: Some(node),
        age: Duration::from_millis(120),
        ..HopSnapshot::default()
    }
}

fn conn(number: usize, origin: bool) -> ConnSnapshot {
    ConnSnapshot {
        id: 4,
        state: ConnState::Streaming,
        role: if origin { ConnRole::Origin } else { ConnRole::Relay },
        peer: "127.0.0.1:51812".into(),
        upstream: if origin { "".into() } else { format!("127.0.0.1:{}", 7001 + number).into() },
        protocol: Some(Protocol::Http),
        upstream_protocol: (!origin).then_some(Protocol::Http),
        transfer: "6f1c0001".into(),
        name: "assets/sample.bin".into(),
        size: Some(2_730_000_000),
        age_ms: 33_400,
        tcp: Some(tcp()),
        queued_out: 2_100_000,
        flow: Flow {
            bytes_in: 1_312_000_000,
            bytes_out: 1_310_000_000,
            starved_us: 900_000,
            blocked_us: 31_000_000,
            active_us: 33_000_000,
            ..Flow::default()
        },
        ..ConnSnapshot::default()
    }
}

fn tcp() -> TcpSnapshot {
    TcpSnapshot {
        rtt_us: 38_200,
        min_rtt_us: 37_900,
        cwnd: 42,
        under_way: 4,
        retransmits: 311,
        delivery_rate: 41_300_000,
        busy_us: 30_000_000,
        receiver_limited_us: 300_000,
        buffer_limited_us: 0,
        tolerates_loss: false,
    }
}

fn page() -> ConnSnapshot {
    ConnSnapshot {
        id: 1,
        state: ConnState::Admin,
        peer: "127.0.0.1:51790".into(),
        protocol: Some(Protocol::Http),
        age_ms: 62_000,
        ..ConnSnapshot::default()
    }
}

fn log(number: u64, level: Level, hop: Option<usize>, text: &str) -> LogLine {
    LogLine { number, second_of_day: 36_266 + number as u32, level, hop, text: text.into() }
}

/// The busy chain behind shared connections: each relay keeps idle ones to the next hop, which lists them as idle.
pub(crate) fn sharing() -> ChainSnapshot {
    let mut chain = busy();
    for hop in &mut chain.hops {
        let (number, origin) = (hop.number, hop.origin);
        let node = hop.node.as_mut().expect("every hop of the fixture reports");
        if !origin {
            node.upstream = UpstreamTotals { idle: 12, opened: 100, reused: 4_900, ..UpstreamTotals::default() };
        }
        if number > 1 {
            let idle = (20..32).map(|id| ConnSnapshot {
                id,
                state: ConnState::Idle,
                peer: format!("127.0.0.1:5{number}9{id}").into(),
                age_ms: 9_000,
                ..ConnSnapshot::default()
            });
            // They were accepted before the others.
            node.connections = idle.chain(std::mem::take(&mut node.connections)).collect();
            node.totals.open += 12;
        }
    }
    chain
}

/// The streaming chain with a transfer over six connections of its own route and two of another one.
pub(crate) fn routes() -> ChainSnapshot {
    /// An eighth of the file.
    const PIECE: u64 = 341_250_000;
    let mut chain = streaming();
    let connection = |number: u64| {
        let from = (number - 1) * PIECE;
        let received = PIECE / 16 * (7 + number % 3);
        ConnectionProgress {
            number: number as usize,
            route: if number > 6 { 2 } else { 1 },
            id: format!("6f1c{number:04}").into(),
            tunnel: "".into(),
            state: ConnectionState::Receiving,
            from,
            at: from + received,
            end: from + PIECE,
            received,
            rate: 5_100_000 + 100_000 * number,
            error: None,
        }
    };
    let connections: Vec<ConnectionProgress> = (1..=8).map(connection).collect();
    let map = connections.iter().map(|c| ReceivedRange { from: c.from, to: c.at, route: c.route as u8 }).collect();
    let link = |from, to| Limit::Link { from, to, cause: LinkCause::Loss };
    let route = |number: usize, state, chain: &str| {
        let own = || connections.iter().filter(move |c| c.route == number);
        RouteProgress {
            number,
            chain: chain.into(),
            received: own().map(|c| c.received).sum(),
            rate: own().map(|c| c.rate).sum(),
            state,
            verdict: Some(Verdict { limit: link(number + 1, number), share: 0.9, ..Verdict::default() }),
            ..RouteProgress::default()
        }
    };
    let routes = vec![
        route(1, RouteState::Active, "127.0.0.1:7001, 127.0.0.1:7002, 127.0.0.1:7003"),
        route(2, RouteState::Active, "198.51.100.7:9101, 198.51.100.8:9101"),
    ];
    let step = |at, route, from, to, reason: &str| ConnectionsStep {
        at: Duration::from_millis(at),
        route,
        from,
        to,
        reason: reason.into(),
    };
    let steps = vec![
        step(1_200, 1, 1, 2, "link 2 to 1 loses packets: 2 connections"),
        step(2_400, 1, 2, 4, "link 2 to 1 loses packets: 4 connections"),
        step(2_900, 2, 1, 2, "link 3 to 2 loses packets: 2 connections"),
        step(3_700, 1, 4, 4, "4 connections brought 1.8 x"),
        step(5_100, 1, 8, 6, "back to 6: 8 connections brought 1.1 x so far, while link 2 to 1 still loses packets"),
    ];
    let transfer = &mut chain.transfers[0];
    transfer.received = connections.iter().map(|c| c.received).sum();
    transfer.rate = connections.iter().map(|c| c.rate).sum();
    transfer.connections =
        Some(ConnectionsProgress { routes, connections, map, steps, ..ConnectionsProgress::default() });
    chain
}
