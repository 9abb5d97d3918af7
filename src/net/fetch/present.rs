//! Checks whether an existing target is already the file, before its bytes are transferred.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio_util::sync::CancellationToken;

use super::job::{FetchJob, Fetched, blocking};
use super::read::has_digest;
use super::request::{all_legs, request, send_request_tracked};
use super::target::{Existing, FileId, TargetPath, open_existing};
use super::tracker::Tracker;
use super::verify::is_inconclusive;
use crate::error::{Error, KeptBytes};
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::options::VerifyMode;
use crate::route::Protocol;
use crate::snapshot::{Integrity, Phase};
use crate::wire::{Digest, Method, Reply, Request};

/// Result of comparing the existing file with a digest.
enum Content {
    Equal,
    Different,
    Unreadable,
}

/// Checks whether the existing target of this size is the requested file: by size first, then by digest only if the
/// sizes agree, because an origin may have to compute it. `None` if the file has to be fetched to know, or is to be
/// replaced.
pub(super) async fn up_to_date(
    upstream: &mut Upstream,
    job: &FetchJob,
    (target, there): (&Arc<TargetPath>, Existing),
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Option<Fetched>, Error> {
    // The legacy protocol has sizes only, and sends them before the body anyway.
    if (job.verify == VerifyMode::Skip && !job.by_time) || job.route.split_first().0.protocol == Some(Protocol::Legacy)
    {
        return Ok(None);
    }
    tracker.attempt(job.id);
    tracker.phase(Phase::Connecting);
    let Some(mut response) = request_head(upstream, job, false, tracker, stop).await? else { return Ok(None) };
    let Some(size) = response.reply.size() else { return Ok(None) };
    target.check_existing(size, job.force)?;
    if size != there.size {
        return Ok(None);
    }
    if job.by_time && modified(&response.reply) == Some(there.modified) {
        let reason = "it has the same size and modification time".into();
        let integrity = Integrity::SizeChecked { digest: String::new(), reason };
        return Ok(Some(present(target, size, integrity, None, &response, tracker)));
    }
    if job.verify == VerifyMode::Skip {
        return Ok(None);
    }
    if job.verify == VerifyMode::Origin {
        let Some(verified) = request_head(upstream, job, true, tracker, stop).await? else { return Ok(None) };
        if verified.reply.size() != Some(size) {
            return Ok(None);
        }
        response = verified;
    }
    let offered = job.verify.algorithm().and_then(|algorithm| response.reply.digest(algorithm));
    let expected = if let VerifyMode::Expect(expected) = job.verify { Some(expected) } else { offered };
    let Some(expected) = expected else { return Ok(None) };
    let legs = all_legs(&response);
    tracker.verifying_existing(size, &legs);
    let difference = match compare(job, target, size, expected, stop).await? {
        Content::Equal => {
            let integrity = Integrity::Verified { digest: expected.to_string() };
            return Ok(Some(present(target, size, integrity, offered, &response, tracker)));
        }
        _ if job.force => return Ok(None),
        Content::Different => "with other content",
        Content::Unreadable => "that cannot be read",
    };
    Err(Error::exists(&target.path(), difference))
}

/// Returns an existing file as the requested one.
fn present(
    target: &TargetPath,
    size: u64,
    integrity: Integrity,
    origin: Option<Digest>,
    response: &UpstreamReply,
    tracker: &Tracker<'_>,
) -> Fetched {
    Fetched {
        path: target.path(),
        size,
        integrity,
        origin,
        already_present: true,
        protocol: response.protocol,
        legs: all_legs(response),
        elapsed: tracker.elapsed(),
        flow: tracker.flow(),
    }
}

/// Returns when the origin's file was changed, in seconds since 1970.
fn modified(reply: &Reply) -> Option<i64> {
    let date = httpdate::parse_http_date(reply.last_modified.as_deref()?).ok()?;
    i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Requests the head; `None` if the reply is inconclusive.
async fn request_head(
    upstream: &mut Upstream,
    job: &FetchJob,
    digest: bool,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Option<UpstreamReply>, Error> {
    let algorithm = job.verify.algorithm().filter(|_| digest);
    // The job's id is reserved for the body: the hops keep its record for later queries.
    let head = Request { transfer: Some(job.machine.transfer_id()), ..request(job, Method::Head, algorithm) };
    match send_request_tracked(upstream, job, head, tracker, stop).await {
        Ok(response) if response.protocol == Protocol::Http => {
            upstream.finish();
            Ok(Some(response))
        }
        // A legacy hop waits for a go-ahead that will not come, so the connection can only be closed.
        Ok(_) => {
            upstream.close();
            Ok(None)
        }
        Err(Error::Hop(fault)) if is_inconclusive(fault.problem.reason, fault.problem.action) => {
            upstream.close();
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Hashes the existing file on a thread of its own.
async fn compare(
    job: &FetchJob,
    target: &Arc<TargetPath>,
    size: u64,
    with: Digest,
    stop: &CancellationToken,
) -> Result<Content, Error> {
    let (target, stop) = (Arc::clone(target), stop.clone());
    blocking(job.machine, move || {
        let Ok(file) = open_existing(target.folder(), target.name()) else { return Ok(Content::Unreadable) };
        let equal = match has_digest(&file, size, with, &|| stop.is_cancelled()) {
            Ok(Some(equal)) => equal,
            Ok(None) => return Err(Error::Interrupted { kept: KeptBytes::default() }),
            Err(error) => return Err(Error::disk("compare it", &target.path(), &error)),
        };
        // The result has to be about the file that the name refers to.
        let in_place = rustix::fs::fstat(&file).is_ok_and(|found| target.holds(target.name(), FileId::of(&found)));
        Ok(if equal && in_place { Content::Equal } else { Content::Different })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BODY, Scene, Turn, digest_line, ok, whole};
    use super::*;
    use crate::wire::Algorithm;

    /// Returns a scene with an existing target.
    async fn scene(there: &[u8], turns: &[String]) -> Scene {
        let scene = Scene::http(turns.iter().cloned().map(Turn::Send).collect()).await;
        std::fs::write(scene.folder.path().join("f.bin"), there).unwrap();
        scene
    }

    fn requests(scene: &Scene) -> Vec<String> {
        let requests = scene.requests.lock().unwrap();
        let first = |head: &String| (head.split(' ').next().unwrap().to_owned(), head.contains("Want-Repr-Digest"));
        requests
            .iter()
            .map(first)
            .map(|(method, want)| format!("{method}{}", if want { " digest" } else { "" }))
            .collect()
    }

    #[tokio::test]
    async fn an_equal_file_costs_two_requests_and_no_body() {
        for force in [false, true] {
            let mut scene = scene(BODY, &[ok(""), ok(&digest_line(BODY))]).await;
            scene.job.force = force;
            let fetched = scene.fetch().await.unwrap();
            assert!(fetched.already_present && matches!(fetched.integrity, Integrity::Verified { .. }));
            assert_eq!(requests(&scene), ["HEAD", "HEAD digest"]);
            let last = scene.progress.borrow().clone();
            assert_eq!((last.phase, last.received, last.flow.bytes_in, last.resumed_from), (Phase::Done, 21, 0, 0));
            assert_eq!((last.already_present, last.size, last.legs.len()), (true, Some(21), 1));
            assert_eq!(last.origin_digest, Some(format!("blake3:{}", blake3::hash(BODY).to_hex())));
            assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
        }
    }

    #[tokio::test]
    async fn other_content_or_size_is_rejected_before_the_body_unless_forced() {
        let other = BODY.to_ascii_uppercase();
        for (there, heads, expected) in [
            (&other[..], vec![ok(""), ok(&digest_line(BODY))], "with other content"),
            (&other[..5], vec![ok("")], "of another size (5 bytes, not 21)"),
        ] {
            let mut refused = scene(there, &heads).await;
            let error = refused.fetch().await.unwrap_err();
            assert!(error.exit_code() == 7 && error.to_string().contains(expected), "{error}");
            assert_eq!((requests(&refused).len(), refused.names()), (heads.len(), vec!["f.bin".to_owned()]));
            assert_eq!(refused.read("f.bin"), there);
            let mut forced = scene(there, &[heads, vec![whole(&digest_line(BODY))]].concat()).await;
            forced.job.force = true;
            assert!(!forced.fetch().await.unwrap().already_present);
            assert_eq!(
                (requests(&forced).last().unwrap().as_str(), forced.read("f.bin")),
                ("GET digest", BODY.to_vec())
            );
        }
    }

    #[tokio::test]
    async fn without_a_digest_the_file_is_fetched_to_compare() {
        let no_head = "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n".to_owned();
        for heads in [vec![ok(""), ok("")], vec![ok(""), no_head.clone()], vec![no_head]] {
            let turns = heads.into_iter().map(Turn::SendAndClose).chain([Turn::Send(whole(""))]).collect();
            let mut scene = Scene::http(turns).await;
            std::fs::write(scene.folder.path().join("f.bin"), BODY).unwrap();
            assert!(scene.fetch().await.unwrap().already_present);
            assert_eq!(requests(&scene).last().unwrap(), "GET digest");
        }
    }

    #[tokio::test]
    async fn an_expected_digest_replaces_the_origins() {
        let digest = |of: &[u8]| {
            VerifyMode::Expect(Digest { algorithm: Algorithm::Blake3, value: *blake3::hash(of).as_bytes() })
        };
        let mut equal = scene(BODY, &[ok("")]).await;
        equal.job.verify = digest(BODY);
        assert!(equal.fetch().await.unwrap().already_present);
        assert_eq!(requests(&equal), ["HEAD"]);
        let mut other = scene(BODY, &[ok("")]).await;
        other.job.verify = digest(b"another");
        assert!(other.fetch().await.unwrap_err().to_string().contains("with other content"));
    }

    #[tokio::test]
    async fn sends_no_head_request_when_it_cannot_help() {
        let mut first = Scene::http(vec![Turn::Send(whole(""))]).await;
        first.fetch().await.unwrap();
        assert_eq!(requests(&first), ["GET digest"]);
        for set in [|job: &mut FetchJob| job.reuse = false, |job: &mut FetchJob| job.verify = VerifyMode::Skip] {
            let mut scene = scene(BODY, &[whole("")]).await;
            set(&mut scene.job);
            assert!(scene.fetch().await.unwrap().already_present);
            assert_eq!(requests(&scene).len(), 1);
            assert!(requests(&scene)[0].starts_with("GET"));
        }
        let mut legacy = Scene::new("legacy", vec![Turn::Send("21".to_owned())]).await;
        std::fs::write(legacy.folder.path().join("f.bin"), b"short").unwrap();
        assert!(legacy.fetch().await.unwrap_err().to_string().contains("of another size"));
        assert_eq!(legacy.requests.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_unusable_target_is_rejected_before_any_request() {
        let mut scene = Scene::http(vec![]).await;
        std::fs::create_dir(scene.folder.path().join("f.bin")).unwrap();
        assert_eq!(scene.fetch().await.unwrap_err().exit_code(), 7);
        assert!(scene.requests.lock().unwrap().is_empty());
    }
}
