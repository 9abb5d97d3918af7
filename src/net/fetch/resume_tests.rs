//! Tests of going on: after a break, after another run, and where the file is not the same any more.

use std::path::Path;

use super::tests::{BODY, Scene, Turn, digest_line};
use super::*;
use crate::options::VerifyMode;
use crate::route::Route;
use crate::snapshot::{Integrity, Phase};

/// What makes a file one that can be gone on with.
const PARTS: &str = "ETag: \"1\"\r\nAccept-Ranges: bytes\r\n";

/// The head of the whole file, and the first so many bytes of it.
fn beginning(bytes: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{PARTS}\r\n{}", BODY.len(), text(&BODY[..bytes]))
}

/// The rest from an offset, and the digest of the whole.
fn rest(from: usize) -> String {
    part(from, PARTS)
}

fn part(from: usize, lines: &str) -> String {
    let (size, left) = (BODY.len(), BODY.len() - from);
    let range = format!("Content-Length: {left}\r\nContent-Range: bytes {from}-{}/{size}\r\n", size - 1);
    format!("HTTP/1.1 206 Partial Content\r\n{range}{lines}{}\r\n{}", digest_line(BODY), text(&BODY[from..]))
}

/// Another file of the same name, whole.
fn another() -> String {
    let body = BODY.to_ascii_uppercase();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"2\"\r\nAccept-Ranges: bytes\r\n", body.len());
    format!("{head}{}\r\n{}", digest_line(&body), text(&body))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

impl Scene {
    /// A scene in which a first fetch broke off after 8 bytes, and the answers to what comes then.
    async fn broken(turns: Vec<Turn>) -> Self {
        let turns = std::iter::once(Turn::SayAndClose(beginning(8))).chain(turns).collect();
        let mut scene = Self::http(turns).await;
        let error = scene.fetch().await.unwrap_err();
        assert_eq!(
            (error.exit_code(), scene.names()),
            (6, vec!["f.bin.part".to_owned(), "f.bin.part.state".to_owned()])
        );
        scene
    }

    fn last_asked(&self) -> String {
        self.asked.lock().unwrap().last().unwrap().clone()
    }

    fn last(&self) -> TransferSnapshot {
        self.progress.borrow().clone()
    }
}

#[tokio::test]
async fn a_break_is_gone_on_from_within_one_run() {
    let mut scene = Scene::http(vec![Turn::SayAndClose(beginning(8)), Turn::Say(rest(8))]).await;
    scene.job.retries = 1;
    let (first, mut news) = (scene.job.id, scene.progress.subscribe());
    let retrying = async { news.wait_for(|snapshot| snapshot.phase == Phase::Retrying).await.unwrap().clone() };
    let (fetched, said) =
        tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), retrying);
    assert!(matches!(fetched.unwrap().integrity, Integrity::Verified { .. }));
    assert!(said.error.is_some_and(|why| why.as_str().contains("8 of 21 bytes")), "why it is tried again is not said");
    assert!(scene.last_asked().contains("Range: bytes=8-\r\nIf-Range: \"1\"\r\n"), "{}", scene.last_asked());
    let last = scene.last();
    assert_eq!((last.attempt, last.resumed_from, last.received, last.flow.bytes_in), (2, 8, 21, 21));
    assert_eq!((last.error, scene.names(), scene.read("f.bin")), (None, vec!["f.bin".to_owned()], BODY.to_vec()));
    assert_ne!(scene.job.id, first, "two tries had one id");
}

#[tokio::test]
async fn a_later_fetch_goes_on_where_an_earlier_one_broke_off() {
    let mut scene = Scene::broken(vec![Turn::Say(rest(8))]).await;
    let fetched = scene.fetch().await.unwrap();
    assert!(matches!(fetched.integrity, Integrity::Verified { .. }));
    assert!(scene.last_asked().contains("Range: bytes=8-"), "{}", scene.last_asked());
    let last = scene.last();
    assert_eq!((last.resumed_from, last.received, last.flow.bytes_in, last.started_over), (8, 21, 13, None));
    assert_eq!(last.origin_digest, Some(format!("blake3:{}", blake3::hash(BODY).to_hex())));
    assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
}

#[tokio::test]
async fn another_file_at_the_origin_is_fetched_from_its_start_and_that_is_said() {
    let other_part = part(8, "ETag: \"2\"\r\nAccept-Ranges: bytes\r\n");
    let refused = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n".to_owned();
    for turns in [
        vec![Turn::Say(another())],
        vec![Turn::SayAndClose(other_part), Turn::Say(another())],
        vec![Turn::SayAndClose(refused), Turn::Say(another())],
    ] {
        let mut scene = Scene::broken(turns).await;
        scene.fetch().await.unwrap();
        let last = scene.last();
        assert!(last.started_over.is_some_and(|why| why.as_str().contains("another")));
        assert_eq!((last.resumed_from, scene.read("f.bin")), (0, BODY.to_ascii_uppercase()));
        assert_eq!(scene.names(), ["f.bin"]);
    }
}

#[tokio::test]
async fn another_part_than_was_asked_for_is_refused() {
    for lie in [rest(7), rest(9), rest(8).replace("8-20/21", "8-19/21").replace("Length: 13", "Length: 12")] {
        let mut scene = Scene::broken(vec![Turn::Say(lie)]).await;
        let error = scene.fetch().await.unwrap_err();
        assert!(error.exit_code() == 5 && error.to_string().contains("another part"), "{error}");
        assert_eq!((scene.names().len(), scene.read("f.bin.part")), (2, BODY[..8].to_vec()));
    }
}

#[tokio::test]
async fn what_is_not_what_its_state_says_is_started_over() {
    let spoil: [fn(&Path); 2] =
        [|part| std::fs::write(part, "THE WHOL").unwrap(), |part| std::fs::write(part, "the").unwrap()];
    for spoil in spoil {
        let mut scene = Scene::broken(vec![Turn::Say(beginning(21))]).await;
        spoil(&scene.folder.path().join("f.bin.part"));
        scene.job.verify = VerifyMode::Skip;
        scene.fetch().await.unwrap();
        assert!(!scene.last_asked().contains("Range"), "{}", scene.last_asked());
        assert!(scene.last().started_over.is_some());
        assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
    }
}

#[tokio::test]
async fn a_part_that_no_state_of_ours_is_about_is_left_alone() {
    let spoil: [fn(&Path); 4] = [
        |part| std::fs::remove_file(part.with_extension("part.state")).unwrap(),
        |part| std::fs::write(part.with_extension("part.state"), "a person's own").unwrap(),
        |part| std::fs::set_permissions(part, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap(),
        |part| std::fs::hard_link(part, part.with_extension("second name")).unwrap(),
    ];
    for spoil in spoil {
        let mut scene = Scene::broken(vec![Turn::Say(beginning(21))]).await;
        spoil(&scene.folder.path().join("f.bin.part"));
        let before = scene.names();
        scene.job.verify = VerifyMode::Skip;
        scene.fetch().await.unwrap();
        assert!(!scene.last_asked().contains("Range"), "{}", scene.last_asked());
        assert_eq!((scene.read("f.bin.part"), scene.read("f.bin")), (BODY[..8].to_vec(), BODY.to_vec()));
        assert_eq!(scene.names(), [vec!["f.bin".to_owned()], before].concat());
    }
}

#[tokio::test]
async fn bytes_that_nobody_verified_are_only_believed_by_those_who_want_no_proof() {
    for verified in [false, true] {
        let digest = digest_line(BODY);
        let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n{PARTS}{digest}\r\n{}", text(BODY));
        let turns = [beginning(8), if verified { whole } else { rest(8) }];
        let mut scene = Scene::http(turns.map(Turn::SayAndClose).into()).await;
        scene.job.verify = VerifyMode::Skip;
        scene.fetch().await.unwrap_err();
        if verified {
            // Somebody else's bytes under a note that names no digest.
            std::fs::write(scene.folder.path().join("f.bin.part"), "EVILEVIL").unwrap();
            scene.job.verify = VerifyMode::Origin;
        }
        scene.fetch().await.unwrap();
        assert_eq!(scene.last_asked().contains("Range: bytes=8-"), !verified, "{}", scene.last_asked());
        assert_eq!(scene.last().started_over.is_some(), verified);
        assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
    }
}

#[tokio::test]
async fn bytes_behind_the_last_note_are_not_believed() {
    let mut scene = Scene::broken(vec![Turn::Say(rest(8))]).await;
    let part = scene.folder.path().join("f.bin.part");
    std::fs::write(&part, [&BODY[..8], b"torn"].concat()).unwrap();
    scene.fetch().await.unwrap();
    assert!(scene.last_asked().contains("Range: bytes=8-"));
    assert_eq!(scene.read("f.bin"), BODY);
}

#[tokio::test]
async fn a_person_can_want_to_start_over() {
    let mut scene = Scene::broken(vec![Turn::Say(beginning(21))]).await;
    (scene.job.resume, scene.job.verify) = (false, VerifyMode::Skip);
    scene.fetch().await.unwrap();
    assert!(!scene.last_asked().contains("Range"));
    assert_eq!((scene.last().started_over, scene.read("f.bin")), (None, BODY.to_vec()));
}

#[tokio::test]
async fn an_origin_without_a_strong_validator_or_parts_leaves_nothing_to_go_on_with() {
    const PARTS_ALONE: &str = "Accept-Ranges: bytes\r\n";
    let (no_parts, no_validator) = ("its origin sends no parts", "its origin gives no validator that can be trusted");
    for (lines, why) in [
        ("", no_validator),
        ("Accept-Ranges: none\r\nETag: \"1\"\r\n", no_parts),
        (PARTS_ALONE, no_validator),
        (&format!("{PARTS_ALONE}ETag: W/\"1\"\r\n"), no_validator),
        (&format!("{PARTS_ALONE}{}", MODIFIED.replace("47 GMT", "38 GMT")), no_validator),
    ] {
        let first = Turn::SayAndClose(beginning(8).replace(PARTS, lines));
        let mut scene = Scene::http(vec![first, Turn::Say(beginning(21))]).await;
        (scene.job.retries, scene.job.verify) = (1, VerifyMode::Skip);
        scene.fetch().await.unwrap();
        assert_eq!(scene.last().started_over.unwrap().as_str(), why, "{lines:?}");
        assert!(!scene.last_asked().contains("Range"));
        let mut scene = Scene::http(vec![Turn::SayAndClose(beginning(8).replace(PARTS, lines))]).await;
        scene.fetch().await.unwrap_err();
        assert_eq!(scene.names(), ["f.bin.part", "f.bin.part.state"], "{lines:?}");
        assert!(scene.last().error.is_some_and(|error| !error.as_str().contains("resume")), "{lines:?}");
    }
}

#[tokio::test]
async fn an_origin_that_says_nothing_of_parts_is_asked_for_one_all_the_same() {
    const ETAG: &str = "ETag: \"1\"\r\n";
    let whole = || format!("{}{}", beginning(0).replace(PARTS, ETAG), text(BODY));
    for (answer, resumed, why) in [
        (part(8, ETAG), 8, None),
        (whole(), 0, Some("its origin sends no parts")),
        (another(), 0, Some("another ETag")),
    ] {
        for retries in [1, 0] {
            let first = Turn::SayAndClose(beginning(8).replace(PARTS, ETAG));
            let mut scene = Scene::http(vec![first, Turn::Say(answer.clone())]).await;
            (scene.job.retries, scene.job.verify) = (retries, VerifyMode::Skip);
            if retries == 0 {
                assert_eq!(scene.fetch().await.unwrap_err().exit_code(), 6);
            }
            scene.fetch().await.unwrap();
            let (asked, last) = (scene.last_asked(), scene.last());
            assert!(asked.contains("Range: bytes=8-\r\nIf-Range: \"1\"\r\n"), "{asked}");
            assert_eq!(last.resumed_from, resumed);
            let said = last.started_over;
            assert!(
                said.as_ref().map_or(why.is_none(), |said| why.is_some_and(|why| said.as_str().contains(why))),
                "{said:?}"
            );
            let expected = if answer == another() { BODY.to_ascii_uppercase() } else { BODY.to_vec() };
            assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], expected));
        }
    }
}

#[tokio::test]
async fn a_file_that_is_all_there_is_only_proven() {
    let same = format!("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n{PARTS}{}\r\n", digest_line(BODY));
    let changed = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".to_owned();
    for (turns, over) in [(vec![Turn::Say(same)], false), (vec![Turn::Say(changed), Turn::Say(another())], true)] {
        // All of it came, and the connection broke where its digest was asked for.
        let turns = vec![Turn::SayAndClose(beginning(21)), Turn::SayAndClose(String::new())].into_iter().chain(turns);
        let mut scene = Scene::http(turns.collect()).await;
        scene.fetch().await.unwrap_err();
        scene.fetch().await.unwrap();
        assert_eq!(scene.last().started_over.is_some(), over);
        assert_eq!(scene.last_asked().starts_with("HEAD"), !over, "{}", scene.last_asked());
        assert_eq!(scene.read("f.bin"), if over { BODY.to_ascii_uppercase() } else { BODY.to_vec() });
        assert_eq!(scene.names(), ["f.bin"]);
    }
}

#[tokio::test]
async fn what_was_altered_is_never_gone_on_with() {
    let lie = rest(8).replace("the file", "THE FILE").replace("whole of", "WHOLE OF").replace("of the", "OF THE");
    let mut scene = Scene::broken(vec![Turn::Say(lie)]).await;
    let error = scene.fetch().await.unwrap_err();
    assert!(error.to_string().contains("altered"), "{error}");
    assert_eq!(scene.names(), ["f.bin.part", "f.bin.part.state"]);
}

#[tokio::test]
async fn a_pause_before_the_next_try_ends_with_a_persons_wish() {
    let mut scene = Scene::http(vec![Turn::SayAndClose(beginning(8))]).await;
    scene.job.retries = 100;
    let (mut news, stop) = (scene.progress.subscribe(), scene.stop.clone());
    let stopped = async {
        // The longest pause there is: the peer answers nobody any more.
        news.wait_for(|snapshot| snapshot.phase == Phase::Retrying && snapshot.attempt >= 1).await.unwrap();
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), stopped);
    assert_eq!(ended.unwrap_err().exit_code(), 130);
    assert_eq!((scene.last().phase, scene.last().attempt, scene.names().len()), (Phase::Cancelled, 1, 2));
}

#[tokio::test]
async fn a_first_contact_that_fails_is_not_tried_again_and_neither_is_a_file_that_is_gone() {
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
    let mut scene = Scene::http(vec![Turn::SayAndClose(beginning(8)), Turn::SayAndClose(missing)]).await;
    scene.job.retries = 3;
    let error = scene.fetch().await.unwrap_err();
    assert_eq!((error.exit_code(), scene.last().attempt), (4, 2));
    assert!(error.to_string().contains("what arrived is in"), "{error}");
    // Nobody listens any more.
    scene.job.route = Route::parse(b"dir/f.bin\n127.0.0.1 9 protocol=http\n").unwrap();
    scene.fetch().await.unwrap_err();
    assert_eq!(scene.last().attempt, 1);
}

#[tokio::test]
async fn a_break_below_an_etag_that_differs_each_time_starts_over_and_ends_with_the_length() {
    let head = |tag: u32, length: usize| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: \"{tag}\"\r\nAccept-Ranges: bytes\r\n\r\n")
    };
    let refused = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".to_owned();
    let whole = format!("{}{}", head(2, 21), text(BODY));
    let turns = [whole, refused, head(3, 21), head(4, 21)].map(Turn::Say);
    let mut scene = Scene::broken(turns.into()).await;
    assert!(matches!(scene.fetch().await.unwrap().integrity, Integrity::SizeChecked { .. }));
    assert_eq!(scene.last().started_over.unwrap().as_str(), "the file at the origin has another ETag by now");
    assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
}

/// A file that was settled for ten seconds when the reply was made.
const MODIFIED: &str = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Sun, 06 Nov 1994 08:49:47 GMT\r\n";

fn dated() -> String {
    format!("Accept-Ranges: bytes\r\nETag: W/\"1\"\r\n{MODIFIED}")
}

#[tokio::test]
async fn a_settled_date_is_resumed_by_in_the_same_run_and_in_the_next() {
    let first = || Turn::SayAndClose(beginning(8).replace(PARTS, &dated()));
    let rest = || Turn::Say(part(8, &dated()));
    for retries in [1, 0] {
        let mut scene = Scene::http(vec![first(), rest()]).await;
        scene.job.retries = retries;
        if retries == 0 {
            scene.fetch().await.unwrap_err();
            assert!(text(&scene.read("f.bin.part.state")).contains("\"last-modified\":\"Sun, 06"));
        }
        assert!(matches!(scene.fetch().await.unwrap().integrity, Integrity::Verified { .. }));
        let asked = scene.last_asked();
        assert!(asked.contains("Range: bytes=8-\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "{asked}");
        assert_eq!(scene.last().resumed_from, 8);
        assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
    }
}

#[tokio::test]
async fn another_date_or_none_starts_over() {
    let later = dated().replace("49:37", "49:38");
    let silent = "Accept-Ranges: bytes\r\n".to_owned();
    for (lines, why) in [(later, "another date"), (silent, "does not say whether it is the same")] {
        let first = Turn::SayAndClose(beginning(8).replace(PARTS, &dated()));
        let turns = vec![first, Turn::SayAndClose(part(8, &lines)), Turn::Say(beginning(21))];
        let mut scene = Scene::http(turns).await;
        (scene.job.retries, scene.job.verify) = (1, VerifyMode::Skip);
        scene.fetch().await.unwrap();
        let said = scene.last().started_over.unwrap();
        assert!(said.as_str().contains(why), "{said}");
        assert_eq!(scene.read("f.bin"), BODY);
    }
}

#[tokio::test]
async fn a_dated_file_that_is_all_there_is_only_compared() {
    let first = Turn::SayAndClose(beginning(8).replace(PARTS, &dated()));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n{}\r\n", dated());
    let mut scene = Scene::http(vec![first, Turn::Say(head)]).await;
    scene.fetch().await.unwrap_err();
    // As a kill right behind the last byte leaves it.
    let path = scene.folder.path().join("f.bin.part.state");
    let [noted, all] = [&BODY[..8], BODY].map(|bytes| blake3::hash(bytes).to_hex().to_string());
    let state = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, state.replace("\"synced\":8", "\"synced\":21").replace(&noted, &all)).unwrap();
    std::fs::write(scene.folder.path().join("f.bin.part"), BODY).unwrap();
    assert!(matches!(scene.fetch().await.unwrap().integrity, Integrity::SizeChecked { .. }));
    let asked = scene.last_asked();
    assert!(asked.starts_with("HEAD") && !asked.contains("If-Match"), "{asked}");
    assert_eq!((scene.last().flow.bytes_in, scene.read("f.bin")), (0, BODY.to_vec()));
}
