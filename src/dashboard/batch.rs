//! Fetches of many files: those below folders of the origin are found by their listings, within limits.

use std::collections::{HashSet, VecDeque};

use super::log::RunLog;
use super::queue::{MAX_OPEN, Queue};
use crate::error::Error;
use crate::net::admin_client;
use crate::route::{FileName, Route};
use crate::secret::Secret;
use crate::snapshot::Level;

/// Maximum number of listings requested for one command, each a page of a folder: far more than `MAX_OPEN` files need,
/// unless most folders are empty.
const MAX_LISTINGS: usize = 256;

/// Files of one command.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The files, in the order of their listings.
    pub files: Vec<FileName>,
    /// There are more files, or folders that were not listed.
    pub more: bool,
    /// Folders that could not be listed, and why.
    pub errors: Vec<String>,
}

impl Batch {
    /// Adds the files below folders of the origin, until there are more than can be queued.
    pub(super) async fn find(mut self, route: &Route, folders: Vec<FileName>, token: Option<&Secret>) -> Self {
        let mut open = VecDeque::from(folders);
        let mut requests = 0;
        while let Some(folder) = open.pop_front() {
            let mut after = None;
            loop {
                if requests == MAX_LISTINGS || self.files.len() > MAX_OPEN {
                    self.more = true;
                    return self;
                }
                requests += 1;
                let page = match admin_client::list(route, Some(&folder), after.as_ref(), token).await {
                    Ok(page) => page,
                    Err(problem) => {
                        self.errors.push(format!("{}: {}", folder.shown(), Error::at_hop(problem, route)));
                        break;
                    }
                };
                for entry in page.entries {
                    if !entry.is_folder {
                        self.files.push(entry.path);
                    } else if open.len() < MAX_LISTINGS {
                        open.push_back(entry.path);
                    } else {
                        self.more = true;
                    }
                }
                // Pages must advance: a faulty origin could repeat one forever.
                let advances =
                    |next: &FileName| after.as_ref().is_none_or(|last: &FileName| last.as_bytes() < next.as_bytes());
                after = page.next.filter(advances);
                if after.is_none() {
                    break;
                }
            }
        }
        self
    }

    /// Queues the files; logs how many, and which are not queued.
    pub(super) fn enqueue(self, route: &Route, queue: &mut Queue, log: &mut RunLog) {
        let all = self.files.len();
        let (mut numbers, mut locals) = (Vec::new(), HashSet::new());
        let (mut same, mut refused) = (0, None);
        for (at, file) in self.files.into_iter().enumerate() {
            // All files are saved in one folder.
            if file.local().is_some_and(|local| !locals.insert(local.to_vec())) {
                same += 1;
                continue;
            }
            match queue.add(route.with_file(file), None) {
                Ok(number) => numbers.push(number),
                Err(why) => {
                    refused = Some((all - at, why));
                    break;
                }
            }
        }
        for error in self.errors {
            log.push(Level::Warn, None, error);
        }
        if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
            let range = if first == last { format!("#{first}") } else { format!("#{first} to #{last}") };
            log.push(Level::Info, None, format!("{range}: {} queued", files(numbers.len())));
        } else if refused.is_none() && same == 0 {
            log.push(Level::Warn, None, "no files found".to_owned());
        }
        if same > 0 {
            let text = format!("{} not queued: another one has the same local name", files(same));
            log.push(Level::Warn, None, text);
        }
        let least = if self.more { "at least " } else { "" };
        match refused {
            Some((count, why)) => log.push(Level::Warn, None, format!("{least}{} not queued: {why}", files(count))),
            None if self.more => {
                log.push(Level::Warn, None, "further folders not listed: too many for one command".to_owned());
            }
            None => {}
        }
    }
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}
