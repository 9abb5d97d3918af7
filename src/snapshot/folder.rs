//! Progress of the transfer of a folder, and the results of its files.

use serde::{Deserialize, Serialize};

use super::bounded::bounded;
use crate::text::SafeText;

/// Most results kept in a snapshot; a detail page shows fewer.
pub const MAX_RECENT: usize = 64;

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
    /// The path relative to the folder.
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
    /// The sum of their sizes.
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
    /// The last results, the newest at the end.
    #[serde(deserialize_with = "bounded::<MAX_RECENT, _, _>")]
    pub recent: Vec<FileResult>,
}

impl FolderProgress {
    /// Counts a file's result, and keeps it among the last ones.
    pub fn record(&mut self, result: FileResult) {
        match result.outcome {
            FileOutcome::Verified | FileOutcome::SizeChecked => {
                self.done += 1;
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
            self.recent.remove(0);
        }
        self.recent.push(result);
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
}
