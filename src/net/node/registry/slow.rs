//! Minimum rate of bodies while connections are short: the slowest below it are closed first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Registry;
use super::conn::{Conn, FileRequest, lock};
use super::counts::Slots;
use super::ending::Closing;
use crate::limits::MINIMUM_RATE;
use crate::snapshot::{ConnRole, ConnState};

/// Progress of bodies since connections became short; empty while they are not.
#[derive(Debug, Default)]
pub struct SlowBodies(HashMap<u64, RateStart>);

/// One body at the start of the time over which its rate is measured.
#[derive(Debug)]
struct RateStart {
    job: Arc<FileRequest>,
    at_us: u64,
    moved: Moved,
}

#[derive(Clone, Copy, Debug)]
struct Moved {
    bytes: u64,
    /// Time it waited for this node: for its rate limit or faults, or for the disk of an origin.
    own_us: u64,
}

impl SlowBodies {
    /// Checks all bodies and closes as many of those below the minimum rate, measured over this time, as are needed for
    /// connections not to be short, the slowest first. Called about every half second; returns how many it closed.
    pub fn check(&mut self, registry: &Registry, slots: Slots, over: Duration) -> usize {
        let needed = registry.short_by(slots);
        if needed == 0 {
            *self = Self::default();
            return 0;
        }
        let now_us = registry.clock.now_us();
        let mut before = std::mem::take(&mut self.0);
        let mut slow: Vec<(u64, Arc<Conn>)> = Vec::new();
        for (id, conn) in lock(&registry.live).iter() {
            let Some(job) = streaming(conn) else { continue };
            let moved = moved(&job, now_us);
            let known = before.remove(id).filter(|since| Arc::ptr_eq(&since.job, &job));
            let mut since = known.unwrap_or(RateStart { job, at_us: now_us, moved });
            let span_us = now_us.saturating_sub(since.at_us);
            if span_us >= over.as_micros() as u64 {
                let bytes = moved.bytes - since.moved.bytes;
                let own_us = moved.own_us.saturating_sub(since.moved.own_us);
                let rate = (bytes as f64 * 1e6 / span_us as f64) as u64;
                if rate < MINIMUM_RATE && own_us < span_us / 2 {
                    slow.push((rate, Arc::clone(conn)));
                }
                (since.at_us, since.moved) = (now_us, moved);
            }
            self.0.insert(*id, since);
        }
        slow.sort_by_key(|(rate, _)| *rate);
        slow.truncate(needed);
        for (_, conn) in &slow {
            conn.ending.close(Closing::TooSlow);
        }
        slow.len()
    }
}

/// Returns the request whose body a connection is sending now.
fn streaming(conn: &Conn) -> Option<Arc<FileRequest>> {
    let now = lock(&conn.now);
    // A tunnel may be silent for as long as its ends want it to be.
    now.job.clone().filter(|job| now.state == ConnState::Streaming && job.upstream_meter().is_none())
}

fn moved(job: &FileRequest, now_us: u64) -> Moved {
    let flow = job.meter.flow(now_us);
    let disk_us = if lock(&job.record).role == ConnRole::Origin { flow.starved_us } else { 0 };
    Moved { bytes: flow.bytes_out, own_us: flow.limited_us + flow.reply_us + disk_us }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::WaitKind;
    use crate::net::os::clock::Clock;
    use crate::route::{FileName, Protocol};
    use crate::wire::{Method, TransferId};

    const OVER: Duration = Duration::from_mins(1);

    /// Runs bodies of these rates, with what they wait for; returns which were closed in the end.
    fn closed(slots: usize, bodies: &[(u64, Option<WaitKind>)]) -> Vec<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let registry = Registry::new(Clock::start());
            let conns: Vec<_> = bodies.iter().map(|_| registry.open(([127, 0, 0, 1], 9).into())).collect();
            let name = FileName::new(b"f").unwrap();
            let jobs: Vec<_> = conns
                .iter()
                .zip(bodies)
                .map(|(conn, (_, wait))| {
                    let job = conn.begin_job(TransferId(1), Method::Get, &name, Protocol::Http);
                    job.update(|record| record.role = ConnRole::Origin);
                    job.set_state(ConnState::Streaming);
                    job.job().meter.begin(registry.clock().now_us());
                    if let Some(wait) = wait {
                        job.job().meter.wait(*wait, registry.clock().now_us());
                    }
                    job
                })
                .collect();
            let mut slow = SlowBodies::default();
            for second in 0..61 {
                assert!(second == 60 || slow.check(&registry, Slots(slots), OVER) == 0, "closed after {second} s");
                for (job, (rate, _)) in jobs.iter().zip(bodies) {
                    job.job().meter.record_write(*rate);
                }
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            slow.check(&registry, Slots(slots), OVER);
            conns.iter().map(|conn| conn.conn.ending.is_closing()).collect()
        })
    }

    #[test]
    fn the_slowest_are_closed_first_while_connections_are_short() {
        let bodies = [(1000, None), (10, None), (1_000_000, None), (100, None)];
        // Three of four are the point at which they are short: two have to go.
        assert_eq!(closed(4, &bodies), [false, true, false, true]);
        assert_eq!(closed(1, &bodies), [true, true, false, true], "a fast body is never closed");
        assert_eq!(closed(8, &bodies), [false; 4]);
    }

    #[test]
    fn a_body_slowed_down_by_this_node_is_not_closed() {
        let bodies =
            [(10, Some(WaitKind::RateLimit)), (10, Some(WaitKind::Read)), (10, Some(WaitKind::Write)), (10, None)];
        assert_eq!(closed(1, &bodies), [false, false, true, true]);
    }
}
