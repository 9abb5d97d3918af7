//! The queue during transfers: paused, resumed, rate-limited, retried, listed and saved on exit.

use std::time::Duration;

use chainview::command::Command;
use chainview::faults::FaultChange;
use chainview::route::FileName;
use chainview::snapshot::timing::Step;
use chainview::snapshot::verdict::{FaultKind, Limit};
use chainview::snapshot::{ConnState, Phase};

use super::Run;

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_transfer_holds_no_connection_and_resumes() {
    let run = Run::up(2, 3_000_000, "--limit 1=1M").await;
    run.command(Command::Fetch).await;
    run.transfer(1, "under way", |transfer| transfer.received > 300_000).await;
    run.command(Command::Pause(1)).await;
    let paused = run.phase(1, Phase::Paused).await;
    assert!(paused.received > 0 && paused.error.is_none() && paused.rate == 0, "{paused:?}");
    run.logs(None, "#1 is paused").await;
    assert!(run.chain.fetched("data.bin.part").exists());
    // Only the test's own request for the endpoint remains.
    run.hop(1, "without a transfer", |hop| hop.node.as_ref().is_some_and(|node| node.totals.open == 1)).await;
    run.command(Command::Pause(1)).await;
    run.logs(None, "#1 is paused: there is nothing to pause").await;
    run.command(Command::Resume(1)).await;
    let done = run.phase(1, Phase::Done).await;
    assert!(done.resumed_from > 0 && done.resumed_from >= paused.received / 2, "{done:?}");
    assert_eq!(std::fs::read(run.chain.fetched("data.bin")).unwrap(), run.chain.content);
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_slows_one_running_transfer() {
    let run = Run::up(2, 6_000_000, "--limit 2=3M").await;
    run.command(Command::Fetch).await;
    run.transfer(1, "at the node's pace", |transfer| transfer.rate > 1_500_000).await;
    run.command(Command::LimitTransfer { number: 1, rate: Some(400_000) }).await;
    run.logs(None, "#1: limited to 400.0 KB/s").await;
    let slow = run.transfer(1, "at its own", |t| (200_000..=440_000).contains(&t.rate) && t.rate_limit.is_some()).await;
    assert_eq!((slow.phase, slow.rate_limit), (Phase::Streaming, Some(400_000)));
    run.command(Command::LimitTransfer { number: 1, rate: None }).await;
    run.transfer(1, "at the node's pace again", |transfer| transfer.rate > 1_500_000).await;
    run.phase(1, Phase::Done).await;
    run.command(Command::Retry(1)).await;
    run.logs(None, "#2: retries #1").await;
    let again = run.phase(2, Phase::Done).await;
    assert!(again.already_present);
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_transfer_names_the_last_hop_that_moved_data() {
    // Slow enough that kernel buffers hold more than a second of what hops 2 and 3 send on while hop 1 sends nothing.
    let run = Run::up(3, 3_000_000, "--limit 3=100k").await;
    run.command(Command::Fetch).await;
    run.transfer(1, "under way", |transfer| transfer.received > 50_000).await;
    run.command(Command::SetFault { hop: 1, change: FaultChange::Stall(true) }).await;
    let stalled = run.transfer(1, "stalled", |transfer| transfer.stall.is_some()).await;
    let stall = stalled.stall.unwrap();
    assert!(stall.lasting >= Duration::from_secs(1), "{stall:?}");
    assert!(matches!(stall.last_moved, Some(2 | 3)), "{stall:?}");
    run.until("the change is named", |chain| {
        chain.verdict.limit == Limit::Fault { hop: 1, fault: FaultKind::Stall } && chain.transfers[0].stall.is_some()
    })
    .await;
    run.command(Command::SetFault { hop: 1, change: FaultChange::Stall(false) }).await;
    run.transfer(1, "moving again", |t| t.received > stalled.received && t.stall.is_none()).await;
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_transfers_run_in_order_and_can_be_moved() {
    let run = Run::up(2, 600_000, "-n 4 -j 1 --limit 1=1M").await;
    run.command(Command::Fetch).await;
    run.until("four", |chain| chain.transfers.len() == 4).await;
    run.logs(None, "#1 data.bin: requesting").await;
    run.logs(None, "#2 data.bin: queued").await;
    run.command(Command::Reorder { number: 4, by: -2 }).await;
    let order = |numbers: [u64; 4]| {
        move |chain: &chainview::snapshot::ChainSnapshot| chain.transfers.iter().map(|t| t.number).eq(numbers)
    };
    run.until("the fourth before the second", order([1, 4, 2, 3])).await;
    run.command(Command::Cancel(3)).await;
    run.phase(3, Phase::Cancelled).await;
    run.phase(4, Phase::Streaming).await;
    assert_eq!(run.now().transfers[2].phase, Phase::Queued, "one at a time");
    run.phase(2, Phase::Done).await;
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_lists_its_files() {
    let run = Run::up(3, 1000, "").await;
    run.command(Command::List(None)).await;
    let chain = run.until("a listing", |chain| chain.listing.is_some()).await;
    let listing = chain.listing.as_ref().unwrap();
    let names: Vec<&str> = listing.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert!(names.contains(&"data.bin") && names.contains(&"other.bin"), "{listing:?}");
    run.command(Command::List(Some(chainview::route::FileName::new(b"none").unwrap()))).await;
    let fails = |chain: &chainview::snapshot::ChainSnapshot| {
        chain.listing.as_ref().and_then(|listing| listing.error.clone()).map(|error| error.to_string())
    };
    let chain = run.until("why there is none", |chain| fails(chain).is_some()).await;
    assert!(fails(&chain).unwrap().starts_with(&format!("hop 3 ({})", run.chain.address(3))), "{:?}", fails(&chain));
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_written_beside_the_files() {
    let run = Run::up(1, 10, "").await;
    run.command(Command::Export).await;
    let message = run.logs(None, "exported to ").await;
    let path = message.strip_prefix("exported to ").unwrap();
    let snapshot: chainview::snapshot::ChainSnapshot = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!((snapshot.hops.len(), snapshot.file.as_str()), (1, "data.bin"));
    assert!(path.starts_with(run.chain.fetched("").to_str().unwrap()), "{path}");
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quitting_keeps_partial_files() {
    let run = Run::up(2, 3_000_000, "--limit 1=500K").await;
    run.command(Command::Fetch).await;
    run.transfer(1, "under way", |transfer| transfer.received > 100_000).await;
    let (part, mut snapshots) = (run.chain.fetched("data.bin.part"), run.snapshots.clone());
    let began = std::time::Instant::now();
    let Run { chain: _chain, cancel, controlling, .. } = run;
    cancel.cancel();
    assert!(controlling.await.unwrap().nodes.is_empty() && part.exists());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(snapshots.borrow_and_update().transfers[0].phase, Phase::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_a_kept_connection_stay_apart() {
    let run = Run::up(3, 100_000, "").await;
    for (number, name) in [(1, "data.bin"), (2, "other.bin")] {
        run.command(Command::FetchName(FileName::new(name.as_bytes()).unwrap())).await;
        run.phase(number, Phase::Done).await;
    }
    let second = run.transfer(2, "with the records of its hops", |t| !t.hop_records.is_empty()).await;
    let records: Vec<_> = second.hop_records.iter().map(|record| record.map(|record| record.flow.bytes_out)).collect();
    assert_eq!(records, [Some(50_000); 3], "each has the bytes of this request alone");
    let connected = second.waterfall.iter().filter(|row| row.step == Step::Connect).map(|row| row.stage);
    assert_eq!(connected.collect::<Vec<_>>(), Vec::<usize>::new(), "no stage connected again: {:?}", second.waterfall);
    let hop = run
        .hop(2, "with idle connections", |hop| {
            hop.node.as_ref().is_some_and(|node| node.upstream.idle > 0 && node.upstream.reused > 0)
        })
        .await;
    let node = hop.node.unwrap();
    let idle: Vec<_> = node.connections.iter().filter(|conn| conn.state == ConnState::Idle).collect();
    assert!(!idle.is_empty(), "{node:#?}");
    for conn in idle {
        let of_no_request = conn.transfer.as_str().is_empty() && conn.name.as_str().is_empty();
        assert!(of_no_request && conn.upstream.as_str().is_empty() && conn.tcp.is_none(), "{conn:?}");
        assert_eq!(conn.flow.bytes_out, 150_000, "of both requests: {conn:?}");
    }
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_waits_for_another_fetch_holds_up_no_third() {
    let run = Run::up(1, 4_000_000, "--limit 1=1M -j 2").await;
    let name = |name: &str| Command::FetchName(FileName::new(name.as_bytes()).unwrap());
    run.command(name("data.bin")).await;
    run.phase(1, Phase::Streaming).await;
    run.command(name("data.bin")).await;
    run.phase(2, Phase::Locked).await;
    run.command(name("other.bin")).await;
    run.phase(3, Phase::Streaming).await;
    let first = run.now().transfers.iter().find(|transfer| transfer.number == 1).map(|transfer| transfer.phase);
    assert_eq!(first, Some(Phase::Streaming));
    assert!(run.phase(2, Phase::Done).await.already_present);
    run.phase(3, Phase::Done).await;
    run.ends().await;
}
