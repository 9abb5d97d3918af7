//! Tests of resuming: after a failure, in a later run, and when the file has changed.

use std::path::Path;
use std::time::Duration;

use super::tests::{BODY, Scene, Turn, digest_line};
use super::*;
use crate::options::VerifyMode;
use crate::route::Route;
use crate::snapshot::{Integrity, Phase};

/// Header lines that make a file resumable.
const PARTS: &str = "ETag: \"1\"\r\nAccept-Ranges: bytes\r\n";

/// Returns the head of the whole file and its first bytes.
fn beginning(bytes: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{PARTS}\r\n{}", BODY.len(), text(&BODY[..bytes]))
}

/// Returns the rest from an offset, with the digest of the whole.
fn rest(from: usize) -> String {
    part(from, PARTS)
}

fn part(from: usize, lines: &str) -> String {
    let (size, left) = (BODY.len(), BODY.len() - from);
    let range = format!("Content-Length: {left}\r\nContent-Range: bytes {from}-{}/{size}\r\n", size - 1);
    format!("HTTP/1.1 206 Partial Content\r\n{range}{lines}{}\r\n{}", digest_line(BODY), text(&BODY[from..]))
}

/// Returns another whole file of the same name.
fn another() -> String {
    let body = BODY.to_ascii_uppercase();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"2\"\r\nAccept-Ranges: bytes\r\n", body.len());
    format!("{head}{}\r\n{}", digest_line(&body), text(&body))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

impl Scene {
    /// Returns a scene in which a first fetch failed after 8 bytes, with the replies that follow.
    async fn broken(turns: Vec<Turn>) -> Self {
        let turns = std::iter::once(Turn::SendAndClose(beginning(8))).chain(turns).collect();
        let mut scene = Self::http(turns).await;
        let error = scene.fetch().await.unwrap_err();
        assert_eq!(scene.last().resumable, Some(8));
        assert_eq!(
            (error.exit_code(), scene.names()),
            (6, vec!["f.bin.part".to_owned(), "f.bin.part.state".to_owned()])
        );
        scene
    }

    fn last_request(&self) -> String {
        self.requests.lock().unwrap().last().unwrap().clone()
    }

    fn last(&self) -> TransferSnapshot {
        self.progress.borrow().clone()
    }
}

#[tokio::test]
async fn resumes_after_a_failure_in_the_same_run() {
    let mut scene = Scene::http(vec![Turn::SendAndClose(beginning(8)), Turn::Send(rest(8))]).await;
    scene.job.retries = 1;
    let (first, mut updates) = (scene.job.id, scene.progress.subscribe());
    let retrying = async { updates.wait_for(|snapshot| snapshot.phase == Phase::Retrying).await.unwrap().clone() };
    let (fetched, seen) =
        tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), retrying);
    assert!(matches!(fetched.unwrap().integrity, Integrity::Verified { .. }));
    assert!(seen.error.is_some_and(|why| why.as_str().contains("8 of 21 bytes")), "the reason of the retry is missing");
    let retry = seen.retry.unwrap();
    assert!(retry.left > Duration::ZERO && retry.left <= Duration::from_millis(500), "{retry:?}");
    assert_eq!((retry.number, retry.of, scene.last().retry), (1, 1, None));
    assert!(scene.last_request().contains("Range: bytes=8-\r\nIf-Range: \"1\"\r\n"), "{}", scene.last_request());
    let last = scene.last();
    assert_eq!((last.attempt, last.resumed_from, last.received, last.flow.bytes_in), (2, 8, 21, 21));
    assert_eq!((last.error, scene.names(), scene.read("f.bin")), (None, vec!["f.bin".to_owned()], BODY.to_vec()));
    assert_ne!(scene.job.id, first, "two attempts had the same id");
}

#[tokio::test]
async fn resumes_the_partial_file_of_an_earlier_run() {
    let mut scene = Scene::broken(vec![Turn::Send(rest(8))]).await;
    let fetched = scene.fetch().await.unwrap();
    assert!(matches!(fetched.integrity, Integrity::Verified { .. }));
    assert!(scene.last_request().contains("Range: bytes=8-"), "{}", scene.last_request());
    let last = scene.last();
    assert_eq!((last.resumed_from, last.received, last.flow.bytes_in, last.started_over), (8, 21, 13, None));
    assert_eq!(last.origin_digest, Some(format!("blake3:{}", blake3::hash(BODY).to_hex())));
    assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
}

#[tokio::test]
async fn a_changed_file_is_fetched_from_its_start_with_a_reason() {
    let other_part = part(8, "ETag: \"2\"\r\nAccept-Ranges: bytes\r\n");
    let refused = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n".to_owned();
    for turns in [
        vec![Turn::Send(another())],
        vec![Turn::SendAndClose(other_part), Turn::Send(another())],
        vec![Turn::SendAndClose(refused), Turn::Send(another())],
    ] {
        let mut scene = Scene::broken(turns).await;
        scene.fetch().await.unwrap();
        let last = scene.last();
        assert!(last.started_over.is_some_and(|why| why.as_str().contains("changed")));
        assert_eq!((last.resumed_from, scene.read("f.bin")), (0, BODY.to_ascii_uppercase()));
        assert_eq!(scene.names(), ["f.bin"]);
    }
}

#[tokio::test]
async fn a_reply_for_another_range_is_rejected() {
    for lie in [rest(7), rest(9), rest(8).replace("8-20/21", "8-19/21").replace("Length: 13", "Length: 12")] {
        let mut scene = Scene::broken(vec![Turn::Send(lie)]).await;
        let error = scene.fetch().await.unwrap_err();
        assert!(error.exit_code() == 5 && error.to_string().contains("not for the requested range"), "{error}");
        assert_eq!((scene.names().len(), scene.read("f.bin.part")), (2, BODY[..8].to_vec()));
    }
}

#[tokio::test]
async fn a_partial_file_that_contradicts_its_state_is_started_over() {
    let spoil: [fn(&Path); 2] =
        [|part| std::fs::write(part, "THE WHOL").unwrap(), |part| std::fs::write(part, "the").unwrap()];
    for spoil in spoil {
        let mut scene = Scene::broken(vec![Turn::Send(beginning(21))]).await;
        spoil(&scene.folder.path().join("f.bin.part"));
        scene.job.verify = VerifyMode::Skip;
        scene.fetch().await.unwrap();
        assert!(!scene.last_request().contains("Range"), "{}", scene.last_request());
        assert!(scene.last().started_over.is_some());
        assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
    }
}

#[tokio::test]
async fn a_partial_file_without_our_state_is_not_touched() {
    let spoil: [fn(&Path); 4] = [
        |part| std::fs::remove_file(part.with_extension("part.state")).unwrap(),
        |part| std::fs::write(part.with_extension("part.state"), "notes of the user").unwrap(),
        |part| std::fs::set_permissions(part, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap(),
        |part| std::fs::hard_link(part, part.with_extension("second name")).unwrap(),
    ];
    for spoil in spoil {
        let mut scene = Scene::broken(vec![Turn::Send(beginning(21))]).await;
        spoil(&scene.folder.path().join("f.bin.part"));
        let before = scene.names();
        scene.job.verify = VerifyMode::Skip;
        scene.fetch().await.unwrap();
        assert!(!scene.last_request().contains("Range"), "{}", scene.last_request());
        assert_eq!((scene.read("f.bin.part"), scene.read("f.bin")), (BODY[..8].to_vec(), BODY.to_vec()));
        assert_eq!(scene.names(), [vec!["f.bin".to_owned()], before].concat());
    }
}

#[tokio::test]
async fn unhashed_bytes_are_resumed_with_no_verify_only() {
    for verified in [false, true] {
        let digest = digest_line(BODY);
        let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n{PARTS}{digest}\r\n{}", text(BODY));
        let turns = [beginning(8), if verified { whole } else { rest(8) }];
        let mut scene = Scene::http(turns.map(Turn::SendAndClose).into()).await;
        scene.job.verify = VerifyMode::Skip;
        scene.fetch().await.unwrap_err();
        if verified {
            // Another program's bytes under a resume point without a digest.
            std::fs::write(scene.folder.path().join("f.bin.part"), "EVILEVIL").unwrap();
            scene.job.verify = VerifyMode::Origin;
        }
        scene.fetch().await.unwrap();
        assert_eq!(scene.last_request().contains("Range: bytes=8-"), !verified, "{}", scene.last_request());
        assert_eq!(scene.last().started_over.is_some(), verified);
        assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
    }
}

#[tokio::test]
async fn bytes_after_the_last_resume_point_are_discarded() {
    let mut scene = Scene::broken(vec![Turn::Send(rest(8))]).await;
    let part = scene.folder.path().join("f.bin.part");
    std::fs::write(&part, [&BODY[..8], b"torn"].concat()).unwrap();
    scene.fetch().await.unwrap();
    assert!(scene.last_request().contains("Range: bytes=8-"));
    assert_eq!(scene.read("f.bin"), BODY);
}

#[tokio::test]
async fn resuming_can_be_disabled() {
    let mut scene = Scene::broken(vec![Turn::Send(beginning(21))]).await;
    (scene.job.resume, scene.job.verify) = (false, VerifyMode::Skip);
    scene.fetch().await.unwrap();
    assert!(!scene.last_request().contains("Range"));
    assert_eq!((scene.last().started_over, scene.read("f.bin")), (None, BODY.to_vec()));
}

#[tokio::test]
async fn cannot_resume_without_a_strong_validator_or_ranges() {
    const PARTS_ALONE: &str = "Accept-Ranges: bytes\r\n";
    let (no_parts, no_validator) =
        ("the origin does not support range requests", "the origin sends no strong validator");
    for (lines, why) in [
        ("", no_validator),
        ("Accept-Ranges: none\r\nETag: \"1\"\r\n", no_parts),
        (PARTS_ALONE, no_validator),
        (&format!("{PARTS_ALONE}ETag: W/\"1\"\r\n"), no_validator),
        (&format!("{PARTS_ALONE}{}", MODIFIED.replace("47 GMT", "38 GMT")), no_validator),
    ] {
        let first = Turn::SendAndClose(beginning(8).replace(PARTS, lines));
        let mut scene = Scene::http(vec![first, Turn::Send(beginning(21))]).await;
        (scene.job.retries, scene.job.verify) = (1, VerifyMode::Skip);
        scene.fetch().await.unwrap();
        assert_eq!(scene.last().started_over.unwrap().as_str(), why, "{lines:?}");
        assert!(!scene.last_request().contains("Range"));
        let mut scene = Scene::http(vec![Turn::SendAndClose(beginning(8).replace(PARTS, lines))]).await;
        scene.fetch().await.unwrap_err();
        assert_eq!(scene.names(), ["f.bin.part", "f.bin.part.state"], "{lines:?}");
        assert!(scene.last().error.is_some_and(|error| !error.as_str().contains("resume")), "{lines:?}");
    }
}

#[tokio::test]
async fn requests_a_range_from_an_origin_without_accept_ranges() {
    const ETAG: &str = "ETag: \"1\"\r\n";
    let whole = || format!("{}{}", beginning(0).replace(PARTS, ETAG), text(BODY));
    for (response, resumed, why) in [
        (part(8, ETAG), 8, None),
        (whole(), 0, Some("the origin does not support range requests")),
        (another(), 0, Some("ETag at the origin has changed")),
    ] {
        for retries in [1, 0] {
            let first = Turn::SendAndClose(beginning(8).replace(PARTS, ETAG));
            let mut scene = Scene::http(vec![first, Turn::Send(response.clone())]).await;
            (scene.job.retries, scene.job.verify) = (retries, VerifyMode::Skip);
            if retries == 0 {
                assert_eq!(scene.fetch().await.unwrap_err().exit_code(), 6);
            }
            scene.fetch().await.unwrap();
            let (requests, last) = (scene.last_request(), scene.last());
            assert!(requests.contains("Range: bytes=8-\r\nIf-Range: \"1\"\r\n"), "{requests}");
            assert_eq!(last.resumed_from, resumed);
            let seen = last.started_over;
            assert!(
                seen.as_ref().map_or(why.is_none(), |seen| why.is_some_and(|why| seen.as_str().contains(why))),
                "{seen:?}"
            );
            let expected = if response == another() { BODY.to_ascii_uppercase() } else { BODY.to_vec() };
            assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], expected));
        }
    }
}

#[tokio::test]
async fn a_complete_partial_file_is_only_verified() {
    let same = format!("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n{PARTS}{}\r\n", digest_line(BODY));
    let changed = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".to_owned();
    for (turns, over) in [(vec![Turn::Send(same)], false), (vec![Turn::Send(changed), Turn::Send(another())], true)] {
        // All bytes arrived, and the connection failed when the digest was requested.
        let turns = vec![Turn::SendAndClose(beginning(21)), Turn::SendAndClose(String::new())].into_iter().chain(turns);
        let mut scene = Scene::http(turns.collect()).await;
        scene.fetch().await.unwrap_err();
        scene.fetch().await.unwrap();
        assert_eq!(scene.last().started_over.is_some(), over);
        assert_eq!(scene.last_request().starts_with("HEAD"), !over, "{}", scene.last_request());
        assert_eq!(scene.read("f.bin"), if over { BODY.to_ascii_uppercase() } else { BODY.to_vec() });
        assert_eq!(scene.names(), ["f.bin"]);
    }
}

#[tokio::test]
async fn an_altered_partial_file_is_never_resumed() {
    let lie = rest(8).replace("the file", "THE FILE").replace("whole of", "WHOLE OF").replace("of the", "OF THE");
    let mut scene = Scene::broken(vec![Turn::Send(lie)]).await;
    let error = scene.fetch().await.unwrap_err();
    assert!(error.to_string().contains("altered"), "{error}");
    assert_eq!(scene.names(), ["f.bin.part", "f.bin.part.state"]);
}

#[tokio::test]
async fn a_pause_before_a_retry_can_be_cancelled() {
    let mut scene = Scene::http(vec![Turn::SendAndClose(beginning(8))]).await;
    scene.job.retries = 100;
    let (mut updates, stop) = (scene.progress.subscribe(), scene.stop.clone());
    let cancelled = async {
        // The longest pause: the peer replies no more.
        updates.wait_for(|snapshot| snapshot.phase == Phase::Retrying && snapshot.attempt >= 1).await.unwrap();
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), cancelled);
    assert_eq!(ended.unwrap_err().exit_code(), 130);
    assert_eq!((scene.last().phase, scene.last().attempt, scene.names().len()), (Phase::Cancelled, 1, 2));
}

#[tokio::test]
async fn a_failed_first_contact_and_a_missing_file_are_not_retried() {
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
    let mut scene = Scene::http(vec![Turn::SendAndClose(beginning(8)), Turn::SendAndClose(missing)]).await;
    scene.job.retries = 3;
    let error = scene.fetch().await.unwrap_err();
    assert_eq!((error.exit_code(), scene.last().attempt), (4, 2));
    assert!(error.to_string().contains("the received bytes are in"), "{error}");
    // No listener at this port.
    scene.job.route = Route::parse(b"dir/f.bin\n127.0.0.1 9 protocol=http\n").unwrap();
    scene.fetch().await.unwrap_err();
    assert_eq!(scene.last().attempt, 1);
}

#[tokio::test]
async fn a_failure_with_an_unstable_etag_starts_over_and_verifies_the_size() {
    let head = |tag: u32, length: usize| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: \"{tag}\"\r\nAccept-Ranges: bytes\r\n\r\n")
    };
    let refused = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".to_owned();
    let whole = format!("{}{}", head(2, 21), text(BODY));
    let turns = [whole, refused, head(3, 21), head(4, 21)].map(Turn::Send);
    let mut scene = Scene::broken(turns.into()).await;
    assert!(matches!(scene.fetch().await.unwrap().integrity, Integrity::SizeChecked { .. }));
    assert_eq!(scene.last().started_over.unwrap().as_str(), "the file's ETag at the origin has changed");
    assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
}

/// A file whose date was ten seconds old when the reply was made.
const MODIFIED: &str = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Sun, 06 Nov 1994 08:49:47 GMT\r\n";

fn dated() -> String {
    format!("Accept-Ranges: bytes\r\nETag: W/\"1\"\r\n{MODIFIED}")
}

#[tokio::test]
async fn resumes_by_an_old_enough_date() {
    let first = || Turn::SendAndClose(beginning(8).replace(PARTS, &dated()));
    let rest = || Turn::Send(part(8, &dated()));
    for retries in [1, 0] {
        let mut scene = Scene::http(vec![first(), rest()]).await;
        scene.job.retries = retries;
        if retries == 0 {
            scene.fetch().await.unwrap_err();
            assert!(text(&scene.read("f.bin.part.state")).contains("\"last-modified\":\"Sun, 06"));
        }
        assert!(matches!(scene.fetch().await.unwrap().integrity, Integrity::Verified { .. }));
        let requests = scene.last_request();
        assert!(requests.contains("Range: bytes=8-\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "{requests}");
        assert_eq!(scene.last().resumed_from, 8);
        assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
    }
}

#[tokio::test]
async fn a_changed_or_missing_date_starts_over() {
    let later = dated().replace("49:37", "49:38");
    let silent = "Accept-Ranges: bytes\r\n".to_owned();
    for (lines, why) in
        [(later, "date at the origin has changed"), (silent, "does not confirm that the file is unchanged")]
    {
        let first = Turn::SendAndClose(beginning(8).replace(PARTS, &dated()));
        let turns = vec![first, Turn::SendAndClose(part(8, &lines)), Turn::Send(beginning(21))];
        let mut scene = Scene::http(turns).await;
        (scene.job.retries, scene.job.verify) = (1, VerifyMode::Skip);
        scene.fetch().await.unwrap();
        let seen = scene.last().started_over.unwrap();
        assert!(seen.as_str().contains(why), "{seen}");
        assert_eq!(scene.read("f.bin"), BODY);
    }
}

#[tokio::test]
async fn a_complete_partial_file_with_a_date_is_only_compared() {
    let first = Turn::SendAndClose(beginning(8).replace(PARTS, &dated()));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n{}\r\n", dated());
    let mut scene = Scene::http(vec![first, Turn::Send(head)]).await;
    scene.fetch().await.unwrap_err();
    // The state of a program killed right after the last byte.
    let path = scene.folder.path().join("f.bin.part.state");
    let [recorded, all] = [&BODY[..8], BODY].map(|bytes| blake3::hash(bytes).to_hex().to_string());
    let state = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, state.replace("\"synced\":8", "\"synced\":21").replace(&recorded, &all)).unwrap();
    std::fs::write(scene.folder.path().join("f.bin.part"), BODY).unwrap();
    assert!(matches!(scene.fetch().await.unwrap().integrity, Integrity::SizeChecked { .. }));
    let requests = scene.last_request();
    assert!(requests.starts_with("HEAD") && !requests.contains("If-Match"), "{requests}");
    assert_eq!((scene.last().flow.bytes_in, scene.read("f.bin")), (0, BODY.to_vec()));
}
