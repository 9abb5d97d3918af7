//! Progress of the transfer of a folder, and the results of its files.

use serde::{Deserialize, Serialize};

use super::bounded::bounded;
use crate::text::SafeText;
use crate::units::{Count, Grouped};

/// Most results kept in a snapshot: more than a page of a screen, and little to copy.
pub const MAX_RECENT: usize = 64;
/// Failures among them that later results do not replace: the user acts on those.
const MAX_FAILURES: usize = MAX_RECENT / 2;
/// Widest count of files, as `10,234/200,000`; a longer one is shortened.
const MAX_COUNT: usize = 14;

/// Result of one file of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileOutcome {
    /// Received; its digest is the origin's.
    Verified,
    /// Received; only its size could be compared.
    SizeChecked,
    /// The same file was here already, and was not moved.
    Present,
    /// It would be received (`--dry-run`).
    Planned,
    /// It was not received.
    Failed,
}

/// One file of a folder, and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileResult {
    /// The whole path relative to the folder.
    pub path: SafeText,
    /// The size in bytes.
    pub size: u64,
    /// The result.
    pub outcome: FileOutcome,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<SafeText>,
}

/// Files of a folder's transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FolderProgress {
    /// Files in all, once known; those here already included.
    pub total: Option<u64>,
    /// Files received, verified and on the disk.
    pub done: u64,
    /// Those of them of which only the size could be compared.
    pub size_checked: u64,
    /// The sum of the sizes of those received.
    pub bytes: u64,
    /// Files that were here already.
    pub present: u64,
    /// Files that would be received (`--dry-run`).
    pub planned: u64,
    /// The sum of their sizes.
    pub planned_bytes: u64,
    /// Files that were not received.
    pub failed: u64,
    /// Links and special files that the origin left out.
    pub omitted: u64,
    /// The file that is being received.
    pub current: Option<SafeText>,
    /// The last results, the newest at the end; failures are kept longer than others.
    #[serde(deserialize_with = "bounded::<MAX_RECENT, _, _>")]
    pub recent: Vec<FileResult>,
}

impl FolderProgress {
    /// Counts a file's result, and keeps it among the last ones.
    pub fn record(&mut self, result: FileResult) {
        match result.outcome {
            FileOutcome::Verified | FileOutcome::SizeChecked => {
                self.done += 1;
                self.size_checked += u64::from(result.outcome == FileOutcome::SizeChecked);
                self.bytes = self.bytes.saturating_add(result.size);
            }
            FileOutcome::Present => self.present += 1,
            FileOutcome::Failed => self.failed += 1,
            FileOutcome::Planned => {
                self.planned += 1;
                self.planned_bytes = self.planned_bytes.saturating_add(result.size);
            }
        }
        if self.recent.len() == MAX_RECENT {
            let is_failure = |kept: &FileResult| kept.outcome == FileOutcome::Failed;
            let failures =
                self.recent.iter().filter(|kept| is_failure(kept)).count() + usize::from(is_failure(&result));
            let oldest = self.recent.iter().position(|kept| is_failure(kept) == (failures > MAX_FAILURES));
            self.recent.remove(oldest.unwrap_or(0));
        }
        self.recent.push(result);
    }

    /// Returns how many files are here, of how many: `1,204/2,000`; in at most 14 columns.
    pub fn count(&self) -> String {
        let here = self.done + self.present;
        let Some(total) = self.total else { return Grouped(here).to_string() };
        let whole = format!("{}/{}", Grouped(here), Grouped(total));
        if whole.len() > MAX_COUNT { format!("{}/{}", Count(here), Count(total)) } else { whole }
    }

    /// Returns true if any file has a result.
    pub fn has_results(&self) -> bool {
        self.done + self.present + self.failed > 0
    }

    /// Returns the results in words: `1,997 files verified, 12 here already, 3 failed`.
    pub fn results(&self) -> String {
        let parts = [
            (self.done - self.size_checked.min(self.done), "verified"),
            (self.size_checked, "size-checked"),
            (self.present, "here already"),
            (self.failed, "failed"),
            (self.omitted, "left out"),
        ];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0).enumerate();
        let words = parts.map(|(at, (count, word))| match (at, count) {
            (0, 1) => format!("1 file {word}"),
            (0, _) => format!("{} files {word}", Grouped(count)),
            _ => format!("{} {word}", Grouped(count)),
        });
        let words = words.collect::<Vec<_>>().join(", ");
        if words.is_empty() { "no files".to_owned() } else { words }
    }
}

impl FileResult {
    /// Returns why it failed, without the path in the output folder that errors of this machine begin with: its path in
    /// the folder is beside it.
    pub fn reason(&self, output: &SafeText) -> Option<&str> {
        let error = self.error.as_ref()?.as_str();
        let folder = output.as_str().trim_end_matches('/');
        let rest = error.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        let rest = rest.and_then(|rest| rest.strip_prefix(self.path.as_str())).and_then(|rest| rest.strip_prefix(": "));
        Some(rest.unwrap_or(error))
    }
}

impl FileOutcome {
    /// Returns its word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::SizeChecked => "size-checked",
            Self::Present => "here already",
            Self::Planned => "planned",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_and_the_last_ones_are_kept() {
        let mut progress = FolderProgress::default();
        for number in 0..2 * MAX_RECENT {
            let outcome = if number % 2 == 0 { FileOutcome::Verified } else { FileOutcome::Failed };
            progress.record(FileResult { path: number.to_string().as_str().into(), size: 1, outcome, error: None });
        }
        let count = MAX_RECENT as u64;
        assert_eq!((progress.done, progress.failed, progress.present), (count, count, 0));
        assert_eq!((progress.bytes, progress.planned, progress.planned_bytes), (count, 0, 0));
        assert_eq!((progress.recent.len(), progress.recent[0].path.as_str()), (MAX_RECENT, "64"));
    }

    #[test]
    fn a_reason_does_not_repeat_the_path() {
        let failed = |error: &str| FileResult {
            path: "a/b".into(),
            size: 1,
            outcome: FileOutcome::Failed,
            error: Some(error.into()),
        };
        for (error, output, reason) in [
            ("out/d/a/b: exists already", "out/d", "exists already"),
            ("out/d/a/b: exists already", "out/d/", "exists already"),
            ("out/d/a/bc: exists already", "out/d", "out/d/a/bc: exists already"),
            ("hop 3 failed", "out/d", "hop 3 failed"),
        ] {
            assert_eq!(failed(error).reason(&output.into()), Some(reason));
        }
    }

    #[test]
    fn early_failures_outlast_later_results() {
        let mut progress = FolderProgress::default();
        let mut record = |path: u64, outcome| {
            progress.record(FileResult { path: path.to_string().as_str().into(), size: 1, outcome, error: None });
        };
        record(0, FileOutcome::Failed);
        (1..1000).for_each(|path| record(path, FileOutcome::Present));
        assert_eq!((progress.recent.len(), progress.recent[0].path.as_str()), (MAX_RECENT, "0"));
        assert_eq!((progress.recent[1].path.as_str(), progress.recent[63].path.as_str()), ("937", "999"));
    }

    #[test]
    fn results_are_counted_in_words() {
        let progress = |total, done, size_checked, present, failed| FolderProgress {
            total,
            done,
            size_checked,
            present,
            failed,
            ..FolderProgress::default()
        };
        for (progress, count, results) in [
            (progress(Some(2000), 1204, 0, 0, 0), "1,204/2,000", "1,204 files verified"),
            (progress(Some(3), 1, 1, 1, 1), "2/3", "1 file size-checked, 1 here already, 1 failed"),
            (progress(None, 5, 2, 0, 0), "5", "3 files verified, 2 size-checked"),
            (progress(Some(1_000_000), 204_567, 0, 0, 0), "204.6K/1.0M", "204,567 files verified"),
            (FolderProgress { omitted: 2, ..progress(Some(0), 0, 0, 0, 0) }, "0/0", "2 files left out"),
            (progress(Some(0), 0, 0, 0, 0), "0/0", "no files"),
        ] {
            assert_eq!((progress.count().as_str(), progress.results().as_str()), (count, results));
        }
    }
}
