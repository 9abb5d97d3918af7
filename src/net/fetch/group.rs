//! Publishing of small files in groups, see [`publish_all`].
//!
//! A group is what has come while the one before was synced, so that a file that comes alone does not wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::part::{PartialFile, Publication, Published, publish_all};
use crate::error::Error;
use crate::net::os::machine::Machine;

/// Largest file that is published in a group; the sync of a larger one takes little time beside its transfer.
pub(super) const SMALL: u64 = 64 * 1024;

/// Publishes small files of several transfers in groups; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Publisher(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    files: Mutex<Vec<WaitingFile>>,
    /// Held by the transfer that publishes a group.
    leading: tokio::sync::Mutex<()>,
}

/// A proven file that waits for its group.
#[derive(Debug)]
struct WaitingFile {
    part: PartialFile,
    force: bool,
    stop: CancellationToken,
    published: oneshot::Sender<Result<Published, Error>>,
}

impl Publisher {
    /// Publishes a file with all others that wait; it is on the disk when this returns.
    pub(super) async fn publish(
        &self,
        machine: Machine,
        part: PartialFile,
        force: bool,
        stop: &CancellationToken,
    ) -> Result<Published, Error> {
        let (published, mut result) = oneshot::channel();
        self.waiting().push(WaitingFile { part, force, stop: stop.clone(), published });
        let _leading = self.0.leading.lock().await;
        // The group of the transfer before may have contained it.
        if let Ok(result) = result.try_recv() {
            return result;
        }
        let group = std::mem::take(&mut *self.waiting());
        let publishing = machine.spawn_blocking(move || publish(group));
        (machine.settle)(&|| publishing.is_finished());
        let failed = |error| Error::Other(format!("the disk thread failed: {error}"));
        publishing.await.map_err(failed)?;
        // The group may be that of a transfer that was dropped, and not be published yet.
        result.await.unwrap_or_else(|_| Err(Error::Other("the file was not published".to_owned())))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<WaitingFile>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn publish(group: Vec<WaitingFile>) {
    let (mut files, mut senders) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
    for WaitingFile { part, force, stop, published } in group {
        files.push(Publication { part, force, cancelled: Box::new(move || stop.is_cancelled()) });
        senders.push(published);
    }
    for (sender, result) in senders.into_iter().zip(publish_all(files)) {
        // A transfer that was dropped does not wait for its result.
        let _ = sender.send(result);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::super::part::ClaimResult;
    use super::super::target::TargetPath;
    use super::*;
    use crate::route::FileName;

    fn now<F: Future>(file: &mut Pin<Box<F>>) -> Poll<F::Output> {
        file.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Returns a finished file.
    fn part(folder: &Path, number: usize) -> PartialFile {
        let name = FileName::new(number.to_string().as_bytes()).unwrap();
        let target = Arc::new(TargetPath::of(folder, &name).unwrap());
        let ClaimResult::Ours(part) = PartialFile::open(&target, 4, false, 0).unwrap() else { panic!("busy") };
        part.file().write_all(b"same").unwrap();
        part
    }

    #[tokio::test]
    async fn files_that_wait_together_are_published_as_one_group() {
        let folder = tempfile::tempdir().unwrap();
        let (publisher, stop) = (Publisher::default(), CancellationToken::new());
        std::fs::write(folder.path().join("0"), "other").unwrap();
        std::fs::write(folder.path().join("1"), "same").unwrap();
        // Fewer than are synced with the whole file system, and more.
        for numbers in [0..4, 4..40] {
            let publish = |number| {
                let part = part(folder.path(), number);
                Box::pin(publisher.publish(Machine::default(), part, false, &stop))
            };
            let leading = publisher.0.leading.lock().await;
            let mut files: Vec<_> = numbers.clone().map(publish).collect();
            assert!(files.iter_mut().all(|file| now(file).is_pending()));
            drop(leading);
            let first = files.remove(0).await;
            assert_eq!(first.is_ok(), numbers.start > 0, "{first:?}");
            let named = |number: usize| std::fs::read(folder.path().join(number.to_string())).unwrap();
            assert!(numbers.clone().skip(1).all(|number| named(number) == b"same"));
            for (mut file, number) in files.into_iter().zip(numbers.skip(1)) {
                let expected = if number == 1 { Published::WasThere } else { Published::New };
                assert_eq!(now(&mut file), Poll::Ready(Ok(expected)), "{number} is published, too");
            }
        }
        assert_eq!(std::fs::read(folder.path().join("0")).unwrap(), b"other");
    }

    #[tokio::test]
    async fn a_file_is_published_although_the_transfer_that_publishes_its_group_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (publisher, stop) = (Publisher::default(), CancellationToken::new());
        let publish = |number| {
            let part = part(folder.path(), number);
            Box::pin(publisher.publish(Machine::default(), part, false, &stop))
        };
        let leading = publisher.0.leading.lock().await;
        let mut files: Vec<_> = (0..40).map(publish).collect();
        assert!(files.iter_mut().all(|file| now(file).is_pending()));
        drop(leading);
        let mut first = files.remove(0);
        // It starts the thread, which is hardly done at once.
        let _ = now(&mut first);
        drop(first);
        for file in files {
            assert_eq!(file.await, Ok(Published::New));
        }
    }
}
