//! Results of the files of a folder, kept for the report of a run.

use std::sync::{Arc, Mutex, PoisonError};

use crate::snapshot::{FileOutcome, FileResult};

/// Most failures kept where not all results are; all are counted in the progress.
const MAX_FAILURES: usize = 1000;

/// Results of files, in the order of their end; clones share them.
#[derive(Clone, Debug, Default)]
pub struct FileLog {
    all: bool,
    results: Arc<Mutex<Vec<FileResult>>>,
}

impl FileLog {
    /// Returns a log that keeps the result of every file; the default one keeps some failures.
    pub fn of_all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Keeps a result.
    pub fn record(&self, result: &FileResult) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if self.all || (result.outcome == FileOutcome::Failed && results.len() < MAX_FAILURES) {
            results.push(result.clone());
        }
    }

    /// Returns the results, and forgets them.
    pub fn take(&self) -> Vec<FileResult> {
        std::mem::take(&mut self.results.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_results_or_some_failures_are_kept() {
        let (some, all) = (FileLog::default(), FileLog::of_all());
        for outcome in [FileOutcome::Verified, FileOutcome::Failed, FileOutcome::Present] {
            let result = FileResult { path: "p".into(), size: 1, outcome, error: None };
            (0..=MAX_FAILURES).for_each(|_| [&some, &all].iter().for_each(|log| log.record(&result)));
        }
        let kept = some.take();
        assert!(kept.len() == MAX_FAILURES && kept.iter().all(|result| result.outcome == FileOutcome::Failed));
        assert_eq!((all.take().len(), all.take().len()), (3 * (MAX_FAILURES + 1), 0));
    }
}
