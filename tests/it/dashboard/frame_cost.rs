//! Processor time of a frame with a thousand connections: from a new snapshot to the drawn buffer. Other programs on
//! the machine do not count.
//!
//! `cargo test` allows for a build without optimization. The figures come from
//!
//! ```text
//! CHAINVIEW_LATENCY=full cargo test --release --test it dashboard::frame_cost -- --nocapture --test-threads=1
//! ```

use std::time::Duration;

use chainview::snapshot::{ChainSnapshot, ConnSnapshot, LogLine, Phase};
use chainview::ui::view;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rustix::time::{ClockId, clock_gettime};

use super::script::Script;
use super::snapshots::{busy, transfer};

/// Limit of the median in a build without optimization.
const LENIENT: Duration = Duration::from_millis(200);
/// Connections of the selected hop.
const CONNECTIONS: u64 = 1000;

/// A chain with a thousand connections, a long queue, a long history of transfers and a full log.
fn crowd() -> ChainSnapshot {
    let mut chain = busy();
    for hop in &mut chain.hops {
        let node = hop.node.as_mut().unwrap();
        let first = node.connections[0].clone();
        let conn = |id| ConnSnapshot {
            id,
            peer: format!("10.0.{}.{}:5000", id / 250, id % 250).into(),
            transfer: format!("{id:08x}").into(),
            ..first.clone()
        };
        node.connections = (0..CONNECTIONS).map(conn).collect();
    }
    chain.transfers.extend((15..400).map(|number| transfer(number, Phase::Done)));
    chain.transfers.extend((400..800).map(|number| transfer(number, Phase::Queued)));
    let line = chain.log[0].clone();
    chain.log = (0..1000).map(|number| LogLine { number, ..line.clone() }).collect();
    chain
}

/// Moves on as a new report does.
fn next(chain: &mut ChainSnapshot) {
    chain.generation += 1;
    for hop in &mut chain.hops {
        let node = hop.node.as_mut().unwrap();
        node.uptime_us += 250_000;
        for conn in &mut node.connections {
            conn.flow.bytes_out += 10_000;
        }
    }
}

/// Returns the time that this thread has used a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn a_frame_with_a_thousand_connections_is_cheap() {
    let full = std::env::var_os("CHAINVIEW_LATENCY").is_some_and(|how| how == "full");
    for (columns, rows, promised) in [(120, 40, 2), (200, 60, 4)] {
        for (what, keys) in [("chain", "1"), ("connections, sorted", "2 s s"), ("transfers", "3"), ("hop", "1 <enter>")]
        {
            let mut chain = crowd();
            let mut script = Script::new(columns, rows, chain.clone()).watched();
            script.keys(keys);
            let (mut draws, mut frames) = (Vec::new(), Vec::new());
            for turn in 0..if full { 1000 } else { 9 } {
                next(&mut chain);
                script.state.now = Duration::from_millis(60_000 + turn * 250);
                let began = processor_time();
                script.state.observe(&chain);
                let observed = processor_time();
                let area = Rect::new(0, 0, columns, rows);
                let mut buffer = Buffer::empty(area);
                view::draw(&script.state, &chain, area, &mut buffer);
                let drawn = processor_time();
                draws.push(drawn.saturating_sub(observed));
                frames.push(drawn.saturating_sub(began));
            }
            let percentile = |times: &mut Vec<Duration>, percent: usize| {
                times.sort_unstable();
                times[(times.len() - 1) * percent / 100]
            };
            let [draw50, draw99] = [50, 99].map(|percent| percentile(&mut draws, percent));
            let [both50, both99] = [50, 99].map(|percent| percentile(&mut frames, percent));
            println!(
                "{columns}x{rows}, {what}: draw p50 {draw50:?}, p99 {draw99:?}; snapshot and draw p50 {both50:?}, p99 {both99:?}"
            );
            let (time, limit) = if full { (draw99, Duration::from_millis(promised)) } else { (draw50, LENIENT) };
            assert!(time <= limit, "{what} at {columns}x{rows}: {time:?}");
        }
    }
}
