//! Every figure of the snapshot compared with an independent one: the partial file's length, the kernel's connections,
//! each clock.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chainview::command::Command;
use chainview::snapshot::{ChainSnapshot, HopLink, Phase};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::Run;
use super::free::established;

const SIZE: usize = 24_000_000;

/// What was shown of one stage at one moment of its own clock: the time in µs, the bytes so far, the rate.
type Shown = (u64, u64, u64);

fn open_everywhere(run: &Run) -> (Vec<usize>, Vec<usize>) {
    let shown =
        run.now().hops.iter().map(|hop| hop.node.as_ref().map_or(0, |node| node.totals.open as usize)).collect();
    (shown, run.chain.ports.iter().map(|port| established(*port)).collect())
}

/// Waits until the snapshot has caught up with the kernel: reports arrive four times a second.
async fn connections_agree(run: &Run) {
    let end = Instant::now() + super::TIMEOUT;
    loop {
        let (shown, counted) = open_everywhere(run);
        if shown == counted {
            return;
        }
        assert!(Instant::now() < end, "shown {shown:?}, counted {counted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The body bytes that a hop has received and sent, and those that the client has.
fn moved(chain: &ChainSnapshot) -> Vec<u64> {
    let flows = chain.hops.iter().filter_map(|hop| hop.node.as_ref()).map(|node| node.totals.flow);
    flows.flat_map(|flow| [flow.bytes_in, flow.bytes_out]).chain(chain.transfers.iter().map(|t| t.received)).collect()
}

/// Everything shown of hop 1, hop 2 and the client until the transfer ended.
async fn record(mut snapshots: watch::Receiver<Arc<ChainSnapshot>>) -> [Vec<Shown>; 3] {
    let mut records: [Vec<Shown>; 3] = Default::default();
    loop {
        let chain = Arc::clone(&snapshots.borrow_and_update());
        let hop = |at: usize| {
            let hop = &chain.hops[at];
            hop.node.as_ref().map(|node| (node.uptime_us, node.totals.flow.bytes_out, hop.rate_out))
        };
        let transfer = chain.transfers.first();
        let client = transfer.map(|transfer| (transfer.elapsed.as_micros() as u64, transfer.received, transfer.rate));
        for (record, shown) in records.iter_mut().zip([hop(0), hop(1), client]) {
            record.extend(shown.filter(|shown| record.last().is_none_or(|last| last.0 < shown.0)));
        }
        if transfer.is_some_and(|transfer| transfer.phase != Phase::Streaming && transfer.received > 0) {
            return records;
        }
        snapshots.changed().await.unwrap();
    }
}

/// How many of the rates shown are, within 1 %, the growth of the bytes over the last second or so of the same clock,
/// and of how many. A report that no snapshot has shown may have been the first of that second.
fn true_rates(record: &[Shown]) -> (usize, usize) {
    let of_a_second = |shown: &&Shown| shown.0 >= record[0].0 + 1_000_000 && shown.2 > 0;
    let is_true = |(time, bytes, rate): &Shown| {
        let earlier = record.iter().filter(|then| (900_000..2_000_000).contains(&time.saturating_sub(then.0)));
        let mut rates = earlier.map(|then| (bytes - then.1) as f64 * 1e6 / (time - then.0) as f64);
        rates.any(|moved| (*rate as f64 / moved - 1.0).abs() < 0.01)
    };
    let all: Vec<&Shown> = record.iter().filter(of_a_second).collect();
    (all.iter().filter(|shown| is_true(shown)).count(), all.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_figures_match_the_kernel() {
    let run = Run::up(3, SIZE, "--limit 2=3M").await;
    connections_agree(&run).await;
    let recording = tokio::spawn(record(run.snapshots.clone()));
    run.command(Command::Fetch).await;
    run.transfer(1, "under way", |transfer| transfer.received > 500_000).await;

    // With the origin stopped, bytes in transit arrive, and then all have the same count.
    let HopLink::Spawned { pid } = run.now().hops[2].link else { panic!("the origin is ours") };
    let origin = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(origin, Signal::STOP).unwrap();
    let part = run.chain.fetched("data.bin.part");
    let end = Instant::now() + super::TIMEOUT;
    loop {
        // Hops 1 and 2 in and out, and the client; the origin sends no reports now.
        let mut bytes = moved(&run.now());
        bytes.drain(4..6);
        let on_disk = fs::metadata(&part).unwrap().len();
        if bytes.iter().all(|count| *count == on_disk) {
            break;
        }
        assert!(Instant::now() < end, "shown {bytes:?}, on the disk {on_disk}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kill_process(origin, Signal::CONT).unwrap();
    connections_agree(&run).await;

    let done = run.phase(1, Phase::Done).await;
    assert_eq!((done.received, fs::metadata(run.chain.fetched("data.bin")).unwrap().len()), (SIZE as u64, SIZE as u64));
    run.until("all hops with the complete file", |chain| moved(chain).iter().all(|bytes| *bytes == SIZE as u64)).await;
    let average = SIZE as f64 / done.elapsed.as_secs_f64();
    assert!((done.rate as f64 / average - 1.0).abs() < 0.01, "{} for {average}", done.rate);
    for record in recording.await.unwrap() {
        let (right, all) = true_rates(&record);
        println!("{right} of {all} rates shown are those of what was moved");
        assert!(all > 0 && right * 2 > all, "{right} of {all}: {record:?}");
    }
    run.until("nothing moves", |chain| chain.hops.iter().all(|hop| hop.rate_in == 0 && hop.rate_out == 0)).await;
    connections_agree(&run).await;
    run.ends().await;
}
