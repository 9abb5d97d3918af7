//! Totals of the transfers of this run, for a heading: what is complete, how fast, how much longer.

use std::time::Duration;

use crate::snapshot::{Phase, TransferSnapshot};

/// Totals of the transfers that run, wait or are done; failed and cancelled ones are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Transfers.
    pub count: usize,
    /// Transfers that are done.
    pub done: usize,
    /// Transfers whose size is unknown; their bytes are in no other figure.
    pub unsized_count: usize,
    /// Bytes received of those of known size; files that were here already are not among them.
    pub received: u64,
    /// Size of those.
    pub size: u64,
    /// Files of folders that are here, and files in all, of the folders that run or wait and whose number is known.
    pub files: (u64, u64),
}

impl Totals {
    /// Adds up transfers.
    pub(crate) fn of(transfers: &[TransferSnapshot]) -> Self {
        let mut totals = Self::default();
        for t in transfers.iter().filter(|t| !matches!(t.phase, Phase::Failed | Phase::Cancelled)) {
            let done = t.phase == Phase::Done;
            totals.count += 1;
            totals.done += usize::from(done);
            if let Some((folder, total)) = t.folder.as_ref().filter(|_| !done).and_then(|f| Some((f, f.total?))) {
                let here = folder.done.saturating_add(folder.present);
                totals.files = (totals.files.0.saturating_add(here), totals.files.1.saturating_add(total));
            }
            match t.size {
                Some(_) if t.was_up_to_date() => {}
                Some(size) => {
                    totals.size = totals.size.saturating_add(size);
                    let received = if done { size } else { t.received.min(size) };
                    totals.received = totals.received.saturating_add(received);
                }
                None if done => {}
                None => totals.unsized_count += 1,
            }
        }
        totals
    }

    /// Returns the share that has arrived, in whole percent, rounded down; `None` while no size is known. All of it has
    /// arrived only when all transfers are done.
    pub(crate) fn percent(&self) -> Option<u64> {
        let share = u128::from(self.received) * 100 / u128::from(self.size.max(1));
        let most = if self.done == self.count { 100 } else { 99 };
        (self.size > 0).then(|| u64::try_from(share).unwrap_or(most).min(most))
    }

    /// Returns the time that the rest of the known bytes takes at this rate.
    pub(crate) fn eta(&self, rate: u64) -> Option<Duration> {
        let rest = self.size - self.received;
        (rate > 0 && rest > 0).then(|| Duration::from_secs(rest.div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::FolderProgress;

    fn transfer(phase: Phase, received: u64, size: Option<u64>) -> TransferSnapshot {
        TransferSnapshot { phase, size, received, ..TransferSnapshot::default() }
    }

    #[test]
    fn totals_add_up() {
        let all = [
            transfer(Phase::Done, 100, Some(100)),
            transfer(Phase::Streaming, 50, Some(100)),
            transfer(Phase::Streaming, 7, None),
            transfer(Phase::Queued, 0, None),
            transfer(Phase::Failed, 10, Some(1000)),
            transfer(Phase::Cancelled, 10, Some(1000)),
            TransferSnapshot { already_present: true, ..transfer(Phase::Done, 500, Some(500)) },
        ];
        let totals = Totals::of(&all);
        assert_eq!(totals, Totals { count: 5, done: 2, unsized_count: 2, received: 150, size: 200, files: (0, 0) });
        assert_eq!((totals.percent(), totals.eta(20)), (Some(75), Some(Duration::from_secs(3))));
        assert_eq!((totals.eta(0), Totals::of(&all[3..]).percent()), (None, None));
    }

    #[test]
    fn files_of_open_folders_add_up() {
        let folder = |phase, total| {
            let folder = FolderProgress { total, done: 5, present: 2, failed: 1, ..FolderProgress::default() };
            TransferSnapshot { folder: Some(folder), ..transfer(phase, 0, None) }
        };
        let all = [
            folder(Phase::Streaming, Some(20)),
            folder(Phase::Paused, Some(30)),
            folder(Phase::Connecting, None),
            folder(Phase::Done, Some(8)),
            folder(Phase::Cancelled, Some(9)),
        ];
        assert_eq!(Totals::of(&all).files, (14, 50));
    }

    #[test]
    fn all_bytes_but_one_are_not_all() {
        let totals = Totals::of(&[transfer(Phase::Streaming, u64::MAX - 1, Some(u64::MAX))]);
        assert_eq!(totals.percent(), Some(99));
        assert_eq!(Totals::of(&[transfer(Phase::Verifying, 5, Some(5))]).percent(), Some(99), "not verified");
        assert_eq!(Totals::of(&[transfer(Phase::Done, 5, Some(5))]).percent(), Some(100));
    }
}
