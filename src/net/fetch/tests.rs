//! Tests of whole transfers against a scripted peer on loopback.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::limits::Limits;
use crate::options::VerifyMode;
use crate::route::Route;
use crate::snapshot::{Integrity, Phase};
use crate::wire::{Algorithm, Digest, FailedAction, Problem, Reason};

pub(super) const BODY: &[u8] = b"the whole of the file";

/// What the peer does with one request.
pub(super) enum Turn {
    /// Replies, and continues with the next request on the same connection.
    Send(String),
    /// Replies and closes.
    SendAndClose(String),
    /// Replies and stalls.
    SendAndHang(String),
}

/// The request heads that a peer received.
type Requests = Arc<Mutex<Vec<String>>>;

pub(super) struct Scene {
    pub(super) folder: tempfile::TempDir,
    pub(super) job: FetchJob,
    pub(super) upstream: Upstream,
    pub(super) progress: watch::Sender<TransferSnapshot>,
    pub(super) stop: CancellationToken,
    /// The heads of the requests so far.
    pub(super) requests: Requests,
    _peer: AbortOnDropHandle<()>,
}

impl Scene {
    pub(super) async fn new(protocol: &str, turns: Vec<Turn>) -> Self {
        let requests = Requests::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = AbortOnDropHandle::new(tokio::spawn(play(listener, turns, Arc::clone(&requests))));
        let route = Route::parse(format!("dir/f.bin\n127.0.0.1 {port} protocol={protocol}\n").as_bytes()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let job = FetchJob::new(1, route, folder.path().to_owned(), Limits::default());
        let upstream = client(Arc::default(), job.limits, None);
        let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
        Self { folder, job, upstream, progress, stop, requests, _peer: peer }
    }

    pub(super) async fn http(turns: Vec<Turn>) -> Self {
        Self::new("http", turns).await
    }

    pub(super) async fn fetch(&mut self) -> Result<Fetched, Error> {
        fetch(&mut self.upstream, &mut self.job, &self.progress, &self.stop).await
    }

    pub(super) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }
}

async fn play(listener: TcpListener, turns: Vec<Turn>, requests: Requests) {
    let mut turns = turns.into_iter();
    let (mut stream, _) = listener.accept().await.unwrap();
    while let Some(turn) = turns.next() {
        let mut head = read_request(&mut stream).await;
        while head.is_empty() || head.starts_with("GET /v1/") {
            // The client opened a new connection, or queries the cause of a failure, which this peer does not know.
            drop(stream);
            stream = listener.accept().await.unwrap().0;
            head = read_request(&mut stream).await;
        }
        requests.lock().unwrap().push(head);
        let (Turn::Send(text) | Turn::SendAndClose(text) | Turn::SendAndHang(text)) = &turn;
        stream.write_all(text.as_bytes()).await.unwrap();
        match turn {
            Turn::Send(_) => {}
            Turn::SendAndHang(_) => std::future::pending().await,
            Turn::SendAndClose(_) => {
                drop(stream);
                if turns.len() == 0 {
                    return;
                }
                stream = listener.accept().await.unwrap().0;
            }
        }
    }
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

/// Reads a head up to its blank line, or a single chunk if it is not HTTP.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => head.extend_from_slice(&chunk[..read]),
            _ => return String::new(),
        }
        let http = head.windows(9).any(|window| window == b" HTTP/1.1");
        if !http || head.ends_with(b"\r\n\r\n") {
            return String::from_utf8_lossy(&head).into_owned();
        }
    }
}

pub(super) fn ok(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{lines}\r\n", BODY.len())
}

pub(super) fn whole(lines: &str) -> String {
    ok(lines) + std::str::from_utf8(BODY).unwrap()
}

/// Returns the files that a failed fetch leaves.
fn kept() -> Vec<String> {
    ["f.bin.part", "f.bin.part.state"].map(str::to_owned).into()
}

pub(super) fn digest_line(of: &[u8]) -> String {
    use base64::Engine;
    format!(
        "Repr-Digest: blake3=:{}:\r\n",
        base64::engine::general_purpose::STANDARD.encode(blake3::hash(of).as_bytes())
    )
}

#[tokio::test]
async fn verifies_by_the_digest_in_the_reply_or_in_a_later_one() {
    let after = vec![Turn::Send(whole("ETag: \"1\"\r\n")), Turn::Send(ok(&digest_line(BODY)))];
    for turns in [vec![Turn::Send(whole(&digest_line(BODY)))], after] {
        let mut scene = Scene::http(turns).await;
        let fetched = scene.fetch().await.unwrap();
        assert_eq!((fetched.size, fetched.already_present), (BODY.len() as u64, false));
        assert!(matches!(fetched.integrity, Integrity::Verified { .. }));
        assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
        let last = scene.progress.borrow().clone();
        assert_eq!((last.phase, last.received, last.legs.len()), (Phase::Done, BODY.len() as u64, 1));
        assert_eq!((last.flow.bytes_in, last.flow.bytes_out), (BODY.len() as u64, BODY.len() as u64));
    }
}

#[tokio::test]
async fn an_equal_target_is_success_and_another_an_error() {
    let turns = (0..3).map(|_| Turn::Send(whole(""))).collect();
    let mut scene = Scene::http(turns).await;
    scene.job.reuse = false;
    assert!(!scene.fetch().await.unwrap().already_present);
    assert!(scene.fetch().await.unwrap().already_present);
    std::fs::write(scene.folder.path().join("f.bin"), BODY.to_ascii_uppercase()).unwrap();
    assert_eq!(scene.fetch().await.unwrap_err().exit_code(), 7);
    assert_eq!(scene.names(), ["f.bin", "f.bin.part", "f.bin.part.state"]);
    assert_eq!(scene.read("f.bin"), BODY.to_ascii_uppercase());
}

#[tokio::test]
async fn another_size_is_rejected_before_the_body_unless_forced() {
    let turns = vec![Turn::SendAndClose(ok("")), Turn::Send(ok("")), Turn::Send(whole(""))];
    let mut scene = Scene::http(turns).await;
    std::fs::write(scene.folder.path().join("f.bin"), b"short").unwrap();
    let error = scene.fetch().await.unwrap_err();
    assert_eq!((error.exit_code(), scene.names()), (7, vec!["f.bin".to_owned()]));
    scene.job.force = true;
    scene.fetch().await.unwrap();
    assert_eq!(scene.read("f.bin"), BODY);
}

#[tokio::test]
async fn a_short_body_is_never_success() {
    let cut = whole("")[..whole("").len() - 3].to_owned();
    let mut scene = Scene::http(vec![Turn::SendAndClose(cut)]).await;
    let error = scene.fetch().await.unwrap_err();
    assert_eq!((error.exit_code(), error.hop()), (6, Some(1)));
    assert!(error.to_string().contains("18 of 21 bytes"), "{error}");
    assert_eq!((scene.names(), scene.read("f.bin.part")), (kept(), BODY[..18].to_vec()));
}

#[tokio::test]
async fn altered_bytes_are_not_published() {
    let mut scene = Scene::http(vec![Turn::Send(whole(&digest_line(b"another file")))]).await;
    let error = scene.fetch().await.unwrap_err();
    assert_eq!((error.exit_code(), scene.names()), (6, kept()));
    assert!(error.to_string().contains("altered"), "{error}");
}

#[tokio::test]
async fn expect_overrides_the_digest_of_the_chain() {
    let mut scene = Scene::http(vec![Turn::Send(whole(&digest_line(BODY)))]).await;
    let other = Digest { algorithm: Algorithm::Sha256, value: [0; 32] };
    scene.job.verify = VerifyMode::Expect(other);
    let error = scene.fetch().await.unwrap_err();
    assert!(error.exit_code() == 6 && error.to_string().contains("--expect states sha-256:0000"), "{error}");
    let mut scene = Scene::http(vec![Turn::Send(whole(""))]).await;
    let value = *blake3::hash(BODY).as_bytes();
    scene.job.verify = VerifyMode::Expect(Digest { algorithm: Algorithm::Blake3, value });
    assert!(matches!(scene.fetch().await.unwrap().integrity, Integrity::Verified { .. }));
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_not_published() {
    let changed = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".to_owned();
    let mut scene = Scene::http(vec![Turn::Send(whole("ETag: \"1\"\r\n")), Turn::Send(changed)]).await;
    let error = scene.fetch().await.unwrap_err();
    assert!(error.exit_code() == 6 && error.to_string().contains("changed at the origin"), "{error}");
    assert_eq!(scene.names(), kept());
}

#[tokio::test]
async fn an_unstable_etag_verifies_the_size_only() {
    let refused = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".to_owned();
    let tagged = |tag: u32| ok(&format!("ETag: \"{tag}\"\r\n"));
    // A new one each time, or those of two servers that alternate.
    for heads in [vec![tagged(3), tagged(4)], vec![tagged(1)], vec![tagged(2), tagged(1)]] {
        let turns = [vec![whole("ETag: \"1\"\r\n"), refused.clone()], heads].concat();
        let mut scene = Scene::http(turns.into_iter().map(Turn::Send).collect()).await;
        let integrity = scene.fetch().await.unwrap().integrity;
        let Integrity::SizeChecked { digest, reason } = &integrity else { panic!("{integrity:?}") };
        assert!(digest.starts_with("blake3:") && reason.as_str().contains("ETag differs"), "{reason}");
        assert_eq!((scene.names(), scene.read("f.bin")), (vec!["f.bin".to_owned()], BODY.to_vec()));
    }
    let verified = ok(&format!("ETag: \"2\"\r\n{}", digest_line(BODY)));
    let turns = [whole("ETag: \"1\"\r\n"), refused, verified].map(Turn::Send).into();
    assert!(matches!(Scene::http(turns).await.fetch().await.unwrap().integrity, Integrity::Verified { .. }));
}

#[tokio::test]
async fn a_stable_new_etag_or_a_report_of_our_origin_is_a_change() {
    let refused = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".to_owned();
    let second = || ok("ETag: \"2\"\r\n");
    let own = Problem::here(Reason::Changed, FailedAction::Open, "127.0.0.1:1", "").to_header();
    let own = refused.replace("\r\n\r\n", &format!("\r\nChain-Problem: {own}\r\n\r\n"));
    let longer = second().replace("Length: 21", "Length: 22");
    let other = ok(&format!("ETag: \"2\"\r\n{}", digest_line(b"another")));
    for (response, heads, count) in [
        (&refused, vec![second(), second(), second()], 5),
        (&refused, vec![longer], 3),
        (&refused, vec![ok("")], 3),
        (&refused, vec![other], 3),
        (&own, vec![ok("ETag: \"1\"\r\n")], 2),
    ] {
        let turns = [vec![whole("ETag: \"1\"\r\n"), response.clone()], heads].concat();
        let mut scene = Scene::http(turns.into_iter().map(Turn::Send).collect()).await;
        let error = scene.fetch().await.unwrap_err();
        assert!(matches!(error, Error::Changed { .. }) && error.exit_code() == 6, "{error}");
        assert_eq!((scene.requests.lock().unwrap().len(), scene.names().contains(&"f.bin".to_owned())), (count, false));
    }
}

#[tokio::test]
async fn injected_bytes_are_detected_although_they_corrupt_the_digest_reply() {
    let first = Turn::Send(whole("ETag: \"1\"\r\n").replace("the whole", "the w..hole").replace("file", "fi"));
    let spoilt = Turn::SendAndClose(format!("le{}", ok(&digest_line(BODY))));
    let mut scene = Scene::http(vec![first, spoilt, Turn::Send(ok(&digest_line(BODY)))]).await;
    assert!(matches!(scene.fetch().await.unwrap_err(), Error::Altered { .. }));
    assert!(!scene.names().contains(&"f.bin".to_owned()));
}

#[tokio::test]
async fn a_server_without_head_verifies_the_size_only() {
    for head in ["HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
        // The reply is the same for every attempt.
        let no_head = || Turn::SendAndClose(head.to_owned());
        let turns = vec![Turn::Send(whole("ETag: \"1\"\r\n")), no_head(), no_head()];
        let mut scene = Scene::http(turns).await;
        let integrity = scene.fetch().await.unwrap().integrity;
        assert!(matches!(&integrity, Integrity::SizeChecked { .. }), "{head:?}: {integrity:?}");
    }
}

#[tokio::test]
async fn an_origin_without_a_digest_verifies_the_size_only() {
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
    for (lines, second) in
        [("", None), ("ETag: W/\"1\"\r\n", None), ("ETag: \"1\"\r\n", Some(ok(""))), ("ETag: \"1\"\r\n", Some(missing))]
    {
        let turns =
            [Some(whole(lines)), second.clone(), second].into_iter().flatten().map(Turn::SendAndClose).collect();
        let mut scene = Scene::http(turns).await;
        let integrity = scene.fetch().await.unwrap().integrity;
        assert!(
            matches!(&integrity, Integrity::SizeChecked { digest, .. } if digest.starts_with("blake3:")),
            "{integrity:?}"
        );
    }
    let mut scene = Scene::http(vec![Turn::Send(whole("ETag: \"1\"\r\n"))]).await;
    scene.job.verify = VerifyMode::Skip;
    assert!(
        matches!(scene.fetch().await.unwrap().integrity, Integrity::SizeChecked { digest, .. } if digest.is_empty())
    );
}

#[tokio::test]
async fn a_problem_names_the_hop_that_failed() {
    let mut scene =
        Scene::http(vec![Turn::Send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned())]).await;
    assert_eq!(scene.fetch().await.unwrap_err().exit_code(), 4);
    let problem = Problem::next(Reason::Refused, FailedAction::Connect, "127.0.0.1:1", "", 0.8).relayed().to_json();
    let problem = String::from_utf8(problem).unwrap();
    let reply = format!(
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\r\n{problem}",
        problem.len()
    );
    let mut scene = Scene::http(vec![Turn::Send(reply)]).await;
    let mut hops = scene.job.route.hops().to_vec();
    hops.extend(["127.0.0.1 2", "127.0.0.1 1"].map(|line| crate::route::Hop::parse_line(line).unwrap()));
    scene.job.route = Route::new(scene.job.route.file.clone(), hops).unwrap();
    let error = scene.fetch().await.unwrap_err();
    assert_eq!((error.exit_code(), error.hop()), (5, Some(3)));
    assert!(error.to_string().contains("reported by hop 2"), "{error}");
    assert!(scene.names().is_empty());
}

#[tokio::test]
async fn a_silent_peer_times_out_after_the_idle_limit() {
    let mut scene = Scene::http(vec![Turn::SendAndHang(ok("") + "the")]).await;
    scene.job.limits.idle = Duration::from_millis(50);
    let error = scene.fetch().await.unwrap_err();
    assert_eq!((error.exit_code(), scene.read("f.bin.part")), (8, b"the".to_vec()));
}

#[tokio::test]
async fn cancelling_keeps_the_partial_file() {
    let mut scene = Scene::http(vec![Turn::SendAndHang(ok("") + "the")]).await;
    let (mut updates, stop) = (scene.progress.subscribe(), scene.stop.clone());
    let cancel = async {
        updates.wait_for(|snapshot| snapshot.received == 3).await.unwrap();
        stop.cancel();
    };
    let (result, ()) = tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), cancel);
    assert_eq!(result.unwrap_err().exit_code(), 130);
    assert_eq!(scene.progress.borrow().phase, Phase::Cancelled);
    assert_eq!(scene.read("f.bin.part"), b"the");
}

#[tokio::test]
async fn recognizes_a_legacy_origin_that_cannot_open_a_folder() {
    let turns = vec![Turn::Send("4096".to_owned()), Turn::SendAndClose("NA".to_owned())];
    let mut scene = Scene::new("legacy", turns).await;
    let error = scene.fetch().await.unwrap_err();
    assert!(error.exit_code() == 4 && error.to_string().contains("could not open it"), "{error}");
    let mut scene = Scene::new("legacy", vec![Turn::Send("2".to_owned()), Turn::Send("NA".to_owned())]).await;
    assert_eq!(scene.fetch().await.unwrap().size, 2);
    assert_eq!(scene.read("f.bin"), b"NA");
}

#[tokio::test]
async fn fetches_an_empty_file() {
    let mut scene = Scene::http(vec![Turn::Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned())]).await;
    assert_eq!(scene.fetch().await.unwrap().size, 0);
    assert_eq!(scene.read("f.bin"), b"");
}

#[tokio::test]
async fn a_check_transfers_nothing() {
    let mut scene = Scene::http(vec![Turn::Send(ok("ETag: \"1\"\r\n"))]).await;
    let checked = check(&mut scene.upstream, &scene.job, &scene.stop).await.unwrap();
    assert_eq!((checked.size, checked.etag.as_deref(), checked.legs.len()), (21, Some("\"1\""), 1));
    assert!(scene.names().is_empty());
}

#[test]
fn each_job_has_its_own_id() {
    let route = Route::parse(b"f\nh 1\n").unwrap();
    let id = || FetchJob::new(1, route.clone(), Path::new(".").to_owned(), Limits::default()).id;
    assert_ne!(id(), id());
}

#[tokio::test]
async fn a_rate_limit_delays_a_body_until_it_is_removed() {
    let mut scene = Scene::http(vec![Turn::Send(whole(""))]).await;
    // At one byte a second the file takes 20 s; the test must not wait for that.
    scene.job.rate_limit = RateLimit::new(Some(1));
    let (cap, mut news) = (scene.job.rate_limit.clone(), scene.progress.subscribe());
    let lift = async {
        let slow =
            news.wait_for(|snapshot| snapshot.received > 0 && snapshot.flow.limited_us > 0).await.unwrap().clone();
        cap.set(None);
        slow
    };
    let (fetched, slow) = tokio::join!(fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop), lift);
    assert_eq!((fetched.unwrap().size, slow.rate_limit, slow.received < 5), (21, Some(1), true));
    assert_eq!((scene.progress.borrow().rate_limit, scene.read("f.bin")), (None, BODY.to_vec()));
}
