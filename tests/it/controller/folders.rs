//! Fetches of several files and of whole folders of the origin.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use chainview::command::Command;
use chainview::route::FileName;
use chainview::snapshot::verdict::Limit;
use chainview::snapshot::{ChainSnapshot, FileOutcome, Phase, TransferSnapshot};

use super::Run;

fn named(name: &str) -> FileName {
    FileName::new(name.as_bytes()).unwrap()
}

/// Writes this many files of a kilobyte into a folder that the origin serves.
fn write(run: &Run, folder: &str, count: usize) {
    for number in 0..count {
        let path = run.chain.folder.path().join(folder).join(format!("{:02}/{number:04}.bin", number % 10));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content(number)).unwrap();
    }
}

fn content(number: usize) -> Vec<u8> {
    format!("{number:04}").repeat(256).into_bytes()
}

/// Number of files below a folder that have the content that was served.
fn complete(folder: &Path, count: usize) -> usize {
    let path = |number: usize| folder.join(format!("{:02}/{number:04}.bin", number % 10));
    (0..count).filter(|number| fs::read(path(*number)).is_ok_and(|found| found == content(*number))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn marked_files_and_folders_are_a_transfer_each() {
    let run = Run::up(2, 1000, "").await;
    write(&run, "docs/deep", 30);
    run.command(Command::FetchAll(vec![named("data.bin"), named("docs/")])).await;
    run.logs(None, "#1 to #2: 2 transfers queued").await;
    run.phase(1, Phase::Done).await;
    let folder = run.phase(2, Phase::Done).await;
    let files = folder.folder.as_ref().unwrap();
    assert_eq!((files.done, files.failed, files.recent.len()), (30, 0, 30), "{folder:?}");
    run.logs(None, "#2 is complete: 30 files verified").await;
    assert!(run.chain.fetched("data.bin").is_file());
    assert_eq!(complete(&run.chain.fetched("docs/deep"), 30), 30);
    assert_eq!(run.now().transfers.len(), 2, "its files are no transfers");
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_requested_with_the_read_token_of_the_nodes() {
    let keys = tempfile::tempdir().unwrap();
    let token = keys.path().join("token");
    fs::write(&token, "open-sesame").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let run = Run::up(2, 1000, &format!("--read-token-file {}", token.display())).await;
    write(&run, "docs", 5);
    run.command(Command::FetchName(named("docs/"))).await;
    let folder = run.phase(1, Phase::Done).await;
    assert_eq!(folder.folder.map(|files| files.done), Some(5));
    run.ends().await;
}

/// A run that has received some of the 600 files in `many/`.
async fn receiving() -> Run {
    let run = Run::up(2, 1000, "--limit 1=400K").await;
    write(&run, "many", 600);
    run.command(Command::FetchName(named("many/"))).await;
    let begun = |transfer: &TransferSnapshot| transfer.folder.as_ref().is_some_and(|folder| folder.done > 100);
    run.transfer(1, "under way", begun).await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_folder_keeps_its_files_and_fetches_the_others() {
    let run = receiving().await;
    run.command(Command::Pause(1)).await;
    let paused = run.phase(1, Phase::Paused).await;
    let kept = complete(&run.chain.fetched("many"), 600);
    assert!((100..600).contains(&kept), "{kept}");
    assert_eq!(paused.folder.as_ref().map(|folder| folder.failed), Some(0), "no file failed: {paused:?}");
    run.logs(None, "#1 is paused").await;
    run.command(Command::Resume(1)).await;
    let done = run.phase(1, Phase::Done).await;
    let files = done.folder.as_ref().unwrap();
    assert_eq!((files.done + files.present, files.failed), (600, 0), "{files:?}");
    assert!(files.present as usize >= kept, "what was here was not moved again: {files:?}");
    assert_eq!(complete(&run.chain.fetched("many"), 600), 600);
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_folder_is_completed_by_a_retry() {
    let run = receiving().await;
    run.command(Command::LimitTransfer { number: 1, rate: Some(50_000) }).await;
    run.command(Command::Cancel(1)).await;
    let cancelled = run.phase(1, Phase::Cancelled).await;
    run.logs(None, "#1 is cancelled: ").await;
    assert_eq!(cancelled.folder.map(|folder| folder.failed), Some(0));
    run.command(Command::Retry(1)).await;
    run.command(Command::LimitTransfer { number: 2, rate: None }).await;
    let done = run.phase(2, Phase::Done).await;
    let files = done.folder.unwrap();
    assert_eq!((files.done + files.present, files.failed), (600, 0));
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_file_of_a_folder_counts_what_is_moved_and_awaited() {
    let run = Run::up(2, 1000, "--limit 1=6M").await;
    let folder = run.chain.folder.path().join("large");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), vec![7; 24_000_000]).unwrap();
    let hour_ago = SystemTime::now() - Duration::from_hours(1);
    fs::File::options().write(true).open(folder.join("file")).unwrap().set_modified(hour_ago).unwrap();
    run.command(Command::FetchName(named("large/"))).await;
    run.transfer(1, "half", |transfer| transfer.received > 12_000_000).await;
    run.command(Command::Pause(1)).await;
    run.phase(1, Phase::Paused).await;
    run.command(Command::Resume(1)).await;
    let resumed = |t: &TransferSnapshot| t.phase == Phase::Streaming && t.received > 3_000_000;
    let resumed = run.transfer(1, "resumed", resumed).await;
    assert!(resumed.size.is_some_and(|size| size < 14_000_000), "the rest: {resumed:?}");
    let flow = resumed.flow;
    assert!(flow.bytes_out > 0 && flow.starved_us > flow.active_us / 2, "it waits for hop 1: {flow:?}");
    let done = run.phase(1, Phase::Done).await;
    assert_eq!((done.flow.bytes_in, done.flow.bytes_out), (done.received, done.received), "{done:?}");
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_part_of_a_folder_stands_for_all() {
    let run = Run::up(2, 1000, "--limit 1=6M").await;
    let folder = run.chain.folder.path().join("large");
    fs::create_dir(&folder).unwrap();
    // Each is a part; the last one is requested last.
    for (name, size) in [("a", 17_000_000), ("b", 40_000_000), ("c", 17_000_000)] {
        fs::write(folder.join(name), vec![7; size]).unwrap();
    }
    fs::create_dir_all(run.chain.fetched("large")).unwrap();
    fs::write(run.chain.fetched("large/other"), "not vacant").unwrap();
    run.command(Command::FetchName(named("large/"))).await;
    let known = 74_000_000;
    let of_largest = |chain: &ChainSnapshot| {
        let Some(transfer) = chain.transfers.first() else { return false };
        let conns = || chain.hops[0].node.iter().flat_map(|node| &node.connections);
        let is_its = |name: &str| conns().any(|conn| conn.transfer == transfer.id && conn.name.as_str() == name);
        transfer.size == Some(known) && transfer.eta.is_some() && conns().count() >= 3 && is_its("large/b")
    };
    let chain = run.until("the verdict and the time left of all parts", of_largest).await;
    let transfer = &chain.transfers[0];
    // All parts together move 6 MB/s, and a third of that on a busy machine.
    let expected = (known - transfer.received) as f64 / 6e6;
    let eta = transfer.eta.unwrap().as_secs_f64();
    assert!((expected * 0.5..expected * 3.0).contains(&eta), "{eta} s, expected about {expected} s");
    let done = run.phase(1, Phase::Done).await;
    let ended = run.transfer(1, "evaluated", |transfer| transfer.verdict.is_some()).await;
    assert!(done.size == Some(known) && matches!(ended.verdict.unwrap().limit, Limit::RateLimit { .. }), "{ended:?}");
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_files_are_logged_up_to_a_few_and_listed() {
    let run = Run::up(1, 1000, "").await;
    write(&run, "many", 40);
    // Other files have the names of eight of them.
    for number in 0..8 {
        let path = run.chain.fetched("many").join(format!("{:02}/{number:04}.bin", number % 10));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "other content").unwrap();
    }
    run.command(Command::FetchName(named("many/"))).await;
    let failed = run.phase(1, Phase::Failed).await;
    let files = failed.folder.as_ref().unwrap();
    assert_eq!((files.done, files.failed), (32, 8), "{failed:?}");
    let listed = files.recent.iter().filter(|file| file.outcome == FileOutcome::Failed && file.error.is_some());
    assert_eq!(listed.count(), 8);
    run.logs(None, "#1 many/00/0000.bin: ").await;
    run.logs(None, "#1 many/: further failed files are in its details").await;
    let chain = run
        .until("the result", |chain| {
            chain.log.iter().any(|line| line.text.as_str().contains("; 32 files verified, 8 failed"))
        })
        .await;
    let lines = chain.log.iter().filter(|line| line.text.as_str().contains("#1 many/0"));
    assert_eq!(lines.count(), 5, "{:#?}", chain.log);
    assert_eq!(complete(&run.chain.fetched("many"), 40), 32);
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_beyond_the_queue_are_refused_with_their_number() {
    let run = Run::up(1, 1000, "-j 1 --limit 1=1K").await;
    // The first file alone takes a minute, so that all others stay open.
    fs::write(run.chain.folder.path().join("slow.bin"), vec![0; 60_000]).unwrap();
    let others = (0..230).map(|number| named(&format!("many/{number:03}.bin")));
    run.command(Command::FetchAll([named("slow.bin")].into_iter().chain(others).collect())).await;
    run.logs(None, "31 of 231 marked not queued: 200 transfers are open").await;
    run.logs(None, "#1 to #200: 200 transfers queued").await;
    run.ends().await;
}
