//! Queue tests against an origin that sends the last byte of a file only on permission.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::*;
use crate::connections::Connections;
use crate::limits::Limits;
use crate::options::VerifyMode;
use crate::route::FileName;
use crate::snapshot::Phase;

struct Stage {
    _folder: tempfile::TempDir,
    queue: Queue,
    route: Route,
    last_bytes: Arc<Semaphore>,
}

/// Sends `ab` of three bytes immediately and the last with a permit; replies 404 to requests other than files.
async fn serve(mut stream: TcpStream, last_bytes: Arc<Semaphore>) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        if !head.starts_with(b"GET /files/") {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.ok()?;
            continue;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").await.ok()?;
        let mut closed = [0];
        tokio::select! {
            permit = last_bytes.acquire() => permit.ok()?.forget(),
            _ = stream.read(&mut closed) => return None,
        }
        stream.write_all(b"c").await.ok()?;
    }
}

async fn stage(jobs: u32) -> Stage {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let last_bytes = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&last_bytes);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&permits)));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let plan = FetchPlan {
        on_done: None,
        connections: Connections::default(),
        route_files: Vec::new(),
        routes: Vec::new(),
        list_from: None,
        selection: Arc::default(),
        dry_run: false,
        token: None,
        identity: None,
        max_size: None,
        file: None,
        output: folder.path().to_owned(),
        number: 1,
        jobs: Some(jobs),
        force: false,
        times: true,
        reuse: true,
        resume: true,
        retries: 0,
        verify: VerifyMode::Skip,
        protocol: None,
        limits: Limits::default(),
    };
    let queue = Queue::new(plan, OriginToken::default());
    let route = Route::parse(format!("f\n127.0.0.1 {port} protocol=http\n").as_bytes()).unwrap();
    Stage { _folder: folder, queue, route, last_bytes }
}

impl Stage {
    fn add(&mut self, name: &str) -> u64 {
        self.queue.add(self.route.with_file(FileName::new(name.as_bytes()).unwrap()), None).unwrap()
    }

    fn phases(&self) -> Vec<(u64, Phase)> {
        self.queue.snapshots().iter().map(|transfer| (transfer.number, transfer.phase)).collect()
    }

    fn phase(&self, number: u64) -> Phase {
        self.phases().into_iter().collect::<HashMap<_, _>>()[&number]
    }

    /// Waits until a transfer has received this many bytes.
    async fn received(&mut self, number: u64, bytes: u64) {
        let TransferState::Running { progress, .. } = &mut self.queue.find(number).unwrap().state else {
            panic!("#{number} does not run: {:?}", self.phases())
        };
        progress.wait_for(|now| now.received == bytes).await.unwrap();
    }

    /// Returns the next event other than a verdict.
    async fn next_event(&mut self) -> QueueEvent {
        loop {
            match self.queue.next_event().await.unwrap() {
                QueueEvent::Evaluated(..) => {}
                event => return event,
            }
        }
    }
}

#[tokio::test]
async fn parallel_transfers_are_limited_and_the_queue_can_be_reordered() {
    let mut stage = stage(2).await;
    for name in ["a", "b", "c", "d", "e"] {
        stage.add(name);
    }
    assert!(stage.phases().iter().all(|(_, phase)| *phase == Phase::Queued), "nothing starts before the chain is up");
    stage.queue.open();
    assert!(!stage.queue.list[0].is_over() && stage.queue.running.len() == 2);
    assert_eq!([3, 4, 5].map(|number| stage.phase(number)), [Phase::Queued; 3]);
    assert_eq!(stage.queue.reorder(5, -9), Ok(1));
    assert_eq!(stage.queue.reorder(3, 1), Ok(3));
    assert_eq!(stage.phases().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 5, 4, 3]);
    assert!(stage.queue.reorder(1, 1).is_err(), "it runs");
    stage.queue.cancel(4).unwrap();
    assert_eq!((stage.phase(4), stage.queue.cancel(4).is_err()), (Phase::Cancelled, true));
    let mut order = Vec::new();
    stage.last_bytes.add_permits(4);
    while order.len() < 4 {
        match stage.next_event().await {
            QueueEvent::Done(number) => order.push(number),
            other => panic!("{other:?}"),
        }
    }
    order[..2].sort_unstable();
    assert_eq!(order[..2], [1, 2]);
    assert!(stage.phases().iter().all(|(number, phase)| *phase == Phase::Done || *number == 4));
}

#[tokio::test]
async fn a_pause_frees_a_slot_and_the_transfer_resumes_in_order() {
    let mut stage = stage(1).await;
    stage.queue.open();
    let (first, second) = (stage.add("a"), stage.add("b"));
    stage.received(first, 2).await;
    assert!(stage.queue.resume(first).is_err() && stage.queue.retry(first).is_err());
    stage.queue.pause(first).unwrap();
    assert!(matches!(stage.next_event().await, QueueEvent::Paused(1)));
    let paused = stage.queue.snapshots()[0].clone();
    assert_eq!((paused.phase, paused.received, paused.error), (Phase::Paused, 2, None));
    stage.received(second, 2).await;
    stage.queue.resume(first).unwrap();
    assert_eq!(stage.phase(first), Phase::Queued, "the second has the slot");
    stage.last_bytes.add_permits(2);
    assert!(matches!(stage.next_event().await, QueueEvent::Done(2)));
    assert!(matches!(stage.next_event().await, QueueEvent::Done(1)));
    assert_eq!(stage.queue.retry(first), Ok(3));
    stage.last_bytes.add_permits(1);
    assert!(matches!(stage.next_event().await, QueueEvent::Done(3)));
    assert!(stage.queue.snapshots()[2].already_present, "the same options give the same path");
}

#[tokio::test]
async fn the_last_of_overlapping_commands_wins() {
    let mut stage = stage(1).await;
    stage.queue.open();
    let number = stage.add("a");
    stage.received(number, 2).await;
    stage.queue.pause(number).unwrap();
    stage.queue.resume(number).unwrap();
    assert!(matches!(stage.next_event().await, QueueEvent::Requeued));
    stage.received(number, 2).await;
    stage.queue.pause(number).unwrap();
    stage.queue.cancel(number).unwrap();
    assert!(stage.queue.pause(number).is_err(), "it is being cancelled");
    assert!(matches!(stage.next_event().await, QueueEvent::Failed(1, Error::Interrupted { .. })));
    assert_eq!(stage.phase(number), Phase::Cancelled);
    let other = stage.add("b");
    stage.queue.pause(other).unwrap();
    assert!(matches!(stage.next_event().await, QueueEvent::Paused(2)));
    stage.queue.cancel(other).unwrap();
    assert_eq!(stage.phase(other), Phase::Cancelled);
}

#[tokio::test]
async fn a_retry_keeps_the_rate_limit() {
    let mut stage = stage(1).await;
    let number = stage.add("a");
    stage.queue.set_rate_limit(number, Some(5000)).unwrap();
    stage.queue.cancel(number).unwrap();
    assert!(stage.queue.set_rate_limit(number, None).is_err(), "it has ended");
    let again = stage.queue.retry(number).unwrap();
    assert_eq!(stage.queue.snapshots()[1].rate_limit, Some(5000));
    stage.queue.open();
    stage.received(again, 2).await;
    stage.queue.set_rate_limit(again, None).unwrap();
    stage.last_bytes.add_permits(1);
    assert!(matches!(stage.next_event().await, QueueEvent::Done(2)));
    assert_eq!(stage.queue.snapshots()[1].rate_limit, None);
}

#[tokio::test]
async fn a_panic_fails_one_transfer_and_no_other() {
    let mut stage = stage(1).await;
    stage.queue.open();
    let (first, second) = (stage.add("a"), stage.add("b"));
    let broken = stage.queue.running.spawn(async { panic!("a test panic") }).id();
    let TransferState::Running { task, .. } = &mut stage.queue.find(first).unwrap().state else { panic!("it runs") };
    *task = broken;
    assert!(matches!(stage.next_event().await, QueueEvent::Panicked(1, _)));
    assert_eq!(stage.phase(first), Phase::Failed);
    stage.last_bytes.add_permits(2);
    while !matches!(stage.next_event().await, QueueEvent::Done(2)) {}
    assert_eq!(stage.phase(second), Phase::Done);
}

#[tokio::test]
async fn the_end_of_a_transfer_is_reported_before_its_verdict() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Sends the file; does not reply to later requests.
    let origin = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let read = stream.read(&mut head).await.unwrap();
        assert!(head[..read].ends_with(b"\r\n\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
        (stream, listener.accept().await.unwrap())
    });
    let mut stage = stage(1).await;
    stage.route = Route::parse(format!("f\n127.0.0.1 {port} protocol=http\n").as_bytes()).unwrap();
    stage.queue.open();
    let number = stage.add("f");
    assert!(matches!(stage.queue.next_event().await, Some(QueueEvent::Done(1))));
    let done = |stage: &Stage| stage.queue.snapshots()[0].clone();
    assert_eq!((number, done(&stage).phase, done(&stage).verdict), (1, Phase::Done, None));
    let requested = origin.await.unwrap();
    drop(requested);
    assert!(matches!(stage.queue.next_event().await, Some(QueueEvent::Evaluated(..))));
    assert!(done(&stage).verdict.is_some() && stage.queue.next_event().await.is_none());
}

#[tokio::test]
async fn shutdown_cancels_running_transfers_and_starts_none() {
    let mut stage = stage(1).await;
    stage.queue.open();
    let (first, second) = (stage.add("a"), stage.add("b"));
    stage.received(first, 2).await;
    stage.queue.end().await;
    assert_eq!([first, second].map(|number| stage.phase(number)), [Phase::Cancelled; 2]);
}
