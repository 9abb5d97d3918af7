//! The staging folder and the thread that all streams of a folder share.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::publish::Publisher;
use super::queue::{Entry, Queue};
use super::results::{Item, Results, Summary};
use super::staging::Staging;
use super::tree::{Tree, TreePath};
use crate::error::Error;

/// Publishes the streams of a folder; clones share the thread, which the first stream starts.
#[derive(Clone, Debug)]
pub(super) struct Publishing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: TreePath,
    force: bool,
    results: Results,
    stop: CancellationToken,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    staging: Arc<Staging>,
    queue: Arc<Queue>,
    streams: usize,
    thread: thread::JoinHandle<()>,
}

/// A stream's access to what all share.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) tree: Arc<Tree>,
    pub(super) staging: Arc<Staging>,
    queue: Arc<Queue>,
    number: usize,
}

/// Refuses further entries when the thread ends, even by a panic.
struct EndGuard(Arc<Queue>);

impl Publishing {
    pub(super) fn new(path: TreePath, force: bool, results: Results, stop: CancellationToken) -> Self {
        Self(Arc::new(Shared { path, force, results, stop, running: Mutex::default() }))
    }

    pub(super) fn results(&self) -> &Results {
        &self.0.results
    }

    /// Adds a stream; the first one opens the folders and starts the thread. Blocks on the disk.
    pub(super) fn stream(&self) -> Result<Stream, Error> {
        let tree = self.0.path.open()?;
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match &mut *running {
            Some(running) => running,
            none => none.insert(self.start(&tree)?),
        };
        running.streams += 1;
        let (staging, queue) = (Arc::clone(&running.staging), Arc::clone(&running.queue));
        Ok(Stream { tree, staging, queue, number: running.streams })
    }

    fn start(&self, tree: &Arc<Tree>) -> Result<Running, Error> {
        let Shared { force, results, stop, .. } = &*self.0;
        let (staging, queue) = (Arc::new(Staging::open(tree)?), Arc::new(Queue::default()));
        let publisher = Publisher::new(Arc::clone(tree), Arc::clone(&staging), *force, results.clone(), stop.clone());
        let guard = EndGuard(Arc::clone(&queue));
        let thread = thread::Builder::new().name("publish".to_owned()).spawn(move || {
            if let Err(error) = publisher.run(&guard.0) {
                guard.0.end(error);
            }
        });
        let thread = thread.map_err(|error| Error::disk("write to it", tree.path(), &error))?;
        Ok(Running { staging, queue, streams: 0, thread })
    }

    /// Waits until everything is published, and removes the staging folder. Blocks on the disk.
    pub(super) fn end(&self) {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.queue.close();
            // A panic was reported by the end of the queue.
            let _ = running.thread.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The thread of a transfer that was dropped ends by itself.
        if let Some(running) = running {
            running.queue.close();
        }
    }
}

impl Stream {
    /// Adds an entry to the group; false if nothing more is published. Waits while the group is full.
    pub(super) fn add(&self, item: Item, bytes: u64) -> bool {
        self.queue.add(self.number, Entry::Item(item), bytes)
    }

    /// Ends the stream; the receiver gets what became of it once all of it is on the disk.
    pub(super) fn end(&self) -> oneshot::Receiver<Summary> {
        let (ended, summary) = oneshot::channel();
        self.queue.add(self.number, Entry::End(ended), 0);
        summary
    }

    /// Returns the error that ended the publishing of all streams.
    pub(super) fn error(&self) -> Error {
        self.queue.error().unwrap_or_else(|| Error::Other("the publishing thread failed".to_owned()))
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end(Error::Other("the publishing thread failed".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::results::StagedFile;
    use super::*;
    use crate::net::fetch::file_log::FileLog;
    use crate::route::FileName;
    use crate::snapshot::FileOutcome;

    fn publishing(output: &std::path::Path) -> Publishing {
        let path = TreePath::of(output, &FileName::new(b"/").unwrap()).unwrap();
        let results = Results { progress: Arc::default(), files: FileLog::of_all() };
        Publishing::new(path, false, results, CancellationToken::new())
    }

    fn add(stream: &Stream, name: &str) -> bool {
        let (number, mut file) = stream.staging.create(false).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        let path = FileName::new(name.as_bytes()).unwrap();
        let file = StagedFile { path, size: name.len() as u64, number };
        stream.add(Item::Proven(file, FileOutcome::Verified), 1)
    }

    fn names(folder: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn streams_share_a_staging_folder_and_end_by_themselves() {
        let output = tempfile::tempdir().unwrap();
        let publishing = publishing(output.path());
        let [first, second] = [(); 2].map(|()| publishing.stream().unwrap());
        assert_eq!(names(output.path()).len(), 1, "one staging folder");
        assert!(["a", "c"].iter().all(|name| add(&first, name)) && add(&second, "b"));
        let summary = first.end().blocking_recv().unwrap();
        assert_eq!((summary.last, summary.failures.count), (Some(FileName::new(b"c").unwrap()), 0));
        assert!(output.path().join("c").exists());
        assert!(add(&second, "d") && add(&second, "d"));
        let summary = second.end().blocking_recv().unwrap();
        assert_eq!((summary.last, summary.failures.count), (Some(FileName::new(b"d").unwrap()), 0));
        let results = publishing.results().files.take();
        assert_eq!(results.len(), 5, "{results:?}");
        drop((first, second));
        publishing.end();
        assert_eq!(names(output.path()), ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_has_not_ended_is_published_at_the_end_and_nothing_afterwards() {
        let output = tempfile::tempdir().unwrap();
        let publishing = publishing(output.path());
        let stream = publishing.stream().unwrap();
        assert!(add(&stream, "a"));
        publishing.end();
        assert_eq!(publishing.results().files.take().len(), 1);
        assert!(!add(&stream, "b"));
        assert!(stream.end().blocking_recv().is_err());
        drop(stream);
        assert_eq!(names(output.path()), ["a"]);
    }
}
