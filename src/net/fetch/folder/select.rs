//! What is to be received of a folder: page by page of its listing, or name by name of a list.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::here::{Comparison, Here};
use super::listing::{self, Item, Page};
use super::plan::{Part, Planner, Run};
use super::tree::TreePath;
use crate::error::Error;
use crate::net::fetch::job::{FetchJob, blocking};
use crate::route::{FileName, Route, walk_order};
use crate::snapshot::{FileOutcome, FileResult};
use crate::wire::{FailedAction, Reason};

/// Names of a list in one batch.
const NAMES: usize = 4096;

/// A part of a folder that is received by itself.
#[derive(Debug)]
pub(super) enum Work {
    /// Consecutive files, as one stream.
    Run(Run),
    /// A file.
    File(Item),
}

/// What one page contains.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) work: Vec<Work>,
    /// Results that need no transfer, with the error of a failed file.
    pub(super) results: Vec<(FileResult, Option<Error>)>,
    /// Number of selected files.
    pub(super) files: u64,
    /// Links, special files and unusable names that the origin left out.
    pub(super) omitted: u64,
}

/// Position in the walk of a folder.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    job: Arc<FetchJob>,
    path: TreePath,
    position: Position,
    /// Number of names of the list that are done.
    listed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    /// The page after this path, or the first one, is next.
    Page(Option<FileName>),
    /// The origin sends no listing: the names of the list are requested.
    Names,
    End,
}

impl Walk {
    /// Begins a walk after this path, or at the beginning.
    pub(super) fn after(job: Arc<FetchJob>, path: TreePath, after: Option<FileName>) -> Self {
        Self { job, path, position: Position::Page(after), listed: 0 }
    }

    /// Returns true if another request has come before.
    pub(super) fn is_rest(&self) -> bool {
        matches!(self.position, Position::Page(Some(_)))
    }

    /// Returns true if nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.position == Position::End
    }

    /// Continues without a listing, by the names of the list; false if there is no list.
    pub(super) fn by_names(&mut self) -> bool {
        let has_names = self.job.selection.names().is_some();
        if has_names {
            self.position = Position::Names;
        }
        has_names
    }

    /// Requests the next page, and compares its files with those that are here.
    pub(super) async fn next(mut self, stop: CancellationToken) -> (Self, Result<Batch, Error>) {
        let page = match &self.position {
            Position::Page(after) => match listing::page(&self.job, after.as_ref(), &stop).await {
                Ok(page) => page,
                Err(error) => return (self, Err(error)),
            },
            Position::Names | Position::End => Page::default(),
        };
        let (machine, unchanged) = (self.job.machine, self.clone());
        let compared = blocking(machine, move || {
            let batch = self.compare(page, &stop)?;
            Ok((self, batch))
        });
        match compared.await {
            Ok((walk, batch)) => (walk, Ok(batch)),
            Err(error) => (unchanged, Err(error)),
        }
    }

    /// Compares the files of a page, or the next names, with those that are here; blocks on the disk.
    fn compare(&mut self, page: Page, stop: &CancellationToken) -> Result<Batch, Error> {
        let job = Arc::clone(&self.job);
        let tree = if job.dry_run { self.path.open_existing()? } else { Some(self.path.open()?) };
        let mut comparison = Comparison::new(&job, tree.as_deref(), stop);
        let mut batch = Batch { omitted: page.omitted, ..Batch::default() };
        match self.position.clone() {
            Position::Page(after) => {
                let mut planner = Planner::after(after);
                for item in page.items {
                    let part = self.part(&item, &mut comparison, &mut batch)?;
                    planner.push(item.path, part);
                }
                self.position = page.next.map_or(Position::End, |next| Position::Page(Some(self.skip_to(next))));
                if self.is_over() {
                    self.missing_names(None, &mut batch);
                }
                // Streams first: they move the most files.
                let runs = if job.dry_run { Vec::new() } else { planner.take_runs() };
                batch.work.splice(..0, runs.into_iter().map(Work::Run));
            }
            Position::Names => {
                let names = job.selection.names().unwrap_or_default();
                let names = &names[self.listed.min(names.len())..];
                let names = &names[..names.len().min(NAMES)];
                if names.is_empty() {
                    self.position = Position::End;
                }
                self.listed += names.len();
                for path in names {
                    let item = Item::named(path.clone());
                    batch.files += 1;
                    let here = comparison.look(&item)?;
                    batch.add(&job, &item, here);
                }
            }
            Position::End => {}
        }
        Ok(batch)
    }

    /// Decides about an entry of a page.
    fn part(&mut self, item: &Item, comparison: &mut Comparison<'_>, batch: &mut Batch) -> Result<Part, Error> {
        let job = Arc::clone(&self.job);
        if item.is_folder {
            // A folder that is here, or without a selected file, is only passed.
            let all = job.selection.is_everything();
            return Ok(match comparison.look(item)? {
                Here::Folder => Part::Existing,
                Here::Missing if all => Part::Stream(0),
                Here::Missing => Part::Parent,
                Here::Alone | Here::Same | Here::Refused(_) => Part::Leave,
            });
        }
        self.missing_names(Some(&item.path), batch);
        if !job.selection.contains(item.path.as_bytes()) {
            return Ok(Part::Leave);
        }
        batch.files += 1;
        let here = comparison.look(item)?;
        Ok(batch.add(&job, item, here))
    }

    /// Records the names of the list before this file, which is of the list or not, as missing at the origin.
    fn missing_names(&mut self, before: Option<&FileName>, batch: &mut Batch) {
        let job = Arc::clone(&self.job);
        while let Some(name) = job.selection.names().and_then(|names| names.get(self.listed)) {
            let order = before.map_or(std::cmp::Ordering::Less, |file| walk_order(name.as_bytes(), file.as_bytes()));
            if order.is_gt() {
                break;
            }
            self.listed += 1;
            if order.is_eq() {
                break;
            }
            let error = not_found(&job, name);
            let result = FileResult {
                path: name.shown_whole(),
                size: 0,
                outcome: FileOutcome::Failed,
                error: Some(error.to_string().into()),
            };
            batch.files += 1;
            batch.results.push((result, Some(error)));
        }
    }

    /// Skips what is before the folder of the next name of the list.
    fn skip_to(&self, next: FileName) -> FileName {
        let name = self.job.selection.names().and_then(|names| names.get(self.listed));
        let folder = name.and_then(|name| {
            let slash = name.as_bytes().iter().rposition(|byte| *byte == b'/')?;
            FileName::new(&name.as_bytes()[..slash]).ok()
        });
        folder.filter(|folder| walk_order(folder.as_bytes(), next.as_bytes()).is_gt()).unwrap_or(next)
    }
}

impl Batch {
    /// Adds a file; returns its part in the streams.
    fn add(&mut self, job: &FetchJob, item: &Item, here: Here) -> Part {
        let size = item.size.unwrap_or_default();
        let result = |outcome, error: Option<&Error>| FileResult {
            path: item.path.shown_whole(),
            size,
            outcome,
            error: error.map(|error| error.to_string().into()),
        };
        match here {
            Here::Same | Here::Folder => self.results.push((result(FileOutcome::Present, None), None)),
            Here::Refused(error) => self.results.push((result(FileOutcome::Failed, Some(&error)), Some(error))),
            Here::Missing | Here::Alone if job.dry_run => {
                self.results.push((result(FileOutcome::Planned, None), None));
            }
            Here::Missing => return Part::Stream(size),
            Here::Alone => self.work.push(Work::File(item.clone())),
        }
        Part::Leave
    }
}

/// Returns the whole name of a file of the folder, if it is not too long.
pub(super) fn whole_name(route: &Route, path: &FileName) -> Result<FileName, Error> {
    let whole = match route.file.as_folder() {
        Some(folder) => FileName::new(&[folder.as_bytes(), path.as_bytes()].join(&b'/')),
        None => Ok(path.clone()),
    };
    whole.map_err(|error| Error::Usage(format!("{}: {error}", path.shown())))
}

/// Returns the error of a name that the origin does not list.
fn not_found(job: &FetchJob, path: &FileName) -> Error {
    match whole_name(&job.route, path) {
        Ok(whole) => Error::at_origin(Reason::NotFound, FailedAction::Open, "", &job.route.with_file(whole)),
        Err(error) => error,
    }
}
