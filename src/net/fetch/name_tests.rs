//! Tests of fetches that meet each other, or limits of this machine, before their first byte.

use std::time::Duration;

use super::part::{ClaimResult, PartialFile};
use super::tests::{Scene, Turn, whole};
use super::*;
use crate::snapshot::Phase;

#[tokio::test]
async fn a_larger_file_than_wanted_is_refused_before_its_first_byte() {
    for (most, fits) in [(20, false), (21, true)] {
        let mut scene = Scene::http(vec![Turn::Say(whole(""))]).await;
        scene.job.max_size = Some(most);
        let fetched = scene.fetch().await;
        assert_eq!(fetched.is_ok(), fits, "{fetched:?}");
        if let Err(error) = fetched {
            assert!(error.exit_code() == 7 && error.to_string().contains("--max-size"), "{error}");
            assert!(scene.names().is_empty() && scene.progress.borrow().received == 0);
        }
    }
}

#[tokio::test]
async fn a_fetch_waits_for_another_one_of_the_same_name_and_can_be_stopped_meanwhile() {
    let mut scene = Scene::http(vec![Turn::Say(whole(""))]).await;
    let place = Arc::new(TargetPath::of(scene.folder.path(), &scene.job.route.file).unwrap());
    let other = PartialFile::open(&place, u64::from(u32::MAX), false, 0).unwrap();
    let ClaimResult::Ours(other) = other else { panic!("{other:?}") };
    let (mut news, stop) = (scene.progress.subscribe(), scene.stop.clone());
    let waits = async {
        news.wait_for(|snapshot| snapshot.phase == Phase::Locked).await.unwrap();
        stop.cancel();
    };
    let (stopped, ()) = tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), waits);
    assert_eq!((stopped.unwrap_err().exit_code(), scene.asked.lock().unwrap().len()), (130, 0));
    // Where the other one fails, this one goes on.
    scene.stop = CancellationToken::new();
    let mut news = scene.progress.subscribe();
    let ends = async {
        let said = news.wait_for(|snapshot| snapshot.phase == Phase::Locked).await.unwrap().error.clone();
        drop(other);
        said
    };
    let (fetched, said) = tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), ends);
    assert_eq!(said.unwrap().as_str(), "waits for another fetch of dir/f.bin");
    assert_eq!((fetched.unwrap().already_present, scene.names()), (false, vec!["f.bin".to_owned()]));
    assert_eq!(scene.progress.borrow().error, None);
}

#[tokio::test]
async fn one_that_stands_still_for_too_long_is_passed_by() {
    let mut scene = Scene::http(vec![Turn::Say(whole(""))]).await;
    let place = Arc::new(TargetPath::of(scene.folder.path(), &scene.job.route.file).unwrap());
    let other = PartialFile::open(&place, u64::from(u32::MAX), false, 0).unwrap();
    scene.job.limits.stall = Duration::from_millis(300);
    scene.fetch().await.unwrap();
    assert_eq!(scene.names(), ["f.bin", "f.bin.part", "f.bin.part.state"]);
    drop(other);
}
