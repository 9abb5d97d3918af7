//! Fetches of several files and of whole folders of the origin.

use std::fs;

use chainview::command::Command;
use chainview::route::FileName;

use super::Run;

fn named(name: &str) -> FileName {
    FileName::new(name.as_bytes()).unwrap()
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
