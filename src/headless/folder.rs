//! The transfer of a folder without a screen: its counts while it runs, its result as lines, and the checks of options
//! that a folder does not have.

use crate::cli::FetchPlan;
use crate::error::{Error, shown};
use crate::net::fetch::{DEFAULT_PARTS, Output};
use crate::options::VerifyMode;
use crate::route::Route;
use crate::snapshot::{FileOutcome, FileResult, FolderProgress, Integrity, TransferSnapshot};
use crate::units::{Bytes, HumanDuration, Rate};

/// Most failed files that are named; the others are counted.
pub(super) const MAX_NAMED: usize = 20;
/// Disk tasks of a part of a folder at a time: one that writes, one that syncs, and one that hashes or compares.
const THREADS_OF_PART: usize = 3;
/// Characters of the name of the file that is being received; the end of a longer one is shown.
const NAME_WIDTH: usize = 24;

/// Rejects options that have no meaning for what is fetched.
///
/// # Errors
/// `Error::Usage` with the option, and what to do.
pub(super) fn check_options(route: &Route, plan: &FetchPlan) -> Result<(), Error> {
    let usage = |text: &str| Err(Error::Usage(text.to_owned()));
    let to_output = Output::of(&plan.output).is_some();
    match route.file.names_folder() {
        false if plan.dry_run => usage("--dry-run is for folders and lists: --check measures the way to a single file"),
        true if matches!(plan.verify, VerifyMode::Expect(_)) => {
            usage("--expect is for a single file, not for a folder")
        }
        true if plan.number > 1 => {
            usage("-n is for a single file: files of a folder that are here are not moved again")
        }
        true if !plan.route_files.is_empty() => usage("--route is for a single file, not for a folder"),
        false if to_output && !plan.route_files.is_empty() => Err(Error::Usage(format!(
            "-o {}: is written in order, over one connection: remove --route",
            shown(&plan.output)
        ))),
        true if to_output && (plan.dry_run || !plan.selection.is_everything()) => Err(Error::Usage(format!(
            "-o {}: writes the whole folder as one tar stream, without a list, patterns or --dry-run",
            shown(&plan.output)
        ))),
        _ => Ok(()),
    }
}

/// Returns the number of disk tasks at a time: each part of a folder has some of its own.
pub(super) fn disk_threads(route: &Route, plan: &FetchPlan) -> usize {
    let jobs = plan.jobs.unwrap_or(1) as usize;
    if route.file.names_folder() { THREADS_OF_PART * jobs.max(DEFAULT_PARTS) + 1 } else { jobs }
}

/// Returns the name at the beginning of a bar: the file that is being received, else the folder.
pub(super) fn current_name(snapshot: &TransferSnapshot) -> String {
    let current = snapshot.folder.as_ref().and_then(|folder| folder.current.as_ref());
    let name = current.unwrap_or(&snapshot.name).as_str();
    let hidden = name.chars().count().saturating_sub(NAME_WIDTH);
    if current.is_none() || hidden == 0 {
        return name.to_owned();
    }
    format!("...{}", name.chars().skip(hidden + 3).collect::<String>())
}

/// Formats how many files are here: `123/2000 files`.
pub(super) fn counts(folder: &FolderProgress) -> String {
    let here = folder.done + folder.present;
    let total = folder.total.map(|total| format!("/{total}")).unwrap_or_default();
    let failed = if folder.failed > 0 { format!(", {} failed", folder.failed) } else { String::new() };
    format!("{here}{total} files{failed}")
}

/// Formats the result in one line: `d/: 1998 files, 8.2 MB in 1.9 s, 4.3 MB/s, verified, in out/d; 12 here already`.
pub(super) fn summary(snapshot: &TransferSnapshot, folder: &FolderProgress) -> String {
    let moved = if folder.planned > 0 || folder.done == 0 {
        let verb = if folder.planned > 0 { "would be fetched" } else { "fetched" };
        let bytes = Bytes(folder.bytes + folder.planned_bytes);
        format!("{} {verb}, {bytes}", files(folder.planned + folder.done))
    } else {
        let (bytes, time, rate) = (Bytes(folder.bytes), HumanDuration(snapshot.elapsed), Rate(snapshot.rate));
        let how = match &snapshot.integrity {
            Integrity::Verified { .. } => format!(", verified{}", snapshot.of_origin()),
            Integrity::SizeChecked { reason, .. } => format!(", size-checked: {reason}"),
            // It has ended early; each file was verified before it got its name.
            Integrity::Pending => String::new(),
        };
        format!("{}, {bytes} in {time}, {rate}{how}", files(folder.done))
    };
    let left_out =
        if folder.omitted == 1 { "link or special file left out" } else { "links and special files left out" };
    let others = [(folder.present, "here already"), (folder.failed, "failed"), (folder.omitted, left_out)];
    let others = others.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("; {count} {what}"));
    format!("{}: {moved}, in {}{}", snapshot.name, snapshot.path, others.collect::<String>())
}

/// Formats a result as a line: what would be fetched, or why it was not.
pub(super) fn line(result: &FileResult) -> String {
    match (&result.outcome, &result.error) {
        (FileOutcome::Planned, _) => format!("{} ({})", result.path, Bytes(result.size)),
        (_, Some(error)) => format!("{}: {error}", result.path),
        (_, None) => result.path.to_string(),
    }
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_summary_adds_up() {
        let snapshot = TransferSnapshot {
            name: "dir/".into(),
            path: "out/dir".into(),
            rate: 4_300_000,
            elapsed: Duration::from_millis(1900),
            integrity: Integrity::Verified { digest: String::new() },
            ..TransferSnapshot::default()
        };
        let folder = FolderProgress {
            total: Some(2011),
            done: 1998,
            bytes: 8_200_000,
            present: 12,
            failed: 1,
            omitted: 3,
            ..FolderProgress::default()
        };
        assert_eq!(
            summary(&snapshot, &folder),
            "dir/: 1998 files, 8.2 MB in 1.9 s, 4.3 MB/s, verified, in out/dir; 12 here already; 1 failed; 3 links and \
             special files left out"
        );
        assert_eq!(counts(&folder), "2010/2011 files, 1 failed");
        let nothing = FolderProgress { present: 2010, ..FolderProgress::default() };
        assert_eq!(summary(&snapshot, &nothing), "dir/: 0 files fetched, 0 B, in out/dir; 2010 here already");
        let planned = FolderProgress { planned: 1, planned_bytes: 1500, omitted: 1, ..FolderProgress::default() };
        assert_eq!(
            summary(&snapshot, &planned),
            "dir/: 1 file would be fetched, 1.5 KB, in out/dir; 1 link or special file left out"
        );
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        let name = |current: Option<&str>| {
            let folder = FolderProgress { current: current.map(Into::into), ..FolderProgress::default() };
            current_name(&TransferSnapshot { name: "dir/".into(), folder: Some(folder), ..TransferSnapshot::default() })
        };
        assert_eq!([name(None), name(Some("a/b"))], ["dir/", "a/b"]);
        assert_eq!(name(Some("some/deep/folder/with/a.txt")), "...eep/folder/with/a.txt");
    }
}
