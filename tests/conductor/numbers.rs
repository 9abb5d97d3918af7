//! Every number of the picture against what was moved: the part file's length, the kernel's connections, the clock.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use chainview::command::Command;
use chainview::snapshot::{ChainSnapshot, HopLink, Phase};
use rustix::process::{Pid, Signal, kill_process};

use super::Run;
use super::free::established;

const SIZE: usize = 24_000_000;
const SECOND: Duration = Duration::from_secs(1);

fn open_everywhere(run: &Run) -> (Vec<usize>, Vec<usize>) {
    let shown =
        run.now().hops.iter().map(|hop| hop.node.as_ref().map_or(0, |node| node.totals.open as usize)).collect();
    (shown, run.chain.ports.iter().map(|port| established(*port)).collect())
}

/// Waits until the picture has caught up with the kernel: reports come four times a second.
async fn connections_agree(run: &Run) {
    let end = Instant::now() + super::PATIENCE;
    loop {
        let (shown, counted) = open_everywhere(run);
        if shown == counted {
            return;
        }
        assert!(Instant::now() < end, "shown {shown:?}, counted {counted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The body bytes that a hop has taken and given, and those that the client has.
fn moved(chain: &ChainSnapshot) -> Vec<u64> {
    let flows = chain.hops.iter().filter_map(|hop| hop.node.as_ref()).map(|node| node.totals.flow);
    flows.flat_map(|flow| [flow.bytes_in, flow.bytes_out]).chain(chain.transfers.iter().map(|t| t.received)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_picture_says_is_what_was_moved() {
    let run = Run::up(3, SIZE, "--limit 2=4M").await;
    connections_agree(&run).await;
    run.wish(Command::Fetch).await;
    run.transfer(1, "well under way", |transfer| transfer.received > 6_000_000).await;
    connections_agree(&run).await;

    // While it flows: what each rate says of the last second is what the part file has grown by in it.
    let part = run.chain.fetched("data.bin.part");
    let began = Instant::now();
    let mut grown: VecDeque<(Instant, u64)> = VecDeque::new();
    let (mut shown, mut true_rate) = ([0.0_f64; 3], 0.0);
    while began.elapsed() < Duration::from_millis(3500) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (now, length) = (Instant::now(), fs::metadata(&part).unwrap().len());
        grown.push_back((now, length));
        let Some((then, before)) = grown.iter().copied().find(|(then, _)| now.duration_since(*then) <= SECOND) else {
            continue;
        };
        if now.duration_since(grown[0].0) < SECOND {
            continue;
        }
        true_rate += (length - before) as f64 / now.duration_since(then).as_secs_f64();
        let chain = run.now();
        let rates = [chain.hops[0].rate_out, chain.hops[1].rate_out, chain.transfers[0].rate];
        shown.iter_mut().zip(rates).for_each(|(sum, rate)| *sum += rate as f64);
    }
    let ratios = shown.map(|sum| sum / true_rate);
    println!("rates shown over rates seen, of hop 1, hop 2 and the transfer: {ratios:.4?}");
    assert!(ratios.iter().all(|ratio| (ratio - 1.0).abs() < 0.01), "{ratios:?}");

    // With the origin stopped, what is on the way arrives, and then all have the same.
    let HopLink::Spawned { pid } = run.now().hops[2].link else { panic!("the origin is ours") };
    let origin = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(origin, Signal::STOP).unwrap();
    let end = Instant::now() + super::PATIENCE;
    loop {
        // Hops 1 and 2 in and out, and the client; the origin says nothing now.
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

    let done = run.phase(1, Phase::Done).await;
    assert_eq!((done.received, fs::metadata(run.chain.fetched("data.bin")).unwrap().len()), (SIZE as u64, SIZE as u64));
    run.until("all hops with the whole file", |chain| moved(chain).iter().all(|bytes| *bytes == SIZE as u64)).await;
    let average = SIZE as f64 / done.elapsed.as_secs_f64();
    assert!((done.rate as f64 / average - 1.0).abs() < 0.01, "{} for {average}", done.rate);
    run.until("nothing moves", |chain| chain.hops.iter().all(|hop| hop.rate_in == 0 && hop.rate_out == 0)).await;
    connections_agree(&run).await;
    run.ends().await;
}
