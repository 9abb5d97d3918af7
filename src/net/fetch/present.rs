//! The file that is there already: whether it is the one that would come, known before its bytes are moved.

use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tokio_util::sync::CancellationToken;

use super::job::{FetchJob, Fetched, blocking};
use super::partial::hash;
use super::request::{all_legs, ask_on, request};
use super::target::{FileId, TargetPath};
use super::tracker::Tracker;
use super::verify::says_nothing;
use crate::error::{Error, KeptBytes, shown};
use crate::net::node::digests::Hasher;
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::options::VerifyMode;
use crate::route::Protocol;
use crate::snapshot::{Integrity, Phase};
use crate::wire::{Digest, Method, Request};

/// How the file that is there compares with a digest.
enum Content {
    Equal,
    Different,
    Unreadable,
}

/// Asks whether the file that is there, of this size, is the one that would come: its size first, and its digest only
/// where the sizes agree, for an origin may have to compute that. `None` where the file has to be fetched to know, or
/// is to be replaced.
pub(super) async fn up_to_date(
    upstream: &mut Upstream,
    job: &FetchJob,
    (place, there): (&Arc<TargetPath>, u64),
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Option<Fetched>, Error> {
    // The legacy protocol knows sizes alone, and says them before the body anyway.
    if job.verify == VerifyMode::Skip || job.route.split_first().0.protocol == Some(Protocol::Legacy) {
        return Ok(None);
    }
    tracker.attempt(job.id);
    tracker.phase(Phase::Connecting);
    let Some(mut answer) = question(upstream, job, false, tracker, stop).await? else { return Ok(None) };
    let Some(size) = answer.reply.size() else { return Ok(None) };
    place.check_existing(size, job.force)?;
    if size != there {
        return Ok(None);
    }
    if job.verify == VerifyMode::Origin {
        let Some(proven) = question(upstream, job, true, tracker, stop).await? else { return Ok(None) };
        if proven.reply.size() != Some(size) {
            return Ok(None);
        }
        answer = proven;
    }
    let told = job.verify.algorithm().and_then(|algorithm| answer.reply.digest(algorithm));
    let expected = if let VerifyMode::Expect(expected) = job.verify { Some(expected) } else { told };
    let Some(expected) = expected else { return Ok(None) };
    let legs = all_legs(&answer);
    tracker.verifying_existing(size, &legs);
    let difference = match compare(job, place, size, expected, stop).await? {
        Content::Equal => {
            return Ok(Some(Fetched {
                path: place.path(),
                size,
                integrity: Integrity::Verified { digest: expected.to_string() },
                origin: told,
                already_present: true,
                protocol: answer.protocol,
                legs,
                elapsed: tracker.elapsed(),
                flow: tracker.flow(),
            }));
        }
        _ if job.force => return Ok(None),
        Content::Different => "with other content",
        Content::Unreadable => "that cannot be read",
    };
    Err(Error::Exists { path: shown(&place.path()), difference: difference.to_owned(), kept: KeptBytes::default() })
}

/// A question without a body; `None` where the answer says nothing of the file.
async fn question(
    upstream: &mut Upstream,
    job: &FetchJob,
    digest: bool,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Option<UpstreamReply>, Error> {
    let algorithm = job.verify.algorithm().filter(|_| digest);
    // The id of the transfer is for the body: the hops keep what they know of it for the questions afterwards.
    let question = Request { transfer: Some(job.machine.transfer_id()), ..request(job, Method::Head, algorithm) };
    match ask_on(upstream, job, question, tracker, stop).await {
        Ok(answer) if answer.protocol == Protocol::Http => {
            upstream.finish();
            Ok(Some(answer))
        }
        // A legacy hop waits for a go-ahead that will not come, so that link can only be closed.
        Ok(_) => {
            upstream.close();
            Ok(None)
        }
        Err(Error::Hop(fault)) if says_nothing(fault.problem.reason, fault.problem.action) => {
            upstream.close();
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads the file that is there on a thread of its own.
async fn compare(
    job: &FetchJob,
    place: &Arc<TargetPath>,
    size: u64,
    with: Digest,
    stop: &CancellationToken,
) -> Result<Content, Error> {
    let (place, stop) = (Arc::clone(place), stop.clone());
    blocking(job.machine, move || {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let Ok(file) = rustix::fs::openat(place.folder(), place.name(), flags, Mode::empty()).map(File::from) else {
            return Ok(Content::Unreadable);
        };
        let mut hashers = [Some(Hasher::new(with.algorithm)), None];
        match hash(&file, size, &mut hashers, &|| stop.is_cancelled()) {
            Ok(true) => {}
            Ok(false) => return Err(Error::Interrupted { kept: KeptBytes::default() }),
            // It has become shorter meanwhile.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Content::Different),
            Err(error) => return Err(Error::disk("compare it", &place.path(), &error)),
        }
        let [hasher, _] = hashers;
        let same_size = file.metadata().is_ok_and(|now| now.len() == size);
        // It is the name that is vouched for.
        let in_place = rustix::fs::fstat(&file).is_ok_and(|found| place.holds(place.name(), FileId::of(&found)));
        let equal = same_size && in_place && hasher.map(Hasher::finish) == Some(with);
        Ok(if equal { Content::Equal } else { Content::Different })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BODY, Scene, Turn, digest_line, ok, whole};
    use super::*;
    use crate::wire::Algorithm;

    /// A scene with a file at the target.
    async fn scene(there: &[u8], turns: &[String]) -> Scene {
        let scene = Scene::http(turns.iter().cloned().map(Turn::Say).collect()).await;
        std::fs::write(scene.folder.path().join("f.bin"), there).unwrap();
        scene
    }

    fn asked(scene: &Scene) -> Vec<String> {
        let asked = scene.asked.lock().unwrap();
        let first = |head: &String| (head.split(' ').next().unwrap().to_owned(), head.contains("Want-Repr-Digest"));
        asked.iter().map(first).map(|(method, want)| format!("{method}{}", if want { " digest" } else { "" })).collect()
    }

    #[tokio::test]
    async fn an_equal_file_costs_two_questions_and_no_body() {
        for force in [false, true] {
            let mut scene = scene(BODY, &[ok(""), ok(&digest_line(BODY))]).await;
            scene.job.force = force;
            let fetched = scene.fetch().await.unwrap();
            assert!(fetched.already_present && matches!(fetched.integrity, Integrity::Verified { .. }));
            assert_eq!(asked(&scene), ["HEAD", "HEAD digest"]);
            let last = scene.progress.borrow().clone();
            assert_eq!((last.phase, last.received, last.flow.bytes_in, last.resumed_from), (Phase::Done, 21, 0, 0));
            assert_eq!((last.already_present, last.size, last.legs.len()), (true, Some(21), 1));
            assert_eq!(last.origin_digest, Some(format!("blake3:{}", blake3::hash(BODY).to_hex())));
            assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
        }
    }

    #[tokio::test]
    async fn other_content_or_another_size_is_refused_before_the_body_and_replaced_by_force() {
        let other = BODY.to_ascii_uppercase();
        for (there, heads, says) in [
            (&other[..], vec![ok(""), ok(&digest_line(BODY))], "with other content"),
            (&other[..5], vec![ok("")], "of another size (5 bytes, not 21)"),
        ] {
            let mut refused = scene(there, &heads).await;
            let error = refused.fetch().await.unwrap_err();
            assert!(error.exit_code() == 7 && error.to_string().contains(says), "{error}");
            assert_eq!((asked(&refused).len(), refused.names()), (heads.len(), vec!["f.bin".to_owned()]));
            assert_eq!(refused.read("f.bin"), there);
            let mut forced = scene(there, &[heads, vec![whole(&digest_line(BODY))]].concat()).await;
            forced.job.force = true;
            assert!(!forced.fetch().await.unwrap().already_present);
            assert_eq!((asked(&forced).last().unwrap().as_str(), forced.read("f.bin")), ("GET digest", BODY.to_vec()));
        }
    }

    #[tokio::test]
    async fn without_a_digest_or_an_answer_the_file_is_fetched_to_know() {
        let no_head = "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n".to_owned();
        for heads in [vec![ok(""), ok("")], vec![ok(""), no_head.clone()], vec![no_head]] {
            let turns = heads.into_iter().map(Turn::SayAndClose).chain([Turn::Say(whole(""))]).collect();
            let mut scene = Scene::http(turns).await;
            std::fs::write(scene.folder.path().join("f.bin"), BODY).unwrap();
            assert!(scene.fetch().await.unwrap().already_present);
            assert_eq!(asked(&scene).last().unwrap(), "GET digest");
        }
    }

    #[tokio::test]
    async fn a_digest_that_was_demanded_settles_it_without_the_origins() {
        let digest = |of: &[u8]| {
            VerifyMode::Expect(Digest { algorithm: Algorithm::Blake3, value: *blake3::hash(of).as_bytes() })
        };
        let mut equal = scene(BODY, &[ok("")]).await;
        equal.job.verify = digest(BODY);
        assert!(equal.fetch().await.unwrap().already_present);
        assert_eq!(asked(&equal), ["HEAD"]);
        let mut other = scene(BODY, &[ok("")]).await;
        other.job.verify = digest(b"another");
        assert!(other.fetch().await.unwrap_err().to_string().contains("with other content"));
    }

    #[tokio::test]
    async fn nobody_is_asked_where_there_is_no_file_or_the_answer_would_not_help() {
        let mut first = Scene::http(vec![Turn::Say(whole(""))]).await;
        first.fetch().await.unwrap();
        assert_eq!(asked(&first), ["GET digest"]);
        for set in [|job: &mut FetchJob| job.reuse = false, |job: &mut FetchJob| job.verify = VerifyMode::Skip] {
            let mut scene = scene(BODY, &[whole("")]).await;
            set(&mut scene.job);
            assert!(scene.fetch().await.unwrap().already_present);
            assert_eq!(asked(&scene).len(), 1);
            assert!(asked(&scene)[0].starts_with("GET"));
        }
        let mut legacy = Scene::new("legacy", vec![Turn::Say("21".to_owned())]).await;
        std::fs::write(legacy.folder.path().join("f.bin"), b"short").unwrap();
        assert!(legacy.fetch().await.unwrap_err().to_string().contains("of another size"));
        assert_eq!(legacy.asked.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_can_be_no_target_is_found_before_anybody_is_asked() {
        let mut scene = Scene::http(vec![]).await;
        std::fs::create_dir(scene.folder.path().join("f.bin")).unwrap();
        assert_eq!(scene.fetch().await.unwrap_err().exit_code(), 7);
        assert!(scene.asked.lock().unwrap().is_empty());
    }
}
