//! Fetches of many files and of whole folders of the origin.

use std::fs;

use chainview::command::Command;
use chainview::route::FileName;
use chainview::snapshot::Phase;

use super::Run;

fn named(name: &str) -> FileName {
    FileName::new(name.as_bytes()).unwrap()
}

/// Writes files into the folder that the origin serves.
fn write(run: &Run, names: impl IntoIterator<Item = String>) {
    for name in names {
        let path = run.chain.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.to_str().unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn marked_files_and_whole_folders_are_fetched() {
    let run = Run::up(2, 1000, "").await;
    write(&run, ["docs/a.txt", "docs/deep/b.txt", "docs/deep/deeper/c.txt", "docs/deep/a.txt"].map(str::to_owned));
    let files = vec![named("data.bin")];
    run.command(Command::FetchAll { files, folders: vec![named("docs")] }).await;
    run.logs(None, "#1 to #4: 4 files queued").await;
    run.logs(None, "1 file not queued: another one has the same local name").await;
    for number in 1..=4 {
        run.phase(number, Phase::Done).await;
    }
    for name in ["data.bin", "a.txt", "b.txt", "c.txt"] {
        assert!(run.chain.fetched(name).is_file(), "{name}");
    }
    let kept = fs::read_to_string(run.chain.fetched("a.txt")).unwrap();
    assert!(kept.ends_with("docs/a.txt"), "the one listed first: {kept}");
    run.command(Command::FetchAll { files: Vec::new(), folders: vec![named("none")] }).await;
    run.logs(None, "none: hop 2").await;
    run.logs(None, "no files found").await;
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_beyond_the_queue_are_refused_with_their_number() {
    let run = Run::up(1, 1000, "-j 1 --limit 1=1K").await;
    // The first file alone takes a minute, so that all others stay open.
    fs::write(run.chain.folder.path().join("slow.bin"), vec![0; 60_000]).unwrap();
    write(&run, (0..230).map(|number| format!("many/{number:03}.bin")));
    let files = vec![named("slow.bin")];
    run.command(Command::FetchAll { files, folders: vec![named("many")] }).await;
    run.logs(None, "#1 to #200: 200 files queued").await;
    run.logs(None, "31 files not queued: 200 transfers are open").await;
    run.ends().await;
}

/// A folder of more files than one page of its listing: the pages are requested one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn folders_are_listed_page_by_page() {
    let run = Run::up(1, 1000, "-j 1 --limit 1=1K").await;
    // Only folders count as listed here: an origin's page ends after 4,096 names, and empty folders hold no file.
    let folder = run.chain.folder.path().join("wide");
    for number in 0..4100 {
        fs::create_dir_all(folder.join(format!("{number:05}"))).unwrap();
    }
    fs::write(folder.join("zzz.bin"), "the last name").unwrap();
    run.command(Command::FetchAll { files: Vec::new(), folders: vec![named("wide")] }).await;
    run.logs(None, "#1: 1 file queued").await;
    run.logs(None, "further folders not listed: too many for one command").await;
    run.phase(1, Phase::Done).await;
    run.ends().await;
}
