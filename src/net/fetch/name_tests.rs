//! Tests of fetches that are refused or wait before their first byte: size limits, and other fetches of the same file.

use std::time::Duration;

use super::part::{ClaimResult, PartialFile};
use super::tests::{Scene, Turn, whole};
use super::*;
use crate::snapshot::Phase;

#[tokio::test]
async fn max_size_rejects_a_file_before_its_body() {
    for (max, fits) in [(20, false), (21, true)] {
        let mut scene = Scene::http(vec![Turn::Send(whole(""))]).await;
        scene.job.max_size = Some(max);
        let fetched = scene.fetch().await;
        assert_eq!(fetched.is_ok(), fits, "{fetched:?}");
        if let Err(error) = fetched {
            assert!(error.exit_code() == 7 && error.to_string().contains("--max-size"), "{error}");
            assert!(scene.names().is_empty() && scene.progress.borrow().received == 0);
        }
    }
}

#[tokio::test]
async fn waits_for_another_fetch_of_the_same_file_and_can_be_cancelled() {
    let mut scene = Scene::http(vec![Turn::Send(whole(""))]).await;
    let target = Arc::new(TargetPath::of(scene.folder.path(), &scene.job.route.file).unwrap());
    let other = PartialFile::open(&target, u64::from(u32::MAX), false, 0).unwrap();
    let ClaimResult::Ours(other) = other else { panic!("{other:?}") };
    let (mut updates, stop) = (scene.progress.subscribe(), scene.stop.clone());
    let waits = async {
        updates.wait_for(|snapshot| snapshot.phase == Phase::Locked).await.unwrap();
        stop.cancel();
    };
    let (cancelled, ()) = tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), waits);
    assert_eq!((cancelled.unwrap_err().exit_code(), scene.requests.lock().unwrap().len()), (130, 0));
    // When the other fetch fails, this one continues.
    scene.stop = CancellationToken::new();
    let mut updates = scene.progress.subscribe();
    let ends = async {
        let seen = updates.wait_for(|snapshot| snapshot.phase == Phase::Locked).await.unwrap().error.clone();
        drop(other);
        seen
    };
    let (fetched, seen) = tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), ends);
    assert_eq!(seen.unwrap().as_str(), "waiting for another fetch of dir/f.bin");
    assert_eq!((fetched.unwrap().already_present, scene.names()), (false, vec!["f.bin".to_owned()]));
    assert_eq!(scene.progress.borrow().error, None);
}

#[tokio::test]
async fn a_stalled_fetch_of_the_same_file_is_skipped() {
    let mut scene = Scene::http(vec![Turn::Send(whole(""))]).await;
    let target = Arc::new(TargetPath::of(scene.folder.path(), &scene.job.route.file).unwrap());
    let other = PartialFile::open(&target, u64::from(u32::MAX), false, 0).unwrap();
    scene.job.limits.stall = Duration::from_millis(300);
    scene.fetch().await.unwrap();
    assert_eq!(scene.names(), ["f.bin", "f.bin.part", "f.bin.part.state"]);
    drop(other);
}
