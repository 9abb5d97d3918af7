//! Cases of the evaluation.

use proptest::prelude::*;

use super::*;
use crate::faults::Faults;
use crate::snapshot::{Load, TcpSnapshot, TransferRecord};

/// One second, with these percentages waiting to read, to write and for the rate limit.
fn flow(read: u64, write: u64, limited: u64) -> Flow {
    Flow {
        bytes_in: 1 << 20,
        bytes_out: 1 << 20,
        starved_us: read * 10_000,
        blocked_us: write * 10_000,
        limited_us: limited * 10_000,
        active_us: 1_000_000,
        ..Flow::default()
    }
}

/// Hops 1, 2 and so on; `None` is unobserved.
fn chain(hops: &[Option<Flow>]) -> Vec<Stage> {
    let stage = |(at, flow): (usize, &Option<Flow>)| Stage {
        number: at + 1,
        reports: flow.is_some(),
        flow: flow.unwrap_or_default(),
        ..Stage::default()
    };
    hops.iter().enumerate().map(stage).collect()
}

fn limit(client: Flow, hops: &[Option<Flow>]) -> Limit {
    evaluate(&client, &chain(hops)).limit
}

const WAITS: u64 = 90;

#[test]
fn the_slow_stage_is_named() {
    let (reads, writes, works) = (Some(flow(WAITS, 2, 0)), Some(flow(2, 88, 0)), Some(flow(5, 5, 0)));
    let client = flow(WAITS, 0, 0);
    assert_eq!(limit(client, &[reads, reads, writes]), Limit::Link { from: 3, to: 2, cause: LinkCause::Unknown });
    assert_eq!(limit(client, &[reads, writes, writes]), Limit::Link { from: 2, to: 1, cause: LinkCause::Unknown });
    assert_eq!(limit(client, &[writes, writes, writes]), Limit::Link { from: 1, to: 0, cause: LinkCause::Unknown });
    assert_eq!(limit(client, &[reads, reads, works]), Limit::Origin { hop: 3, resource: Resource::Processor });
    assert_eq!(limit(client, &[reads, reads, reads]), Limit::Origin { hop: 3, resource: Resource::Disk });
    assert_eq!(limit(client, &[works]), Limit::Origin { hop: 1, resource: Resource::Processor });
    assert_eq!(limit(client, &[reads, works, writes]), Limit::Relay { hop: 2 });
    assert_eq!(limit(client, &[works, writes, writes]), Limit::Relay { hop: 1 });
    assert_eq!(limit(flow(5, 80, 0), &[writes, writes, writes]), Limit::Client { resource: Resource::Disk });
    assert_eq!(limit(flow(5, 5, 0), &[writes, writes, writes]), Limit::Client { resource: Resource::Processor });
    assert_eq!(limit(flow(20, 20, 0), &[works, works, works]), Limit::Balanced);
    assert_eq!(limit(flow(60, 0, 0), &[Some(flow(40, 40, 0)), reads, works]), Limit::Balanced);
    assert_eq!(limit(client, &[reads, reads, Some(flow(20, 40, 0))]), Limit::Balanced);
    assert_eq!(limit(client, &[works, works, works]), Limit::Balanced);
}

#[test]
fn rate_limits_take_precedence_the_one_nearest_to_the_origin_first() {
    let (reads, writes, limited) = (Some(flow(WAITS, 2, 0)), Some(flow(2, 88, 0)), Some(flow(1, 2, 90)));
    let client = flow(WAITS, 0, 0);
    assert_eq!(limit(client, &[reads, limited, writes]), Limit::RateLimit { hop: 2, rate: 1 << 20 });
    assert_eq!(limit(client, &[limited, limited, writes]), Limit::RateLimit { hop: 2, rate: 1 << 20 });
    let mut hops = chain(&[reads, limited]);
    hops[1].faults.limit = Some(2_000_000);
    assert_eq!(evaluate(&client, &hops).to_string(), "slowest: hop 2, rate-limited to 2.0 MB/s");
}

#[test]
fn unobserved_hops_are_bracketed_if_they_can_be_the_cause() {
    let (reads, writes, works) = (Some(flow(WAITS, 2, 0)), Some(flow(2, 88, 0)), Some(flow(5, 5, 0)));
    let client = flow(WAITS, 0, 0);
    assert_eq!(limit(client, &[reads, None, writes]), Limit::Unobserved { after: 1, before: 3 });
    assert_eq!(limit(client, &[None, None, writes]), Limit::Unobserved { after: 0, before: 3 });
    assert_eq!(limit(client, &[reads, reads, None]), Limit::Unobserved { after: 2, before: 3 });
    assert_eq!(limit(client, &[None, None, None]), Limit::Unobserved { after: 0, before: 3 });
    assert_eq!(limit(flow(5, 5, 0), &[None, writes, writes]), Limit::Unobserved { after: 0, before: 2 });
    assert_eq!(limit(client, &[reads, None, works]), Limit::Origin { hop: 3, resource: Resource::Processor });
    assert_eq!(limit(client, &[None, reads, writes]), Limit::Link { from: 3, to: 2, cause: LinkCause::Unknown });
    assert_eq!(limit(flow(5, 80, 0), &[None, None, None]), Limit::Client { resource: Resource::Disk });
    let late = Some(Flow { active_us: MIN_HOP_US - 1, ..flow(2, 88, 0) });
    assert_eq!(limit(client, &[reads, late]), Limit::Unobserved { after: 1, before: 2 });
}

#[test]
fn records_are_evidence() {
    let faults = Faults { limit: Some(5), ..Faults::default() };
    let account = TransferRecord { flow: flow(1, 2, 90), faults, ..TransferRecord::default() };
    let stages = Stage::of(&[None, Some(account)]);
    assert_eq!((stages[0].reports, stages[1].number), (false, 2));
    assert_eq!(evaluate(&flow(WAITS, 0, 0), &stages).limit, Limit::RateLimit { hop: 2, rate: 5 });
}

#[test]
fn too_short_or_idle_transfers_are_not_evaluated() {
    let writes = Some(flow(2, 88, 0));
    let short = Flow { active_us: MIN_CLIENT_US - 1, ..flow(40, 0, 0) };
    let stuck = Flow { bytes_in: 0, ..flow(WAITS, 0, 0) };
    assert_eq!([limit(short, &[writes]), limit(stuck, &[writes])], [Limit::Measuring; 2]);
    assert_eq!(limit(flow(WAITS, 0, 0), &[]), Limit::Measuring);
}

/// The same stage with kernel figures: the socket was busy, and the window full, these percentages of the time.
fn kernel(stage: &Stage, busy: u64, full: u64, rtt_us: u64, retransmits: u64) -> Stage {
    let (busy_us, receiver_limited_us) = (busy * 10_000, full * 10_000);
    let tcp = TcpSnapshot { rtt_us, retransmits, busy_us, receiver_limited_us, ..TcpSnapshot::default() };
    Stage { tcp: Some(tcp), ..*stage }
}

#[test]
fn kernel_figures_distinguish_network_and_receiver() {
    let client = flow(WAITS, 0, 0);
    let chain = chain(&[Some(flow(WAITS, 2, 0)), Some(flow(2, 95, 0)), Some(flow(2, 95, 0))]);
    let with = |busy, full, rtt_us, lost| {
        let hops = [kernel(&chain[0], 10, 0, 90, 0), kernel(&chain[1], busy, full, rtt_us, lost), chain[2]];
        evaluate(&client, &hops).limit
    };
    assert_eq!(with(100, 0, 40_000, 0), Limit::Link { from: 2, to: 1, cause: LinkCause::Congestion });
    assert_eq!(with(100, 0, 40_000, 9), Limit::Link { from: 2, to: 1, cause: LinkCause::Loss });
    assert_eq!(with(100, 90, 80_000, 0), Limit::Link { from: 2, to: 1, cause: LinkCause::RoundTrip });
    assert_eq!(with(100, 90, 90, 0), Limit::Relay { hop: 1 }, "its window is full of what arrived at once");
    // Hop 2 waits by its own clock, but had nothing to send in the kernel: it was not scheduled.
    let hops = [kernel(&chain[0], 10, 0, 90, 0), kernel(&chain[1], 8, 0, 90, 0), kernel(&chain[2], 100, 90, 90, 0)];
    assert_eq!(evaluate(&client, &hops).limit, Limit::Relay { hop: 2 });
    let hops = [chain[0], kernel(&chain[1], 8, 0, 90, 0)];
    assert_eq!(evaluate(&client, &hops).limit, Limit::Origin { hop: 2, resource: Resource::Processor });
}

#[test]
fn other_clients_are_evaluated_from_their_first_hop() {
    let (reads, works) = (Some(flow(WAITS, 2, 0)), Some(flow(5, 5, 0)));
    let blocked = chain(&[Some(flow(2, 95, 0)), Some(flow(2, 95, 0))]);
    let with = |busy, full, rtt_us, under_way| {
        let mut first = kernel(&blocked[0], busy, full, rtt_us, 0);
        first.tcp = first.tcp.map(|tcp| TcpSnapshot { under_way, min_rtt_us: rtt_us, ..tcp });
        evaluate_others(&[first, blocked[1]]).limit
    };
    let (stranger, unseen) = (Limit::Receiver { from: 1, to: 0 }, Limit::Unobserved { after: 0, before: 1 });
    assert_eq!(with(100, 90, 90, 50), stranger);
    assert_eq!(with(100, 90, 80_000, 0), stranger, "all that was sent has arrived, however long the way is");
    assert_eq!(with(100, 90, 80_000, 50), unseen, "it may be on its way");
    let near = |under_way| {
        let mut first = kernel(&blocked[0], 100, 70, 15_000, 0);
        first.tcp = first.tcp.map(|tcp| TcpSnapshot { under_way, min_rtt_us: 5, ..tcp });
        evaluate_others(&[first, blocked[1]]).limit
    };
    assert_eq!((near(3), near(50)), (stranger, unseen), "acknowledged late, and in a queue");
    assert_eq!(with(100, 5, 40_000, 50), Limit::Link { from: 1, to: 0, cause: LinkCause::Congestion });
    assert_eq!(with(100, 5, 90, 50), unseen);
    assert_eq!(evaluate_others(&blocked).limit, unseen, "without kernel figures");
    let others = |hops: &[Option<Flow>]| evaluate_others(&chain(hops)).limit;
    assert_eq!(others(&[reads, works]), Limit::Origin { hop: 2, resource: Resource::Processor });
    assert_eq!(others(&[works, blocked[0].flow.into()]), Limit::Relay { hop: 1 });
    assert_eq!(others(&[reads, Some(flow(1, 2, 90))]), Limit::RateLimit { hop: 2, rate: 1 << 20 });
    assert_eq!(others(&[None, Some(flow(2, 95, 0))]), Limit::Unobserved { after: 0, before: 2 });
    assert_eq!([others(&[]), others(&[Some(Flow::default())])], [Limit::Measuring; 2]);
    // They connected to hop 2: hop 1 reports none of these bodies.
    let idle = Stage { number: 1, reports: true, ..Stage::default() };
    let second = kernel(&blocked[1], 100, 90, 90, 0);
    assert_eq!(evaluate_others(&[idle, second]).limit, Limit::Receiver { from: 2, to: 0 });
}

#[test]
fn injected_faults_are_named_before_their_effects() {
    let mut hops = chain(&[Some(flow(WAITS, 2, 0)), Some(flow(2, 5, 0)), Some(flow(2, 95, 0))]);
    hops[1].faults.fragment = Some(7);
    let limit_of = |hops: &[Stage], bytes_in| evaluate(&Flow { bytes_in, ..flow(WAITS, 0, 0) }, hops).limit;
    assert_eq!(limit_of(&hops, 9), Limit::Fault { hop: 2, fault: FaultKind::Fragment });
    hops[1].faults.fragment = Some(60_000);
    assert_eq!(limit_of(&hops, 9), Limit::Relay { hop: 2 }, "such pieces cost nothing");
    // The stages downstream of the fragmenting hop have as many pieces to move.
    hops[1].faults.fragment = None;
    hops[2].faults.fragment = Some(7);
    assert_eq!(limit_of(&hops, 9), Limit::Fault { hop: 3, fault: FaultKind::Fragment });
    hops[0].faults.fragment = Some(7);
    hops[2].faults.fragment = None;
    assert_eq!(limit_of(&hops, 9), Limit::Relay { hop: 2 }, "those above it have not");
    hops[2].faults.stall = true;
    assert_eq!(limit_of(&hops, 0), Limit::Fault { hop: 3, fault: FaultKind::Stall });
    hops[2].faults.stall = false;
    hops[1].flow = flow(1, 1, 95);
    assert_eq!(limit_of(&hops, 9), Limit::RateLimit { hop: 2, rate: 1 << 20 });
}

#[test]
fn a_delay_is_named_if_it_took_most_of_the_time() {
    let delayed = |reply_us, flow: Flow| Some(Flow { reply_us, ..flow });
    let hops =
        chain(&[delayed(0, flow(WAITS, 2, 0)), delayed(900_000, flow(WAITS, 2, 0)), delayed(200_000, flow(2, 5, 0))]);
    let verdict_of = |reply_us, active: Flow| evaluate(&Flow { reply_us, ..active }, &hops);
    let named = Limit::Fault { hop: 2, fault: FaultKind::Delay };
    let verdict = verdict_of(1_100_000, Flow { active_us: 100_000, ..flow(WAITS, 0, 0) });
    assert_eq!((verdict.limit, verdict.confidence), (named, Confidence::High));
    assert_eq!(verdict.to_string(), "slowest: hop 2, injected delay, 75% of the time");
    assert_eq!(verdict_of(1_100_000, Flow::default()).limit, named, "nothing has come yet");
    // The same delay before a longer body: the limit of the body is named.
    let body = Flow { active_us: 10_000_000, starved_us: 9_000_000, ..flow(WAITS, 0, 0) };
    assert_eq!(verdict_of(1_100_000, body).limit, Limit::Origin { hop: 3, resource: Resource::Processor });
    // A reply that is slow for another reason is not an injected delay.
    assert_eq!(evaluate(&Flow { reply_us: 2_000_000, ..Flow::default() }, &hops[..1]).limit, Limit::Measuring);
    let silent = chain(&[None, delayed(900_000, flow(WAITS, 2, 0)), None]);
    assert_eq!(evaluate(&Flow { reply_us: 1_000_000, ..Flow::default() }, &silent).limit, named);
    let short = Flow { reply_us: MIN_CLIENT_US - 1, ..Flow::default() };
    assert_eq!(evaluate(&short, &hops).limit, Limit::Measuring, "not seen for long enough");
}

#[test]
fn an_unscheduled_client_is_detected_by_its_timer() {
    let writes = Some(flow(2, 88, 0));
    let late = |read, write, late: u64, hops: &[Option<Flow>]| {
        limit(Flow { sched_delay_us: late * 10_000, ..flow(read, write, 0) }, hops)
    };
    let client = |resource| Limit::Client { resource };
    assert_eq!(late(5, 80, 9, &[writes]), client(Resource::Disk));
    assert_eq!(late(5, 80, 30, &[writes]), client(Resource::Either));
    assert_eq!(late(5, 80, 70, &[writes]), client(Resource::Processor));
    assert_eq!(late(5, 5, 0, &[writes]), client(Resource::Processor));
    // By its own clock it waits for input; after an unobserved hop, only its timer shows the delay.
    assert_eq!(late(95, 2, 80, &[None, writes]), client(Resource::Processor));
    assert_eq!(late(95, 2, 20, &[None, writes]), Limit::Unobserved { after: 0, before: 2 });
    let mut hops = chain(&[Some(flow(WAITS, 2, 0)), None, writes]);
    let limit_of = |hops: &[Stage]| evaluate(&flow(WAITS, 0, 0), hops).limit;
    assert_eq!(limit_of(&hops), Limit::Unobserved { after: 1, before: 3 });
    hops[0].load = Some(Load { sched_delay_us: 800_000, ..Load::default() });
    assert_eq!(limit_of(&hops), Limit::Relay { hop: 1 });
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let small = || prop_oneof![0u64..2_000_000, any::<u64>()];
    (small(), small(), small(), small(), small()).prop_map(|(bytes, read, write, limited, active)| Flow {
        bytes_in: bytes,
        bytes_out: bytes,
        starved_us: read,
        blocked_us: write,
        limited_us: limited,
        active_us: active,
        ..Flow::default()
    })
}

proptest! {
    #[test]
    fn any_flow_is_evaluated_and_idle_ones_have_no_limit(
        client in any_flow(),
        hops in proptest::collection::vec(proptest::option::of(any_flow()), 0..5),
    ) {
        let hops = chain(&hops);
        let verdict = evaluate(&client, &hops);
        prop_assert!((0.0..=1.0).contains(&verdict.share), "{verdict:?}");
        prop_assert!(!verdict.to_string().is_empty());
        let still = Flow { bytes_in: 0, bytes_out: 0, ..client };
        prop_assert_eq!(evaluate(&still, &hops).limit, Limit::Measuring);
        prop_assert_eq!(evaluate(&Flow::default(), &hops).limit, Limit::Measuring);
    }
}
