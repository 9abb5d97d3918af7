//! What this process got of the machine: processor time, and the wait for it. Asked only for a report.

use rustix::time::{ClockId, clock_gettime};

use crate::snapshot::Load;

/// Where Linux says how long the calling thread ran, and how long it was ready to and did not, in ns.
const SCHEDSTAT: &str = "/proc/thread-self/schedstat";

/// The load up to now. The thread that asks is taken for the one that moves the bodies, as in every node of ours.
pub(crate) fn load() -> Option<Load> {
    let (busy_ns, starved_ns) = parse(&std::fs::read_to_string(SCHEDSTAT).ok()?)?;
    let process = clock_gettime(ClockId::ProcessCPUTime);
    let process_us = process.tv_sec as u64 * 1_000_000 + process.tv_nsec as u64 / 1000;
    Some(Load { busy_us: busy_ns / 1000, run_delay_us: starved_ns / 1000, process_us, sched_delay_us: 0 })
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let mut words = text.split_ascii_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_grows_with_what_is_done() {
        assert_eq!(parse("1408134 20017 31\n"), Some((1_408_134, 20_017)));
        assert_eq!((parse(""), parse("5 x")), (None, None));
        let before = load().unwrap();
        let mut sum = 0u64;
        while load().unwrap().busy_us < before.busy_us + 20_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        // The two clocks are read one after the other, so that a part of the time may be in one of them alone.
        assert!(load().unwrap().process_us >= before.process_us + 10_000);
    }
}
