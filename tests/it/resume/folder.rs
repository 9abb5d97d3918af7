//! Folders whose fetch is killed: the next one moves what is missing, and leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::scene::{Dice, is_full};
use crate::support::TIMEOUT;
use crate::support::process::{Node, chainview};

/// Every file in a folder, hidden ones too, by its path, with its content and inode.
fn files(folder: &Path) -> BTreeMap<String, (Vec<u8>, u64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            // A file of the staging folder may be renamed meanwhile.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                folders.push(path);
            } else if let Ok(content) = fs::read(&path) {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, (content, metadata.ino()));
            }
        }
    }
    found
}

/// Number of files that have their names, in the folders of a served tree.
fn published(root: &Path) -> usize {
    let folders = (0..10).filter_map(|folder| fs::read_dir(root.join(folder.to_string())).ok());
    folders.map(Iterator::count).sum()
}

/// Serves a folder `d` with small files in several folders, and one large file.
fn serve(count: usize, limit: &str) -> (tempfile::TempDir, Node) {
    let served = tempfile::tempdir().unwrap();
    // Times that differ from those of files that are written now.
    let old = SystemTime::now() - Duration::from_hours(1);
    for number in 0..count {
        let folder = served.path().join(format!("d/{}", number % 10));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{number:05}"));
        fs::write(&path, format!("{number} ").repeat(100)).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    let large = served.path().join("d/5/large");
    fs::write(&large, crate::support::content(3 << 20)).unwrap();
    fs::File::options().write(true).open(large).unwrap().set_modified(old).unwrap();
    let node = Node::chainview(served.path(), &["--limit", limit]);
    (served, node)
}

/// Interrupts a client once this many files are published; returns its document, and how long it took to end.
fn interrupted(mut client: Child, root: &Path, least: usize) -> (Value, Duration) {
    let begun = Instant::now();
    while published(root) < least {
        assert!(client.try_wait().unwrap().is_none(), "it ended before {least} files were published");
        assert!(begun.elapsed() < TIMEOUT, "{least} files are not published");
        sleep(Duration::from_millis(5));
    }
    let asked = Instant::now();
    kill_process(Pid::from_child(&client), Signal::INT).unwrap();
    let output = client.wait_with_output().unwrap();
    let took = asked.elapsed();
    let document = serde_json::from_slice(&output.stdout);
    (document.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr))), took)
}

#[test]
fn an_interrupted_fetch_of_a_folder_ends_within_a_second_and_keeps_what_is_proven() {
    let (served, node) = serve(1500, "1M");
    let expected = files(&served.path().join("d"));
    // The disk of a machine that does other work may need longer once.
    let mut times = Vec::new();
    for _ in 0..3 {
        let output = tempfile::tempdir().unwrap();
        let root = output.path().join("out/d");
        let input = output.path().join("input.txt");
        fs::write(&input, format!("d/\n127.0.0.1 {}\n", node.address().port())).unwrap();
        let fetch = || {
            let mut command = chainview();
            command.arg("--fetch").arg(&input).arg("-o").arg(output.path().join("out/")).args(["--json", "-q"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        };
        // In the stream of all, then in parts.
        let mut slowest = Duration::ZERO;
        let mut kept = 0;
        for part in 1..=2 {
            let (document, took) = interrupted(fetch().spawn().unwrap(), &root, kept + 100);
            slowest = slowest.max(took);
            let transfer = &document["transfers"][0];
            let count = |name: &str| transfer["folder"][name].as_u64().unwrap();
            assert_eq!(transfer["error"]["exit_code"], 130, "part {part}");
            let mut here = files(&root);
            // The beginning of the large file, for the next fetch.
            here.retain(|path, _| !path.contains("large.part"));
            assert!(here.iter().all(|(path, (content, _))| expected[path].0 == *content), "part {part}: whole files");
            kept = here.len();
            assert_eq!(count("fetched") + count("present"), kept as u64, "part {part}: what is here is reported");
        }
        println!("it ended within {slowest:?}");
        times.push(slowest);
        if slowest < Duration::from_secs(1) {
            return;
        }
    }
    panic!("it took {times:?} to end");
}

#[test]
fn a_killed_fetch_of_a_folder_repeats_little_and_leaves_nothing() {
    let (count, kills, limit) = if is_full() { (10_000, 20, "6M") } else { (1500, 3, "3M") };
    let (served, node) = serve(count, limit);
    let expected = files(&served.path().join("d"));
    for seed in 0..kills {
        let output = tempfile::tempdir().unwrap();
        let input = output.path().join("input.txt");
        fs::write(&input, format!("d/\n127.0.0.1 {}\n", node.address().port())).unwrap();
        let fetch = || {
            let mut command = chainview();
            command.arg("--fetch").arg(&input).arg("-o").arg(output.path().join("out/")).arg("--json");
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        };
        let root = output.path().join("out/d");
        let mut client = fetch().spawn().unwrap();
        let least = Dice::new(seed + 1).roll(0, count as u64 * 3 / 4) as usize;
        let begun = Instant::now();
        let is_published = |path: &str| !path.contains("chainview-staging") && !path.contains(".part");
        // One that has ended before is a run that was killed at its end.
        while published(&root) < least && client.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < TIMEOUT, "seed {seed}: {least} files are not published");
            sleep(Duration::from_millis(20));
        }
        let _ = client.kill();
        client.wait().unwrap();
        let mut before = files(&root);
        before.retain(|path, _| is_published(path));
        for (path, (content, _)) in &before {
            assert!(expected[path].0 == *content, "seed {seed}: {path} is published and not whole");
        }
        let ended = fetch().output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "seed {seed}: {stderr}");
        let after = files(&root);
        assert_eq!(after.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "seed {seed}");
        assert!(after.iter().all(|(path, (content, _))| expected[path].0 == *content), "seed {seed}");
        let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
        let counts = &document["transfers"][0]["folder"];
        let again = counts["fetched"].as_u64().unwrap() + before.len() as u64 - expected.len() as u64;
        assert!(again * 100 <= before.len() as u64, "seed {seed}: {again} of {} again", before.len());
        let replaced = before.iter().filter(|(path, (_, inode))| after[*path].1 != *inode).count();
        assert_eq!(replaced, 0, "seed {seed}");
    }
}
