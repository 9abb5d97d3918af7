//! Tests of whole folders against a scripted peer on loopback.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::decode::tests::Archive;
use super::listing::Item;
use super::part::receive_file;
use super::{Outcome, Publishing, Results, TreePath, finished, whole_stream};
use crate::error::Error;
use crate::net::fetch::tests::{Scene, Turn, digest_line};
use crate::net::fetch::tracker::Tracker;
use crate::net::fetch::{FetchJob, Fetched};
use crate::route::FileName;
use crate::snapshot::{FileOutcome, Integrity, Phase};
use crate::text::SafeText;

/// Returns a reply with an archive, of which only the first bytes may be sent.
fn reply(archive: &[u8], sent: usize) -> String {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: application/x-tar\r\nDate: {}\r\n\r\n",
        archive.len(),
        "Mon, 30 Nov 2026 12:00:00 GMT"
    );
    head + std::str::from_utf8(&archive[..sent]).unwrap()
}

async fn scene(turn: Turn) -> Scene {
    let mut scene = Scene::http(vec![turn]).await;
    scene.job.route.file = FileName::new(b"x/d/").unwrap();
    scene
}

async fn of(archive: &[u8]) -> Scene {
    scene(Turn::Send(reply(archive, archive.len()))).await
}

/// Receives the stream into an output folder that has files, as if they had come there after the comparison.
async fn receive(scene: &mut Scene) -> Result<Fetched, Error> {
    let path = TreePath::of(&scene.job.output, &scene.job.route.file)?;
    let mut tracker = Tracker::new(&scene.job, &scene.progress);
    let progress = Arc::default();
    tracker.folder(Arc::clone(&progress));
    let results = Results { progress, files: scene.job.files.clone() };
    let mut outcome = Outcome::default();
    let (upstream, job, stop) = (&mut scene.upstream, &mut scene.job, &scene.stop);
    let publishing = Publishing::new(path.clone(), job.force, results, stop.clone());
    let received = whole_stream(upstream, job, &publishing, &mut outcome, &mut tracker, stop).await;
    tokio::task::spawn_blocking(move || publishing.end()).await.unwrap();
    tracker.publish();
    received?;
    finished(&scene.job, &path, outcome, &tracker)
}

/// Returns every path in a folder, files with their content.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.symlink_metadata().unwrap().is_dir() {
            found.push(format!("{name}/"));
            found.extend(tree(&path).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            found.push(format!("{name}={}", std::fs::read_to_string(&path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

fn sample() -> Vec<u8> {
    let archive = Archive::default().folder("d").file("d/a", b"one").folder("d/empty").folder("d/sub");
    archive.file("d/sub/run", b"two").digests().file("d/z", b"").digests().end()
}

#[tokio::test]
async fn a_folder_is_unpacked_with_times_and_permissions() {
    let mut scene = of(&sample()).await;
    let fetched: Fetched = scene.fetch().await.unwrap();
    assert_eq!(fetched.integrity, Integrity::Verified { digest: String::new() });
    let root = scene.folder.path().join("d");
    assert_eq!(fetched.path, root);
    assert_eq!(tree(&root), ["a=one", "empty/", "sub/", "sub/run=two", "z="]);
    assert_eq!(scene.names(), ["d"]);
    let found = root.join("sub/run").metadata().unwrap();
    assert_eq!(found.modified().unwrap(), UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    assert!(
        found.permissions().mode() & 0o100 != 0 && root.join("a").metadata().unwrap().permissions().mode() & 0o111 == 0
    );
    let last = scene.progress.borrow().clone();
    let folder = last.folder.unwrap();
    assert_eq!((last.phase, folder.done, folder.failed, folder.present), (Phase::Done, 3, 0, 0));
    let outcomes: Vec<_> = folder.recent.iter().map(|file| (file.path.as_str(), file.size, file.outcome)).collect();
    let verified = FileOutcome::Verified;
    assert_eq!(outcomes, [("a", 3, verified), ("sub/run", 3, verified), ("z", 0, verified)]);
    let head = scene.requests.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /files/x/d/ HTTP/1.1\r\n") && head.contains("Accept: application/x-tar"), "{head}");
}

#[tokio::test]
async fn existing_files_are_compared_and_replaced_only_if_forced() {
    for force in [false, true] {
        let mut scene = of(&sample()).await;
        scene.job.force = force;
        let root = scene.folder.path().join("d");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("a"), "one").unwrap();
        std::fs::write(root.join("sub/run"), "2wo").unwrap();
        std::fs::set_permissions(root.join("sub/run"), PermissionsExt::from_mode(0o600)).unwrap();
        let result = receive(&mut scene).await;
        let folder = scene.progress.borrow().folder.clone().unwrap();
        let kept = if force { "sub/run=two" } else { "sub/run=2wo" };
        assert_eq!(tree(&root), ["a=one", "empty/", "sub/", kept, "z="]);
        assert_eq!(root.join("sub/run").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        if force {
            result.unwrap();
            assert_eq!((folder.done, folder.present, folder.failed), (3, 0, 0));
        } else {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Files { failed: 1, .. }) && error.exit_code() == 7, "{error}");
            let expected = "d/sub/run: a file with other content exists already: --force replaces it";
            assert!(error.to_string().ends_with(expected), "{error}");
            assert_eq!((folder.done, folder.present, folder.failed), (1, 1, 1));
        }
    }
}

#[tokio::test]
async fn links_and_files_in_place_of_folders_are_not_followed() {
    let mut scene = of(&sample()).await;
    scene.job.force = true;
    let outside = tempfile::tempdir().unwrap();
    let root = scene.folder.path().join("d");
    std::fs::create_dir(&root).unwrap();
    symlink(outside.path(), root.join("sub")).unwrap();
    std::fs::write(outside.path().join("target"), "mine").unwrap();
    symlink(outside.path().join("target"), root.join("a")).unwrap();
    std::fs::write(root.join("empty"), "a file").unwrap();
    let error = receive(&mut scene).await.unwrap_err();
    assert!(matches!(error, Error::Files { failed: 4, .. }), "{error}");
    assert_eq!(tree(outside.path()), ["target=mine"]);
    let failed = scene.progress.borrow().folder.clone().unwrap();
    let reasons: Vec<_> = failed.recent.iter().filter_map(|file| file.error.as_ref()).map(SafeText::as_str).collect();
    let expected =
        [("d/empty", "a file is in the place"), ("d/sub", "symbolic"), ("d/a", "symbolic"), ("run", "symbolic")];
    for ((path, reason), text) in expected.iter().zip(&reasons) {
        assert!(text.contains(path) && text.contains(reason), "{text}");
    }
}

#[tokio::test]
async fn a_broken_stream_keeps_what_is_proven() {
    let archive = sample();
    // In the middle of the last header.
    let mut scene = scene(Turn::SendAndClose(reply(&archive, archive.len() - 2 * 512 - 3 * 512 + 5))).await;
    let error = scene.fetch().await.unwrap_err();
    assert_eq!(error.exit_code(), 6, "{error}");
    assert_eq!(tree(&scene.folder.path().join("d")), ["a=one", "empty/", "sub/", "sub/run=two"]);
    assert_eq!(scene.progress.borrow().folder.clone().unwrap().done, 2);
}

#[tokio::test]
async fn a_hostile_archive_changes_nothing_outside_and_publishes_nothing_unproven() {
    let good = || Archive::default().file("d/a", b"good").digests();
    for (archive, reason) in [
        (
            good().file("d/../../escaped", b"x").digests(),
            "entry \"d/../../escaped\": its name contains a parent folder",
        ),
        (good().entry(b'2', "d/link", b"", |_| {}), "entry \"d/link\": its type '2' is neither a file nor a folder"),
        (good().file("d/a", b"x").digests(), "entry \"d/a\": it is repeated"),
        (good().file("d/b", b"x"), "the digests of 1 files are missing"),
    ] {
        let mut scene = of(&archive.end()).await;
        let error = scene.fetch().await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("hop 1 (127.0.0.1:") && text.contains("sent an invalid archive of x/d/: "), "{text}");
        assert!(text.contains(reason) && error.exit_code() == 6 && error.hop() == Some(1), "{text}");
        assert_eq!(
            (scene.names(), tree(&scene.folder.path().join("d"))),
            (vec!["d".to_owned()], vec!["a=good".to_owned()])
        );
    }
}

#[tokio::test]
async fn altered_files_fail_by_themselves() {
    let other = *blake3::hash(b"other").as_bytes();
    let archive = Archive::default().entry(b'0', "d/a", b"altered", |_| {}).those(&[other]);
    let mut scene = of(&archive.file("d/b", b"good").file("d/c\u{7}", b"x").digests().end()).await;
    let error = scene.fetch().await.unwrap_err();
    assert!(error.exit_code() == 6 && error.to_string().contains("2 files were not received"), "{error}");
    assert_eq!(tree(&scene.folder.path().join("d")), ["b=good"]);
    let folder = scene.progress.borrow().folder.clone().unwrap();
    assert_eq!((folder.done, folder.failed), (1, 2));
    assert!(folder.recent[0].error.as_ref().unwrap().as_str().contains("altered in transit"));
    assert!(folder.recent[2].error.as_ref().unwrap().as_str().contains("control characters"));
}

#[tokio::test]
async fn other_replies_than_an_archive_are_errors_of_the_last_hop() {
    for head in ["Content-Type: text/html\r\n", ""] {
        let mut scene = scene(Turn::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{head}\r\npage"))).await;
        let error = scene.fetch().await.unwrap_err();
        assert!(error.exit_code() == 5 && error.to_string().contains("does not send folders as one stream"), "{error}");
        assert!(scene.names().is_empty());
    }
}

#[tokio::test]
async fn the_output_is_a_new_folder_or_one_in_an_existing_folder() {
    let named =
        |scene: &Scene, output: &str| FetchJob { output: scene.folder.path().join(output), ..scene.job.clone() };
    for (output, expected) in [("new", "new/"), ("new/", "new/d/")] {
        let mut scene = of(&sample()).await;
        scene.job = named(&scene, output);
        scene.fetch().await.unwrap();
        assert!(tree(scene.folder.path()).contains(&format!("{expected}a=one")));
    }
    let mut scene = of(&sample()).await;
    std::fs::write(scene.folder.path().join("file"), "").unwrap();
    scene.job = named(&scene, "file");
    assert_eq!(scene.fetch().await.unwrap_err().exit_code(), 7);
}

#[tokio::test]
async fn what_a_killed_run_left_is_removed_and_another_run_is_left_alone() {
    let mut scene = of(&sample()).await;
    let root = scene.folder.path().join("d");
    let left = root.join(".chainview-staging");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::set_permissions(&left, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(left.join("0"), "left over").unwrap();
    // A run in several parts has several, of which the next one may use fewer.
    let second = root.join(".chainview-staging-3");
    std::fs::create_dir(&second).unwrap();
    std::fs::set_permissions(&second, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(second.join("17"), "left over").unwrap();
    let foreign = root.join(".chainview-staging-1");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("notes"), "mine").unwrap();
    scene.fetch().await.unwrap();
    assert!(!left.exists() && !second.exists() && foreign.join("notes").exists() && root.join("a").exists());
    std::fs::rename(&foreign, &left).unwrap();
    let mut scene = of(&sample()).await;
    std::fs::rename(&root, scene.folder.path().join("d")).unwrap();
    receive(&mut scene).await.unwrap();
    assert!(scene.folder.path().join("d/.chainview-staging/notes").exists());
    assert_eq!(scene.progress.borrow().folder.clone().unwrap().present, 3);
}

/// Content of a size in which each part differs.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + (at / 1000 % 26) as u8).collect()
}

#[tokio::test]
async fn a_large_file_that_breaks_off_is_resumed_by_itself() {
    for (size, at) in [(3 << 20, 2 << 20), (3 << 20, 3 << 20), (17 << 20, 1 << 20), (17 << 20, 17 << 20)] {
        let large = content(size);
        let archive = Archive::default().file("d/a", b"good").digests().folder("d/sub").file("d/sub/large", &large);
        let archive = archive.digests().end();
        let sent = 6 * 512 + at;
        let mut scene = scene(Turn::SendAndClose(reply(&archive, sent))).await;
        let error = scene.fetch().await.unwrap_err();
        assert_eq!(error.exit_code(), 6, "{error}");
        let root = scene.folder.path().join("d");
        let mut names: Vec<String> =
            tree(&root).iter().map(|name| name.split('=').next().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["a", "sub/", "sub/large.part", "sub/large.part.state"], "{size} {at}");
        // The file by itself, with the modification time of the archive as its validator.
        let modified = "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\n";
        let digest = digest_line(&large);
        let rest = std::str::from_utf8(&large[at..]).unwrap();
        let range = format!("Content-Range: bytes {at}-{}/{size}\r\n", size - 1);
        let (status, range, length) =
            if at < size { ("206 Partial Content", range, size - at) } else { ("200 OK", String::new(), size) };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{modified}{digest}{range}\r\n");
        let mut single = Scene::http(vec![Turn::Send(head + rest)]).await;
        single.job.route.file = FileName::new(b"x/d/sub/large").unwrap();
        single.job.output = root.join("sub/large");
        // The same origin, by the state's name of the file.
        let state = std::fs::read_to_string(root.join("sub/large.part.state")).unwrap();
        let [old, new] = [&scene, &single].map(|scene| scene.job.route.hops()[0].address.to_string());
        assert!(state.contains(&format!("{old}/files/x/d/sub/large")), "{state}");
        std::fs::write(root.join("sub/large.part.state"), state.replace(&old, &new)).unwrap();
        single.fetch().await.unwrap();
        assert!(std::fs::read(root.join("sub/large")).unwrap() == large, "{size} {at}");
        let head = single.requests.lock().unwrap()[0].clone();
        assert!(at == size || head.contains(&format!("Range: bytes={at}-")), "{head}");
    }
}

#[tokio::test]
async fn a_large_file_is_published_like_others() {
    let large = content(17 << 20);
    for (expected, present) in [(true, false), (true, true), (false, false)] {
        let archive = Archive::default().entry(b'0', "d/run", &large, |_| {});
        let digest = if expected { *blake3::hash(&large).as_bytes() } else { [7; 32] };
        let mut scene = of(&archive.those(&[digest]).end()).await;
        let root = scene.folder.path().join("d");
        if present {
            std::fs::create_dir(&root).unwrap();
            std::fs::write(root.join("run"), &large).unwrap();
        }
        let result = receive(&mut scene).await;
        let folder = scene.progress.borrow().folder.clone().unwrap();
        if !expected {
            assert!(result.unwrap_err().to_string().contains("altered in transit"));
            assert!(tree(&root).is_empty() && folder.failed == 1);
            continue;
        }
        result.unwrap();
        assert_eq!((folder.done, folder.present), (u64::from(!present), u64::from(present)));
        let found = root.join("run").metadata().unwrap();
        assert!(std::fs::read(root.join("run")).unwrap() == large && tree(&root).len() == 1);
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert!(present || (found.permissions().mode() & 0o100 != 0 && found.modified().unwrap() == time));
    }
}

#[tokio::test]
async fn a_file_by_itself_is_retried_as_often_as_a_whole_transfer() {
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: \"1\"\r\n\r\nbegun";
    let turns = [begun, "", "", ""].map(|text| Turn::SendAndClose(text.to_owned()));
    let Scene { job, upstream, progress, stop, requests, folder, .. } = &mut Scene::http(turns.into()).await;
    job.retries = 1;
    let path = TreePath::of(folder.path(), &FileName::new(b"/").unwrap()).unwrap();
    let item = Item::named(FileName::new(b"f").unwrap());
    let results = Results { progress: Arc::default(), files: job.files.clone() };
    let (another, job) = (upstream.another(), job.clone());
    let ended = receive_file(another, job, path, item, results, progress.clone(), stop.clone()).await;
    ended.result.unwrap_err();
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 2, "{requests:?}");
}
