//! Processor time of this process, and its wait for a processor. Read only for reports.

use rustix::time::{ClockId, clock_gettime};

use crate::snapshot::Load;

/// File with the time that the calling thread ran, and was ready but did not run, in ns.
const SCHEDSTAT: &str = "/proc/thread-self/schedstat";

/// Returns the load up to now. The calling thread is taken for the one that moves the bodies, as in all our nodes.
pub(crate) fn load() -> Option<Load> {
    let (busy_ns, starved_ns) = parse(&std::fs::read_to_string(SCHEDSTAT).ok()?)?;
    let process = clock_gettime(ClockId::ProcessCPUTime);
    let process_us = process.tv_sec as u64 * 1_000_000 + process.tv_nsec as u64 / 1000;
    Some(Load { busy_us: busy_ns / 1000, run_delay_us: starved_ns / 1000, process_us, sched_delay_us: 0 })
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace().map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
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
